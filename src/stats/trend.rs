//! Slopes with confidence intervals that hold for series whose values depend on their neighbours.
//!
//! The slope is Theil's and Sen's (Sen, Estimates of the Regression Coefficient Based on Kendall's Tau, JASA 1968): the
//! median over all pairs, which a third of outliers does not move. Its interval comes from the variance of Kendall's S,
//! enlarged for autocorrelation as Hamed and Rao do (A modified Mann-Kendall trend test for autocorrelated data, Journal of
//! Hydrology 1998).

use super::{median, quantile};

/// One-sided 99 % of the normal distribution, as everywhere in verdicts.
pub const Z: f64 = 2.326;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// Per unit of time.
    pub slope: f64,
    /// It lies above this at 99 %, and below `high` at 99 %.
    pub low: f64,
    pub high: f64,
    pub n: usize,
}

/// Fewer points than this have no trend.
pub const FEWEST: usize = 8;

/// The trend of points in the order of time; `None` for too few, or all at one moment.
pub fn trend(points: &[(f64, f64)]) -> Option<Trend> {
    let n = points.len();
    if n < FEWEST {
        return None;
    }
    let mut slopes: Vec<f64> = Vec::with_capacity(n * (n - 1) / 2);
    for (i, (t0, y0)) in points.iter().enumerate() {
        slopes.extend(points[i + 1..].iter().filter(|(t, _)| t > t0).map(|(t, y)| (y - y0) / (t - t0)));
    }
    let slope = median(&mut slopes)?;
    let count = n as f64;
    let variance = count * (count - 1.0) * (2.0 * count + 5.0) / 18.0 * dependence(points, slope);
    // Positions in the sorted slopes, as shares of their number (Gilbert, Statistical Methods for Environmental Pollution
    // Monitoring, 1987, section 16.4).
    let reach = Z * variance.sqrt() / slopes.len() as f64 / 2.0;
    let (low, high) = (quantile(&mut slopes, 0.5 - reach)?, quantile(&mut slopes, 0.5 + reach)?);
    // Beyond the outermost slopes nothing is known.
    let unbounded = reach >= 0.5;
    Some(Trend {
        slope,
        low: if unbounded { f64::NEG_INFINITY } else { low },
        high: if unbounded { f64::INFINITY } else { high },
        n,
    })
}

/// By how much the dependence between neighbours enlarges the variance of S; 1 for independent values.
fn dependence(points: &[(f64, f64)], slope: f64) -> f64 {
    let n = points.len();
    let rest: Vec<f64> = points.iter().map(|(t, y)| y - slope * t).collect();
    let ranks = ranks(&rest);
    let mean = (n as f64 - 1.0) / 2.0;
    let total: f64 = ranks.iter().map(|r| (r - mean).powi(2)).sum();
    if total <= 0.0 {
        return 1.0;
    }
    let significant = 1.645 / (n as f64).sqrt();
    let weight = |lag: f64| {
        let n = n as f64;
        (n - lag) * (n - lag - 1.0) * (n - lag - 2.0)
    };
    let sum: f64 = (1..n - 2)
        .map(|lag| (lag, ranks.iter().zip(&ranks[lag..]).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>() / total))
        .filter(|(_, rho)| rho.abs() > significant)
        .map(|(lag, rho)| weight(lag as f64) * rho)
        .sum();
    let n = n as f64;
    (1.0 + 2.0 / (n * (n - 1.0) * (n - 2.0)) * sum).max(1.0)
}

/// Ranks from 0; equal values share the mean of theirs.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut at = 0;
    while at < order.len() {
        let equal = order[at..].iter().take_while(|i| values[**i] == values[order[at]]).count();
        let shared = at as f64 + (equal as f64 - 1.0) / 2.0;
        order[at..at + equal].iter().for_each(|i| ranks[*i] = shared);
        at += equal;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_slope() {
        let line: Vec<(f64, f64)> = (0..20).map(|i| (f64::from(i), 3.0 * f64::from(i) + 1.0)).collect();
        let found = trend(&line).unwrap();
        assert!((found.slope - 3.0).abs() < 1e-9 && (found.low - 3.0).abs() < 1e-9);
        assert_eq!(trend(&line[..5]), None);
    }

    #[test]
    fn outliers_do_not_move_it() {
        let line: Vec<(f64, f64)> = (0..40).map(|i| (f64::from(i), if i % 5 == 0 { 1e6 } else { f64::from(i) })).collect();
        assert!((trend(&line).unwrap().slope - 1.0).abs() < 0.2);
    }

    #[test]
    fn equal_values_share_a_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0]), [1.5, 0.0, 1.5]);
    }
}

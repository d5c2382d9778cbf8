//! Slopes with confidence intervals that hold for series whose values depend on their neighbours.
//!
//! The slope is Theil's and Sen's (Sen, Estimates of the Regression Coefficient Based on Kendall's Tau, JASA 1968): the
//! median over all pairs, which a third of outliers does not move. Its interval comes from the variance of Kendall's S,
//! enlarged for autocorrelation as Hamed and Rao do (A modified Mann-Kendall trend test for autocorrelated data, Journal of
//! Hydrology 1998). That is too little where neighbours are very alike: with a correlation of 0.9 from one value to the next, a
//! tenth of flat series of a hundred "drifted". Where neighbours are alike the interval is therefore at least as wide as that
//! of a first-order autoregressive series: see [`like_neighbours`].

use super::confidence::Confidence;
use super::{median, quantile};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// Per unit of time.
    pub slope: f64,
    /// It lies above this at the confidence that was asked for, and below `high` at the same.
    pub low: f64,
    pub high: f64,
    pub n: usize,
}

/// Fewer points than this have no trend.
pub const FEWEST: usize = 8;

/// The trend of points in the order of time; `None` for too few, or all at one moment.
pub fn trend(points: &[(f64, f64)], confidence: Confidence) -> Option<Trend> {
    let n = points.len();
    if n < FEWEST {
        return None;
    }
    let mut slopes: Vec<f64> = Vec::with_capacity(n * (n - 1) / 2);
    for (i, (t0, y0)) in points.iter().enumerate() {
        slopes.extend(points[i + 1..].iter().filter(|(t, _)| t > t0).map(|(t, y)| (y - y0) / (t - t0)));
    }
    let slope = median(&mut slopes)?;
    let rest: Vec<f64> = points.iter().map(|(t, y)| y - slope * t).collect();
    let rest_ranks = ranks(&rest);
    let count = n as f64;
    let variance = count * (count - 1.0) * (2.0 * count + 5.0) / 18.0 * dependence(&rest_ranks);
    // Positions in the sorted slopes, as shares of their number (Gilbert, Statistical Methods for Environmental Pollution
    // Monitoring, 1987, section 16.4).
    let reach = confidence.z() * variance.sqrt() / slopes.len() as f64 / 2.0;
    let (low, high) = (quantile(&mut slopes, 0.5 - reach)?, quantile(&mut slopes, 0.5 + reach)?);
    let alike = like_neighbours(points, &rest, &rest_ranks, confidence);
    // Beyond the outermost slopes nothing is known.
    let unbounded = reach >= 0.5;
    Some(Trend {
        slope,
        low: if unbounded { f64::NEG_INFINITY } else { low.min(slope - alike) },
        high: if unbounded { f64::INFINITY } else { high.max(slope + alike) },
        n,
    })
}

/// How far the slope's bounds lie from it where neighbours are alike, as in a first-order autoregressive series; 0 where they
/// are not. The correlation of neighbours is that of the ranks, so that outliers do not hide it, and what an estimate from so few
/// values falls short by is added (Marriott and Pope, Bias in the estimation of autocorrelations, Biometrika 1954; with a line
/// taken out). It makes n values worth n (1-ρ)/(1+ρ), from which the slope's standard error and the degrees of freedom of
/// Student's t follow.
fn like_neighbours(points: &[(f64, f64)], rest: &[f64], rest_ranks: &[f64], confidence: Confidence) -> f64 {
    let n = rest.len() as f64;
    let Some(rho) = correlations(rest_ranks).next().filter(|rho| *rho > SIGNIFICANT / n.sqrt()) else { return 0.0 };
    let rho = (rho + (2.0 + 4.0 * rho) / n).min(MOST_ALIKE);
    let enlarged = (1.0 + rho) / (1.0 - rho);
    let middle = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / n;
    let (t, y) = (middle(&mut points.iter().map(|p| p.0)), middle(&mut rest.iter().copied()));
    let spread: f64 = points.iter().map(|p| (p.0 - t).powi(2)).sum();
    let noise = rest.iter().map(|r| (r - y).powi(2)).sum::<f64>() / (n - 2.0);
    let freedom = (n / enlarged - 2.0).max(LEAST_FREEDOM);
    confidence.student(freedom) * (noise * enlarged / spread.max(f64::MIN_POSITIVE)).sqrt()
}

/// A correlation beyond so many standard deviations is one (95 %, one-sided).
const SIGNIFICANT: f64 = 1.645;
/// More than this is taken for this: the series would be worth one value.
const MOST_ALIKE: f64 = 0.99;
const LEAST_FREEDOM: f64 = 3.0;

/// By how much the dependence between neighbours enlarges the variance of S; 1 for independent values.
fn dependence(rest_ranks: &[f64]) -> f64 {
    let n = rest_ranks.len() as f64;
    let weight = |lag: f64| (n - lag) * (n - lag - 1.0) * (n - lag - 2.0);
    let sum: f64 = (1..)
        .zip(correlations(rest_ranks))
        .filter(|(_, rho)| rho.abs() > SIGNIFICANT / n.sqrt())
        .map(|(lag, rho)| weight(f64::from(lag)) * rho)
        .sum();
    (1.0 + 2.0 / (n * (n - 1.0) * (n - 2.0)) * sum).max(1.0)
}

/// The correlation of ranks with those one place further on, two places, and so on; none where all are the same.
fn correlations(ranks: &[f64]) -> impl Iterator<Item = f64> {
    let mean = (ranks.len() as f64 - 1.0) / 2.0;
    let total: f64 = ranks.iter().map(|r| (r - mean).powi(2)).sum();
    let last = if total > 0.0 { ranks.len() - 2 } else { 1 };
    (1..last).map(move |lag| ranks.iter().zip(&ranks[lag..]).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>() / total)
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
        let found = trend(&line, Confidence::USUAL).unwrap();
        assert!((found.slope - 3.0).abs() < 1e-9 && (found.low - 3.0).abs() < 1e-9);
        assert_eq!(trend(&line[..5], Confidence::USUAL), None);
    }

    #[test]
    fn outliers_do_not_move_it() {
        let line: Vec<(f64, f64)> = (0..40).map(|i| (f64::from(i), if i % 5 == 0 { 1e6 } else { f64::from(i) })).collect();
        assert!((trend(&line, Confidence::USUAL).unwrap().slope - 1.0).abs() < 0.2);
    }

    #[test]
    fn equal_values_share_a_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0]), [1.5, 0.0, 1.5]);
    }
}

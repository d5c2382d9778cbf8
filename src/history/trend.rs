//! Since when is it otherwise? Change points of a figure over runs.

use std::sync::Arc;

use crate::stats::median;
use crate::stats::trend::ranks;

/// Run, moment (milliseconds), value.
pub type Point = (Arc<str>, i64, f64);

/// A figure over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub name: String,
    pub points: Vec<Point>,
}

/// From a run on the figure is another one.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Change {
    pub figure: String,
    /// The first run of the new time.
    pub run_id: String,
    pub at_ms: i64,
    pub before: f64,
    pub after: f64,
    /// How likely such a split is where nothing has changed.
    pub p: f64,
}

/// Fewer runs on a side of a change are an accident.
const FEWEST: usize = 5;
const SIGNIFICANT: f64 = 0.01;
/// A change of the median by less than this share is nobody's concern.
const LEAST_EFFECT: f64 = 0.1;

/// Pettitt's test (Pettitt 1979), applied to the whole and then to both sides of each change found, as binary segmentation has
/// it. Significance and effect must both be there.
pub fn changes(series: &Series) -> Vec<Change> {
    let mut found = Vec::new();
    split(series, 0, series.points.len(), &mut found);
    found.sort_by_key(|change| change.at_ms);
    found
}

fn split(series: &Series, from: usize, to: usize, found: &mut Vec<Change>) {
    let values: Vec<f64> = series.points[from..to].iter().map(|point| point.2).collect();
    let Some((at, p)) = pettitt(&values) else { return };
    let middle = |part: &[f64]| median(&mut part.to_vec()).unwrap_or(0.0);
    let (before, after) = (middle(&values[..at]), middle(&values[at..]));
    let effect = (after - before).abs() / before.abs().max(after.abs()).max(f64::MIN_POSITIVE);
    if p >= SIGNIFICANT || effect < LEAST_EFFECT {
        return;
    }
    let (run_id, at_ms, _) = series.points[from + at].clone();
    let (figure, run_id) = (series.name.clone(), run_id.to_string());
    found.push(Change { figure, run_id, at_ms, before, after, p });
    split(series, from, from + at, found);
    split(series, from + at, to, found);
}

/// The likeliest place of a change, and its significance: U(t) = 2 Σ_{i≤t} rank(i) − t (n + 1), p ≈ 2 exp(−6 max|U|² ÷ (n³ + n²)).
fn pettitt(values: &[f64]) -> Option<(usize, f64)> {
    let n = values.len();
    if n < 2 * FEWEST {
        return None;
    }
    let mut sum = 0.0;
    let mut best = (0, 0.0_f64);
    for (at, rank) in ranks(values).into_iter().enumerate().take(n - FEWEST) {
        sum += rank;
        let t = at + 1;
        let u = (2.0 * sum - t as f64 * (n as f64 + 1.0)).abs();
        if t >= FEWEST && u > best.1 {
            best = (t, u);
        }
    }
    let n = n as f64;
    (best.0 > 0).then(|| (best.0, (2.0 * (-6.0 * best.1 * best.1 / (n.powi(3) + n.powi(2))).exp()).min(1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn series(values: impl IntoIterator<Item = f64>) -> Series {
        let points = values.into_iter().enumerate().map(|(at, value)| (format!("run-{at}").into(), at as i64, value)).collect();
        Series { name: "x".into(), points }
    }

    #[test]
    fn a_step_is_found_where_it_is() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let noisy = (0..60).map(|i| if i < 40 { 10.0 } else { 14.0 } + rng.random_range(-1.0..1.0));
        let found = changes(&series(noisy));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!((39..=41).contains(&found[0].at_ms) && found[0].after > found[0].before, "{found:?}");
    }

    #[test]
    fn two_steps_are_two_changes() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let level = |i: usize| [10.0, 20.0, 10.0][i / 30];
        let found = changes(&series((0..90).map(|i| level(i) + rng.random_range(-1.0..1.0))));
        assert_eq!(found.iter().map(|c| c.at_ms).collect::<Vec<_>>(), [30, 60], "{found:?}");
    }

    /// False alarms on noise that does not change: fewer than one series in fifty.
    #[test]
    fn noise_is_no_change() {
        let alarms = (0..500).filter(|seed| {
            let mut rng = ChaCha8Rng::seed_from_u64(*seed);
            !changes(&series((0..50).map(|_| rng.random_range(5.0..15.0)))).is_empty()
        });
        assert!(alarms.count() <= 10);
    }

    #[test]
    fn what_is_significant_and_tiny_is_no_change_and_few_runs_are_none() {
        assert!(changes(&series((0..100).map(|i| if i < 50 { 10.0 } else { 10.1 } + f64::from(i % 3) * 0.001))).is_empty());
        assert!(changes(&series([1.0, 1.0, 1.0, 9.0, 9.0, 9.0])).is_empty());
    }
}

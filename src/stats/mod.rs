//! Statistics for verdicts: pure functions, each with its source.

pub mod compare;
pub mod confidence;
pub mod growth;
pub mod scalability;
pub mod trend;

use confidence::Confidence;

/// The median; sorts its input.
pub fn median(values: &mut [f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The q-quantile by linear interpolation (type 7 of Hyndman and Fan, 1996); sorts its input.
pub fn quantile(values: &mut [f64], q: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    quantile_of_sorted(values, q)
}

/// The same of values that are in order.
fn quantile_of_sorted(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = q.clamp(0.0, 1.0) * last as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    Some(sorted[low] + (sorted[high] - sorted[low]) * (at - low as f64))
}

/// The mean and its two-sided confidence interval by Student's t; `None` for fewer than three values.
pub fn mean_interval(values: &[f64], confidence: Confidence) -> Option<(f64, f64, f64)> {
    if values.len() < 3 {
        return None;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let reach = confidence.of_two_sides().student(n - 1.0) * (variance / n).sqrt();
    Some((mean, mean - reach, mean + reach))
}

/// The probability of at most `k` successes in `n` trials.
pub fn binomial_at_most(k: u64, n: u64, p: f64) -> f64 {
    if k >= n {
        return 1.0;
    }
    if p <= 0.0 {
        return 1.0;
    }
    if p >= 1.0 {
        return 0.0;
    }
    // Summed in logarithms from the first term on, so that large n do not underflow.
    let mut log_term = n as f64 * (1.0 - p).ln();
    let mut sum = log_term.exp();
    for i in 1..=k {
        log_term += ((n - i + 1) as f64 / i as f64).ln() + (p / (1.0 - p)).ln();
        sum += log_term.exp();
    }
    sum.min(1.0)
}

/// What samples say of a percentile against a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// The percentile is below the limit, at the confidence that was asked for.
    Below,
    /// It is above, at the same.
    Above,
    /// The samples do not decide it.
    Undecided,
}

/// Judges a percentile (0 to 100) from how many of `n` samples lie over a limit: the binomial early-stopping rule of
/// MLPerf LoadGen. With none over and at 99 %, a p90 takes 44 samples, a p95 90, a p99 459.
pub fn percentile_against(percentile: f64, over: u64, n: u64, confidence: Confidence) -> Against {
    let allowed = 1.0 - percentile / 100.0;
    if n > 0 && binomial_at_most(over, n, allowed) <= confidence.alpha() {
        Against::Below
    } else if over > 0 && 1.0 - binomial_at_most(over - 1, n, allowed) <= confidence.alpha() {
        Against::Above
    } else {
        Against::Undecided
    }
}

/// The decisions of [`percentile_against`] for rows of up to so many samples, worked out once.
pub struct Rule {
    /// For each row length the most samples over the limit with which it is still certain to lie below; none for short rows.
    below: Vec<Option<u64>>,
    /// For each row length the fewest over the limit with which it is certain to lie above.
    above: Vec<u64>,
}

impl Rule {
    pub fn new(percentile: f64, longest: usize) -> Self {
        let confidence = Confidence::USUAL;
        let (mut below, mut above) = (vec![None], vec![1]);
        let (mut fits, mut too_many) = (None, 1);
        for n in 1..=longest as u64 {
            while percentile_against(percentile, fits.map_or(0, |k: u64| k + 1), n, confidence) == Against::Below {
                fits = Some(fits.map_or(0, |k| k + 1));
            }
            while too_many <= n && percentile_against(percentile, too_many, n, confidence) != Against::Above {
                too_many += 1;
            }
            below.push(fits);
            above.push(too_many);
        }
        Self { below, above }
    }

    /// As [`percentile_against`]; undecided for rows that are longer than the longest.
    pub fn against(&self, over: u64, n: usize) -> Against {
        match (self.below.get(n), self.above.get(n)) {
            (Some(Some(most)), _) if over <= *most => Against::Below,
            (_, Some(fewest)) if over >= *fewest => Against::Above,
            _ => Against::Undecided,
        }
    }
}

/// The fewest samples from which a percentile can be found below a limit.
pub fn samples_for_percentile(percentile: f64, confidence: Confidence) -> u64 {
    let share = (percentile / 100.0).clamp(0.0, 0.999_999);
    if share <= 0.0 { 1 } else { (confidence.alpha().ln() / share.ln()).ceil() as u64 }
}

/// The upper bound of the 95 % confidence interval of a rate (Clopper and Pearson, 1934), found by bisection.
pub fn rate_upper_bound(events: u64, n: u64) -> f64 {
    if n == 0 || events >= n {
        return 1.0;
    }
    let (mut low, mut high) = (events as f64 / n as f64, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if binomial_at_most(events, n, middle) > 0.05 { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_sample_counts_are_loadgens() {
        assert_eq!(samples_for_percentile(90.0, Confidence::USUAL), 44);
        assert_eq!(samples_for_percentile(95.0, Confidence::USUAL), 90);
        assert_eq!(samples_for_percentile(99.0, Confidence::USUAL), 459);
        assert_eq!(samples_for_percentile(99.9, Confidence::USUAL), 4603);
        for (p, n) in [(90.0, 44), (95.0, 90), (99.0, 459)] {
            assert_eq!(percentile_against(p, 0, n, Confidence::USUAL), Against::Below);
            assert_eq!(percentile_against(p, 0, n - 1, Confidence::USUAL), Against::Undecided);
        }
    }

    #[test]
    fn far_too_many_over_the_limit_are_seen() {
        assert_eq!(percentile_against(95.0, 30, 100, Confidence::USUAL), Against::Above);
        assert_eq!(percentile_against(95.0, 5, 100, Confidence::USUAL), Against::Undecided);
        assert_eq!(percentile_against(95.0, 0, 0, Confidence::USUAL), Against::Undecided);
        assert_eq!(percentile_against(95.0, 4, 4, Confidence::USUAL), Against::Above);
    }

    #[test]
    fn the_table_says_what_the_rule_says() {
        for percentile in [50.0, 90.0, 95.0] {
            let rule = Rule::new(percentile, 300);
            for n in 1..=300 {
                for over in 0..=n {
                    assert_eq!(
                        rule.against(over, n as usize),
                        percentile_against(percentile, over, n, Confidence::USUAL),
                        "p{percentile}: {over} of {n}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_mean_has_an_interval() {
        let (mean, low, high) = mean_interval(&[1.0, 2.0, 3.0], Confidence::USUAL).unwrap();
        assert!(mean == 2.0 && low < -3.0 && high > 7.0);
        assert_eq!(mean_interval(&[1.0, 2.0], Confidence::USUAL), None);
    }

    #[test]
    fn rates_have_bounds() {
        assert!((rate_upper_bound(0, 60) - 0.0487).abs() < 0.001);
        assert_eq!(rate_upper_bound(0, 0), 1.0);
        assert_eq!(rate_upper_bound(5, 5), 1.0);
    }

    #[test]
    fn false_passes_are_as_rare_as_claimed() {
        // Samples whose true p95 lies exactly at the limit: each is over it with probability 0.05.
        use rand::{RngExt, SeedableRng};
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let wrong = (0..4000)
            .filter(|_| {
                let over = (0..200).filter(|_| rng.random_bool(0.05)).count() as u64;
                percentile_against(95.0, over, 200, Confidence::USUAL) == Against::Below
            })
            .count();
        assert!(wrong < 60, "{wrong} of 4000 at a claimed 1 %");
    }

    proptest! {
        #[test]
        fn quantiles_lie_within_the_data(mut values in proptest::collection::vec(-1e6f64..1e6, 1..50), q in 0.0f64..1.0) {
            let found = quantile(&mut values, q).unwrap();
            prop_assert!(found >= values[0] && found <= *values.last().unwrap());
        }
    }
}

//! Two samples against each other: is the second larger, surely and by how much?
//!
//! Surely: the rank test of Mann and Whitney (On a Test of Whether one of Two Random Variables is Stochastically Larger than
//! the Other, 1947) with the correction for ties. By how much: the ratio of the medians. A verdict takes both: with many
//! samples every difference is significant, and with few a large one may be chance. The median of whole numbers jumps: a queue that is
//! two or three half of the time each has either, by chance. So the ratio of the medians of the mid-distributions counts too (Ma, Genton
//! and Parzen, Asymptotic properties of sample quantiles of discrete distributions, 2011), which for values without ties are the same.

use super::confidence::Confidence;
use super::{median, quantile_of_sorted};

/// So many values that all lie within a band are no chance.
const MANY: usize = 20;
/// Starts so close together are as one: they see nearly the same values.
const STARTS: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// The second is larger, in standard deviations of the statistic.
    pub z: f64,
    /// The median of the second over that of the first, by whichever of both medians it is smaller.
    pub ratio: f64,
}

impl Comparison {
    /// Larger by at least this share, and not by chance (99 %).
    pub fn is_larger(&self, by: f64) -> bool {
        self.z > Confidence::USUAL.z() && self.ratio > 1.0 + by
    }
}

/// `None` when one of them is empty.
pub fn compare(first: &[f64], second: &[f64]) -> Option<Comparison> {
    Sorted::of(first.iter().copied()).compare(&Sorted::of(second.iter().copied()))
}

/// A sample in order, for what is compared many times.
#[derive(Debug, Clone)]
pub struct Sorted(Vec<f64>);

impl Sorted {
    /// What is no number is left out.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.filter(|value| !value.is_nan()).collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The q-quantile; 0 of no values.
    pub fn quantile(&self, q: f64) -> f64 {
        quantile_of_sorted(&self.0, q).unwrap_or(0.0)
    }

    /// How a second sample compares with this one; `None` when one of them is empty.
    pub fn compare(&self, second: &Self) -> Option<Comparison> {
        let medians = (quantile_of_sorted(&self.0, 0.5)?, quantile_of_sorted(&second.0, 0.5)?);
        let ratio = ratio(medians.0, medians.1).min(ratio(mid_median(&self.0), mid_median(&second.0)));
        let (u, ties) = self.pairs(second);
        let (n, m) = (self.0.len() as f64, second.0.len() as f64);
        let total = n + m;
        let variance = n * m / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)).max(1.0));
        let z = if variance > 0.0 { (u - n * m / 2.0) / variance.sqrt() } else { 0.0 };
        Some(Comparison { z, ratio })
    }

    /// In how many pairs the second's is the larger one, where equal ones count half; and the correction for all that are equal.
    fn pairs(&self, second: &Self) -> (f64, f64) {
        let (mut first, mut second) = (&self.0[..], &second.0[..]);
        let (mut below, mut larger, mut ties) = (0.0, 0.0, 0.0);
        while let Some(value) = first.first().into_iter().chain(second.first()).copied().reduce(f64::min) {
            let equal_of = |of: &mut &[f64]| {
                let count = of.iter().take_while(|other| **other <= value).count();
                *of = &of[count..];
                count as f64
            };
            let (here, there) = (equal_of(&mut first), equal_of(&mut second));
            larger += there * (below + here / 2.0);
            below += here;
            ties += (here + there).powi(3) - (here + there);
        }
        (larger, ties)
    }
}

fn ratio(a: f64, b: f64) -> f64 {
    match () {
        () if a > 0.0 => b / a,
        () if b > 0.0 => f64::INFINITY,
        () => 1.0,
    }
}

/// The median of values that are in order, between the middles of the steps of their distribution.
fn mid_median(sorted: &[f64]) -> f64 {
    let n = sorted.len() as f64;
    let mut below = 0.0;
    let mut last: Option<(f64, f64)> = None;
    for equal in sorted.chunk_by(|x, y| x == y) {
        let share = equal.len() as f64 / n;
        let (value, middle) = (equal[0], below + share / 2.0);
        if middle >= 0.5 {
            return last.map_or(value, |(before, at)| before + (value - before) * (0.5 - at) / (middle - at));
        }
        below += share;
        last = Some((value, middle));
    }
    last.map_or(0.0, |(value, _)| value)
}

/// Surely no more than this share above a baseline: surely below one that is so much larger, or each of many values lies
/// within. With a negative share, and values that are good when they are large: surely no more than that below it. `before` values
/// came before the first of these: from each of them on it may have been asked, and what it may be wrong in is spent on all of
/// them, by fives, a half on the first.
pub fn is_surely_within(baseline: &[f64], seen: &[f64], by: f64, before: usize) -> bool {
    let start = (before / STARTS) as f64 + 1.0;
    let confidence = Confidence::spending(1.0 / (start * (start + 1.0)));
    let edge: Vec<f64> = baseline.iter().map(|v| v * (1.0 + by)).collect();
    let (small, large) = if by < 0.0 { (&edge[..], seen) } else { (seen, &edge[..]) };
    let limit = median(&mut edge.clone()).unwrap_or(0.0);
    let each = seen.iter().all(|v| if by < 0.0 { *v >= limit } else { *v <= limit });
    (seen.len() >= MANY && each) || compare(small, large).is_some_and(|c| c.z > confidence.z())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_takes_both_size_and_certainty() {
        let low: Vec<f64> = (0..40).map(|i| 1.0 + f64::from(i % 7) / 100.0).collect();
        let double: Vec<f64> = low.iter().map(|v| v * 2.0).collect();
        let barely: Vec<f64> = low.iter().map(|v| v * 1.05).collect();
        assert!(compare(&low, &double).unwrap().is_larger(0.2));
        assert!(compare(&low, &barely).unwrap().z > Confidence::USUAL.z(), "it is significant");
        assert!(!compare(&low, &barely).unwrap().is_larger(0.2), "and too small to matter");
        assert!(!compare(&low[..2], &double[..2]).unwrap().is_larger(0.2), "two of each may be chance");
        assert_eq!(compare(&[], &low), None);
        assert_eq!(compare(&[1.0; 9], &[1.0; 9]).unwrap().z, 0.0);
    }

    /// A queue of two or three, half of the time each, with a peak of nine now and then.
    #[test]
    fn whole_numbers_have_no_median_that_jumps() {
        let queue = |twos: usize, threes: usize, nines: usize| [vec![2.0; twos], vec![3.0; threes], vec![9.0; nines]].concat();
        let (usual, later) = (queue(310, 290, 0), queue(3050, 3300, 250));
        let compared = compare(&usual, &later).unwrap();
        assert!(compared.z > Confidence::USUAL.z() && compared.ratio < 1.1, "{compared:?}");
        assert!(compare(&usual, &queue(0, 100, 500)).unwrap().is_larger(0.25), "and one of nine is seen");
        let zeros = [vec![0.0; 98], vec![1.0; 2]].concat();
        let more = [vec![0.0; 950], vec![1.0; 50]].concat();
        assert_eq!(compare(&zeros, &more).unwrap().ratio, 1.0, "empty nearly always, and still");
        for values in [vec![1.0, 2.0, 4.0], vec![1.0, 2.0, 4.0, 8.0], vec![5.0]] {
            assert_eq!(Some(mid_median(&values)), median(&mut values.clone()), "without ties they are one");
        }
    }

    #[test]
    fn within_takes_certainty_too() {
        let usual: Vec<f64> = (0..40).map(|i| 1.0 + f64::from(i % 7) / 100.0).collect();
        let times = |by: f64| usual.iter().map(|v| v * by).collect::<Vec<f64>>();
        assert!(is_surely_within(&usual, &usual[..5], 0.25, 0) && !is_surely_within(&usual, &usual[..1], 0.25, 0));
        assert!(!is_surely_within(&usual, &times(1.25), 0.25, 0) && !is_surely_within(&usual, &times(1.4), 0.25, 0));
        assert!(
            is_surely_within(&[0.0; 9], &[0.0; 20], 0.25, 0) && !is_surely_within(&[0.0; 9], &[0.0; 9], 0.25, 0),
            "a queue that is empty"
        );
        assert!(is_surely_within(&usual, &times(0.9), -0.25, 0) && !is_surely_within(&usual, &times(0.7), -0.25, 0));
    }
}

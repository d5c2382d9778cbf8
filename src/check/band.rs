//! The band of an indicator's own baseline, and what lies outside it. A stretch is off when it is surely *and* considerably off
//! (`stats::compare`).

use crate::stats::compare::{Sorted, is_surely_within};

/// So many samples before the first fault, and in a stretch, at the least.
pub const FEWEST: usize = 5;
/// So many values of a stretch are compared at the most, taken from all of it.
const MOST_COMPARED: usize = 20_000;
/// Most of it.
const MOSTLY: f64 = 0.6;

/// A stretch of samples: when, and how much.
pub type Samples<'a> = &'a [(f64, f64)];

/// What was usual before the first fault.
pub struct Band {
    baseline: Vec<f64>,
    sorted: Sorted,
    /// A share of what was usual.
    tolerance: f64,
    /// It is off when it is low.
    is_good_when_large: bool,
}

impl Band {
    pub fn of(baseline: Vec<f64>, tolerance: f64, is_good_when_large: bool) -> Self {
        let sorted = thinned(baseline.iter().copied(), baseline.len());
        Self { baseline, sorted, tolerance, is_good_when_large }
    }

    /// A stretch is off: surely, and by more than the tolerance.
    pub fn is_off(&self, stretch: Samples<'_>) -> bool {
        let stretch = values(stretch);
        let compared = if self.is_good_when_large { stretch.compare(&self.sorted) } else { self.sorted.compare(&stretch) };
        compared.is_some_and(|c| c.is_larger(self.tolerance))
    }

    /// ... and most of it is off against most of what was usual: medians of whole numbers, such as a queue's length, jump.
    pub fn is_mostly_off(&self, part: Samples<'_>) -> bool {
        let (values, by) = (values(part), 1.0 + self.tolerance);
        let is_most = match self.is_good_when_large {
            true => values.quantile(MOSTLY) * by < self.sorted.quantile(1.0 - MOSTLY),
            false => values.quantile(1.0 - MOSTLY) > self.sorted.quantile(MOSTLY) * by,
        };
        part.len() >= FEWEST && is_most && self.is_off(part)
    }

    /// The first samples of a stretch lie within the band already: it is not recovered while it is only on the way.
    pub fn begins_calm(&self, stretch: Samples<'_>) -> bool {
        let mut first = stretch.iter().take(3).map(|s| s.1);
        match self.is_good_when_large {
            true => first.all(|v| v >= self.sorted.quantile(0.05) * (1.0 - self.tolerance)),
            false => first.all(|v| v <= self.sorted.quantile(0.95) * (1.0 + self.tolerance)),
        }
    }

    /// What was seen is surely within the band; so many samples came before it.
    pub fn is_surely_within(&self, seen: Samples<'_>, before: usize) -> bool {
        let seen: Vec<f64> = seen.iter().map(|s| s.1).collect();
        let by = if self.is_good_when_large { -self.tolerance } else { self.tolerance };
        is_surely_within(&self.baseline, &seen, by, before)
    }
}

fn values(stretch: Samples<'_>) -> Sorted {
    thinned(stretch.iter().map(|s| s.1), stretch.len())
}

fn thinned(values: impl Iterator<Item = f64>, count: usize) -> Sorted {
    Sorted::of(values.step_by(count.div_ceil(MOST_COMPARED).max(1)))
}

//! The GPU is as busy as it should be: neither idle nor saturated for long.

use super::dose::Dose;
use super::grade::{Limits, Met, describe};
use super::scope::{Over, Part};
use super::{Check, Verdict, View};
use crate::experiment::units::{Share, ShareRange, Time};
use crate::record;

const SERIES: &str = "gpu.utilization_percent";
/// With fewer samples a mean says nothing.
const FEWEST: u64 = 10;

record! {
    /// The mean utilisation of the GPU lies within a range.
    pub struct GpuUtilization {
        /// The target.
        within: ShareRange,
        /// Within this it still passes.
        acceptable: Option<ShareRange> = None,
        /// Above this, for `sustained`, it is a failure.
        failure: Option<Share> = None,
        /// How long without a break.
        sustained: Time = Time::secs(60),
        /// In which part of the run.
        over: Over = Over::All,
    }
}

impl Check for GpuUtilization {
    fn dose(&self) -> Dose {
        Dose::Both
    }
    fn over(&self) -> Over {
        self.over
    }
    fn series(&self) -> Vec<String> {
        ["gpu.utilization_percent"].map(str::to_owned).into()
    }
    fn fails_by_last(&self) -> bool {
        true
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let above = self.failure.map(|share| format!("above {share} for {}", view.time(self.sustained)));
        let expected = describe(format!("a mean of {}", self.within), self.acceptable.map(|r| r.to_string()), above);
        let record = view.record;
        if !record.ended {
            return Verdict::pending(&expected, "the run goes on");
        }
        let Some(part) = Part::of(record, SERIES, self.over) else {
            return Verdict::inconclusive(&expected, "nobody tells the utilisation of the GPU");
        };
        if record.samples < FEWEST {
            return Verdict::inconclusive(&expected, format!("{} samples are too few", record.samples));
        }
        let share = part.mean() / 100.0;
        let longest = self.failure.map_or(0.0, |limit| longest_above(&part, limit.0 * 100.0));
        let observed = format!("mean {:.1} %, peak {:.0} %", share * 100.0, part.highest());
        let stretch = self.failure.map(|limit| format!("longest time above {limit}: {}", view.seconds(longest)));
        // Saturated for that long it is a failure, whatever the mean is.
        let saturated = self.failure.is_some() && longest >= self.sustained.as_s();
        let meets = |range: ShareRange| Met::from(range.holds(share) && !saturated);
        let limits = Limits { target: meets(self.within), acceptable: self.acceptable.map(meets), failure: saturated.then_some(Met::No) };
        limits.verdict(&expected, observed).measuring(format!("{:.1} %", share * 100.0)).with(stretch)
    }
}

/// The longest stretch above a value, in seconds.
fn longest_above(part: &Part<'_>, limit: f64) -> f64 {
    let mut since = None;
    let mut longest: f64 = 0.0;
    for (begin, end, value) in part.stretches() {
        since = (value > limit).then(|| since.unwrap_or(begin));
        longest = longest.max(since.map_or(0.0, |since| end - since));
    }
    longest
}

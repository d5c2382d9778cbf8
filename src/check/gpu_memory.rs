//! The GPU's memory never fills beyond a share.

use super::dose::Dose;
use super::grade::{Limits, describe};
use super::scope::{Over, Part};
use super::{Check, Verdict, View};
use crate::experiment::units::Share;
use crate::record;

record! {
    /// The GPU's memory never fills beyond a share.
    pub struct GpuMemory {
        /// The target: less than this share of it in use, at any moment.
        below: Share,
        /// Below this it still passes.
        acceptable: Option<Share> = None,
        /// From here on it is a failure; between the two it is only poor, and fails too.
        failure: Option<Share> = None,
        /// In which part of the run.
        over: Over = Over::All,
    }
}

impl Check for GpuMemory {
    fn dose(&self) -> Dose {
        Dose::Pass
    }
    fn over(&self) -> Over {
        self.over
    }
    fn series(&self) -> Vec<String> {
        ["gpu.memory_used_bytes", "gpu.memory_total_bytes"].map(str::to_owned).into()
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let text = |share: Option<Share>| share.map(|s| s.to_string());
        let expected = describe(format!("less than {} of the GPU's memory in use", self.below), text(self.acceptable), text(self.failure));
        let record = view.record;
        if !record.ended {
            return Verdict::pending(&expected, "the run goes on");
        }
        let used = Part::of(record, "gpu.memory_used_bytes", self.over).map(|used| used.highest());
        let total = record.series.get("gpu.memory_total_bytes").map(|s| s.max).filter(|total| *total > 0.0);
        let (Some(used), Some(total)) = (used, total) else {
            return Verdict::inconclusive(&expected, "nobody tells the memory of the GPU");
        };
        let share = used / total;
        let gib = |bytes: f64| bytes / f64::from(1 << 30);
        let observed = format!("at most {:.1} GiB of {:.1} GiB ({:.0} %)", gib(used), gib(total), share * 100.0);
        let below = |limit: Share| share < limit.0;
        let limits = Limits {
            target: below(self.below).into(),
            acceptable: self.acceptable.map(|l| below(l).into()),
            failure: self.failure.map(|l| below(l).into()),
        };
        limits.verdict(&expected, observed).measuring(format!("{:.0} %", share * 100.0))
    }
}

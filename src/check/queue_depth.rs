//! The queue never grows beyond a length.

use super::dose::Dose;
use super::grade::{Limits, describe};
use super::queue::{self, Source, peak};
use super::scope::Over;
use super::{Check, Ruling, Verdict, View};
use crate::record;

record! {
    /// The queue never grows beyond a length.
    pub struct QueueDepth {
        /// The target: fewer than so many jobs wait, at any moment.
        below: u32,
        /// With fewer than these it still passes.
        acceptable: Option<u32> = None,
        /// From so many on it is a failure; between the two it is only poor, and fails too.
        failure: Option<u32> = None,
        /// In which part of the run.
        over: Over = Over::All,
    }
}

impl Check for QueueDepth {
    fn dose(&self) -> Dose {
        Dose::Pass
    }
    fn over(&self) -> Over {
        self.over
    }
    fn series(&self) -> Vec<String> {
        ["queue.depth"].map(str::to_owned).into()
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let text = |limit: Option<u32>| limit.map(|l| l.to_string());
        let expected = describe(format!("fewer than {} jobs wait", self.below), text(self.acceptable), text(self.failure));
        let record = view.record;
        if !record.ended {
            return Verdict::pending(&expected, "the run goes on");
        }
        let Some((from, to)) = self.over.window(record) else { return Verdict::inconclusive(&expected, "there was no load") };
        let depth = queue::depth(record);
        let (told, known) = (peak(depth.series(), from, to), peak(depth.by_ledger(), from, to));
        let by_ledger = if depth.is_told() { format!("; by the ledger at most {known:.0}") } else { String::new() };
        let observed = format!("at most {told:.0} ({}){by_ledger}", depth.source);
        let below = |limit: u32| told < f64::from(limit);
        if depth.is_frozen(f64::from(self.below)) {
            return Verdict::inconclusive(&expected, "the target's queue depth never moved, though jobs waited");
        }
        let limits = Limits {
            target: below(self.below).into(),
            acceptable: self.acceptable.map(|l| below(l).into()),
            failure: self.failure.map(|l| below(l).into()),
        };
        let verdict = limits.verdict(&expected, &observed).measuring(format!("{told:.0}"));
        if verdict.ruling == Ruling::Failed && depth.source == Source::Sent {
            let remedy = "how many of them waited, and how many were at work, a `queue` in the driver tells".to_owned();
            return Verdict::inconclusive(&expected, observed).with([remedy]);
        }
        match depth.contradiction(from, to).filter(|c| verdict.ruling == Ruling::Passed && c.known >= f64::from(self.below)) {
            Some(contradiction) => Verdict::inconclusive(&expected, format!("two counts contradict each other: {contradiction}")),
            None => verdict,
        }
    }
}

//! The queue never grows beyond a length.

use super::dose::Dose;
use super::grade::{Limits, Met, describe};
use super::queue::{self, Contradiction, Depth, Source, peak};
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
        if depth.source == Source::Overdue {
            return self.derived(&expected, &depth, from, to);
        }
        let (told, known) = (peak(depth.series(), from, to), peak(depth.by_ledger(), from, to));
        let by_ledger = if depth.is_told() { format!("; by the ledger at most {known:.0}") } else { String::new() };
        let observed = format!("at most {told:.0} ({}){by_ledger}", depth.source);
        if depth.is_frozen(f64::from(self.below)) {
            return Verdict::inconclusive(&expected, "the target's queue depth never moved, though jobs waited");
        }
        let verdict = self.limits(told, told).verdict(&expected, observed).measuring(format!("{told:.0}"));
        let passed_below = f64::from(self.below.max(self.acceptable.unwrap_or(0)));
        let matters = |two: &Contradiction| two.known >= passed_below;
        let is_passed = verdict.ruling == Ruling::Passed;
        match is_passed.then(|| depth.contradiction(from, to, matters)).flatten() {
            Some(two) => Verdict::inconclusive(&expected, format!("two counts contradict each other: {two}")),
            None => verdict,
        }
    }
}

impl QueueDepth {
    /// Between so many and so many waited.
    fn limits(&self, at_least: f64, at_most: f64) -> Limits {
        let below = |limit: u32| match f64::from(limit) {
            limit if at_most < limit => Met::Yes,
            limit if at_least >= limit => Met::No,
            _ => Met::Unsure,
        };
        Limits { target: below(self.below), acceptable: self.acceptable.map(below), failure: self.failure.map(below) }
    }

    /// Of a target of which nobody can tell who waits and who is worked on: no more than both together wait.
    fn derived(&self, expected: &str, depth: &Depth<'_>, from: f64, to: f64) -> Verdict {
        let at_most = peak(&depth.at_most(), from, to);
        let verdict = self.limits(0.0, at_most).verdict(expected, format!("at most {at_most:.0} were sent and not done, and some of them were worked on"));
        match verdict.ruling {
            Ruling::Inconclusive => verdict.with(["how many waited a `queue` in the driver tells".to_owned()]),
            _ => verdict,
        }
    }
}

//! The share of the time in which the target was up: its health endpoint answered.

use super::grade::{Limits, describe};
use super::noise::Bearing;
use super::scope::{Over, Part, no_health};
use super::{Check, Verdict, View};
use crate::experiment::units::Share;
use crate::observe::prober::{OPEN, UP};
use crate::record;

record! {
    /// The share of the time in which the health endpoint answered.
    pub struct Uptime {
        /// The target.
        at_least: Share,
        /// From here on it still passes.
        acceptable: Option<Share> = None,
        /// Below this it is a failure; between the two it is only poor, and fails too.
        failure: Option<Share> = None,
        /// In which part of the run.
        over: Over = Over::All,
    }
}

impl Check for Uptime {
    fn bearing(&self) -> Bearing {
        Bearing::Clock
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let text = |share: Option<Share>| share.map(|s| s.to_string());
        let expected = describe(format!("up for at least {} of the time", self.at_least), text(self.acceptable), text(self.failure));
        let record = view.record;
        if !record.ended {
            return Verdict::pending(&expected, "the run goes on");
        }
        let Some(up) = Part::of(record, UP, self.over) else {
            return Verdict::inconclusive(&expected, no_health(record));
        };
        let (from, to, share) = (up.from, up.to, up.mean());
        let down = up.stretches().into_iter().filter(|(.., value)| *value < 0.5);
        let outages: Vec<String> = down.map(|(from, to, _)| format!("no answer from {from:.1} s to {to:.1} s")).collect();
        let open = Part::of(record, OPEN, self.over).map_or(share, |open| open.mean());
        let observed = format!("{:.2} % of {:.1} s, {} outages (an outage shorter than 50 ms may be missed)", share * 100.0, to - from, outages.len());
        let at_least = |limit: Share| share >= limit.0;
        let limits = Limits {
            target: at_least(self.at_least).into(),
            acceptable: self.acceptable.map(|l| at_least(l).into()),
            failure: self.failure.map(|l| at_least(l).into()),
        };
        let port = format!("its port was open for {:.2} % of the time", open * 100.0);
        limits.verdict(&expected, observed).measuring(format!("{:.2} %", share * 100.0)).with([port]).with(outages.into_iter().take(5))
    }
}

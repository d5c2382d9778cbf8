//! A small job of our own, sent at intervals, is what readiness means: after the faults it completes, soon, and goes on to.

use super::{Check, Verdict, View};
use crate::experiment::units::Time;
use crate::load::ledger::Class;
use crate::plan::build::CANARY;
use crate::record;

/// So many in a row must complete.
const ROW: usize = 3;

record! {
    /// The experiment's canary completes again after the faults.
    pub struct Canary {
        /// The first one that was due after the last fault, and all after it, complete within this time of the fault.
        within: Time = Time::secs(300),
    }
}

impl Check for Canary {
    fn needs_load(&self) -> Option<Time> {
        Some(self.within)
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let expected = format!("within {} after the last fault {ROW} canaries in a row complete, and none fails later", view.time(self.within));
        let record = view.record;
        if !record.plan().loads.iter().any(|load| load.name == CANARY) {
            return Verdict::inconclusive(&expected, "the experiment sends no canary: add `canary: {every: 10s}`");
        }
        let Some(since) = record.faults_end() else { return Verdict::pending(&expected, "a fault is at work") };
        let sent: Vec<(f64, Option<f64>, Class)> = view
            .jobs(None)
            .filter(|(job, ..)| job.load == CANARY && job.intended_t >= since)
            .map(|(job, class, _)| (job.intended_t, job.ended.as_ref().map(|e| e.0), class))
            .collect();
        let fine = |class: Class| class == Class::Completed;
        let decided = sent.iter().take_while(|(_, _, class)| *class != Class::Open).count();
        let row = (0..decided.saturating_sub(ROW - 1)).find(|at| sent[*at..*at + ROW].iter().all(|c| fine(c.2)));
        let deadline = since + self.within.as_s();
        let Some(at) = row else {
            let observed = format!("{} of {} canaries completed since", sent.iter().filter(|c| fine(c.2)).count(), sent.len());
            return match record.now > deadline {
                true if sent.len() >= ROW => Verdict::failed(&expected, format!("not ready: {observed}")),
                true => Verdict::inconclusive(&expected, format!("{observed}: too few were sent")),
                false => Verdict::pending(&expected, observed),
            };
        };
        let took = sent[at].1.map_or(0.0, |t| t - since);
        let failed_later = sent[at..].iter().filter(|(.., class)| !matches!(class, Class::Completed | Class::Open)).count();
        let observed = format!("ready {} after the last fault, {failed_later} of {} later canaries failed", view.seconds(took), sent.len() - at);
        let verdict = if took <= self.within.as_s() && failed_later == 0 { Verdict::passed(&expected, observed) } else { Verdict::failed(&expected, observed) };
        verdict.measuring(view.seconds(took)).taking(took)
    }
}

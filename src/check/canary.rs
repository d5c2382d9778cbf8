//! A small job of our own, sent at intervals, is what readiness means: after the faults it completes, soon, and goes on to.

use super::noise::Bearing;
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
        /// The first one that was due after the last fault, and all after it, complete within this time of the moment that the outage began.
        within: Time = Time::secs(300),
    }
}

impl Check for Canary {
    fn bearing(&self) -> Bearing {
        Bearing::Clock
    }
    fn needs_load(&self) -> Option<Time> {
        // A row that begins in time may end a few canaries after the deadline.
        Some(Time(2 * self.within.0))
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let expected = format!("within {} after the last fault {ROW} canaries in a row complete, and none fails later", view.time(self.within));
        let record = view.record;
        if !record.plan().loads.iter().any(|load| load.name == CANARY) {
            return Verdict::inconclusive(&expected, "the experiment sends no canary: add `canary: {every: 10s}`");
        }
        let Some(outage) = record.outage() else { return Verdict::pending(&expected, "a fault is at work") };
        let since = outage.t;
        let sent: Vec<(f64, Option<f64>, Class)> = view
            .jobs(None)
            .filter(|(job, ..)| job.load == CANARY && job.intended_t >= since)
            .map(|(job, class, _)| (job.intended_t, job.ended.as_ref().map(|e| e.0), class))
            .collect();
        let fine = |class: Class| class == Class::Completed;
        // No canary is sent after the load.
        let looked_until = record.load_stopped_t.unwrap_or(record.now);
        let decided = sent.iter().take_while(|(_, _, class)| *class != Class::Open).count();
        let row = (0..decided.saturating_sub(ROW - 1)).find(|at| sent[*at..*at + ROW].iter().all(|c| fine(c.2)));
        let deadline = since + self.within.as_s();
        // Where it would be otherwise if those had completed of which nobody can tell, nothing is decided.
        let unknown = |sent: &[(f64, Option<f64>, Class)]| sent.iter().filter(|c| c.2 == Class::Unknown).count();
        let may_be_fine = |at: usize| sent[at..at + ROW].iter().all(|c| fine(c.2) || c.2 == Class::Unknown);
        let untold = |n: usize| format!("of {n} of {} canaries nobody can tell what became of them", sent.len());
        let Some(at) = row else {
            if record.ended && unknown(&sent) > 0 && (0..(sent.len() + 1).saturating_sub(ROW)).any(may_be_fine) {
                return Verdict::inconclusive(&expected, untold(unknown(&sent))).with([outage.told()]);
            }
            let observed = format!("{} of {} canaries completed since", sent.iter().filter(|c| fine(c.2)).count(), sent.len());
            // The last of a row that could still be in time is due before the deadline: what was sent by then decides.
            let due = sent.iter().filter(|c| c.0 <= deadline).count();
            // A row that has begun in time and is not complete yet.
            let row = sent[..decided].iter().rev().take_while(|c| fine(c.2));
            let begun = row.last().and_then(|c| c.1).is_some_and(|t| t <= deadline);
            return match looked_until > deadline && !begun {
                true if due >= ROW => Verdict::failed(&expected, format!("not ready: {observed}")).with([outage.told()]),
                true => Verdict::inconclusive(&expected, format!("{observed}: too few were sent in time")).with([outage.told()]),
                false if record.ended => {
                    let looked = view.seconds(looked_until - since);
                    Verdict::inconclusive(&expected, format!("{observed} when the load ended, {looked} after the outage began")).with([outage.told()])
                }
                false => Verdict::pending(&expected, observed),
            };
        };
        let took = sent[at].1.map_or(0.0, |t| t - since);
        let failed_later = sent[at..].iter().filter(|(.., class)| !matches!(class, Class::Completed | Class::Open | Class::Unknown)).count();
        let observed = format!("ready {} after {}, {failed_later} of {} later canaries failed", view.seconds(took), outage.what, sent.len() - at);
        let verdict = match took <= self.within.as_s() && failed_later == 0 {
            true if unknown(&sent[at..]) > 0 => Verdict::inconclusive(&expected, format!("{observed}; {}", untold(unknown(&sent[at..])))),
            // Those before the row may have completed, and in time.
            false if failed_later == 0 && unknown(&sent[..at]) > 0 => Verdict::inconclusive(&expected, format!("{observed}; {}", untold(unknown(&sent[..at])))),
            true => Verdict::passed(&expected, observed),
            false => Verdict::failed(&expected, observed),
        };
        verdict.measuring(view.seconds(took)).taking(took).with([outage.told()])
    }
}

//! A small job of our own, sent at intervals, is what readiness means: after the faults it completes, soon, and goes on to.

use super::error_rate::is_error;
use super::noise::Bearing;
use super::{Check, Ruling, Verdict, View};
use crate::experiment::units::Time;
use crate::journal::facts::JobFacts;
use crate::journal::outage::Outage;
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
        // What a gateway answered is an error to whoever asked.
        let class = |job: &JobFacts, class| if class == Class::Unknown && is_error(job, class) { Class::Failed } else { class };
        let sent: Vec<Sent> = view
            .jobs(None)
            .filter(|(job, ..)| job.load == CANARY && job.intended_t >= since)
            .map(|(job, is, _)| Sent { due_t: job.intended_t, ended_t: job.ended.as_ref().map(|e| e.0), class: class(job, is) })
            .collect();
        let verdict = self.verdict(&expected, &sent, &outage, view);
        let unknown = sent.iter().filter(|c| c.class == Class::Unknown).count();
        if unknown == 0 || !self.may_be_otherwise(&sent, since, verdict.ruling) {
            return verdict.with([outage.told()]);
        }
        let observed = format!("{}; nobody can tell what became of {} of {} canaries", verdict.observed, unknown, sent.len());
        Verdict::inconclusive(&expected, observed).with([outage.told()])
    }
}

/// One canary since the outage began.
struct Sent {
    due_t: f64,
    ended_t: Option<f64>,
    class: Class,
}

impl Sent {
    fn is_fine(&self) -> bool {
        self.class == Class::Completed
    }

    fn may_be_fine(&self) -> bool {
        matches!(self.class, Class::Completed | Class::Unknown)
    }

    fn has_failed(&self) -> bool {
        !matches!(self.class, Class::Completed | Class::Open | Class::Unknown)
    }
}

impl Canary {
    /// The verdict would be another one if those had completed of which nobody can tell, or had not.
    fn may_be_otherwise(&self, sent: &[Sent], since: f64, ruling: Ruling) -> bool {
        let rows = |is: fn(&Sent) -> bool| (0..(sent.len() + 1).saturating_sub(ROW)).filter(move |at| sent[*at..*at + ROW].iter().all(is));
        // The first row that is sure ends the search for one, whatever stands before it.
        let sure = rows(Sent::is_fine).next();
        let mut possible = rows(Sent::may_be_fine).take_while(|at| sure.is_none_or(|sure| *at <= sure));
        let last_failure = sent.iter().rposition(Sent::has_failed);
        let fails_later = |at: usize| last_failure.is_some_and(|last| last >= at);
        match ruling {
            Ruling::Passed => sure.is_some_and(|at| sent[at..].iter().any(|c| c.class == Class::Unknown)) || possible.any(fails_later),
            Ruling::Failed => possible.any(|at| {
                let ready_t = sent[at].ended_t.unwrap_or(sent[at].due_t);
                ready_t - since <= self.within.as_s() && !fails_later(at)
            }),
            Ruling::Inconclusive | Ruling::Pending => false,
        }
    }

    /// With what is known; one of which nobody can tell breaks a row, and is no failure.
    fn verdict(&self, expected: &str, sent: &[Sent], outage: &Outage, view: &View<'_>) -> Verdict {
        let (record, since) = (view.record, outage.t);
        // No canary is sent after the load.
        let looked_until = record.load_stopped_t.unwrap_or(record.now);
        let decided = sent.iter().take_while(|c| c.class != Class::Open).count();
        let row = (0..decided.saturating_sub(ROW - 1)).find(|at| sent[*at..*at + ROW].iter().all(Sent::is_fine));
        let deadline = since + self.within.as_s();
        let Some(at) = row else {
            let observed = format!("{} of {} canaries completed since", sent.iter().filter(|c| c.is_fine()).count(), sent.len());
            // The last of a row that could still be in time is due before the deadline: what was sent by then decides.
            let due = sent.iter().filter(|c| c.due_t <= deadline).count();
            // A row that has begun in time and is not complete yet.
            let row = sent[..decided].iter().rev().take_while(|c| c.is_fine());
            let begun = row.last().and_then(|c| c.ended_t).is_some_and(|t| t <= deadline);
            return match looked_until > deadline && !begun {
                true if due >= ROW => Verdict::failed(expected, format!("not ready: {observed}")),
                true => Verdict::inconclusive(expected, format!("{observed}: too few were sent in time")),
                false if record.ended => {
                    let looked = view.seconds(looked_until - since);
                    Verdict::inconclusive(expected, format!("{observed} when the load ended, {looked} after the outage began"))
                }
                false => Verdict::pending(expected, observed),
            };
        };
        let took = sent[at].ended_t.map_or(0.0, |t| t - since);
        let failed_later = sent[at..].iter().filter(|c| c.has_failed()).count();
        let observed = format!("ready {} after {}, {failed_later} of {} later canaries failed", view.seconds(took), outage.what, sent.len() - at);
        let verdict = if took <= self.within.as_s() && failed_later == 0 { Verdict::passed(expected, observed) } else { Verdict::failed(expected, observed) };
        verdict.measuring(view.seconds(took)).taking(took)
    }
}

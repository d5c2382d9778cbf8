//! Every accepted job ended, once, with its own result.

use super::{Check, Verdict, View};
use crate::experiment::decode::At;
use crate::experiment::units::Time;
use crate::load::ledger::Class;
use crate::{record, words};

const SHOWN: usize = 8;

words! {
    /// What a refusal means.
    pub enum Refusals("rule for refusals") {
        /// A refused job was not accepted, so nothing was lost.
        Allowed = "allowed",
        /// Every submitted job must be accepted.
        Forbidden = "forbidden",
    }
}

record! {
    /// Every accepted job ended, once, with its own result.
    pub struct AllJobsComplete {
        /// How long after the end of the load the last one may take.
        within: Time = Time::secs(60),
        /// Only the jobs of this load or fault.
        load: Option<At<String>> = None,
        /// Whether a job may be refused openly.
        rejected: Refusals = Refusals::Allowed,
    }
}

/// The classes that are worse than not accepted, with what a reader calls them.
const BAD: [(Class, &str); 5] = [
    (Class::Lost, "lost"),
    (Class::Failed, "failed"),
    (Class::Shed, "accepted and then shed"),
    (Class::Mismatched, "called completed without their own result"),
    (Class::Duplicated, "completed more than once"),
];

impl Check for AllJobsComplete {
    fn load(&self) -> Option<&At<String>> {
        self.load.as_ref()
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let expected = format!("every accepted job completes, once, with its own result, within {} of the load's end", self.within);
        let count = |class| view.jobs(self.load()).filter(|(_, c, _)| *c == class).count();
        let accepted = view.jobs(self.load()).filter(|(job, ..)| job.accepted()).count();
        let mut bad: Vec<String> = BAD.iter().filter(|(class, _)| count(*class) > 0).map(|(class, words)| format!("{} {words}", count(*class))).collect();
        let late = self.late(view);
        if late > 0 {
            bad.push(format!("{late} ended too late"));
        }
        let refused = count(Class::Rejected);
        if self.rejected == Refusals::Forbidden && refused > 0 {
            bad.push(format!("{refused} refused"));
        }
        let examples = view.jobs(self.load()).filter(|(_, class, _)| BAD.iter().any(|(c, _)| c == class) || (self.rejected == Refusals::Forbidden && *class == Class::Rejected));
        let examples = examples.take(SHOWN).map(|(job, class, why)| format!("job {} ({}, {class}): {why}", job.number, job.load));
        if !bad.is_empty() {
            return Verdict::failed(&expected, format!("{} of {accepted} accepted jobs: {}", count_bad(view, self), bad.join(", "))).with(examples);
        }
        let open = count(Class::Open);
        let deadline = view.record.load_stopped_t.map(|t| t + self.within.as_s());
        if open > 0 && deadline.is_some_and(|d| view.record.now > d) {
            return Verdict::failed(&expected, format!("{open} of {accepted} accepted jobs have not ended in time"));
        }
        if open > 0 || view.record.load_stopped_t.is_none() {
            return Verdict::pending(&expected, format!("{open} of {accepted} accepted jobs are under way"));
        }
        if accepted == 0 {
            return Verdict::inconclusive(&expected, "not one job was accepted: there is nothing to judge");
        }
        let refusals = if refused > 0 { format!(" ({refused} more were refused)") } else { String::new() };
        Verdict::passed(&expected, format!("{} of {accepted} accepted jobs completed{refusals}", count(Class::Completed)))
    }
}

impl AllJobsComplete {
    /// Jobs that did end, but after the deadline.
    fn late(&self, view: &View<'_>) -> usize {
        let Some(deadline) = view.record.load_stopped_t.map(|t| t + self.within.as_s()) else { return 0 };
        let completed = view.jobs(self.load()).filter(|(_, class, _)| *class == Class::Completed);
        completed.filter(|(job, ..)| job.ended.as_ref().is_some_and(|(t, ..)| *t > deadline)).count()
    }
}

fn count_bad(view: &View<'_>, check: &AllJobsComplete) -> usize {
    let refusals = check.rejected == Refusals::Forbidden;
    let in_time = check.late(view);
    view.jobs(check.load()).filter(|(_, class, _)| BAD.iter().any(|(c, _)| c == class) || (refusals && *class == Class::Rejected)).count() + in_time
}

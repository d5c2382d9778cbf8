//! Every accepted job ended, once, with its own result.

use super::error_rate::is_error;
use super::noise::Bearing;
use super::{Check, Verdict, View};
use crate::experiment::decode::At;
use crate::experiment::units::Time;
use crate::journal::facts::JobFacts;
use crate::load::ledger::{Class, Why};
use crate::text::jobs;
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
    fn bearing(&self) -> Bearing {
        Bearing::Clock
    }
    fn load(&self) -> Option<&At<String>> {
        self.load.as_ref()
    }

    fn waits_for_jobs(&self) -> Option<Time> {
        Some(self.within)
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let expected = format!("every accepted job completes, once, with its own result, within {} of the load's end", view.time(self.within));
        let count = |class| view.jobs(self.load()).filter(|(_, c, _)| *c == class).count();
        let accepted = view.jobs(self.load()).filter(|(job, ..)| job.accepted()).count();
        // What a gateway answered is no acceptance to whoever asked.
        let is_refused = |job: &JobFacts, class| class == Class::Rejected || (class == Class::Unknown && is_error(job, class));
        let is_forbidden = |job: &JobFacts, class| self.rejected == Refusals::Forbidden && is_refused(job, class);
        let (refused, late) = (view.jobs(self.load()).filter(|(job, class, _)| is_refused(job, *class)).count(), self.late(view));
        let bad: Vec<(&JobFacts, Class, Why<'_>)> =
            view.jobs(self.load()).filter(|(job, class, _)| is_bad(*class) || is_forbidden(job, *class)).collect();
        if !bad.is_empty() || late > 0 {
            let examples = bad.iter().take(SHOWN).map(|(job, class, why)| format!("job {} ({}, {class}): {why}", job.number, job.load));
            let mut kinds: Vec<String> =
                BAD.iter().filter(|(class, _)| count(*class) > 0).map(|(class, words)| format!("{} {words}", count(*class))).collect();
            kinds.extend((late > 0).then(|| format!("{late} ended too late")));
            kinds.extend((self.rejected == Refusals::Forbidden && refused > 0).then(|| format!("{refused} refused")));
            let observed = format!("{} of {accepted} accepted jobs: {}", bad.len() + late, kinds.join(", "));
            return Verdict::failed(&expected, observed).with(examples);
        }
        let (open, unknown) = (count(Class::Open), count(Class::Unknown));
        let deadline = view.record.load_stopped_t.map(|t| t + self.within.as_s());
        if open > 0 && deadline.is_some_and(|d| view.record.looked_until() > d) {
            return Verdict::failed(&expected, format!("{open} of {accepted} accepted jobs have not ended in time"));
        }
        if open > 0 || view.record.load_stopped_t.is_none() {
            return Verdict::pending(&expected, format!("{open} of {accepted} accepted jobs are under way"));
        }
        if unknown > 0 {
            let observed = format!("nobody can tell what became of {} (taken, or perhaps taken); {} of {accepted} accepted ones completed", jobs(unknown as u64), count(Class::Completed));
            let untold = view.jobs(self.load()).filter(|(_, class, _)| *class == Class::Unknown);
            let examples = untold.take(SHOWN).map(|(job, _, why)| format!("job {} ({}): {why}", job.number, job.load));
            return Verdict::inconclusive(&expected, observed).with(examples);
        }
        if accepted == 0 {
            return Verdict::inconclusive(&expected, "not one job was accepted: there is nothing to judge");
        }
        let refusals = if refused > 0 { format!(" ({refused} more were refused)") } else { String::new() };
        let alike = view.ledger.alike();
        let alike = (alike > 0).then(|| format!("{alike} results are of jobs that sent the same input as others: whose is whose cannot be told"));
        Verdict::passed(&expected, format!("{} of {accepted} accepted jobs completed{refusals}", count(Class::Completed))).with(alike)
    }
}

fn is_bad(class: Class) -> bool {
    BAD.iter().any(|(bad, _)| *bad == class)
}

impl AllJobsComplete {
    /// Jobs that did end, but after the deadline.
    fn late(&self, view: &View<'_>) -> usize {
        let Some(deadline) = view.record.load_stopped_t.map(|t| t + self.within.as_s()) else { return 0 };
        let completed = view.jobs(self.load()).filter(|(_, class, _)| *class == Class::Completed);
        completed.filter(|(job, ..)| job.ended.as_ref().is_some_and(|(t, ..)| *t > deadline)).count()
    }
}

//! The share of jobs that went wrong lies below a limit.
//!
//! It is a count over this run, not an estimate: the upper bound of the true rate stands beside it (Clopper and Pearson,
//! 1934). An honest refusal is no error; a refusal of our own invalid input is the load's fault and left out.

use super::{Check, Verdict, View};
use crate::experiment::decode::At;
use crate::experiment::units::Share;
use crate::journal::event::Answer;
use crate::journal::facts::JobFacts;
use crate::load::ledger::Class;
use crate::record;
use crate::stats::rate_upper_bound;

record! {
    /// The share of jobs that went wrong lies below a limit.
    pub struct ErrorRate {
        /// The limit.
        below: Share,
        /// Only the jobs of this load or fault.
        load: Option<At<String>> = None,
        /// With fewer jobs than this nothing is said.
        min_jobs: u32 = 20,
    }
}

/// Went wrong in the eyes of the client that sent it.
pub fn is_error(job: &JobFacts, class: Class) -> bool {
    match class {
        Class::Failed | Class::Shed | Class::Lost | Class::Duplicated | Class::Mismatched => true,
        Class::Rejected => !matches!(job.answer, Some((_, Answer::Refused { .. }))),
        Class::Completed | Class::Invalid | Class::Open => false,
    }
}

impl Check for ErrorRate {
    fn load(&self) -> Option<&At<String>> {
        self.load.as_ref()
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let expected = format!("fewer than {} of the jobs go wrong", self.below);
        if !view.record.ended {
            return Verdict::pending(&expected, "jobs are still being sent");
        }
        let counted = || view.jobs(self.load()).filter(|(_, class, _)| !matches!(class, Class::Invalid | Class::Open));
        let n = counted().count();
        let wrong: Vec<String> = counted().filter(|(job, class, _)| is_error(job, *class)).map(|(job, class, why)| format!("job {} ({class}): {why}", job.number)).collect();
        let rate = wrong.len() as f64 / n.max(1) as f64;
        let upper = rate_upper_bound(wrong.len() as u64, n as u64);
        let observed = format!("{} of {n} ({:.2} %); the true rate may be as high as {:.2} % (95 %)", wrong.len(), rate * 100.0, upper * 100.0);
        if n < self.min_jobs as usize {
            return Verdict::inconclusive(&expected, format!("{observed}: fewer than {} jobs", self.min_jobs));
        }
        let holds = rate < self.below.0 || (wrong.is_empty() && self.below.0 == 0.0);
        let verdict = if holds { Verdict::passed(&expected, observed) } else { Verdict::failed(&expected, observed) };
        verdict.with(wrong.into_iter().take(5))
    }
}

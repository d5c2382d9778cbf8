//! The share of jobs that went wrong lies below a limit.
//!
//! It is a count over this run, not an estimate: the upper bound of the true rate stands beside it (Clopper and Pearson,
//! 1934). An honest refusal is no error; a refusal of our own invalid input is the load's fault and left out.

use super::dose::Dose;
use super::grade::{Limits, Met, describe};
use super::scope::Over;
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
        /// The target.
        below: Share,
        /// Below this it still passes.
        acceptable: Option<Share> = None,
        /// Above this it is a failure; between the two it is only poor, and fails too.
        failure: Option<Share> = None,
        /// Only the jobs that were due in this part of the run.
        over: Over = Over::All,
        /// Only the jobs of this load or fault.
        load: Option<At<String>> = None,
        /// With fewer jobs than this nothing is said.
        min_jobs: u32 = 20,
    }
}

const SHOWN: usize = 5;

/// Went wrong in the eyes of the client that sent it.
pub fn is_error(job: &JobFacts, class: Class) -> bool {
    match class {
        Class::Failed | Class::Shed | Class::Lost | Class::Duplicated | Class::Mismatched | Class::Abandoned => true,
        Class::Rejected => !matches!(job.answer, Some((_, Answer::Refused { .. }))),
        // What its client saw of it is an error, whatever the backend did.
        Class::Unknown => matches!(job.answer, Some((_, Answer::Error { .. }))),
        Class::Completed | Class::Invalid | Class::Open => false,
    }
}

impl Check for ErrorRate {
    fn dose(&self) -> Dose {
        Dose::Pass
    }
    fn load(&self) -> Option<&At<String>> {
        self.load.as_ref()
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let text = |share: Option<Share>| share.map(|s| s.to_string());
        let expected = describe(format!("fewer than {} of the jobs go wrong", self.below), text(self.acceptable), text(self.failure));
        if !view.record.ended {
            return Verdict::pending(&expected, "jobs are still being sent");
        }
        let mut counted = view.measured(self.load(), self.over);
        let is_unknown = |job: &JobFacts, class| class == Class::Unknown && !is_error(job, class);
        let unknown = counted.iter().filter(|(job, class)| is_unknown(job, *class)).count();
        let open = unknown + counted.iter().filter(|(job, class)| *class == Class::Open && job.answer.is_some()).count();
        counted.retain(|(job, class)| !matches!(class, Class::Invalid | Class::Open) && !is_unknown(job, *class));
        let n = counted.len();
        let wrong: Vec<&(&JobFacts, Class)> = counted.iter().filter(|(job, class)| is_error(job, *class)).collect();
        let rate = wrong.len() as f64 / n.max(1) as f64;
        let upper = rate_upper_bound(wrong.len() as u64, n as u64);
        let observed = format!("{} of {n} ({:.2} %); the true rate may be as high as {:.2} % (95 %)", wrong.len(), rate * 100.0, upper * 100.0);
        if n < self.min_jobs as usize {
            return Verdict::inconclusive(&expected, format!("{observed}: fewer than {} jobs", self.min_jobs));
        }
        // Those that chaos stopped following might have gone wrong: where that would decide, nothing is.
        let worst = self.acceptable.unwrap_or(self.below);
        let (at_best, at_worst) = (rate < worst.0 || wrong.is_empty(), (wrong.len() + open) as f64 / (n + open) as f64);
        if open > 0 && at_best && at_worst >= worst.0.max(f64::EPSILON) {
            let told = |n: usize, what: &str| (n > 0).then(|| format!("; {what} {n} more"));
            let followed = told(open - unknown, "before they had ended, chaos stopped following").unwrap_or_default();
            let unknown = told(unknown, "nobody can tell what became of").unwrap_or_default();
            return Verdict::inconclusive(&expected, format!("{observed}{followed}{unknown}"));
        }
        let below = |limit: Share| Met::from(rate < limit.0 || wrong.is_empty());
        let limits = Limits { target: below(self.below), acceptable: self.acceptable.map(below), failure: self.failure.map(|f| (rate <= f.0).into()) };
        limits.verdict(&expected, observed).measuring(format!("{:.2} %", rate * 100.0)).with(wrong.iter().take(SHOWN).map(|(job, class)| {
            format!("job {} ({class}): {}", job.number, view.ledger.why(job))
        }))
    }
}

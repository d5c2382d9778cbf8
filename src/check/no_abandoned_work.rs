//! A job whose client gave up does not hold the GPU: its retries would pile up behind it, and the queue would never recover
//! though the cause is gone (Bronson et al., Metastable Failures in Distributed Systems, HotOS 2021).

use super::{Check, Verdict, View};
use crate::experiment::units::Time;
use crate::journal::event::JobState;
use crate::journal::facts::JobFacts;
use crate::record;

record! {
    /// Jobs that were cancelled by their clients stop.
    pub struct NoAbandonedWork {
        /// How long one may go on after it was cancelled.
        within: Time = Time::secs(30),
    }
}

impl Check for NoAbandonedWork {
    fn needs_time(&self) -> bool {
        true
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let expected = format!("a cancelled job stops within {}", view.time(self.within));
        let record = view.record;
        let given_up: Vec<(&JobFacts, f64, Option<&str>)> =
            record.jobs.iter().filter_map(|job| job.cancelled().map(|(t, error)| (job, t, error))).collect();
        let after = |job: &JobFacts, t: f64| {
            let seen = job.last_running_t.into_iter().chain(job.ended.as_ref().filter(|(_, view, _)| view.state == JobState::Completed).map(|e| e.0));
            seen.reduce(f64::max).map_or(0.0, |last| last - t)
        };
        let bound = self.within.as_s();
        let wrong: Vec<String> = given_up
            .iter()
            .filter(|(job, t, _)| after(job, *t) > bound)
            .map(|(job, t, error)| {
                let said = error.map_or_else(|| "the target agreed".to_owned(), |e| format!("the target said: {e}"));
                format!("job {} was cancelled at {t:.1} s ({said}) and worked on for {} more", job.number, view.seconds(after(job, *t)))
            })
            .collect();
        let observed = format!("{} of {} cancelled jobs went on", wrong.len(), given_up.len());
        if !wrong.is_empty() {
            return Verdict::failed(&expected, observed).with(wrong.into_iter().take(5));
        }
        // A job that is neither seen to stop nor watched for as long as it may take is not decided.
        let given_t = |job: &JobFacts| job.given_to().map_or(f64::INFINITY, |given| given.t);
        let watched_until = |job: &JobFacts| job.gave_up_t().unwrap_or(record.now).min(record.looked_until()).min(given_t(job));
        let is_open = |job: &JobFacts, t: f64| job.ended.is_none() && job.vanished_t().is_none() && watched_until(job) - t <= bound;
        let open = given_up.iter().filter(|(job, t, _)| is_open(job, *t)).count();
        if !record.ended && (open > 0 || record.load_stopped_t.is_none()) {
            return Verdict::pending(&expected, observed);
        }
        if given_up.is_empty() {
            return Verdict::inconclusive(&expected, "no client gave up: give a load some `patience`, and a reason to lose it");
        }
        if let Some(error) = given_up.iter().find_map(|(.., error)| *error) {
            return Verdict::inconclusive(&expected, format!("the target did not let itself be told: {error}"));
        }
        if open == given_up.len() {
            let why = format!("chaos stopped watching each of the {open} cancelled jobs before {} were over", view.time(self.within));
            return Verdict::inconclusive(&expected, why);
        }
        let unseen = (open > 0).then(|| format!("{open} more were not watched for as long as they may take, and are not judged"));
        Verdict::passed(&expected, observed).with(unseen).measuring(format!("0 of {}", given_up.len()))
    }
}

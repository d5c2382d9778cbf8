//! No job is done twice.

use super::{Check, Verdict, View};
use crate::load::ledger::Class;
use crate::record;

const EXPECTED: &str = "no job is completed more than once, or leaves its end again";

record! {
    /// No job is done twice.
    pub struct NoDuplicateWork {}
}

impl Check for NoDuplicateWork {
    fn judge(&self, view: &View<'_>) -> Verdict {
        let record = view.record;
        let twice: Vec<String> = view
            .jobs(None)
            .filter(|(_, class, _)| *class == Class::Duplicated)
            .map(|(job, _, why)| format!("job {} ({}): {why}", job.number, job.load))
            .collect();
        if !twice.is_empty() {
            return Verdict::failed(EXPECTED, format!("{} jobs were", twice.len())).with(twice.into_iter().take(5));
        }
        if !record.ended {
            return Verdict::pending(EXPECTED, "none so far");
        }
        let done = record.jobs.iter().filter(|job| job.ended.is_some()).count();
        if done == 0 {
            return Verdict::inconclusive(EXPECTED, "not one job ended");
        }
        if record.plan().driver.status.completions.is_none() {
            return Verdict::inconclusive(EXPECTED, "the driver does not tell how often a job was completed");
        }
        Verdict::passed(EXPECTED, format!("none of {done} was")).measuring("0")
    }
}

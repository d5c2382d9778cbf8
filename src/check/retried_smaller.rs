//! Jobs that ran out of memory were tried again in a smaller batch.

use regex::Regex;

use super::{Check, Verdict, View};
use crate::driver::Patterns;
use crate::journal::facts::JobFacts;
use crate::journal::record::Record;
use crate::record;

const EXPECTED: &str = "every job that ran out of memory is tried again in a smaller batch";
const SHOWN: usize = 5;

record! {
    /// Jobs that ran out of memory were tried again in a smaller batch.
    pub struct RetriedSmaller {}
}

impl Check for RetriedSmaller {
    fn judge(&self, view: &View<'_>) -> Verdict {
        let record = view.record;
        let driver = &record.plan().driver;
        if !record.ended {
            return Verdict::pending(EXPECTED, "the run goes on");
        }
        let can_tell = (driver.status.attempts.is_some() && driver.status.batch.is_some()) || driver.patterns.retry.is_some();
        if !can_tell {
            return Verdict::inconclusive(EXPECTED, "the driver tells neither attempts and batch sizes nor a `retry` pattern");
        }
        let oom = Patterns::compiled(driver.patterns.oom.as_ref());
        let met: Vec<&JobFacts> = record.jobs.iter().filter(|job| met_oom(job, oom.as_ref(), record)).collect();
        if met.is_empty() {
            return Verdict::inconclusive(EXPECTED, "no job is known to have run out of memory");
        }
        let (smaller, others): (Vec<&JobFacts>, Vec<&JobFacts>) = met.iter().copied().partition(|job| was_retried(job, record));
        let name = |job: &&JobFacts| {
            let batches = job.smallest_batch.map_or_else(String::new, |b| format!(", batch {} → {b}", job.shape.batch));
            format!("job {} ({}): {} attempts{batches}, {}", job.number, job.id().unwrap_or("?"), job.attempts, job.error().unwrap_or("no error"))
        };
        let observed = format!("{} of {} were", smaller.len(), met.len());
        if !others.is_empty() {
            return Verdict::failed(EXPECTED, observed).with(others.iter().take(SHOWN).map(name));
        }
        Verdict::passed(EXPECTED, observed).with(smaller.iter().take(SHOWN).map(name))
    }
}

fn met_oom(job: &JobFacts, oom: Option<&Regex>, record: &Record) -> bool {
    was_retried(job, record) || job.error().is_some_and(|e| oom.is_some_and(|re| re.is_match(e))) || named_in(job, "oom", record)
}

fn was_retried(job: &JobFacts, record: &Record) -> bool {
    let shrunk = job.smallest_batch.is_some_and(|batch| batch < job.shape.batch);
    (job.attempts >= 2 && shrunk) || named_in(job, "retry", record)
}

/// A log line that matches the pattern names the job.
fn named_in(job: &JobFacts, pattern: &str, record: &Record) -> bool {
    let Some(id) = job.id().filter(|id| !id.is_empty()) else { return false };
    record.log_hits.iter().any(|hit| hit.pattern == pattern && names(&hit.line, id))
}

/// The id stands in the line as a word of its own: `job-1` is not named by `job-12`.
fn names(line: &str, id: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    line.match_indices(id).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + id.len()..].chars().next();
        !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    })
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn an_id_is_a_whole_word() {
        assert!(names("retrying job=job-1", "job-1"));
        assert!(!names("job-12 failed", "job-1"));
        assert!(names("job-12 failed, then job-1", "job-1"));
    }
}

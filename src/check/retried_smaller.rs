//! Jobs that ran out of memory were tried again in a smaller batch.

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
        let met: Vec<&JobFacts> = record.jobs.iter().filter(|job| met_oom(job, record)).collect();
        if met.is_empty() {
            return Verdict::inconclusive(EXPECTED, "no job is known to have run out of memory");
        }
        let (smaller, not): (Vec<&JobFacts>, Vec<&JobFacts>) = met.iter().copied().partition(|job| was_retried(job, record));
        let name = |job: &&JobFacts| {
            let batches = job.smallest_batch.map_or_else(String::new, |b| format!(", batch {} → {b}", job.shape.batch));
            format!("job {} ({}): {} attempts{batches}, {}", job.number, job.id().unwrap_or("?"), job.attempts, job.error().unwrap_or("no error"))
        };
        let observed = format!("{} of {} were", smaller.len(), met.len());
        if not.is_empty() {
            return Verdict::failed(EXPECTED, observed).with(not.iter().take(SHOWN).map(name));
        }
        Verdict::passed(EXPECTED, observed).with(smaller.iter().take(SHOWN).map(name))
    }
}

fn met_oom(job: &JobFacts, record: &Record) -> bool {
    let pattern = record.plan().driver.patterns.oom.as_ref();
    was_retried(job, record) || job.error().is_some_and(|e| Patterns::matches(pattern, e)) || named_in(job, "oom", record)
}

fn was_retried(job: &JobFacts, record: &Record) -> bool {
    let shrunk = job.smallest_batch.is_some_and(|batch| batch < job.shape.batch);
    (job.attempts >= 2 && shrunk) || named_in(job, "retry", record)
}

/// A log line that matches the pattern names the job.
fn named_in(job: &JobFacts, pattern: &str, record: &Record) -> bool {
    let Some(id) = job.id() else { return false };
    record.log_hits.iter().any(|hit| hit.pattern == pattern && hit.line.contains(id))
}

//! Jobs that ran out of memory were tried again in a smaller batch.

use super::oom::Signs;
use super::{Check, Verdict, View};
use crate::journal::facts::JobFacts;
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
        let signs = Signs::of(record);
        let met: Vec<&JobFacts> = record.jobs.iter().filter(|job| signs.met(job)).collect();
        if met.is_empty() {
            return Verdict::inconclusive(EXPECTED, "no job is known to have run out of memory");
        }
        let (smaller, others): (Vec<&JobFacts>, Vec<&JobFacts>) = met.iter().copied().partition(|job| signs.retried(job));
        let name = |job: &&JobFacts| {
            let batches = job.smallest_batch.map_or_else(String::new, |b| format!(", batch {} → {b}", job.shape.batch));
            format!("job {} ({}): {} attempts{batches}, {}", job.number, job.shown_id(), job.attempts, job.error().unwrap_or("no error"))
        };
        let observed = format!("{} of {} were", smaller.len(), met.len());
        if !others.is_empty() {
            return Verdict::failed(EXPECTED, observed).with(others.iter().take(SHOWN).map(name));
        }
        Verdict::passed(EXPECTED, observed).with(smaller.iter().take(SHOWN).map(name))
    }
}

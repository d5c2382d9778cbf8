//! Which jobs met an out-of-memory, and what says so.

use regex::Regex;

use crate::driver::Patterns;
use crate::journal::facts::{JobFacts, LogHit};
use crate::journal::record::Record;
use crate::observe::prometheus::canonical_name;

/// What out-of-memory errors look like in this run.
pub struct Signs<'a> {
    record: &'a Record,
    pattern: Option<Regex>,
}

impl<'a> Signs<'a> {
    pub fn of(record: &'a Record) -> Self {
        Self { record, pattern: Patterns::compiled(record.plan().driver.patterns.oom.as_ref()) }
    }

    /// By its error, by a log line that names it, or by a smaller batch at a later attempt; and what followed was not cut off.
    pub fn met(&self, job: &JobFacts) -> bool {
        self.retried(job) || self.in_error(job) || (self.named(job, "oom").next().is_some() && !self.cut_off(job))
    }

    /// The process was made to end, and another one followed, between the job's last out-of-memory and the job's end: what the
    /// target would have done with it is not known.
    fn cut_off(&self, job: &JobFacts) -> bool {
        let Some(hit) = self.named(job, "oom").last() else { return false };
        let lives = &self.record.generations;
        let end = job.ended.as_ref().map_or(f64::INFINITY, |(t, ..)| *t);
        let was_ended =
            lives.iter().any(|life| life.number == hit.generation && life.exited.is_some() && life.crashed().is_none());
        was_ended && lives.iter().any(|life| life.number > hit.generation && life.started_t < end)
    }

    pub fn in_error(&self, job: &JobFacts) -> bool {
        job.error().is_some_and(|e| self.pattern.as_ref().is_some_and(|re| re.is_match(e)))
    }

    pub fn retried(&self, job: &JobFacts) -> bool {
        let shrunk = job.smallest_batch.is_some_and(|batch| batch < job.shape.batch);
        (job.attempts >= 2 && shrunk) || self.named(job, "retry").next().is_some()
    }

    /// Log lines that match the pattern and name the job.
    fn named(&self, job: &JobFacts, pattern: &'static str) -> impl Iterator<Item = &LogHit> {
        let id = job.id().filter(|id| !id.is_empty());
        self.record.log_hits.iter().filter(move |hit| hit.pattern == pattern && id.is_some_and(|id| names(&hit.line, id)))
    }
}

/// How many each source saw.
pub fn counts(record: &Record) -> Vec<(&'static str, u64)> {
    let driver = &record.plan().driver;
    let mut sources = Vec::new();
    if driver.patterns.oom.is_some() {
        if !record.generations.is_empty() {
            sources.push(("lines in the log", record.log_counts.get("oom").copied().unwrap_or(0)));
        }
        let signs = Signs::of(record);
        let errors = record.jobs.iter().filter(|job| signs.in_error(job));
        sources.push(("errors of jobs", errors.count() as u64));
    }
    if let Some(name) = &driver.counters.out_of_memory
        && let Some(series) = record.series.get(&format!("metric:{}", canonical_name(name)))
    {
        sources.push(("the target's counter", series.increase() as u64));
    }
    sources
}

/// Lines of the log that say so.
pub fn lines(record: &Record) -> impl Iterator<Item = String> {
    let hits = record.log_hits.iter().filter(|hit| hit.pattern == "oom").take(3);
    hits.map(|hit| format!("log at {:.1} s: {}", hit.t, hit.line))
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

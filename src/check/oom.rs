//! Which jobs met an out-of-memory, and what says so.

use std::collections::HashMap;

use regex::Regex;

use super::counted::{Counted, counted};
use crate::driver::Patterns;
use crate::journal::event::{Answer, JobNo};
use crate::journal::facts::{JobFacts, LogHit};
use crate::journal::record::Record;
use crate::observe::advice::is_conditional;
use crate::observe::prometheus::canonical_name;

/// The patterns whose lines name jobs that met one.
const SHOWING: [&str; 2] = ["oom", "retry"];

/// Two of the sources.
pub const LOG: &str = "lines in the log";
pub const COUNTER: &str = "the target's counter";

/// The last lines of the log could not be read, and it may have told of one there. What the target itself counts is told elsewhere.
pub fn end_is_unread(record: &Record, sources: &[(&str, u64)]) -> bool {
    let has = |wanted: &str| sources.iter().any(|(source, _)| *source == wanted);
    record.log_end_is_missing() && has(LOG) && !has(COUNTER)
}

/// What out-of-memory errors look like in this run.
pub struct Signs<'a> {
    record: &'a Record,
    pattern: Option<Regex>,
    /// Which of the log's hits hold a word: a run may have a million jobs, and each asks for its own lines.
    words: HashMap<&'a str, Vec<&'a LogHit>>,
    /// When the id of a job that they may name was another's: a number may come back.
    until: HashMap<JobNo, f64>,
}

impl<'a> Signs<'a> {
    pub fn of(record: &'a Record) -> Self {
        let mut words: HashMap<&str, Vec<&LogHit>> = HashMap::new();
        for hit in record.log_hits.iter().filter(|hit| SHOWING.contains(&hit.pattern.as_str())) {
            for word in hit.line.split(|c: char| !part_of_word(c)).filter(|word| !word.is_empty()) {
                let hits = words.entry(word).or_default();
                if !hits.last().is_some_and(|last| std::ptr::eq(*last, hit)) {
                    hits.push(hit);
                }
            }
        }
        let until = until(record, &words);
        Self { record, pattern: Patterns::compiled(record.plan().driver.patterns.oom.as_ref()), words, until }
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

    /// The words of a refusal, or of an answer that was none.
    pub fn in_refusal(&self, job: &JobFacts) -> bool {
        let reason = match &job.answer {
            Some((
                _,
                Answer::Refused { reason, .. }
                | Answer::Invalid { reason, .. }
                | Answer::Error { reason, .. }
                | Answer::NoAnswer { reason },
            )) => reason,
            Some((_, Answer::Accepted { .. } | Answer::Taken { .. } | Answer::Unreachable { .. })) | None => return false,
        };
        let said = self.pattern.iter().flat_map(|re| re.find_iter(reason));
        said.map(|found| &reason[..found.start()]).any(|before| !is_conditional(before))
    }

    pub fn retried(&self, job: &JobFacts) -> bool {
        let shrunk = job.smallest_batch.is_some_and(|batch| batch < job.shape.batch);
        (job.attempts >= 2 && shrunk) || self.named(job, "retry").next().is_some()
    }

    /// Log lines that match the pattern and name the job.
    fn named(&self, job: &JobFacts, pattern: &'static str) -> Box<dyn Iterator<Item = &LogHit> + '_> {
        let its_time = job.submitting_t..self.until.get(&job.number).copied().unwrap_or(f64::INFINITY);
        let Some(id) = job.id().filter(|id| !id.is_empty()).map(str::to_owned) else { return Box::new(std::iter::empty()) };
        if id.chars().all(part_of_word) {
            let hits = self.words.get(id.as_str()).into_iter().flatten();
            return Box::new(hits.copied().filter(move |hit| hit.pattern == pattern && its_time.contains(&hit.t)));
        }
        let hits = self.record.log_hits.iter().filter(move |hit| hit.pattern == pattern && its_time.contains(&hit.t));
        Box::new(hits.filter(move |hit| names(&hit.line, &id)))
    }
}

/// Until when each id that was given more than once was the job's.
fn until(record: &Record, words: &HashMap<&str, Vec<&LogHit>>) -> HashMap<JobNo, f64> {
    let mut holders: HashMap<&str, Vec<(f64, JobNo)>> = HashMap::new();
    for job in &record.jobs {
        if let (Some(id), Some((t, _))) = (job.id(), &job.answer)
            && words.contains_key(id)
        {
            holders.entry(id).or_default().push((*t, job.number));
        }
    }
    let mut until = HashMap::new();
    for mut all in holders.into_values() {
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        until.extend(all.windows(2).map(|two| (two[0].1, two[1].0)));
    }
    until
}

/// How many each source saw.
pub fn counts(record: &Record) -> Vec<(&'static str, u64)> {
    let driver = &record.plan().driver;
    let mut sources = Vec::new();
    if driver.patterns.oom.is_some() {
        if !record.generations.is_empty() {
            sources.push((LOG, record.log_counts.get("oom").copied().unwrap_or(0)));
        }
        let signs = Signs::of(record);
        let errors = record.jobs.iter().filter(|job| signs.in_error(job));
        sources.push(("errors of jobs", errors.count() as u64));
        let refusals = record.jobs.iter().filter(|job| signs.in_refusal(job));
        sources.push(("refusals", refusals.count() as u64));
    }
    if let Some(counted) = counter_of(record) {
        sources.push((COUNTER, counted.by as u64));
    }
    sources
}

fn counter_of(record: &Record) -> Option<Counted> {
    counted(record, record.plan().driver.counters.out_of_memory.as_deref()?)
}

/// The log of the target is read, and tells of all of them.
fn is_logged(record: &Record) -> bool {
    record.plan().driver.patterns.oom.is_some() && !record.generations.is_empty()
}

/// How many more there may have been, by the target's own counter alone, and why that cannot be told.
pub fn unsure(record: &Record) -> Option<(u64, String)> {
    let unsure = counter_of(record).map(|counted| counted.unsure).filter(|unsure| *unsure > 0.0)?;
    let name = record.plan().driver.counters.out_of_memory.as_deref().unwrap_or_default();
    let told = format!("`{name}` came with new labels while it ran, at {unsure:.0}: counted now, or old ones of another replica");
    Some((unsure as u64, told))
}

/// The series without which none may be seen: where the log is read, it tells all of them.
pub fn counter(record: &Record) -> Vec<String> {
    let driver = &record.plan().driver;
    let counter = driver.counters.out_of_memory.iter().filter(|_| !is_logged(record));
    let named = counter.flat_map(|name| {
        let with_labels = record.metric(name).map(|(key, _)| key.to_owned());
        with_labels.chain([format!("metric:{}", canonical_name(name))])
    });
    named.collect()
}

/// Lines of the log that say so.
pub fn lines(record: &Record) -> impl Iterator<Item = String> {
    let hits = record.log_hits.iter().filter(|hit| hit.pattern == "oom").take(3);
    hits.map(|hit| format!("log at {:.1} s: {}", hit.t, hit.line))
}

fn part_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '-' || c == '_'
}

/// The id stands in the line as a word of its own: `job-1` is not named by `job-12`.
fn names(line: &str, id: &str) -> bool {
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

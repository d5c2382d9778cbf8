//! The account of every job: which class it belongs to, and why. A pure function of the record.

use std::collections::HashMap;

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::patience::{self, Longest};
use crate::driver::{Driver, Patterns};
use crate::journal::event::{Answer, JobNo, JobState, ResultLook};
use crate::journal::facts::JobFacts;
use crate::journal::record::Record;
use crate::stats;
use crate::words;

words! {
    /// What became of a job.
    pub enum Class("job class") {
        /// Not settled yet, or not when the run was stopped before its time.
        Open = "open",
        /// Refused openly, before acceptance.
        Rejected = "rejected",
        /// Refused because our input was wrong: the load's fault.
        Invalid = "invalid",
        /// Done, and the result is its own.
        Completed = "completed",
        /// Accepted, then ended without a result.
        Failed = "failed",
        /// Accepted, then failed for want of room.
        Shed = "shed",
        /// Accepted, then unknown or never ended.
        Lost = "lost",
        /// Completed more than once.
        Duplicated = "duplicated",
        /// Its client gave up on it and cancelled it; `no_abandoned_work` judges what became of it.
        Abandoned = "abandoned",
        /// Called completed, with another job's result or no plausible one.
        Mismatched = "mismatched",
    }
}

/// A job's class and the reason for it, as a sentence.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub job: JobNo,
    pub class: Class,
    pub why: String,
}

/// How many jobs there are of each class.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    pub submitted: u64,
    pub accepted: u64,
    pub rejected: u64,
    pub invalid: u64,
    pub completed: u64,
    pub failed: u64,
    pub shed: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub mismatched: u64,
    /// Cancelled by their own clients, which had waited long enough.
    #[serde(default)]
    pub abandoned: u64,
    /// Refusals that were no open backpressure: errors, no connection, no answer. They are part of `rejected`.
    pub errors: u64,
}

/// The account of a whole run.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    pub entries: Vec<Entry>,
    pub counts: Counts,
}

/// A result smaller than this share of what its size promises, by the run's own baseline, is no plausible result.
const PLAUSIBLE_SHARE: f64 = 0.2;

/// Makes the account.
pub fn of(record: &Record) -> Ledger {
    let driver = &record.plan().driver;
    let scale = Scale::of(record);
    let mut ledger = Ledger::default();
    for job in &record.jobs {
        let (class, why) = classify(job, record, driver, &scale);
        ledger.counts.add(job, class);
        ledger.entries.push(Entry { job: job.number, class, why });
    }
    ledger
}

impl Counts {
    fn add(&mut self, job: &JobFacts, class: Class) {
        self.submitted += 1;
        self.accepted += u64::from(job.accepted());
        let error = matches!(job.answer, Some((_, Answer::Error { .. } | Answer::Unreachable { .. } | Answer::NoAnswer { .. })));
        self.errors += u64::from(error);
        match class {
            Class::Open => {}
            Class::Rejected => self.rejected += 1,
            Class::Invalid => self.invalid += 1,
            Class::Completed => self.completed += 1,
            Class::Failed => self.failed += 1,
            Class::Shed => self.shed += 1,
            Class::Lost => self.lost += 1,
            Class::Duplicated => self.duplicated += 1,
            Class::Mismatched => self.mismatched += 1,
            Class::Abandoned => self.abandoned += 1,
        }
    }
}

fn classify(job: &JobFacts, record: &Record, driver: &Driver, scale: &Scale) -> (Class, String) {
    match &job.answer {
        None if record.ended && !record.cut_short() => {
            patience::unended(job, record, scale.longest, "submitted, and no answer came before the run ended")
        }
        None => (Class::Open, "being submitted".into()),
        Some((_, Answer::Refused { status, retry_after_s, .. })) => {
            let when =
                retry_after_s.map_or_else(|| "without saying when to come back".to_owned(), |s| format!("come back in {s} s"));
            (Class::Rejected, format!("refused with {status}, {when}"))
        }
        Some((_, Answer::Invalid { status, reason })) => (Class::Invalid, format!("refused as invalid with {status}: {reason}")),
        Some((_, Answer::Error { status, proxy: true, .. })) => {
            (Class::Rejected, format!("a proxy answered {status}: the backend was not reached"))
        }
        Some((_, Answer::Error { status, reason, .. })) => (Class::Rejected, format!("error {status}: {reason}")),
        Some((_, Answer::Unreachable { reason })) => (Class::Rejected, format!("unreachable: {reason}")),
        Some((_, Answer::NoAnswer { reason })) => {
            (Class::Rejected, format!("no answer, so it is unknown whether it was taken: {reason}"))
        }
        Some((_, Answer::Accepted { .. })) => accepted(job, record, driver, scale),
    }
}

fn accepted(job: &JobFacts, record: &Record, driver: &Driver, scale: &Scale) -> (Class, String) {
    if let Some((t, error)) = &job.cancelled {
        let said = error.as_deref().unwrap_or("the target agreed");
        return (Class::Abandoned, format!("its client gave up at {t:.1} s and cancelled it ({said})"));
    }
    if let Some((t, view, _)) = &job.ended {
        return match view.state {
            JobState::Completed => completed(job, driver, scale),
            JobState::Cancelled => (Class::Failed, "cancelled".to_owned()),
            _ => {
                let error = view.error.clone().unwrap_or_else(|| "without a reason".to_owned());
                let means = |pattern: &Option<Regex>| pattern.as_ref().is_some_and(|re| re.is_match(&error));
                match () {
                    () if means(&scale.shed) => (Class::Shed, format!("{error} (at {t:.1} s)")),
                    () if means(&scale.lost) => (Class::Lost, format!("{} ({error})", unknown_since(job, record, *t))),
                    () => (Class::Failed, format!("{error} (at {t:.1} s)")),
                }
            }
        };
    }
    if let Some(t) = job.vanished_t {
        return (Class::Lost, unknown_since(job, record, t).to_owned());
    }
    let last = job
        .last_view
        .as_ref()
        .map_or_else(|| "never seen".to_owned(), |v| format!("last seen {} at {:.0} %", v.word, v.progress.unwrap_or(0.0)));
    if record.cut_short() {
        return (Class::Open, format!("the run was stopped before it ended ({last})"));
    }
    if job.gave_up.is_some() || record.ended {
        return patience::unended(job, record, scale.longest, &last);
    }
    (Class::Open, last)
}

/// What became of a job that the target does not know any more at that moment.
fn unknown_since(job: &JobFacts, record: &Record, t: f64) -> &'static str {
    let restarted = record.generations.iter().any(|g| g.number > 0 && job.submitting_t < g.started_t && g.started_t <= t);
    if restarted {
        "lost by the restart: accepted before it, unknown after it"
    } else {
        "accepted, then unknown to the target (404)"
    }
}

fn completed(job: &JobFacts, driver: &Driver, scale: &Scale) -> (Class, String) {
    if let Some(times) = job.last_view.as_ref().and_then(|v| v.completions).filter(|n| *n > 1) {
        return (Class::Duplicated, format!("the target completed it {times} times"));
    }
    if let Some(later) = job.later_ends.first() {
        return (Class::Duplicated, format!("it ended completed, and then once more as {}", later.word));
    }
    let Some(result) = &job.result else {
        return match driver.result {
            None => (Class::Completed, "completed (the driver knows no way to its result)".to_owned()),
            Some(_) => (Class::Open, "completed, its result not looked at yet".to_owned()),
        };
    };
    if let Some(problem) = implausible(job, result, driver, scale) {
        return (Class::Mismatched, format!("called completed, but {problem}"));
    }
    (Class::Completed, format!("completed, {} bytes of {}", result.bytes, result.kind))
}

/// Why a result cannot be this job's.
fn implausible(job: &JobFacts, result: &ResultLook, driver: &Driver, scale: &Scale) -> Option<String> {
    if let Some(error) = &result.error {
        return Some(format!("its result cannot be had: {error}"));
    }
    if result.bytes == 0 {
        return Some("its result is empty".to_owned());
    }
    if let Some(mark) = result.mark.as_ref().filter(|mark| **mark != job.mark) {
        let owner = scale.owners.get(mark.as_str()).map_or_else(|| "an unknown job".to_owned(), |n| format!("job {n}"));
        return Some(format!("it got the result of {owner}"));
    }
    let free_form = driver.result.as_ref().is_some_and(|r| r.free_form);
    let short =
        !free_form && scale.bytes_per_pixel.is_some_and(|usual| (result.bytes as f64) < PLAUSIBLE_SHARE * usual * pixels(job));
    if short {
        return Some(format!(
            "its result is a stand-in: {} bytes of {} for {}x{}",
            result.bytes, result.kind, job.shape.width, job.shape.height
        ));
    }
    if driver.result.as_ref().is_some_and(|r| r.carries_mark) && result.mark.is_none() {
        return Some(format!("its result does not carry its mark: {} bytes of {}", result.bytes, result.kind));
    }
    let twins = scale.digests.get(&result.digest).copied().unwrap_or(0);
    (twins > 1 && !free_form).then(|| format!("{twins} jobs with different inputs got the very same result"))
}

fn pixels(job: &JobFacts) -> f64 {
    f64::from(job.shape.width) * f64::from(job.shape.height)
}

/// What results and errors of this run are held against.
struct Scale<'a> {
    /// The median over the jobs that ended before the first fault.
    bytes_per_pixel: Option<f64>,
    digests: HashMap<u64, u32>,
    owners: HashMap<&'a str, JobNo>,
    /// What an error says that means: there was no room.
    shed: Option<Regex>,
    lost: Option<Regex>,
    /// What a job of this run takes at the most.
    longest: Option<Longest>,
}

impl<'a> Scale<'a> {
    fn of(record: &'a Record) -> Self {
        let until = record.baseline_end().unwrap_or(f64::INFINITY);
        let mut ratios = Vec::new();
        let mut digests: HashMap<u64, u32> = HashMap::new();
        for job in &record.jobs {
            let Some(result) = job.result.as_ref().filter(|r| r.error.is_none()) else { continue };
            *digests.entry(result.digest).or_default() += 1;
            if job.ended.as_ref().is_some_and(|(t, ..)| *t <= until) {
                ratios.push(result.bytes as f64 / pixels(job).max(1.0));
            }
        }
        let owners = record.jobs.iter().map(|job| (job.mark.as_str(), job.number)).collect();
        let shed = Patterns::compiled(record.plan().driver.patterns.shed.as_ref());
        let lost = Patterns::compiled(record.plan().driver.patterns.lost.as_ref());
        Self { bytes_per_pixel: stats::median(&mut ratios), digests, owners, shed, lost, longest: Longest::of(record) }
    }
}

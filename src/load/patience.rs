//! Whether a job that has not ended is lost, or chaos only stopped looking before it could end.

use crate::journal::facts::JobFacts;
use crate::journal::record::Record;

/// A job that is followed for so many times as long as the longest of the run, and has not ended, is lost.
const LOST_RATIO: f64 = 3.0;

/// The longest job of the run that ended, as the measure of what its others may take.
#[derive(Debug, Clone, Copy, Default)]
pub struct Longest {
    seconds: f64,
    pixels: f64,
}

impl Longest {
    pub fn of(record: &Record) -> Option<Self> {
        let ended = record.jobs.iter().filter_map(|job| Some(Self { seconds: job.total_s()?, pixels: pixels(job) }));
        ended.reduce(|a, b| if b.seconds > a.seconds { b } else { a })
    }
}

fn pixels(job: &JobFacts) -> f64 {
    (f64::from(job.shape.width) * f64::from(job.shape.height) * f64::from(job.shape.batch.max(1))).max(1.0)
}

/// A job that was accepted, or only sent, and had not ended when nobody followed it any more, was given the time to.
pub fn is_lost(job: &JobFacts, record: &Record, longest: Option<Longest>) -> bool {
    let until = followed_until(job, record);
    stated_patience_over(record, until) || is_gone(record, until) || outlived(job, until, longest)
}

/// What is said of such a job.
pub fn told(job: &JobFacts, record: &Record, lost: bool, last: &str) -> String {
    let asked = job.gave_up().and_then(|why| why.split_once("; ")).map_or_else(String::new, |(_, why)| format!("; {why}"));
    if lost {
        return format!("accepted, and never ended ({last}{asked})");
    }
    let since = followed_until(job, record) - job.answer.as_ref().map_or(job.submitting_t, |(t, _)| *t);
    format!("chaos stopped following it {since:.1} s after it was accepted, before it had ended ({last}{asked})")
}

/// Until when it was asked for, or listened to.
pub fn followed_until(job: &JobFacts, record: &Record) -> f64 {
    let given_t = job.given_to().map(|given| given.t);
    given_t.or(job.gave_up_t()).unwrap_or_else(|| record.looked_until())
}

/// Whoever has the result of a completed job was given the time to answer, or is gone.
pub fn was_given_time(job: &JobFacts, record: &Record) -> bool {
    let until = followed_until(job, record);
    let asked_s = job.ended.as_ref().map_or(0.0, |(t, ..)| until - t);
    is_gone(record, until) || stated(record).is_some_and(|stated| asked_s >= stated - 0.01)
}

/// How long the last jobs may take, where the file says so.
fn stated(record: &Record) -> Option<f64> {
    record.plan().checks.iter().filter_map(|check| check.spec.waits_for_jobs()).max().map(|stated| stated.as_s())
}

/// The file says how long the last jobs may take, and they were given that time.
fn stated_patience_over(record: &Record, until: f64) -> bool {
    // The clocks of the load's end and of its last look are read one after the other.
    stated(record).zip(record.load_stopped_t).is_some_and(|(stated, stopped)| until - stopped >= stated - 0.01)
}

/// Every process of the target has ended, and none was started again: nobody is left who could end the job.
pub fn is_gone(record: &Record, until: f64) -> bool {
    let lives = &record.generations;
    !lives.is_empty() && lives.iter().all(|life| life.exited.as_ref().is_some_and(|(t, ..)| *t <= until))
}

fn outlived(job: &JobFacts, until: f64, longest: Option<Longest>) -> bool {
    longest.is_some_and(|longest| {
        let size = (pixels(job) / longest.pixels).max(1.0);
        until - job.intended_t > LOST_RATIO * size * longest.seconds
    })
}

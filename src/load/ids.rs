//! Ids that a target gives twice. One that numbers its jobs from a counter in memory, or takes the lowest number that is free,
//! tells of the new job when it is asked about the old one.

use std::fmt;

use crate::driver::template::bounded;
use crate::journal::facts::{Generation, Given, JobFacts};
use crate::journal::record::Record;

/// A job whose id the target gave to another before this one was seen to end.
#[derive(Debug, Clone, Copy)]
pub struct GivenTwice<'a> {
    pub job: &'a JobFacts,
    given: Given,
    /// When the target was started in between: what it had in memory was gone by then, and the ids began anew.
    pub restarted_t: Option<f64>,
}

/// `None` where both sent the same and no restart was between them: a target may call those one job.
pub fn given_twice<'a>(job: &'a JobFacts, record: &Record) -> Option<GivenTwice<'a>> {
    let given = job.given()?;
    let accepted_t = job.answer.as_ref().map(|(t, _)| *t)?;
    let between = |life: &&Generation| life.number > 0 && accepted_t < life.started_t && life.started_t <= given.t;
    let restarted_t = record.generations.iter().filter(between).map(|life| life.started_t).reduce(f64::min);
    // A queue that outlives its process has it still: seen at work by the new one, or made again of the same request.
    let went_on = |t: f64| given.alike || job.last_running_t.is_some_and(|seen| (t..given.sent_t).contains(&seen));
    match restarted_t {
        None if given.alike => None,
        Some(t) if went_on(t) => Some(GivenTwice { job, given, restarted_t: None }),
        restarted_t => Some(GivenTwice { job, given, restarted_t }),
    }
}

impl fmt::Display for GivenTwice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, other) = (bounded(self.job.id().unwrap_or("?")), self.given.to);
        match self.restarted_t {
            Some(t) => {
                write!(f, "lost by the restart: the target was started again at {t:.1} s, and gave its id `{id}` to job {other}")
            }
            None => write!(f, "cannot be told: the target gave its id `{id}` to job {other} before it was seen to end"),
        }
    }
}

//! Questions to the checks while a run goes on: over a copy of the record, beside the run, so that no event waits for an
//! answer; and the rarer, the more jobs there are, so that all of them together cost a bounded share of the time.

use std::time::Duration;

use super::world::World;
use crate::journal::record::Record;

/// As often as this for a short run.
pub const EVERY: Duration = Duration::from_millis(250);
/// What judging one job may cost, and a rest of many times that.
const FOR_EACH_JOB: Duration = Duration::from_micros(20);

/// Of a long run a small part of what it has taken: nobody minds that it is so much longer.
const OF_THE_RUN: u32 = 200;

/// One question, asked now. One that panics has no answer: the run goes on as if it were not so, and the verdict will say why.
pub async fn ask(world: &World, question: fn(&Record) -> bool) -> bool {
    let record = world.journal.snapshot();
    tokio::task::spawn_blocking(move || question(&record)).await.unwrap_or(false)
}

/// How long the last jobs may take: the longest that a check allows, half a minute where none says.
pub fn patience_s(world: &World) -> f64 {
    world.plan.checks.iter().filter_map(|c| c.spec.waits_for_jobs()).max().map_or(30.0, |time| time.as_s())
}

/// One question that is asked again and again.
pub struct Question {
    ask: fn(&Record) -> bool,
    /// The latest answer, and until when it counts.
    answer: bool,
    until_t: f64,
}

impl Question {
    pub fn new(ask: fn(&Record) -> bool) -> Self {
        Self { ask, answer: false, until_t: f64::NEG_INFINITY }
    }

    /// The answer, which may be as old as the last one's pause.
    pub async fn answer(&mut self, world: &World) -> bool {
        if world.clock.now_s() < self.until_t {
            return self.answer;
        }
        let jobs = world.journal.read(|record| record.jobs.len() as u32);
        self.answer = ask(world, self.ask).await;
        let of_the_run = Duration::try_from_secs_f64(world.clock.now_s()).unwrap_or_default() / OF_THE_RUN;
        let pause = EVERY.max(FOR_EACH_JOB.saturating_mul(jobs)).max(of_the_run);
        self.until_t = world.clock.now_s() + pause.as_secs_f64() - 1e-3;
        self.answer
    }
}

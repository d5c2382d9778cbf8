//! When the load is over. Checks that would like more samples are asked at the looks that the plan states, and never between
//! them: who asks until the answer suits has decided by chance (`plan::looks`).

use super::judging::{self, Question};
use super::world::World;
use crate::check::{self, View};
use crate::journal::facts::JobFacts;
use crate::plan::looks::{self, Look};

pub struct LoadEnd {
    may_end: Question,
    looks: Vec<Look>,
    /// How many of them have been taken or missed.
    past: usize,
    /// From when on it is over.
    over_t: Option<f64>,
}

impl LoadEnd {
    pub fn new(world: &World) -> Self {
        Self { may_end: Question::new(check::load_may_end), looks: looks::of(&world.plan), past: 0, over_t: None }
    }

    /// From when on the load was over; `None` while it is not.
    pub fn over_t(&self) -> Option<f64> {
        self.over_t
    }

    /// The load has lasted its time, has sent all its jobs, or is no longer needed by a check that says so. What is over stays over.
    pub async fn is_there(&mut self, world: &World, begin: f64) -> bool {
        if self.over_t.is_none() && self.has_come(world, begin).await {
            self.over_t = Some(world.clock.now_s());
        }
        self.over_t.is_some()
    }

    async fn has_come(&mut self, world: &World, begin: f64) -> bool {
        let now = world.clock.now_s();
        let lasted = now - begin;
        let Some(first) = self.looks.first() else { return is_sent(world, now) || self.may_end.answer(world).await };
        if lasted < first.at_s {
            return self.may_end.answer(world).await;
        }
        let due = self.looks.iter().rposition(|look| look.at_s <= lasted).unwrap_or(0);
        if due + 1 == self.looks.len() {
            return true;
        }
        let is_new = due >= self.past;
        self.past = due + 1;
        is_new && lasted <= self.looks[due].until_s && !judging::ask(world, |r| check::wants_samples(&View::of(r))).await
    }
}

/// Every load that has a number of jobs has sent them, and they have ended.
fn is_sent(world: &World, now: f64) -> bool {
    world.journal.read(|record| {
        world.plan.loads.iter().filter_map(|load| Some((load, load.jobs?))).all(|(load, jobs)| {
            let sent = record.jobs.sent(&load.name);
            let settled = record.jobs.open().filter(|job| job.load == load.name).all(JobFacts::settled);
            // A job that never ends does not hold the run up for ever.
            sent.jobs >= u64::from(jobs) && (settled || now - sent.latest_t > judging::patience_s(world))
        })
    })
}

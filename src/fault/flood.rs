//! Many jobs at one moment.

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use super::{Fault, FaultError, Lasts, Observation, Reverted};
use crate::driver::Seen;
use crate::experiment::diagnostic::{Diagnostics, Span};
use crate::experiment::{JobShape, Listen};
use crate::journal::event::{Answer, When};
use crate::journal::facts::JobFacts;
use crate::load::drive::{Client, mark};
use crate::plan::Plan;
use crate::record;
use crate::run::world::World;

/// More jobs than this at one moment are a typing error.
const MOST_JOBS: u32 = 10_000;

record! {
    /// Sends so many jobs at one moment.
    pub struct Flood {
        /// How many.
        jobs: u32,
        /// What each asks for.
        job: JobShape = JobShape { width: 1024, height: 1024, ..JobShape::default() },
        /// How its client follows them.
        listen: Listen = Listen::Websocket,
    }
}

/// The jobs themselves are in the journal, under the fault's name.
#[derive(Serialize, Deserialize)]
pub struct Undo {}

impl Fault for Flood {
    type Undo = Undo;

    fn validate(&self, place: Span, diags: &mut Diagnostics) {
        if self.jobs == 0 || self.jobs > MOST_JOBS {
            diags.error(place, format!("a flood of {} jobs cannot be", self.jobs), format!("expected 1 to {MOST_JOBS}"));
        }
    }

    fn needs_process(&self) -> bool {
        false
    }

    fn touches(&self, plan: &Plan) -> Vec<String> {
        vec![format!("sends {} jobs of {}x{} (batch {}) to {}", self.jobs, self.job.width, self.job.height, self.job.batch, plan.url)]
    }

    fn lasts(&self) -> Lasts {
        Lasts::WorkedOff
    }

    async fn prepare(&self, world: &World, _name: &str) -> Result<Undo, FaultError> {
        world.port.ready().await.map(|()| Undo {}).map_err(|e| FaultError::Absent(format!("the target is not ready: {e}")))
    }

    async fn inject(&self, world: &World, name: &str) -> Result<(), FaultError> {
        let shop = &world.shop;
        let client = Client::new(shop, name, 0, self.listen);
        let at = shop.clock.now_s();
        let submissions = (0..self.jobs).map(|index| {
            let client = &client;
            async move {
                let mark = mark(shop.seed, name, 0, index.into());
                let (number, answer) = shop.submit(client, &self.job, &mark, at).await;
                if let Answer::Accepted { id } = answer {
                    let (shop, client) = (shop.clone(), client.clone());
                    shop.tasks.clone().spawn(async move { shop.follow(&client, number, &id).await });
                }
            }
        });
        join_all(submissions).await;
        Ok(())
    }

    async fn observe(&self, world: &World, name: &str, when: When) -> Observation {
        match when {
            When::Before => sent_before(world, name),
            When::During => self.arrived(world, name).await,
            When::After => outstanding(world, name),
        }
    }

    async fn revert(_undo: &Undo, world: &World, name: &str) -> Result<Reverted, FaultError> {
        // Whose id was given again is not at the target any more: somebody else's job would be cancelled.
        let is_left = |job: &JobFacts| job.gave_up().is_some() && job.ended.is_none();
        let is_open = |job: &JobFacts| (!job.settled() || is_left(job)) && job.given_to().is_none();
        let open: Vec<String> = jobs(world, name, is_open).into_iter().filter_map(|job| job.id().map(str::to_owned)).collect();
        let results = join_all(open.iter().map(|id| world.port.cancel(id))).await;
        let failed: Vec<String> = results.into_iter().filter_map(Result::err).collect();
        match failed.first() {
            None if open.is_empty() => Ok(Reverted("nothing left to cancel".into())),
            None => Ok(Reverted(format!("{} jobs cancelled", open.len()))),
            Some(_) if world.target_is_gone() => Ok(Reverted(format!("{} jobs went with the target's process", open.len()))),
            Some(first) => Err(FaultError::Failed(format!("{} of {} jobs could not be cancelled: {first}", failed.len(), open.len()))),
        }
    }
}

fn jobs(world: &World, name: &str, wanted: impl Fn(&JobFacts) -> bool) -> Vec<JobFacts> {
    world.journal.read(|record| record.jobs_of(Some(name)).filter(|job| wanted(job)).cloned().collect())
}

fn sent_before(world: &World, name: &str) -> Observation {
    match jobs(world, name, |_| true).len() {
        0 => Observation::intact("none of its jobs is at the target"),
        n => Observation::unknown(format!("{n} of its jobs were sent already")),
    }
}

fn outstanding(world: &World, name: &str) -> Observation {
    match jobs(world, name, |job| !job.settled()).len() {
        0 => Observation::intact("every job that was sent is accounted for"),
        n => Observation::broken(1.0, format!("{n} jobs are still at the target")),
    }
}

impl Flood {
    /// How many of the jobs the target itself knows of, or has openly refused.
    async fn arrived(&self, world: &World, name: &str) -> Observation {
        let sent = jobs(world, name, |_| true);
        let refused = sent.iter().filter(|j| matches!(j.answer, Some((_, Answer::Refused { .. })))).count();
        let ids: Vec<&str> = sent.iter().filter_map(JobFacts::id).collect();
        let ended = |id: &&&str| sent.iter().any(|j| j.id() == Some(id) && j.last_view.is_some());
        let heard_of = ids.iter().filter(ended).count();
        let silent: Vec<&&str> = ids.iter().filter(|id| !ended(id)).collect();
        let looks = join_all(silent.iter().map(|id| world.port.status(id))).await;
        let found = looks.iter().filter(|seen| matches!(seen, Seen::View(_))).count();
        // A server that an out-of-memory has just taken down can no longer be asked; its process says why.
        if world.target_is_gone() {
            return Observation::broken(1.0, format!("{} jobs sent, and the target's process ended under them", sent.len()));
        }
        let known = heard_of + found;
        let moments = || sent.iter().map(|j| j.submitting_t);
        let spread_ms = (moments().fold(f64::MIN, f64::max) - moments().fold(f64::MAX, f64::min)).max(0.0) * 1e3;
        let strength = (known + refused) as f64 / f64::from(self.jobs);
        Observation::broken(strength, format!("{} sent within {spread_ms:.0} ms, {known} known to the target, {refused} openly refused", sent.len()))
    }
}

//! More users for a while: the load-testing plan's spike test.

use serde::{Deserialize, Serialize};

use super::{CauseEnds, Fault, FaultError, Lasts, Observation, Reverted};
use crate::driver::Seen;
use crate::experiment::diagnostic::{Diagnostics, Span};
use crate::experiment::units::{Time, TimeRange};
use crate::experiment::{Arrivals, JobShape, Listen};
use crate::journal::event::When;
use crate::journal::facts::JobFacts;
use crate::load::users;
use crate::plan::{LoadPlan, Plan, StagePlan};
use crate::record;
use crate::run::world::World;

/// More users at once are a typing error.
const MOST_USERS: u32 = 10_000;

record! {
    /// So many more closed-loop users for a while.
    pub struct Spike {
        /// How many more.
        users: u32,
        /// For how long they send jobs; what they have sent is worked off afterwards.
        r#for: Time,
        /// What each waits between the end of a job and the next.
        think: TimeRange = TimeRange::exactly(Time::secs(0)),
        /// What each asks for.
        job: JobShape = JobShape::default(),
        /// How each follows its jobs.
        listen: Listen = Listen::Websocket,
    }
}

/// The users stop by themselves; their jobs are in the journal, under the fault's name.
#[derive(Serialize, Deserialize)]
pub struct Undo {}

impl Fault for Spike {
    type Undo = Undo;
    /// Its users are chaos' own.
    const IS_WATCHED: bool = false;

    fn validate(&self, place: Span, diags: &mut Diagnostics) {
        if self.users == 0 || self.users > MOST_USERS || self.r#for.0.is_zero() {
            diags.error(place, "this spike cannot be", format!("expected 1 to {MOST_USERS} users, for some time"));
        }
    }

    fn needs_process(&self) -> bool {
        false
    }

    fn touches(&self, plan: &Plan) -> Vec<String> {
        vec![format!("sends the jobs of {} more users to {} for {}", self.users, plan.url, self.r#for)]
    }

    fn lasts(&self) -> Lasts {
        Lasts::Held(self.r#for.0)
    }

    /// Its users stop by themselves.
    fn cause_ends(&self) -> CauseEnds {
        CauseEnds::After(self.r#for.0)
    }

    async fn prepare(&self, world: &World, _name: &str) -> Result<Undo, FaultError> {
        world.port.ready().await.map(|()| Undo {}).map_err(|e| FaultError::Absent(format!("the target is not ready: {e}")))
    }

    async fn inject(&self, world: &World, name: &str) -> Result<(), FaultError> {
        let stage = StagePlan { users: self.users, rate_per_s: None, from_s: 0.0, until_s: Some(self.r#for.as_s()) };
        let load = LoadPlan {
            name: name.to_owned(),
            arrivals: Arrivals::Constant,
            think: self.think,
            job: vec![self.job.clone()],
            listen: self.listen,
            stages: vec![stage],
            trace: Vec::new(),
            jobs: None,
            patience_s: None,
        };
        users::start(&world.shop, &load, world.clock.now_s());
        Ok(())
    }

    async fn observe(&self, world: &World, name: &str, when: When) -> Observation {
        let sent: Vec<JobFacts> = world.journal.read(|record| record.jobs_of(Some(name)).cloned().collect());
        match when {
            When::Before if sent.is_empty() => Observation::intact("none of its users has sent anything"),
            When::Before => Observation::unknown(format!("{} of its jobs were sent already", sent.len())),
            When::During => self.users_at_work(world, &sent).await,
            When::After => {
                let end = world.journal.read(|record| record.fault(name).and_then(|f| f.injected_t)).unwrap_or(0.0) + self.r#for.as_s();
                let late = sent.iter().filter(|job| job.submitting_t > end + 0.5).count();
                let left = sent.iter().filter(|job| !job.settled()).count();
                match late {
                    0 => Observation::intact(format!("its users have stopped; {left} of their {} jobs are being worked off", sent.len())),
                    _ => Observation::broken(1.0, format!("{late} jobs were sent after its end")),
                }
            }
        }
    }

    async fn revert(_undo: &Undo, _world: &World, _name: &str) -> Result<Reverted, FaultError> {
        Ok(Reverted("its users have stopped".into()))
    }
}

impl Spike {
    /// How many users have a job that the target itself knows, or has openly refused.
    async fn users_at_work(&self, world: &World, sent: &[JobFacts]) -> Observation {
        let mut seen = std::collections::HashSet::new();
        for job in sent {
            let known = match job.id() {
                Some(id) => job.last_view.is_some() || matches!(world.port.status(id).await, Seen::View(_)),
                None => job.answer.is_some(),
            };
            if known {
                seen.insert(job.client);
            }
        }
        let strength = seen.len() as f64 / f64::from(self.users);
        Observation::broken(strength, format!("jobs of {} of its {} users are known to the target", seen.len(), self.users))
    }
}

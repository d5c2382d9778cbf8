//! Many ordinary jobs at once: the load-testing plan's "20 jobs submitted simultaneously".

use super::flood::{self, Flood};
use super::{Fault, FaultError, Lasts, Observation, Reverted};
use crate::experiment::diagnostic::{Diagnostics, Span};
use crate::experiment::{JobShape, Listen};
use crate::journal::event::When;
use crate::plan::Plan;
use crate::record;
use crate::run::world::World;

record! {
    /// Sends so many ordinary jobs at one moment.
    pub struct Burst {
        /// How many.
        jobs: u32 = 20,
        /// What each asks for.
        job: JobShape = JobShape::default(),
        /// How its client follows them.
        listen: Listen = Listen::Websocket,
    }
}

impl Burst {
    fn as_flood(&self) -> Flood {
        Flood { jobs: self.jobs, job: self.job.clone(), listen: self.listen }
    }
}

impl Fault for Burst {
    type Undo = flood::Undo;

    fn validate(&self, place: Span, diags: &mut Diagnostics) {
        self.as_flood().validate(place, diags);
    }
    fn needs_process(&self) -> bool {
        false
    }
    fn touches(&self, plan: &Plan) -> Vec<String> {
        self.as_flood().touches(plan)
    }
    fn lasts(&self) -> Lasts {
        Lasts::WorkedOff
    }
    async fn prepare(&self, world: &World, name: &str) -> Result<flood::Undo, FaultError> {
        self.as_flood().prepare(world, name).await
    }
    async fn inject(&self, world: &World, name: &str) -> Result<(), FaultError> {
        self.as_flood().inject(world, name).await
    }
    async fn observe(&self, world: &World, name: &str, when: When) -> Observation {
        self.as_flood().observe(world, name, when).await
    }
    async fn revert(undo: &flood::Undo, world: &World, name: &str) -> Result<Reverted, FaultError> {
        Flood::revert(undo, world, name).await
    }
}

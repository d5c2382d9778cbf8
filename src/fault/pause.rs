//! The target's process is stopped and goes on after a while.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Fault, FaultError, Lasts, Observation, Reverted};
use crate::experiment::diagnostic::{Diagnostics, Span};
use crate::experiment::units::Time;
use crate::journal::event::When;
use crate::plan::Plan;
use crate::record;
use crate::run::world::World;
use crate::runtime::Signal;

/// A paused server's kernel still accepts connections; only an answer proves that it works.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

record! {
    /// Stops the target's process (SIGSTOP) for a while.
    pub struct Pause {
        /// For how long.
        r#for: Time,
    }
}

/// The process that was stopped; the start time tells it apart from a later one with the same number.
#[derive(Serialize, Deserialize)]
pub struct Undo {
    pid: u32,
    start_ticks: u64,
}

impl Fault for Pause {
    type Undo = Undo;

    fn validate(&self, place: Span, diags: &mut Diagnostics) {
        if self.r#for.0.is_zero() {
            diags.error(place, "a pause of no time does nothing", "expected `for: 5s`");
        }
    }

    fn needs_process(&self) -> bool {
        true
    }

    fn touches(&self, plan: &Plan) -> Vec<String> {
        vec![format!("stops the process of {} for {}", plan.url, self.r#for)]
    }

    fn lasts(&self) -> Lasts {
        Lasts::Held(self.r#for.0)
    }

    async fn prepare(&self, world: &World, _name: &str) -> Result<Undo, FaultError> {
        let pid = world.runtime.pid().ok_or_else(|| FaultError::Absent("the target has no process".into()))?;
        let start_ticks = world.runtime.start_ticks(pid).ok_or_else(|| FaultError::Absent(format!("process {pid} is gone")))?;
        Ok(Undo { pid, start_ticks })
    }

    async fn inject(&self, world: &World, _name: &str) -> Result<(), FaultError> {
        let pid = world.runtime.pid().ok_or_else(|| FaultError::Absent("the target has no process".into()))?;
        world.runtime.signal(pid, Signal::Stop).map_err(FaultError::Failed)
    }

    async fn observe(&self, world: &World, _name: &str, _when: When) -> Observation {
        let Some(pid) = world.runtime.pid() else { return Observation::unknown("the target has no process") };
        let stopped = world.runtime.is_stopped(pid);
        let answers = tokio::time::timeout(ANSWER_WITHIN, world.port.health()).await.is_ok_and(|health| health.is_ok());
        match (stopped, answers) {
            (Some(false), true) => Observation::intact(format!("process {pid} runs and answers")),
            (Some(true), false) => Observation::broken(1.0, format!("process {pid} is stopped and does not answer")),
            (Some(true), true) => Observation::broken(0.0, format!("process {pid} is stopped, yet the target answers: it is not the one that serves")),
            (Some(false), false) => Observation::broken(0.0, format!("process {pid} is not stopped, yet the target does not answer")),
            (None, _) => Observation::unknown(format!("the state of process {pid} cannot be read")),
        }
    }

    async fn revert(undo: &Undo, world: &World, _name: &str) -> Result<Reverted, FaultError> {
        if world.runtime.start_ticks(undo.pid) != Some(undo.start_ticks) {
            return Ok(Reverted(format!("process {} is gone", undo.pid)));
        }
        if world.runtime.is_stopped(undo.pid) == Some(false) {
            return Ok(Reverted(format!("process {} was running already", undo.pid)));
        }
        world.runtime.signal(undo.pid, Signal::Continue).map_err(FaultError::Failed)?;
        Ok(Reverted(format!("process {} goes on", undo.pid)))
    }
}

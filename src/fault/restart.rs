//! The target's process is ended and started again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Fault, FaultError, Lasts, Observation, Reverted};
use crate::experiment::units::{Time, WallTime};
use crate::journal::event::When;
use crate::plan::Plan;
use crate::run::world::World;
use crate::runtime::Ending;
use crate::{record, words};

words! {
    /// How the process is ended.
    pub enum How("way to end a process") {
        /// SIGTERM, and SIGKILL after `grace`.
        Graceful = "graceful",
        /// SIGKILL.
        Kill = "kill",
    }
}

record! {
    /// Ends the target's process and starts it again.
    pub struct Restart {
        /// How it is ended.
        how: How = How::Graceful,
        /// How long it may take to end after SIGTERM.
        grace: WallTime = WallTime::secs(10),
        /// How long it stays down before it is started.
        down: Time = Time::secs(0),
        /// How long it may take until it is ready again.
        ready_within: WallTime = WallTime::secs(60),
    }
}

/// The process that ran before; if none runs, one is started.
#[derive(Serialize, Deserialize)]
pub struct Undo {
    pid: u32,
    ready_within_s: f64,
}

impl Fault for Restart {
    type Undo = Undo;

    fn needs_process(&self) -> bool {
        true
    }

    fn touches(&self, plan: &Plan) -> Vec<String> {
        let how = match self.how {
            How::Graceful => format!("ends (SIGTERM, SIGKILL after {})", self.grace),
            How::Kill => "kills (SIGKILL)".to_owned(),
        };
        vec![format!("{how} the process of {} and starts it again", plan.url)]
    }

    fn lasts(&self) -> Lasts {
        Lasts::Once
    }

    async fn prepare(&self, world: &World, _name: &str) -> Result<Undo, FaultError> {
        let pid = world.runtime.pid().ok_or_else(|| FaultError::Absent("the target has no running process".into()))?;
        Ok(Undo { pid, ready_within_s: self.ready_within.as_s() })
    }

    async fn inject(&self, world: &World, _name: &str) -> Result<(), FaultError> {
        let ending = match self.how {
            How::Graceful => Ending::Graceful(self.grace.0),
            How::Kill => Ending::Kill,
        };
        world.runtime.end(ending).await.map_err(FaultError::Failed)?;
        tokio::time::sleep(self.down.0).await;
        world.runtime.start().await.map_err(FaultError::Failed)?;
        world.wait_until_ready(self.ready_within.0).await.map_err(FaultError::Failed)
    }

    async fn observe(&self, world: &World, name: &str, when: When) -> Observation {
        let running = world.runtime.pid();
        match when {
            When::During => ended_since(world, name),
            When::Before | When::After => match (running, world.port.ready().await) {
                (Some(pid), Ok(())) => Observation::intact(format!("process {pid} runs and is ready")),
                (Some(pid), Err(error)) => Observation::broken(1.0, format!("process {pid} runs and is not ready: {error}")),
                (None, _) => Observation::broken(1.0, "no process runs"),
            },
        }
    }

    async fn revert(undo: &Undo, world: &World, _name: &str) -> Result<Reverted, FaultError> {
        if let Some(pid) = world.runtime.pid() {
            return Ok(Reverted(format!("process {pid} runs in place of {}", undo.pid)));
        }
        world.runtime.start().await.map_err(FaultError::Failed)?;
        world.wait_until_ready(Duration::from_secs_f64(undo.ready_within_s)).await.map_err(FaultError::Failed)?;
        Ok(Reverted("started again".into()))
    }
}

/// What the process itself shows: an end after the injection began, and another process since.
fn ended_since(world: &World, name: &str) -> Observation {
    world.journal.read(|record| {
        let since = record.fault(name).and_then(|f| f.injecting_t).unwrap_or(f64::INFINITY);
        let ended = record.generations.iter().find(|g| g.exited.as_ref().is_some_and(|(t, ..)| *t >= since));
        let Some(ended) = ended else { return Observation::broken(0.0, "the process has not ended") };
        let how = ended.exited.as_ref().map_or("", |(_, status, _)| status);
        match record.generations.iter().find(|g| g.number > ended.number && g.started_t >= since) {
            Some(next) if next.pid != ended.pid => Observation::broken(1.0, format!("process {} ended ({how}), process {} was started", ended.pid, next.pid)),
            _ => Observation::broken(1.0, format!("process {} ended ({how})", ended.pid)),
        }
    })
}

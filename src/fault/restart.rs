//! The target's process, or its containers, are ended and started again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::containers::{self, Act, Container, Seen, comes_back, start_again};
use super::kill::Before;
use super::stop;
use super::{CauseEnds, Fault, FaultError, Lasts, Observation, Reverted};
use crate::experiment::diagnostic::{Diagnostics, Span};
use crate::experiment::units::{Time, WallTime};
use crate::journal::event::When;
use crate::plan::Plan;
use crate::run::world::World;
use crate::runtime::Ending;
use crate::runtime::docker::engine::Engine;
use crate::runtime::docker::select::{self, Containers};
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
    /// Ends the target's process, or its containers, and starts them again.
    pub struct Restart {
        /// How it is ended.
        how: How = How::Graceful,
        /// How long it may take to end after SIGTERM.
        grace: WallTime = WallTime::secs(10),
        /// How long it stays down before it is started.
        down: Time = Time::secs(0),
        /// How long it may take until it is ready again.
        ready_within: WallTime = WallTime::secs(60),
        /// Which containers, where the target runs in some.
        containers: Containers = Containers::default(),
    }
}

/// What ran before; where nothing runs, it is started.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub enum Undo {
    Containers(containers::Undo<Before>),
    Process { pid: u32, ready_within_s: f64 },
}

impl Fault for Restart {
    type Undo = Undo;

    fn validate(&self, place: Span, diags: &mut Diagnostics) {
        self.containers.validate(place, diags);
    }

    fn needs_process(&self) -> bool {
        true
    }

    fn ends_process(&self) -> bool {
        true
    }

    fn containers(&self) -> Option<&Containers> {
        (self.containers != Containers::default()).then_some(&self.containers)
    }

    fn back_within(&self) -> Duration {
        self.ready_within.0
    }

    fn touches(&self, plan: &Plan) -> Vec<String> {
        match containers::touches(&Cycle(self), plan) {
            none if none.is_empty() => vec![format!("{} the process of {} and starts it again", self.told(), plan.url)],
            some => some,
        }
    }

    fn lasts(&self) -> Lasts {
        Lasts::Once
    }

    fn cause_ends(&self) -> CauseEnds {
        CauseEnds::ProcessEnd { down: self.down.0 }
    }

    async fn prepare(&self, world: &World, name: &str) -> Result<Undo, FaultError> {
        if world.runtime.docker().is_some() {
            return containers::prepare(&Cycle(self), world, name).await.map(Undo::Containers);
        }
        let pid = world.runtime.pid().ok_or_else(|| FaultError::Absent("the target has no running process".into()))?;
        Ok(Undo::Process { pid, ready_within_s: self.ready_within.as_s() })
    }

    async fn inject(&self, world: &World, name: &str) -> Result<(), FaultError> {
        if world.runtime.docker().is_some() {
            return containers::inject(&Cycle(self), world, name).await;
        }
        let ending = match self.how {
            How::Graceful => Ending::Graceful(self.grace.0),
            How::Kill => Ending::Kill,
        };
        world.runtime.end(ending).await.map_err(FaultError::Failed)?;
        tokio::time::sleep(self.down.0).await;
        let began = world.clock.now_s();
        world.runtime.start().await.map_err(FaultError::Failed)?;
        // What the start itself took is part of it.
        let left = self.ready_within.as_s() - (world.clock.now_s() - began);
        world.wait_until_ready(Duration::from_secs_f64(left.max(0.0))).await.map_err(|error| self.late(error))
    }

    async fn observe(&self, world: &World, name: &str, when: When) -> Observation {
        if world.runtime.docker().is_some() {
            return containers::observe(&Cycle(self), world, name, when).await;
        }
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

    async fn word(&self, world: &World, name: &str) -> Option<Observation> {
        containers::word::<Cycle<'_>>(world, name).await
    }

    async fn revert(undo: &Undo, world: &World, _name: &str) -> Result<Reverted, FaultError> {
        let (before, ready_within_s) = match undo {
            Undo::Containers(undo) => return containers::revert::<Cycle<'_>>(undo).await,
            Undo::Process { pid, ready_within_s } => (*pid, *ready_within_s),
        };
        if let Some(pid) = world.runtime.pid() {
            return Ok(Reverted(format!("process {pid} runs in place of {before}")));
        }
        world.runtime.start().await.map_err(FaultError::Failed)?;
        world.wait_until_ready(Duration::from_secs_f64(ready_within_s)).await.map_err(FaultError::Failed)?;
        Ok(Reverted("started again".into()))
    }
}

impl Restart {
    /// It may yet become ready: what is known now is that it has not.
    fn late(&self, error: String) -> FaultError {
        FaultError::Failed(format!("the target was not ready within {} of its start: {error}", self.ready_within))
    }

    fn told(&self) -> String {
        match self.how {
            How::Graceful => format!("ends (SIGTERM, SIGKILL after {})", self.grace),
            How::Kill => "kills (SIGKILL)".to_owned(),
        }
    }
}

/// A restart, of containers.
struct Cycle<'a>(&'a Restart);

impl Act for Cycle<'_> {
    type Saved = Before;
    const EVENTS: &'static [&'static str] = &["die"];
    const ENDS_PROCESS: bool = true;

    fn which(&self) -> &Containers {
        &self.0.containers
    }

    fn verb(&self) -> String {
        format!("{} and starts again", self.0.told())
    }

    fn held(&self) -> Option<Duration> {
        None
    }

    fn may_come_late(&self) -> Duration {
        self.0.grace.0 + Duration::from_secs(2)
    }

    fn save(&self, container: &Container) -> Result<Before, String> {
        comes_back(container).map(|()| Before::of(container))
    }

    async fn strike(&self, engine: &Engine, id: &str, _saved: &Before) -> Result<(), String> {
        let grace = (self.0.how == How::Graceful).then_some(self.0.grace.0);
        stop::end(engine, id, grace).await?;
        tokio::time::sleep(self.0.down.0).await;
        Ok(engine.start(id).await?)
    }

    async fn look(&self, _engine: &Engine, container: Option<&Container>, saved: &Before) -> Seen {
        saved.compare(container)
    }

    async fn restore(engine: &Engine, container: Option<&Container>, _saved: &Before) -> Result<String, String> {
        Ok(start_again(engine, container).await?.unwrap_or_else(|| format!("runs ({:.12})", container.map(select::id).unwrap_or_default())))
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

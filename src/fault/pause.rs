//! The target's process, or its containers, are stopped and go on after a while.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::containers::{self, Act, Container, Seen, runs};
use super::{Fault, FaultError, Lasts, Observation, Reverted};
use crate::experiment::diagnostic::{Diagnostics, Span};
use crate::driver::Method;
use crate::experiment::units::Time;
use crate::journal::event::When;
use crate::plan::Plan;
use crate::record;
use crate::run::world::World;
use crate::runtime::Signal;
use crate::runtime::docker::engine::Engine;
use crate::runtime::docker::select::{self, Containers};

/// A paused server's kernel still accepts connections; only an answer proves that it works.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// What runc says of a container whose processes were too busy to be frozen.
const NOT_FROZEN: &str = "unable to freeze";
const FREEZES: u32 = 5;
const FREEZE_AGAIN: Duration = Duration::from_millis(200);

record! {
    /// Stops the target's process (SIGSTOP) or its containers (the freezer of their cgroups) for a while.
    pub struct Pause {
        /// For how long.
        r#for: Time,
        /// Which containers, where the target runs in some.
        containers: Containers = Containers::default(),
    }
}

/// What goes on afterwards.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub enum Undo {
    Containers(containers::Undo<()>),
    /// The process that was stopped; the start time tells it apart from a later one with the same number.
    Process {
        pid: u32,
        start_ticks: u64,
    },
}

impl Fault for Pause {
    type Undo = Undo;

    fn validate(&self, place: Span, diags: &mut Diagnostics) {
        self.containers.validate(place, diags);
        if self.r#for.0.is_zero() {
            diags.error(place, "a pause of no time does nothing", "expected `for: 5s`");
        }
    }

    fn needs_process(&self) -> bool {
        true
    }

    fn containers(&self) -> Option<&Containers> {
        (self.containers != Containers::default()).then_some(&self.containers)
    }

    fn touches(&self, plan: &Plan) -> Vec<String> {
        match containers::touches(&Freeze(self), plan) {
            none if none.is_empty() => vec![format!("stops the process of {} for {}", plan.url, self.r#for)],
            some => some,
        }
    }

    fn lasts(&self) -> Lasts {
        containers::lasts(&Freeze(self))
    }

    async fn prepare(&self, world: &World, name: &str) -> Result<Undo, FaultError> {
        if world.runtime.docker().is_some() {
            return containers::prepare(&Freeze(self), world, name).await.map(Undo::Containers);
        }
        let pid = world.runtime.pid().ok_or_else(|| FaultError::Absent("the target has no process".into()))?;
        let start_ticks = world.runtime.start_ticks(pid).ok_or_else(|| FaultError::Absent(format!("process {pid} is gone")))?;
        Ok(Undo::Process { pid, start_ticks })
    }

    async fn inject(&self, world: &World, name: &str) -> Result<(), FaultError> {
        if world.runtime.docker().is_some() {
            return containers::inject(&Freeze(self), world, name).await;
        }
        let pid = world.runtime.pid().ok_or_else(|| FaultError::Absent("the target has no process".into()))?;
        world.runtime.signal(pid, Signal::Stop).map_err(FaultError::Failed)
    }

    async fn observe(&self, world: &World, name: &str, when: When) -> Observation {
        if world.runtime.docker().is_some() { containers::observe(&Freeze(self), world, name, when).await } else { process(world).await }
    }

    /// Without asking the target: what it is asked it would have to answer afterwards.
    async fn still(&self, world: &World, name: &str) -> Observation {
        if world.runtime.docker().is_some() {
            return containers::still(&Freeze(self), world, name).await;
        }
        let Some(pid) = world.runtime.pid() else { return Observation::unknown("the target has no process") };
        match world.runtime.is_stopped(pid) {
            Some(true) => Observation::broken(1.0, format!("process {pid} is stopped")),
            Some(false) => Observation::intact(format!("process {pid} goes on")),
            None => Observation::unknown(format!("the state of process {pid} cannot be read")),
        }
    }

    async fn word(&self, world: &World, name: &str) -> Option<Observation> {
        containers::word::<Freeze<'_>>(world, name).await
    }

    async fn revert(undo: &Undo, world: &World, _name: &str) -> Result<Reverted, FaultError> {
        let (pid, start_ticks) = match undo {
            Undo::Containers(undo) => return containers::revert::<Freeze<'_>>(undo).await,
            Undo::Process { pid, start_ticks } => (*pid, *start_ticks),
        };
        if world.runtime.start_ticks(pid) != Some(start_ticks) {
            return Ok(Reverted(format!("process {pid} is gone")));
        }
        if world.runtime.is_stopped(pid) == Some(false) {
            return Ok(Reverted(format!("process {pid} was running already")));
        }
        world.runtime.signal(pid, Signal::Continue).map_err(FaultError::Failed)?;
        Ok(Reverted(format!("process {pid} goes on")))
    }
}

async fn process(world: &World) -> Observation {
    let Some(pid) = world.runtime.pid() else { return Observation::unknown("the target has no process") };
    let stopped = world.runtime.is_stopped(pid);
    let has_health = world.plan.driver.health.is_some();
    let asking = async {
        match has_health {
            true => world.port.health().await.is_ok(),
            // Whoever says anything at all is at work.
            false => world.port.call(Method::Get, "/", None).await.is_ok(),
        }
    };
    let answers = tokio::time::timeout(ANSWER_WITHIN, asking).await.unwrap_or(false);
    match (stopped, answers) {
        // It need not answer what it was not made for, and may be at work on a job.
        (Some(false), false) if !has_health => Observation::intact(format!("process {pid} runs (the driver names no health endpoint)")),
        (Some(false), true) => Observation::intact(format!("process {pid} runs and answers")),
        (Some(true), false) => Observation::broken(1.0, format!("process {pid} is stopped and does not answer")),
        (Some(true), true) => Observation::broken(0.0, format!("process {pid} is stopped, yet the target answers: it is not the one that serves")),
        (Some(false), false) => Observation::broken(0.0, format!("process {pid} is not stopped, yet the target does not answer")),
        (None, _) => Observation::unknown(format!("the state of process {pid} cannot be read")),
    }
}

/// A pause, of containers.
struct Freeze<'a>(&'a Pause);

impl Act for Freeze<'_> {
    type Saved = ();
    const EVENTS: &'static [&'static str] = &["pause"];

    fn which(&self) -> &Containers {
        &self.0.containers
    }

    fn verb(&self) -> String {
        "pauses".to_owned()
    }

    fn held(&self) -> Option<Duration> {
        Some(self.0.r#for.0)
    }

    fn save(&self, container: &Container) -> Result<(), String> {
        match (runs(container), is_paused(container)) {
            (false, _) => Err("it does not run".to_owned()),
            (_, true) => Err("it is paused already".to_owned()),
            _ => Ok(()),
        }
    }

    async fn strike(&self, engine: &Engine, id: &str, _saved: &()) -> Result<(), String> {
        let mut tries = 1;
        loop {
            match engine.pause(id).await {
                // The kernel could not stop every process of it at once, and the engine has let go of those that it had.
                Err(error) if error.to_string().contains(NOT_FROZEN) && tries < FREEZES => tries += 1,
                ended => return Ok(ended?),
            }
            tokio::time::sleep(FREEZE_AGAIN).await;
        }
    }

    async fn look(&self, _engine: &Engine, container: Option<&Container>, _saved: &()) -> Seen {
        match container {
            None => Seen::Broken("it is gone".to_owned()),
            Some(container) if is_paused(container) => Seen::Broken("it is paused".to_owned()),
            Some(container) if runs(container) => Seen::Whole("it runs".to_owned()),
            Some(_) => Seen::Broken("it does not run".to_owned()),
        }
    }

    async fn restore(engine: &Engine, container: Option<&Container>, _saved: &()) -> Result<String, String> {
        let container = container.ok_or("it was removed, and nothing has come in its place")?;
        if !is_paused(container) {
            return Ok("was not paused".to_owned());
        }
        engine.unpause(&select::id(container)).await?;
        Ok("goes on".to_owned())
    }
}

fn is_paused(container: &Container) -> bool {
    container.state.as_ref().and_then(|s| s.paused).unwrap_or(false)
}

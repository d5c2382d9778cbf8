//! Containers are stopped as `docker stop` does it, and started again after a while.

use std::time::Duration;

use super::containers::{Act, Container, Seen, comes_back, start_again};
use super::kill::Before;
use crate::experiment::units::{Time, WallTime};
use crate::record;
use crate::runtime::docker::engine::{CallError, Engine};
use crate::runtime::docker::select::{self, Containers};

record! {
    /// Stops containers (SIGTERM, and SIGKILL after a grace time) and starts them again after a while.
    pub struct Stop {
        /// How long they stay down, from the end of the last.
        r#for: Time,
        /// How long they may take to end after SIGTERM.
        grace: WallTime = WallTime::secs(10),
        /// Which containers.
        containers: Containers = Containers::default(),
        /// How long the target may take until it is ready again.
        ready_within: WallTime = WallTime::secs(60),
    }
}

impl Act for Stop {
    type Saved = Before;
    const EVENTS: &'static [&'static str] = &["die"];
    const ENDS_PROCESS: bool = true;

    fn which(&self) -> &Containers {
        &self.containers
    }

    fn verb(&self) -> String {
        format!("stops (SIGTERM, SIGKILL after {})", self.grace)
    }

    fn held(&self) -> Option<Duration> {
        Some(self.r#for.0)
    }

    fn back_within(&self) -> Duration {
        self.ready_within.0
    }

    fn may_come_late(&self) -> Duration {
        self.grace.0 + Duration::from_secs(2)
    }

    fn save(&self, container: &Container) -> Result<Before, String> {
        comes_back(container).map(|()| Before::of(container))
    }

    async fn strike(&self, engine: &Engine, id: &str, _saved: &Before) -> Result<(), String> {
        end(engine, id, Some(self.grace.0)).await
    }

    async fn look(&self, _engine: &Engine, container: Option<&Container>, saved: &Before) -> Seen {
        saved.compare(container)
    }

    async fn restore(engine: &Engine, container: Option<&Container>, _saved: &Before) -> Result<String, String> {
        Ok(start_again(engine, container).await?.unwrap_or_else(|| format!("runs ({:.12})", container.map(select::id).unwrap_or_default())))
    }
}

/// Ends a container's process: SIGTERM, or its own stop signal, and, after the grace time, SIGKILL. The engine's own `stop` goes on for its whole grace
/// time when its caller dies, and would end the container after the guardian had put it back: so the two signals are ours.
pub async fn end(engine: &Engine, id: &str, grace: Option<Duration>) -> Result<(), String> {
    if let Some(grace) = grace {
        // An image may name another signal for this, as `docker stop` knows too.
        let own = engine.inspect(id).await?.config.and_then(|c| c.stop_signal).filter(|signal| !signal.is_empty());
        match engine.kill(id, own.as_deref().unwrap_or("SIGTERM")).await {
            // It ended by itself in this moment.
            Ok(()) | Err(CallError::Already(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
        if engine.ended_within(id, grace).await? {
            return Ok(());
        }
    }
    match engine.kill(id, "SIGKILL").await {
        Ok(()) | Err(CallError::Already(_)) => {}
        Err(error) => return Err(error.to_string()),
    }
    let ended = engine.ended_within(id, Duration::from_secs(10)).await?;
    if ended { Ok(()) } else { Err("its process is still there after SIGKILL".to_owned()) }
}

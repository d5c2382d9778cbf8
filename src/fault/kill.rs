//! A signal to the containers' main process.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::containers::{Act, Container, Seen, comes_back, runs, start_again};
use crate::experiment::units::{Time, WallTime};
use crate::record;
use crate::runtime::docker::engine::Engine;
use crate::runtime::docker::select::{self, Containers};

record! {
    /// Sends a signal to the main process of containers, and starts those again that end by it.
    pub struct Kill {
        /// Which one, by name.
        signal: String = "SIGKILL".into(),
        /// How long they stay down. Docker's restart policies do not act after a signal that was asked for.
        r#for: Time = Time::secs(0),
        /// Which containers.
        containers: Containers = Containers::default(),
        /// How long the target may take until it is ready again.
        ready_within: WallTime = WallTime::secs(60),
    }
}

/// The process that ran before.
#[derive(Serialize, Deserialize)]
pub struct Before {
    pub pid: i64,
    pub started: String,
}

impl Before {
    pub fn of(container: &Container) -> Self {
        let state = container.state.clone().unwrap_or_default();
        Self { pid: state.pid.unwrap_or(0), started: state.started_at.unwrap_or_default() }
    }

    /// Whether the container runs, and in which process.
    pub fn compare(&self, container: Option<&Container>) -> Seen {
        let Some(container) = container else { return Seen::Broken("it is gone".to_owned()) };
        let now = Self::of(container);
        if !runs(container) {
            return Seen::Broken(format!("process {} has ended", self.pid));
        }
        let whose = if now.started == self.started { "runs" } else { "was started" };
        Seen::Whole(format!("process {} {whose}", now.pid))
    }
}

const ENDING: &[&str] = &["KILL", "9", "TERM", "15", "INT", "2", "QUIT", "3", "ABRT", "6", "SEGV", "11"];

impl Act for Kill {
    type Saved = Before;
    const EVENTS: &'static [&'static str] = &["kill", "die"];
    const ENDS_PROCESS: bool = true;

    fn which(&self) -> &Containers {
        &self.containers
    }

    fn verb(&self) -> String {
        format!("sends {}", self.signal)
    }

    fn held(&self) -> Option<Duration> {
        // A signal that ends nothing has nothing to hold.
        ENDING.contains(&self.signal.trim_start_matches("SIG")).then_some(self.r#for.0)
    }

    fn back_within(&self) -> Duration {
        self.ready_within.0
    }

    fn may_come_late(&self) -> Duration {
        Duration::from_secs(12)
    }

    fn check(&self) -> Result<(), &'static str> {
        let name = self.signal.trim_start_matches("SIG");
        let known = self.signal.parse::<u8>().is_ok_and(|n| (1..=64).contains(&n)) || format!("SIG{name}").parse::<nix::sys::signal::Signal>().is_ok();
        if known { Ok(()) } else { Err("there is no such signal: expected a name such as SIGKILL or SIGHUP") }
    }

    fn save(&self, container: &Container) -> Result<Before, String> {
        comes_back(container).map(|()| Before::of(container))
    }

    async fn strike(&self, engine: &Engine, id: &str, _saved: &Before) -> Result<(), String> {
        Ok(engine.kill(id, &self.signal).await?)
    }

    async fn look(&self, _engine: &Engine, container: Option<&Container>, saved: &Before) -> Seen {
        saved.compare(container)
    }

    async fn restore(engine: &Engine, container: Option<&Container>, _saved: &Before) -> Result<String, String> {
        Ok(start_again(engine, container).await?.unwrap_or_else(|| format!("runs ({:.12})", container.map(select::id).unwrap_or_default())))
    }
}

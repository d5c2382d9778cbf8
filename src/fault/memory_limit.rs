//! A container's memory limit is lowered, if asked until the kernel's out-of-memory killer acts.

use std::time::Duration;

use bollard::models::ContainerUpdateBody;

use super::containers::{Act, Container, Seen, comes_back, runs, start_again};
use super::limits::{Limits, in_the_kernel, still};
use crate::experiment::units::{Bytes, Time, WallTime};
use crate::record;
use crate::runtime::docker::engine::{CallError, Engine};
use crate::runtime::docker::select::{self, Containers};

record! {
    /// Lowers the memory limit of containers and sets it back.
    pub struct MemoryLimit {
        /// The limit, for memory and swap together. Without it, what the container uses: with `until_oom`.
        to: Option<Bytes> = None,
        /// Follow what the container uses, down and down, until the kernel kills a process in it.
        until_oom: bool = false,
        /// How long to wait for that.
        within: WallTime = WallTime::secs(30),
        /// How long the limit stays.
        r#for: Time,
        /// Which containers.
        containers: Containers = Containers::default(),
        /// How long the target may take until it is ready again.
        ready_within: WallTime = WallTime::secs(60),
    }
}

/// Docker refuses less.
const LEAST: u64 = 6 << 20;
/// On the way down each limit is lower than the one before by this part of it.
const STEP: u64 = 50;
const STEP_EVERY: Duration = Duration::from_millis(20);

impl Act for MemoryLimit {
    type Saved = Limits;
    const EVENTS: &'static [&'static str] = &["update", "oom"];
    const ENDS_PROCESS: bool = true;

    fn which(&self) -> &Containers {
        &self.containers
    }

    fn verb(&self) -> String {
        let to = self.to.map_or_else(|| "what is in use".to_owned(), |to| to.to_string());
        format!("lowers the memory limit to {to}{}", if self.until_oom { ", until the kernel kills" } else { "" })
    }

    fn held(&self) -> Option<Duration> {
        Some(self.r#for.0)
    }

    fn back_within(&self) -> Duration {
        self.ready_within.0
    }

    fn check(&self) -> Result<(), &'static str> {
        match self.to {
            Some(to) if to.0 < LEAST => Err("Docker sets no memory limit below 6 MiB"),
            None if !self.until_oom => Err("a memory limit needs `to: 64MiB`, or `until_oom: true`"),
            _ => Ok(()),
        }
    }

    fn save(&self, container: &Container) -> Result<Limits, String> {
        comes_back(container)?;
        let limits = Limits::of(container);
        match self.to {
            Some(to) if limits.memory > 0 && to.0 as i64 >= limits.memory => Err(format!("its limit is {} already", Bytes(limits.memory as u64))),
            _ => Ok(limits),
        }
    }

    async fn strike(&self, engine: &Engine, id: &str, _saved: &Limits) -> Result<(), String> {
        if let Some(to) = self.to {
            match lower(engine, id, to.0).await {
                // The kernel cannot take away what is in use: with `until_oom` it is followed down.
                Err(_) if self.until_oom => {}
                other => other?,
            }
        }
        if self.until_oom { self.follow_down(engine, id).await } else { Ok(()) }
    }

    async fn look(&self, engine: &Engine, container: Option<&Container>, saved: &Limits) -> Seen {
        let Some(container) = container else { return Seen::Broken("it is gone".to_owned()) };
        let now = Limits::of(container);
        let killed = container.state.as_ref().and_then(|s| s.oom_killed).unwrap_or(false);
        if !runs(container) {
            return Seen::Broken(if killed { "the kernel ran out of memory and killed it".to_owned() } else { "it does not run".to_owned() });
        }
        let kernel = match in_the_kernel(engine, &select::id(container)).await {
            Ok((memory, ..)) => memory.unwrap_or(u64::MAX),
            Err(why) => return Seen::Unknown(why),
        };
        let text = format!("its limit is {}", if now.memory == 0 { "none".to_owned() } else { Bytes(now.memory as u64).to_string() });
        // What the engine says and what the kernel does must agree.
        if now.memory == saved.memory && (now.memory == 0 || kernel == now.memory as u64) {
            return Seen::Whole(text);
        }
        if now.memory == saved.memory { Seen::Broken(format!("{text}, and the kernel's is {}", Bytes(kernel))) } else { Seen::Broken(text) }
    }

    async fn still(&self, _engine: &Engine, container: Option<&Container>, saved: &Limits) -> Seen {
        let Some(container) = container else { return Seen::Broken("it is gone".to_owned()) };
        if !runs(container) {
            return Seen::Broken("it does not run".to_owned());
        }
        let now = Limits::of(container).memory;
        let text = if now == 0 { "it has no memory limit".to_owned() } else { format!("its limit is {}", Bytes(now as u64)) };
        // Where the kernel is made to kill, the limit follows what is in use.
        let is_lowered = self.to.filter(|_| !self.until_oom).map_or(now != saved.memory, |to| now > 0 && now as u64 <= to.0);
        still(text, is_lowered)
    }

    async fn restore(engine: &Engine, container: Option<&Container>, saved: &Limits) -> Result<String, String> {
        let found = container.ok_or("it was removed, and nothing has come in its place")?;
        if Limits::of(found).memory != saved.memory {
            engine.update(&select::id(found), saved.memory_back()).await?;
        }
        let limit = if saved.memory == 0 { "without a memory limit".to_owned() } else { format!("with {}", Bytes(saved.memory as u64)) };
        let started = start_again(engine, container).await?;
        Ok(format!("{} {limit}", started.unwrap_or_else(|| "runs".to_owned())))
    }
}

async fn lower(engine: &Engine, id: &str, to: u64) -> Result<(), CallError> {
    let bytes = i64::try_from(to.max(LEAST)).unwrap_or(i64::MAX);
    engine.update(id, ContainerUpdateBody { memory: Some(bytes), memory_swap: Some(bytes), ..Default::default() }).await
}

impl MemoryLimit {
    /// Keeps the limit just above what is used until the container has been killed.
    async fn follow_down(&self, engine: &Engine, id: &str) -> Result<(), String> {
        let deadline = tokio::time::Instant::now() + self.within.0;
        let began = engine.inspect(id).await?.state.and_then(|s| s.started_at);
        let used = engine.stats(id).await?.memory_stats.and_then(|m| m.usage).ok_or("the engine does not know what it uses")?;
        // The kernel refuses a limit below what is in use, after it has taken back what it can: so a step that is refused is
        // tried again, and the limit stays just above.
        let mut next = self.to.map_or(used, |to| to.0.min(used));
        while tokio::time::Instant::now() < deadline {
            let state = engine.inspect(id).await?.state.unwrap_or_default();
            if state.oom_killed.unwrap_or(false) || !state.running.unwrap_or(false) || state.started_at != began {
                return Ok(());
            }
            if lower(engine, id, next).await.is_ok() {
                next -= next / STEP;
            }
            tokio::time::sleep(STEP_EVERY).await;
        }
        Err(format!("the kernel killed nothing within {}: the container does not ask for more memory than it has; is there load?", self.within))
    }
}

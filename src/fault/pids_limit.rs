//! A container may have only so many processes and threads for a while.

use std::time::Duration;

use bollard::models::ContainerUpdateBody;

use super::containers::{Act, Container, Seen, runs};
use super::limits::{Limits, in_the_kernel, still};
use crate::experiment::units::Time;
use crate::record;
use crate::runtime::docker::engine::Engine;
use crate::runtime::docker::select::{self, Containers};

record! {
    /// Lowers the number of processes and threads that containers may have.
    pub struct PidsLimit {
        /// How many; those that are there stay.
        to: u32,
        /// For how long.
        r#for: Time,
        /// Which containers.
        containers: Containers = Containers::default(),
    }
}

impl Act for PidsLimit {
    type Saved = Limits;
    const EVENTS: &'static [&'static str] = &["update"];

    fn which(&self) -> &Containers {
        &self.containers
    }

    fn verb(&self) -> String {
        format!("limits to {} processes and threads", self.to)
    }

    fn held(&self) -> Option<Duration> {
        Some(self.r#for.0)
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.to > 0 { Ok(()) } else { Err("0 stands for no limit: expected 1 or more") }
    }

    fn save(&self, container: &Container) -> Result<Limits, String> {
        let limits = Limits::of(container);
        match limits.pids {
            _ if !runs(container) => Err("it does not run".to_owned()),
            pids if pids > 0 && pids <= i64::from(self.to) => Err(format!("it may have only {pids} already")),
            _ => Ok(limits),
        }
    }

    async fn strike(&self, engine: &Engine, id: &str, _saved: &Limits) -> Result<(), String> {
        Ok(engine.update(id, ContainerUpdateBody { pids_limit: Some(i64::from(self.to)), ..Default::default() }).await?)
    }

    async fn look(&self, engine: &Engine, container: Option<&Container>, saved: &Limits) -> Seen {
        let Some(container) = container else { return Seen::Broken("it is gone".to_owned()) };
        match in_the_kernel(engine, &select::id(container)).await {
            // The kernel's own figure: none is told as 0, or as a number that nobody reaches.
            Ok((_, pids, _)) if pids.unwrap_or(0) == u64::from(self.to) => Seen::Broken(format!("the kernel lets it have {}", self.to)),
            Ok(_) if Limits::of(container).pids == saved.pids => Seen::Whole("its limit is as before".to_owned()),
            Ok((_, pids, _)) => Seen::Unknown(format!("the engine says {}, and the kernel {pids:?}", Limits::of(container).pids)),
            Err(why) => Seen::Unknown(why),
        }
    }

    async fn still(&self, _engine: &Engine, container: Option<&Container>, _saved: &Limits) -> Seen {
        let Some(container) = container else { return Seen::Broken("it is gone".to_owned()) };
        let now = Limits::of(container).pids;
        let text = if now == 0 { "it may have any number of processes".to_owned() } else { format!("it may have {now} processes") };
        still(text, now > 0 && now <= i64::from(self.to))
    }

    async fn restore(engine: &Engine, container: Option<&Container>, saved: &Limits) -> Result<String, String> {
        let container = container.ok_or("it was removed, and nothing has come in its place")?;
        if Limits::of(container).pids != saved.pids {
            engine.update(&select::id(container), saved.pids_back()).await?;
        }
        Ok(if saved.pids == 0 { "without a limit of processes".to_owned() } else { format!("may have {} processes", saved.pids) })
    }
}

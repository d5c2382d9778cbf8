//! A container's share of the CPU is lowered for a while.

use std::time::Duration;

use super::containers::{Act, Container, Seen, runs};
use super::limits::{Limits, in_the_kernel, still};
use crate::experiment::units::Time;
use crate::record;
use crate::runtime::docker::engine::Engine;
use crate::runtime::docker::select::{self, Containers};

record! {
    /// Gives containers less CPU for a while.
    pub struct CpuLimit {
        /// How many CPUs they may use: 0.5 is half of one.
        cpus: f64,
        /// For how long.
        r#for: Time,
        /// Which containers.
        containers: Containers = Containers::default(),
    }
}

/// Shares of a CPU are kept as whole numbers of its time.
const ROUNDING: f64 = 0.001;

impl Act for CpuLimit {
    type Saved = Limits;
    const EVENTS: &'static [&'static str] = &["update"];

    fn which(&self) -> &Containers {
        &self.containers
    }

    fn verb(&self) -> String {
        format!("limits to {} CPUs", self.cpus)
    }

    fn held(&self) -> Option<Duration> {
        Some(self.r#for.0)
    }

    fn check(&self) -> Result<(), &'static str> {
        // The kernel's shortest quota is 1 ms in a period of 100 ms.
        if self.cpus >= 0.01 { Ok(()) } else { Err("expected `cpus: 0.01` or more") }
    }

    fn save(&self, container: &Container) -> Result<Limits, String> {
        let limits = Limits::of(container);
        match limits.cpus() {
            _ if !runs(container) => Err("it does not run".to_owned()),
            Some(cpus) if cpus <= self.cpus => Err(format!("it has only {cpus} CPUs already")),
            _ => Ok(limits),
        }
    }

    async fn strike(&self, engine: &Engine, id: &str, saved: &Limits) -> Result<(), String> {
        Ok(engine.update(id, saved.cpu(self.cpus)).await?)
    }

    async fn look(&self, engine: &Engine, container: Option<&Container>, saved: &Limits) -> Seen {
        let Some(container) = container else { return Seen::Broken("it is gone".to_owned()) };
        let now = Limits::of(container).cpus();
        let text = now.map_or_else(|| "it may use all CPUs".to_owned(), |cpus| format!("it may use {cpus} CPUs"));
        if now == saved.cpus() {
            return Seen::Whole(text);
        }
        // The kernel counts the periods of a quota only while there is one, and the process works.
        match in_the_kernel(engine, &select::id(container)).await {
            Ok((.., periods)) if periods > 0 => Seen::Broken(format!("{text}, and the kernel has counted {periods} periods of it")),
            Ok(_) => Seen::Unknown(format!("{text}, but the container has used no CPU since")),
            Err(why) => Seen::Unknown(why),
        }
    }

    async fn still(&self, _engine: &Engine, container: Option<&Container>, _saved: &Limits) -> Seen {
        let Some(container) = container else { return Seen::Broken("it is gone".to_owned()) };
        let now = Limits::of(container).cpus();
        let text = now.map_or_else(|| "it may use all CPUs".to_owned(), |cpus| format!("it may use {cpus} CPUs"));
        still(text, now.is_some_and(|cpus| cpus <= self.cpus + ROUNDING))
    }

    async fn restore(engine: &Engine, container: Option<&Container>, saved: &Limits) -> Result<String, String> {
        let container = container.ok_or("it was removed, and nothing has come in its place")?;
        if Limits::of(container).cpus() != saved.cpus() {
            engine.update(&select::id(container), saved.cpu_back()).await?;
        }
        Ok(saved.cpus().map_or_else(|| "may use all CPUs".to_owned(), |cpus| format!("may use {cpus} CPUs")))
    }
}

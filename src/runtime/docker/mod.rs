//! A target that runs in containers.
//!
//! ```text
//! engine ── events ──▶ watch ──▶ journal          (starts, ends, kills, pauses, limits, networks)
//!        ── stats  ──▶ figures ─▶ sampler
//!        ── logs   ──▶ logs ────▶ target.log, journal
//! ```

pub mod address;
pub mod engine;
mod figures;
mod logs;
pub mod members;
mod published;
pub mod select;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bollard::models::ContainerInspectResponse;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::address::Address;
use self::engine::Engine;
use self::members::Members;
use self::select::{Docker, Selector};
use super::Runtime;
use super::output::Output;
use crate::journal::event::{Event, Level};
use crate::journal::writer::Journal;

/// The engine's figures of a container are read this often.
const READ_EVERY: Duration = Duration::from_secs(1);

pub struct DockerRuntime {
    pub rules: Docker,
    /// What faults name besides the target: looked up, and refused if need be, before the first fault.
    others: Vec<(Selector, u32)>,
    url: String,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What the watching tasks share.
struct Shared {
    engine: OnceLock<Engine>,
    engine_id: OnceLock<String>,
    members: Members,
    figures: Mutex<BTreeMap<String, f64>>,
    journal: Journal,
    output: Output,
}

impl DockerRuntime {
    /// Nothing is asked yet.
    pub fn new(
        rules: Docker,
        others: Vec<(Selector, u32)>,
        url: String,
        journal: Journal,
        output: Output,
        tasks: TaskTracker,
    ) -> Self {
        let shared = Shared {
            engine: OnceLock::new(),
            engine_id: OnceLock::new(),
            members: Members::default(),
            figures: Mutex::default(),
            journal,
            output,
        };
        Self { rules, others, url, shared: Arc::new(shared), tasks, stop: CancellationToken::new() }
    }

    /// The engine, once the run has begun.
    ///
    /// # Errors
    /// Before that.
    pub fn engine(&self) -> Result<&Engine, String> {
        self.shared.engine.get().ok_or_else(|| "the engine has not been asked yet".to_owned())
    }

    /// The engine's events about these containers are written down from now on.
    pub fn watch_too(&self, ids: impl IntoIterator<Item = String>) {
        self.shared.members.watch_too(ids);
    }

    /// The containers that the run may change, so that no other run does so at the same time.
    pub fn resources(&self) -> Vec<String> {
        let engine = self.shared.engine_id.get().map_or("", String::as_str);
        self.shared.members.watched().into_iter().map(|id| format!("container {id} of engine {engine}")).collect()
    }

    fn note(&self, what: &str, level: Level, detail: String) {
        self.shared.journal.emit(Event::Preflight { what: what.to_owned(), level, detail });
    }

    /// Looks the target's containers up, and those that faults name, and follows the target's.
    async fn find(&self, engine: &Engine) -> Result<(), String> {
        let found = select::find(engine, &self.rules.selector(), self.rules.at_most, &self.rules).await?;
        for container in &found {
            let (name, id) = (select::name(container), select::id(container));
            let status = container.state.as_ref().and_then(|s| s.status).map_or_else(String::new, |s| s.to_string());
            if status != "running" {
                return Err(format!(
                    "container {name} does not run (it is {status}): start it first, with `docker start {name}`"
                ));
            }
            self.note("container", Level::Ok, format!("{name} ({:.12}) runs and may be touched", id));
            self.shared.members.add(&self.shared.journal, container);
        }
        self.port_is_published(&found);
        for (selector, at_most) in &self.others {
            let others = select::find(engine, selector, *at_most, &self.rules).await?;
            let names: Vec<String> = others.iter().map(select::name).collect();
            self.note("container", Level::Ok, format!("{}, for a fault, may be touched", names.join(", ")));
            self.watch_too(others.iter().map(select::id));
        }
        Ok(())
    }

    /// A proxy in between may answer for a backend that is dead: worth knowing.
    fn port_is_published(&self, found: &[ContainerInspectResponse]) {
        if reqwest::Url::parse(&self.url).is_ok_and(|url| !published::answers(&url, found)) {
            let text = format!(
                "no container of the target answers at {} by itself, for none publishes that port at that address: whoever does may go on when the target does not",
                self.url
            );
            self.note("container", Level::Warning, text);
        }
    }
}

#[async_trait]
impl Runtime for DockerRuntime {
    async fn open(&self) -> Result<(), String> {
        let address = Address::find(self.rules.host.as_deref(), &|name| std::env::var(name).ok())?;
        let engine = Engine::connect(&address).await?;
        let (said, id) = engine.identity().await?;
        self.note("engine", Level::Ok, format!("{said} at {}", address.host));
        let _ = self.shared.engine_id.set(id);
        let _ = self.shared.engine.set(engine.clone());
        // The events from here on are followed, so that nothing happens unseen between the look and the watch.
        let events = watch::Events::since_now();
        self.find(&engine).await?;
        self.tasks.spawn(watch::follow(self.shared.clone(), engine.clone(), events, self.tasks.clone(), self.stop.clone()));
        for member in self.shared.members.all() {
            let now = jiff::Timestamp::now();
            self.tasks.spawn(logs::follow(self.shared.clone(), engine.clone(), member.id, now, self.stop.clone()));
        }
        self.tasks.spawn(read_figures(self.shared.clone(), engine, self.stop.clone()));
        Ok(())
    }

    async fn close(&self, _grace: Duration) -> Result<(), String> {
        // Those who watch read what there still is, and then look once more.
        self.stop.cancel();
        Ok(())
    }

    fn pid(&self) -> Option<u32> {
        self.shared.members.all().iter().find_map(|member| local_pid(member.pid?, &member.id))
    }

    fn is_gone(&self) -> bool {
        let members = self.shared.members.all();
        !members.is_empty() && members.iter().all(|member| member.is_gone)
    }

    fn docker(&self) -> Option<&DockerRuntime> {
        Some(self)
    }

    fn figures(&self) -> BTreeMap<String, f64> {
        self.shared.figures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A container's process as this machine sees it; `None` when the engine is on another machine, or in another namespace.
fn local_pid(pid: u32, id: &str) -> Option<u32> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    groups.contains(id).then_some(pid)
}

/// Reads the figures of the target's containers again and again. Of several, the sum.
async fn read_figures(shared: Arc<Shared>, engine: Engine, stop: CancellationToken) {
    let mut meters: BTreeMap<String, figures::Meter> = BTreeMap::new();
    while tokio::time::timeout(READ_EVERY, stop.cancelled()).await.is_err() {
        let mut sum: BTreeMap<String, f64> = BTreeMap::new();
        for member in shared.members.all().into_iter().filter(|m| m.pid.is_some()) {
            let (Ok(stats), Ok(container)) = (engine.stats(&member.id).await, engine.inspect(&member.id).await) else { continue };
            let used = meters.entry(member.id).or_default().read(&stats);
            for (name, value) in used.into_iter().chain(figures::state(&container)) {
                *sum.entry(format!("container.{name}")).or_default() += value;
            }
        }
        *shared.figures.lock().unwrap_or_else(PoisonError::into_inner) = sum;
    }
}

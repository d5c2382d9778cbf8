//! What faults and the engine act upon.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::address;
use super::claims::Claims;
use super::stranger::{self, Answers};
use crate::clock::Clock;
use crate::driver::Port;
use crate::journal::event::{Event, ProcessEvent};
use crate::journal::writer::Journal;
use crate::listen::registry::Registry;
use crate::load::drive::Shop;
use crate::plan::{Plan, RuntimePlan};
use crate::runtime::Runtime;

/// Between two questions whether the target is ready.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// ... and what nobody waits for once somebody is in a hurry gets this long.
const HURRIED: Duration = Duration::from_secs(1);

/// The target and all that speaks to it or of it. Cheap to clone.
#[derive(Clone)]
pub struct World {
    pub plan: Arc<Plan>,
    pub port: Arc<dyn Port>,
    pub runtime: Arc<dyn Runtime>,
    pub journal: Journal,
    pub clock: Clock,
    pub shop: Shop,
    /// Where it is written down what this run may change.
    pub claims: Option<Arc<Claims>>,
    /// What is away is not waited for any longer.
    pub hurry: CancellationToken,
    /// The machine is watched too, which needs real time.
    pub watches_machine: bool,
}

impl World {
    /// A world over a target. `tasks` holds everything that is spawned on its behalf.
    pub fn new(
        plan: &Plan,
        clock: Clock,
        journal: Journal,
        port: Arc<dyn Port>,
        runtime: Arc<dyn Runtime>,
        tasks: TaskTracker,
    ) -> Self {
        let shop = Shop {
            port: port.clone(),
            journal: journal.clone(),
            clock,
            seed: plan.seed,
            stop: CancellationToken::new(),
            give_up: CancellationToken::new(),
            tasks,
            listeners: Registry::default(),
            is_told: plan.driver.pushes(),
            poll_every: plan.driver.status.every.0,
            unknown_for: plan.driver.status.unknown_for.0,
        };
        Self {
            plan: Arc::new(plan.clone()),
            port,
            runtime,
            journal,
            clock,
            shop,
            claims: None,
            hurry: CancellationToken::new(),
            watches_machine: false,
        }
    }

    /// Waits for this for so long; whoever is in a hurry gives it a moment.
    pub async fn wait_for<T>(&self, within: Duration, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = tokio::time::timeout(within, work) => done.ok(),
            () = async { self.hurry.cancelled().await; tokio::time::sleep(HURRIED).await } => None,
        }
    }

    /// Claims where the target is, or is to be, before anything is started there.
    ///
    /// # Errors
    /// Another run is at work on it, or has left it broken, or something that may be about anything.
    pub async fn claim_address(&self) -> Result<(), String> {
        let Some(claims) = &self.claims else { return Ok(()) };
        claims.look_around().await?;
        // The embedded backend takes a port that nobody has.
        match &self.plan.runtime {
            RuntimePlan::Embedded(_) => Ok(()),
            RuntimePlan::Process(_) | RuntimePlan::Docker(_) | RuntimePlan::None => {
                claims.take(&address::resources(&self.plan.url).await)
            }
        }
    }

    /// Claims the containers that were found.
    ///
    /// # Errors
    /// As above.
    pub fn claim_containers(&self) -> Result<(), String> {
        match self.claims.as_ref().zip(self.runtime.docker()) {
            Some((claims, docker)) => claims.take(&docker.resources()),
            None => Ok(()),
        }
    }

    /// Gives the claims up, unless something is still broken.
    pub fn unclaim(&self) {
        if let Some(claims) = self.claims.as_ref().filter(|_| self.journal.read(|r| r.faults.iter().all(|f| !f.is_open()))) {
            claims.release();
        }
    }

    /// Waits until the target says that jobs can be sent.
    ///
    /// # Errors
    /// What it said last, when the time is over or its process has ended.
    pub async fn wait_until_ready(&self, within: Duration) -> Result<(), String> {
        let began = self.clock.now_s();
        loop {
            let error = match self.ready().await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if self.target_is_gone() {
                return Err(format!("the target's process ended before it was ready: {error}"));
            }
            if self.clock.now_s() - began > within.as_secs_f64() {
                return Err(format!("not ready after {:.1} s of waiting: {error}", within.as_secs_f64()));
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// Asks whether the target is ready. If its process was started since it was seen ready last, that is written down,
    /// with the time from its start on, whatever chaos waited for meanwhile.
    ///
    /// # Errors
    /// What the target said.
    pub async fn ready(&self) -> Result<(), String> {
        // The answer may come from a process that has another successor when it arrives.
        let waiting = self.journal.read(|record| record.generations.last().map(|g| (g.number, g.started_t, g.ready_after_s)));
        self.port.ready().await?;
        if let Some((generation, started_t, None)) = waiting {
            self.is_no_stranger()?;
            let after_s = self.clock.now_s() - started_t;
            self.journal.emit(Event::Process { event: ProcessEvent::Ready { generation, after_s } });
        }
        Ok(())
    }

    /// What has answered is the process that was started, as far as that can be told.
    fn is_no_stranger(&self) -> Result<(), String> {
        if !matches!(self.plan.runtime, RuntimePlan::Process(_)) {
            return Ok(());
        }
        let Some(pid) = self.runtime.pid() else {
            return Err(format!("somebody answers at {}, who is not the target: its process has ended", self.plan.url));
        };
        match stranger::who_answers(&self.plan.url, pid) {
            Answers::Target => Ok(()),
            Answers::Stranger(other) => {
                let who = stranger::named(other);
                Err(format!(
                    "{who} answers at {}, which is not the target (process {pid}) and was there before it",
                    self.plan.url
                ))
            }
            Answers::Unknown(why) => {
                let text =
                    format!("it cannot be told whether the target (process {pid}) is what answers at {}: {why}", self.plan.url);
                self.journal.emit(Event::Note { text });
                Ok(())
            }
        }
    }

    /// Nobody has seen the target's process ready since it was started.
    pub fn is_starting(&self) -> bool {
        self.journal.read(|record| record.generations.last().is_some_and(|g| g.ready_after_s.is_none() && g.exited.is_none()))
    }

    /// The target does not run, and nobody will start it again.
    pub fn target_is_gone(&self) -> bool {
        self.runtime.is_gone()
    }
}

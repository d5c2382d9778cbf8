//! What faults and the engine act upon.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::driver::Port;
use crate::journal::event::{Event, ProcessEvent};
use crate::journal::writer::Journal;
use crate::listen::registry::Registry;
use crate::load::drive::Shop;
use crate::plan::Plan;
use crate::runtime::Runtime;

/// Between two questions whether the target is ready.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// The target and all that speaks to it or of it. Cheap to clone.
#[derive(Clone)]
pub struct World {
    pub plan: Arc<Plan>,
    pub port: Arc<dyn Port>,
    pub runtime: Arc<dyn Runtime>,
    pub journal: Journal,
    pub clock: Clock,
    pub shop: Shop,
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
            poll_every: plan.driver.status.every.0,
            unknown_for: plan.driver.status.unknown_for.0,
        };
        Self { plan: Arc::new(plan.clone()), port, runtime, journal, clock, shop }
    }

    /// Waits until the target says that jobs can be sent.
    ///
    /// # Errors
    /// What it said last, when the time is over or its process has ended.
    pub async fn wait_until_ready(&self, within: Duration) -> Result<(), String> {
        let began = self.clock.now_s();
        loop {
            let error = match self.port.ready().await {
                Ok(()) => {
                    self.note_ready(self.clock.now_s() - began);
                    return Ok(());
                }
                Err(error) => error,
            };
            if self.target_is_gone() {
                return Err(format!("the target's process ended before it was ready: {error}"));
            }
            if self.clock.now_s() - began > within.as_secs_f64() {
                return Err(format!("not ready within {} s: {error}", within.as_secs_f64()));
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    fn note_ready(&self, after_s: f64) {
        let generation = self.journal.read(|record| record.generations.last().map(|g| g.number));
        if let Some(generation) = generation {
            self.journal.emit(Event::Process { event: ProcessEvent::Ready { generation, after_s } });
        }
    }

    /// The target has a process of ours, and it does not run.
    pub fn target_is_gone(&self) -> bool {
        self.runtime.has_process() && self.runtime.pid().is_none()
    }
}

//! The whole engine in simulated time: the reference backend's core behind the engine's own interfaces, without a socket.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chaos::backend::config::Embedded;
use chaos::backend::core::Core;
use chaos::backend::job::{Refusal, Request};
use chaos::backend::metrics::Now;
use chaos::clock::Clock;
use chaos::driver::place::Answered;
use chaos::driver::results::{look, lookless};
use chaos::driver::{Ask, Channel, Depth, Driver, Method, Port, Probe, Seen, template};
use chaos::experiment::file::{self, Overrides};
use chaos::journal::event::{Answer, Event, JobView, ProcessEvent, ResultLook};
use chaos::journal::record::Record;
use chaos::journal::writer::Journal;
use chaos::listen::How;
use chaos::observe::kept::Kept;
use chaos::observe::sampler::Sampler;
use chaos::plan::{Plan, RuntimePlan, build};
use chaos::report::result::{self, RunResult};
use chaos::run::engine::{self, Interrupt};
use chaos::run::world::World;
use chaos::runtime::{Ending, Runtime, Signal};
use chaos::seed::Seed;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// What the test breaks about the world itself, to see whether the engine notices.
#[derive(Clone, Default)]
pub struct Sabotage {
    /// Signals are answered with success and do nothing.
    pub signals_lie: bool,
    /// The process that is signalled is not the one that serves.
    pub wrong_process: bool,
    /// A stopped process cannot be made to go on: an error each time.
    pub cannot_continue: bool,
    /// Making it go on is answered with success and does nothing.
    pub continue_lies: bool,
    /// Ending the process is answered with success and does nothing.
    pub end_lies: bool,
    /// Of the jobs of a flood so many are answered with an id that the target has never heard of.
    pub swallow: u32,
    /// The process is gone before the fault, without a word.
    pub no_process: bool,
    /// The code that stops the process panics when it has done so.
    pub panics: bool,
    /// So long after the end of a job its result comes.
    pub slow_results: Duration,
    /// So long after a subscription its first news comes.
    pub slow_news: Duration,
    /// From so long after the start on nobody answers for the metrics.
    pub no_metrics_after: Option<Duration>,
}

/// The state that port and runtime share.
struct Machine {
    core: Mutex<Option<Core>>,
    paused: AtomicBool,
    marked_stopped: AtomicBool,
    generation: AtomicU32,
    swallowed: AtomicU32,
    sabotage: Sabotage,
    settings: Embedded,
    seed: u64,
    data: PathBuf,
    journal: Journal,
    driver: Driver,
}

impl Machine {
    fn core(&self) -> Option<Core> {
        self.core.lock().unwrap().clone()
    }
    /// A stopped process answers nobody; small questions give up after 5 s, as over HTTP.
    async fn answer(&self) -> Result<Core, String> {
        tokio::time::timeout(Duration::from_secs(5), self.answer_at_last()).await.unwrap_or_else(|_| Err("timed out".to_owned()))
    }
    async fn answer_at_last(&self) -> Result<Core, String> {
        while self.paused.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.core().ok_or_else(|| "connection refused".to_owned())
    }
    /// It answers, and would take a job.
    async fn ready(&self) -> Result<(), String> {
        if self.answer().await?.is_starting() { Err("status 503".to_owned()) } else { Ok(()) }
    }
    fn view(&self, core: &Core, id: &str) -> Option<JobView> {
        let job = core.find(id)?;
        let json = serde_json::to_value(&*job.view.borrow()).unwrap();
        template::view(&self.driver.status, &Answered::of(&json), &|_| None).ok()
    }
}

#[derive(Clone)]
struct SimPort(Arc<Machine>);

#[async_trait]
impl Port for SimPort {
    async fn submit(&self, ask: &Ask) -> Answer {
        let core = match self.0.answer_at_last().await {
            Ok(core) => core,
            Err(reason) => return Answer::Unreachable { reason },
        };
        if ask.shape.width == 1024 && self.0.swallowed.load(Ordering::Relaxed) < self.0.sabotage.swallow {
            let n = self.0.swallowed.fetch_add(1, Ordering::Relaxed);
            return Answer::Accepted { id: format!("nobody-{n}") };
        }
        let request = Request {
            width: ask.shape.width,
            height: ask.shape.height,
            batch: ask.shape.batch,
            mark: ask.mark.clone(),
            seed: ask.seed,
        };
        match core.submit(request) {
            Ok(id) => Answer::Accepted { id },
            Err(Refusal::Invalid(reason)) => Answer::Invalid { status: 422, reason },
            Err(Refusal::QueueFull { retry_after_s }) => {
                Answer::Refused { status: 429, retry_after_s: Some(retry_after_s as f64), reason: String::new() }
            }
            Err(Refusal::Broken) => Answer::Error { status: 500, proxy: false, reason: "internal error".into() },
            Err(Refusal::Starting) => Answer::Refused { status: 503, retry_after_s: Some(1.0), reason: String::new() },
            Err(Refusal::ShuttingDown) => Answer::Refused { status: 503, retry_after_s: Some(1.0), reason: String::new() },
        }
    }
    async fn status(&self, id: &str) -> Seen {
        match self.0.answer().await {
            Ok(core) => self.0.view(&core, id).map_or(Seen::Missing, Seen::View),
            Err(reason) => Seen::Unclear(reason),
        }
    }
    async fn connect(&self, _client: &str) -> Option<Result<Box<dyn Channel>, String>> {
        Some(self.0.answer().await.map(|core| {
            let (sender, updates) = mpsc::unbounded_channel();
            Box::new(SimChannel { machine: self.0.clone(), core, sender, updates }) as Box<dyn Channel>
        }))
    }
    async fn result(&self, id: &str) -> Option<ResultLook> {
        tokio::time::sleep(self.0.sabotage.slow_results).await;
        Some(match self.0.answer().await.map(|core| core.result(id)) {
            Ok(Some(body)) => look(&body, 200),
            Ok(None) => lookless(404, "status 404".to_owned()),
            Err(reason) => lookless(0, reason),
        })
    }
    async fn cancel(&self, id: &str) -> Result<(), String> {
        self.0.answer().await.map(|core| core.cancel(id)).map(drop)
    }
    async fn depth(&self) -> Option<Result<Depth, String>> {
        Some(self.0.answer().await.map(|core| {
            let inner = core.lock();
            Depth { waiting: inner.queue.len() as f64, running: Some(inner.running.len() as f64) }
        }))
    }
    async fn probe(&self) -> Probe {
        let open = self.0.core().is_some();
        let healthy = tokio::time::timeout(Duration::from_secs(1), self.0.ready()).await.is_ok_and(|ready| ready.is_ok());
        Probe { open, healthy: Some(healthy), seconds: 0.0 }
    }
    async fn call(&self, _method: Method, path: &str, _body: Option<&serde_json::Value>) -> Result<(u16, String), String> {
        let core = self.0.answer().await?;
        if path == "/evict" {
            core.evict();
            return Ok((204, String::new()));
        }
        Ok((404, String::new()))
    }
    async fn health(&self) -> Result<(), String> {
        self.0.ready().await
    }
    async fn ready(&self) -> Result<(), String> {
        self.0.ready().await
    }
    async fn scrape(&self) -> Option<Result<String, String>> {
        let now_s = self.0.journal.clock().now_s();
        if self.0.sabotage.no_metrics_after.is_some_and(|silent| now_s > silent.as_secs_f64()) {
            return Some(Err("timed out".to_owned()));
        }
        Some(self.0.answer().await.map(|core| {
            let (queue, running, vram_allocated, vram_peak) = {
                let inner = core.lock();
                (inner.queue.len(), inner.running.len(), inner.vram_used, inner.vram_peak)
            };
            let now = Now {
                queue,
                running,
                gpu_lost: core.gpu_is_lost(),
                vram_used: core.config.taken(vram_allocated, vram_peak),
                vram_allocated,
                vram_total: core.config.vram.0,
                rss_bytes: 1 << 26,
                cpu_percent: 1.0,
            };
            core.metrics.render(&now)
        }))
    }
}

struct SimChannel {
    machine: Arc<Machine>,
    core: Core,
    sender: mpsc::UnboundedSender<(String, JobView)>,
    updates: mpsc::UnboundedReceiver<(String, JobView)>,
}

#[async_trait]
impl Channel for SimChannel {
    async fn leave(self: Box<Self>, how: How) -> Option<Box<dyn Channel>> {
        if how == How::HalfOpen { Some(self) } else { None }
    }
    async fn subscribe(&mut self, id: &str) -> Result<(), String> {
        let Some(job) = self.core.find(id) else { return Ok(()) };
        let (mut changes, sender, machine, core, id) =
            (job.view.subscribe(), self.sender.clone(), self.machine.clone(), self.core.clone(), id.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(machine.sabotage.slow_news).await;
            loop {
                changes.borrow_and_update();
                let Some(view) = machine.view(&core, &id) else { return };
                let ended = view.state.is_terminal();
                if sender.send((id.clone(), view)).is_err() || ended {
                    return;
                }
                tokio::select! {
                    changed = changes.changed() => if changed.is_err() { return },
                    () = core.crashed.cancelled() => return,
                }
            }
        });
        Ok(())
    }
    async fn next(&mut self) -> Result<(String, JobView), String> {
        tokio::select! {
            update = self.updates.recv() => update.ok_or_else(|| "closed".to_owned()),
            () = self.core.crashed.cancelled() => Err("connection reset".to_owned()),
        }
    }
}

struct SimRuntime(Arc<Machine>);

impl SimRuntime {
    fn exited(machine: &Machine, asked: bool) {
        let generation = machine.generation.load(Ordering::Relaxed);
        machine.journal.emit(Event::Process {
            event: ProcessEvent::Exited { generation, status: "simulated".into(), asked, elsewhere: false },
        });
    }
}

#[async_trait]
impl Runtime for SimRuntime {
    async fn start(&self) -> Result<(), String> {
        let machine = self.0.clone();
        if machine.core().is_some() {
            return Ok(());
        }
        let core = Core::start(machine.settings.clone(), machine.seed, Some(&machine.data)).map_err(|e| e.to_string())?;
        let generation = machine.generation.fetch_add(1, Ordering::Relaxed) + 1;
        machine.journal.emit(Event::Process { event: ProcessEvent::Started { pid: 1000 + generation, generation } });
        *machine.core.lock().unwrap() = Some(core.clone());
        tokio::spawn(async move {
            core.crashed.cancelled().await;
            let ours = machine.core.lock().unwrap().take_if(|c| Arc::ptr_eq(&c.config, &core.config)).is_some();
            if ours {
                Self::exited(&machine, false);
            }
        });
        Ok(())
    }
    async fn end(&self, _ending: Ending) -> Result<(), String> {
        if self.0.sabotage.end_lies && !self.0.journal.read(|r| r.load_stopped_t.is_some()) {
            return Ok(());
        }
        let core = self.0.core.lock().unwrap().take();
        if let Some(core) = core {
            Self::exited(&self.0, true);
            core.crashed.cancel();
        }
        Ok(())
    }
    fn pid(&self) -> Option<u32> {
        let hidden = self.0.sabotage.no_process && self.0.journal.read(|r| r.jobs.len() > 3);
        self.0.core().filter(|_| !hidden).map(|_| 1000 + self.0.generation.load(Ordering::Relaxed))
    }
    fn start_ticks(&self, pid: u32) -> Option<u64> {
        (self.pid() == Some(pid)).then_some(u64::from(pid))
    }
    fn is_stopped(&self, _pid: u32) -> Option<bool> {
        Some(self.0.paused.load(Ordering::Relaxed) || self.0.marked_stopped.load(Ordering::Relaxed))
    }
    fn signal(&self, _pid: u32, signal: Signal) -> Result<(), String> {
        let stop = signal == Signal::Stop;
        if !stop && self.0.sabotage.cannot_continue {
            return Err("operation not permitted".to_owned());
        }
        if !stop && self.0.sabotage.continue_lies {
            return Ok(());
        }
        match (&self.0.sabotage.signals_lie, &self.0.sabotage.wrong_process) {
            (true, _) => {}
            (_, true) => self.0.marked_stopped.store(stop, Ordering::Relaxed),
            _ => self.0.paused.store(stop, Ordering::Relaxed),
        }
        assert!(!(stop && self.0.sabotage.panics), "a planted panic");
        Ok(())
    }
    fn has_process(&self) -> bool {
        true
    }
}

/// A finished simulated run.
pub struct Simulated {
    pub record: Record,
    pub result: RunResult,
    /// The target was left running, or stopped by a signal.
    pub left_broken: bool,
}

/// The plan of an experiment in a text.
pub fn plan(yaml: &str, seed: u64) -> Plan {
    let mut loaded = file::load_text("test.yaml", yaml.to_owned(), &Overrides::default(), &|_| None)
        .unwrap_or_else(|d| panic!("{}", d.render(false)));
    build::build(&mut loaded, Seed(seed), Path::new(".")).unwrap_or_else(|| panic!("{}", loaded.diags.render(false)))
}

/// Runs an experiment (with `url: embedded`) in simulated time. `stop_after` interrupts it at that moment.
pub async fn run(yaml: &str, seed: u64, sabotage: Sabotage, stop_after: Option<Duration>) -> Simulated {
    run_plan(plan(yaml, seed), seed, sabotage, stop_after).await
}

/// The same for a plan that a test has changed.
pub async fn run_plan(plan: Plan, seed: u64, sabotage: Sabotage, stop_after: Option<Duration>) -> Simulated {
    super::gives_way();
    let clock = Clock::start();
    let journal = Journal::in_memory(clock);
    journal.emit(Event::RunStarted {
        schema: 1,
        run_id: "simulated".into(),
        version: "test".into(),
        began: "2026-01-01T00:00:00Z".into(),
        overrides: Vec::new(),
        host: "simulated".into(),
        plan: Box::new(plan.clone()),
    });
    let RuntimePlan::Embedded(settings) = plan.runtime.clone() else { panic!("only embedded targets can be simulated") };
    let data = tempfile::tempdir().expect("a temporary folder");
    let machine = Arc::new(Machine {
        core: Mutex::new(None),
        paused: AtomicBool::new(false),
        marked_stopped: AtomicBool::new(false),
        generation: AtomicU32::new(0),
        swallowed: AtomicU32::new(0),
        sabotage,
        settings,
        seed,
        data: data.path().to_owned(),
        journal: journal.clone(),
        driver: plan.driver.clone(),
    });
    let world = world(plan, clock, &journal, &machine);
    let sampler = Sampler {
        port: world.port.clone(),
        runtime: world.runtime.clone(),
        journal: journal.clone(),
        driver: world.plan.driver.clone(),
        every: Duration::from_secs_f64(world.plan.sample_every_s),
        gpus: None,
        meter: None,
        last: BTreeMap::new(),
        types: BTreeMap::new(),
        kept: Kept::default(),
        unread: Default::default(),
    };
    let interrupt = Interrupt::default();
    if let Some(after) = stop_after {
        let stop = interrupt.stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            stop.cancel();
        });
    }
    engine::run(&world, sampler, &interrupt).await;
    let record = journal.read(Record::clone);
    let left_broken = machine.core().is_some() || machine.paused.load(Ordering::Relaxed);
    Simulated { result: result::of(&record), record, left_broken }
}

fn world(plan: Plan, clock: Clock, journal: &Journal, machine: &Arc<Machine>) -> World {
    let port: Arc<dyn Port> = Arc::new(SimPort(machine.clone()));
    World::new(&plan, clock, journal.clone(), port, Arc::new(SimRuntime(machine.clone())), TaskTracker::new())
}

impl Simulated {
    pub fn verdict(&self, name: &str) -> String {
        let check = self.result.checks.iter().find(|c| c.name == name);
        check.map_or_else(|| "absent".to_owned(), |c| format!("{:?}", c.verdict).to_lowercase())
    }

    pub fn trouble(&self) -> String {
        let bad = self.result.checks.iter().filter(|c| c.verdict != chaos::check::Ruling::Passed);
        let bad: Vec<String> = bad.map(|c| format!("{}: {:?}: {} {:?}", c.name, c.verdict, c.observed, c.evidence)).collect();
        format!("exit {}: {:?}\n{}", self.result.exit_code, self.result.reason, bad.join("\n"))
    }
}

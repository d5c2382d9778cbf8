//! The backend itself: accept, queue, schedule, and the account of simulated GPU memory.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::boot;
use super::config::{Embedded, MODEL_BYTES};
use super::defect::Defect;
use super::image;
use super::job::{Refusal, Request, State, View};
use super::memory::Kept;
use super::metrics::Metrics;
use super::pipeline;
use super::store::{Entry, Store};

/// One job of the backend.
pub struct Job {
    pub number: u64,
    pub request: Request,
    pub view: watch::Sender<View>,
    pub cancelled: AtomicBool,
    /// An OOM was swallowed: the result is a stand-in.
    pub faked: AtomicBool,
    /// Under `swapped-results`: whose result this job delivers.
    pub delivers: AtomicU64,
}

impl Job {
    pub fn new(number: u64, request: Request) -> Self {
        let view = View::new(&id_of(number), request.batch);
        Self {
            number,
            view: watch::Sender::new(view),
            request,
            cancelled: AtomicBool::new(false),
            faked: AtomicBool::new(false),
            delivers: AtomicU64::new(number),
        }
    }

    pub fn update(&self, change: impl FnOnce(&mut View)) {
        self.view.send_modify(change);
    }
}

fn id_of(number: u64) -> String {
    format!("job-{number:06}")
}

#[derive(Default)]
pub struct Inner {
    pub jobs: HashMap<u64, Arc<Job>>,
    pub queue: VecDeque<u64>,
    pub running: Vec<u64>,
    pub next: u64,
    pub started: u64,
    pub vram_used: u64,
    /// The most that was ever in use: what a caching allocator has taken from the device.
    pub vram_peak: u64,
    /// Under `vram-kept-after-oom`: what was taken is never given back.
    pub vram_kept: bool,
    pub model_loaded: bool,
    pub store: Option<Store>,
    pub kept: Kept,
    /// Under `jobs-run-twice`: the jobs that are run once more when they have ended.
    pub twice: BTreeSet<u64>,
    /// Under `same-job-again`: the job that never ends for good.
    pub again: Option<u64>,
    /// Under `second-run-oom`: sizes that have run.
    pub sizes_run: HashSet<u64>,
    /// Under `listener-bound-to-dead-socket`: jobs that a socket has asked for.
    pub bound: HashSet<u64>,
    /// Under `stuck-until-poked`: jobs until the worker stops.
    pub until_stuck: u32,
}

/// The backend; cheap to clone.
#[derive(Clone)]
pub struct Core {
    pub config: Arc<Embedded>,
    pub seed: u64,
    /// Which start over the same folder this is, from 1.
    pub boots: u32,
    /// Until then it is starting: its port is open, and it takes no jobs.
    ready_at: tokio::time::Instant,
    inner: Arc<Mutex<Inner>>,
    pub wake: Arc<Notify>,
    /// Told whenever GPU memory is given back.
    pub freed: Arc<Notify>,
    pub metrics: Arc<Metrics>,
    pub stop: CancellationToken,
    /// Cancelled when the server dies of a planted defect.
    pub crashed: CancellationToken,
    pub worker_dead: Arc<AtomicBool>,
    pub tasks: TaskTracker,
    pub model: Arc<tokio::sync::Mutex<()>>,
}

impl Core {
    /// Starts a backend; with `data`, jobs that were accepted and not ended there are queued again.
    ///
    /// # Errors
    /// When the durable queue cannot be opened.
    pub fn start(config: Embedded, seed: u64, data: Option<&Path>) -> std::io::Result<Self> {
        let boots = data.map_or(Ok(1), boot::count)?;
        let core = Self {
            ready_at: tokio::time::Instant::now() + config.start_time(boots),
            config: Arc::new(config),
            seed,
            boots,
            inner: Arc::default(),
            wake: Arc::default(),
            freed: Arc::default(),
            metrics: Arc::default(),
            stop: CancellationToken::new(),
            crashed: CancellationToken::new(),
            worker_dead: Arc::default(),
            tasks: TaskTracker::new(),
            model: Arc::default(),
        };
        core.lock().until_stuck = JOBS_UNTIL_STUCK;
        if let Some(folder) = data {
            boot::take_over(&core, folder)?;
        }
        core.tasks.spawn(schedule(core.clone()));
        core.tasks.spawn(wake_when_ready(core.clone()));
        Ok(core)
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes a job in, or says why not. When this returns an id the job is on disk.
    pub fn submit(&self, request: Request) -> Result<String, Refusal> {
        request.validate().map_err(Refusal::Invalid)?;
        if self.stop.is_cancelled() {
            return Err(Refusal::ShuttingDown);
        }
        if self.is_starting() {
            return Err(Refusal::Starting);
        }
        let mut inner = self.lock();
        let sheds = self.config.has(Defect::ShedsAfterAccept);
        if self.config.has(Defect::QueueLimitSurprise) && inner.queue.len() >= SURPRISING_LIMIT {
            return Err(Refusal::Broken);
        }
        if inner.queue.len() >= self.config.queue_limit() && !sheds {
            let waiting = inner.queue.len() as f64 / self.config.slots().max(1) as f64;
            let retry_after_s = (self.config.scaled(82.0).as_secs_f64() * waiting).ceil().max(1.0) as u64;
            return Err(Refusal::QueueFull { retry_after_s });
        }
        let number = inner.next;
        inner.next += 1;
        inner.until_stuck = JOBS_UNTIL_STUCK;
        if self.config.has(Defect::AcceptedThenDropped) && number % 15 == 7 {
            return Ok(id_of(number));
        }
        if let Some(store) = &mut inner.store
            && let Err(error) = store.append(&Entry::Accepted { number, request: request.clone() })
        {
            tracing::error!(%error, "the queue cannot be written: the job is refused");
            return Err(Refusal::ShuttingDown);
        }
        let job = Arc::new(Job::new(number, request));
        inner.jobs.insert(number, job.clone());
        if sheds && inner.running.len() + inner.queue.len() >= self.config.slots() {
            drop(inner);
            self.tasks.spawn(shed(self.clone(), job));
        } else {
            inner.queue.push_back(number);
            drop(inner);
            self.wake.notify_one();
        }
        Ok(id_of(number))
    }

    /// It takes no jobs yet.
    pub fn is_starting(&self) -> bool {
        tokio::time::Instant::now() < self.ready_at
    }

    pub fn find(&self, id: &str) -> Option<Arc<Job>> {
        let number: u64 = id.strip_prefix("job-")?.parse().ok()?;
        self.lock().jobs.get(&number).cloned()
    }

    /// The bytes that a completed job delivers.
    pub fn result(&self, id: &str) -> Option<Vec<u8>> {
        let job = self.find(id)?;
        if job.view.borrow().status != State::Completed {
            return None;
        }
        if job.faked.load(Ordering::Relaxed) {
            return Some(image::stand_in());
        }
        let source = self.lock().jobs.get(&job.delivers.load(Ordering::Relaxed)).cloned().unwrap_or(job);
        let request = &source.request;
        let seed = request.seed ^ self.seed ^ source.number;
        let was_tried_again = source.view.borrow().attempts > 1;
        let eighths = if self.config.has(Defect::WrongSize) && was_tried_again { 6 } else { 8 };
        let side = |asked: u32| (asked * eighths / 64).max(4);
        Some(image::png(side(request.width), side(request.height), seed, &request.mark))
    }

    /// Marks a job for cancellation; a waiting one ends at once.
    pub fn cancel(&self, id: &str) -> bool {
        let Some(job) = self.find(id) else { return false };
        if self.config.has(Defect::AbandonedWork) {
            return true;
        }
        job.cancelled.store(true, Ordering::Relaxed);
        let waited = {
            let mut inner = self.lock();
            let before = inner.queue.len();
            inner.queue.retain(|n| *n != job.number);
            inner.queue.len() < before
        };
        if waited {
            self.end(&job, State::Cancelled, Some("cancelled by the client".into()));
        }
        true
    }

    /// Writes the end of a job to the log and tells everybody. A job ends once; later calls do nothing.
    pub fn end(&self, job: &Job, state: State, error: Option<String>) {
        let view = job.view.borrow().clone();
        if view.status.is_terminal() {
            return;
        }
        {
            let mut inner = self.lock();
            inner.running.retain(|n| *n != job.number);
            inner.kept.job_ended(&self.config);
            if self.config.has(Defect::VramLeak) {
                inner.vram_used += LEAKED_BYTES;
            }
            if let Some(store) = &mut inner.store {
                let entry = Entry::Ended {
                    number: job.number,
                    state,
                    error: error.clone(),
                    attempts: view.attempts,
                    batch: view.batch_size,
                };
                if let Err(error) = store.append(&entry) {
                    tracing::error!(%error, "the end of a job could not be written");
                }
            }
        }
        self.metrics.job_ended(state);
        match &error {
            Some(error) => tracing::warn!(job = view.id, ?state, error, "job ended"),
            None => tracing::info!(job = view.id, ?state, "job ended"),
        }
        job.update(|view| end_view(view, state, error, view.attempts, view.batch_size));
        self.run_again(job);
        self.wake.notify_one();
    }

    /// What no healthy queue does: an ended job is started once more.
    fn run_again(&self, job: &Job) {
        let mut inner = self.lock();
        // After the first run, not beside it: of two at once only one would be counted.
        if inner.twice.remove(&job.number) || inner.again == Some(job.number) {
            inner.queue.push_front(job.number);
        }
    }

    /// Takes GPU memory, or fails as CUDA does.
    ///
    /// # Errors
    /// The message of the out-of-memory error.
    pub fn allocate(&self, bytes: u64) -> Result<(), String> {
        let mut inner = self.lock();
        let total = self.config.vram.0;
        if !inner.vram_kept && inner.vram_used + bytes <= total {
            inner.vram_used += bytes;
            inner.vram_peak = inner.vram_peak.max(inner.vram_used);
            return Ok(());
        }
        let gib = |b: u64| b as f64 / f64::from(1 << 30);
        Err(format!(
            "CUDA out of memory. Tried to allocate {:.2} GiB (GPU 0; {:.2} GiB total capacity; {:.2} GiB already allocated; {:.2} GiB free)",
            gib(bytes),
            gib(total),
            gib(inner.vram_used),
            gib(total.saturating_sub(inner.vram_used)),
        ))
    }

    pub fn free(&self, bytes: u64) {
        let mut inner = self.lock();
        if !inner.vram_kept {
            inner.vram_used = inner.vram_used.saturating_sub(bytes);
        }
        drop(inner);
        self.freed.notify_waiters();
    }

    /// Puts the model into GPU memory unless it is there; true if it had to be loaded.
    pub async fn warm_up(&self) -> bool {
        let never_warm = self.config.has(Defect::NeverWarm) && self.boots > 1;
        let _one_loader = self.model.lock().await;
        if self.lock().model_loaded && !never_warm {
            return false;
        }
        tracing::info!("loading the model (cold start)");
        tokio::time::sleep(self.config.model_load()).await;
        let mut inner = self.lock();
        if !inner.model_loaded {
            inner.model_loaded = true;
            inner.vram_used += MODEL_BYTES;
            inner.kept.load_model();
        }
        true
    }

    /// Drops the model from GPU and host memory: the next job is cold.
    pub fn evict(&self) {
        let mut inner = self.lock();
        if inner.model_loaded {
            inner.model_loaded = false;
            inner.kept.drop_model();
            if !self.config.has(Defect::OrphanWorkers) {
                inner.vram_used = inner.vram_used.saturating_sub(MODEL_BYTES);
            }
        }
        tracing::info!("the model was evicted");
    }

    /// The jobs run on the CPU, in silence.
    pub fn gpu_is_lost(&self) -> bool {
        self.config.has(Defect::LostGpuFallsToCpu) && self.boots > 1
    }

    /// Stops taking and starting jobs, and waits a moment for the running ones. What has not ended starts again next time.
    pub async fn shut_down(&self) {
        self.stop.cancel();
        self.tasks.close();
        let patience = self.config.scaled(82.0).min(std::time::Duration::from_secs(5));
        if tokio::time::timeout(patience, self.tasks.wait()).await.is_err() {
            tracing::warn!("jobs are still running; they will start again");
        }
    }
}

pub fn end_view(view: &mut View, state: State, error: Option<String>, attempts: u32, batch: u32) {
    view.status = state;
    view.attempts = attempts;
    view.batch_size = batch;
    view.error = error;
    view.stage = "ended".to_owned();
    if state == State::Completed {
        view.progress = 100.0;
        view.completions += 1;
        view.result = Some(format!("/jobs/{}/result", view.id));
    }
}

/// Hands waiting jobs to free slots until the backend stops.
async fn schedule(core: Core) {
    loop {
        let job = if core.worker_dead.load(Ordering::Relaxed) { None } else { next_job(&core) };
        match job {
            Some(job) => {
                core.tasks.spawn(pipeline::run(core.clone(), job));
            }
            None => tokio::select! {
                () = core.wake.notified() => {}
                () = core.stop.cancelled() => return,
                () = core.crashed.cancelled() => return,
            },
        }
    }
}

/// What the last start left in the queue waits for the end of this one.
async fn wake_when_ready(core: Core) {
    tokio::select! {
        () = tokio::time::sleep_until(core.ready_at) => core.wake.notify_one(),
        () = core.stop.cancelled() => {}
        () = core.crashed.cancelled() => {}
    }
}

/// Under `queue-limit-surprise`: so many waiting jobs are too many.
const SURPRISING_LIMIT: usize = 12;
/// Under `vram-leak`: what each job leaves on the GPU.
const LEAKED_BYTES: u64 = 64 << 20;
/// Under `stuck-until-poked`: jobs that are started before the worker waits for a submission.
const JOBS_UNTIL_STUCK: u32 = 7;
/// The job after which a `healthy-but-dead` worker dies even without an out-of-memory.
const LAST_JOB_OF_A_DYING_WORKER: u64 = 100;

fn next_job(core: &Core) -> Option<Arc<Job>> {
    let mut inner = core.lock();
    if core.stop.is_cancelled() || core.is_starting() || inner.running.len() >= core.config.slots() {
        return None;
    }
    if core.config.has(Defect::StuckUntilPoked) && inner.until_stuck == 0 {
        return None;
    }
    let number = inner.queue.pop_front()?;
    inner.until_stuck = inner.until_stuck.saturating_sub(1);
    inner.running.push(number);
    inner.started += 1;
    if let Some(store) = &mut inner.store
        && let Err(error) = store.append(&Entry::Started { number })
    {
        tracing::error!(%error, "the start of a job could not be written");
    }
    if core.config.has(Defect::HealthyButDead) && inner.started > LAST_JOB_OF_A_DYING_WORKER {
        core.worker_dead.store(true, Ordering::Relaxed);
    }
    let job = inner.jobs.get(&number).cloned()?;
    if core.config.has(Defect::SwappedResults)
        && let Some(other) = inner.running.iter().copied().find(|n| *n != number)
        && let Some(other) = inner.jobs.get(&other)
    {
        job.delivers.store(other.number, Ordering::Relaxed);
    }
    Some(job)
}

/// What a backend without a queue does with a job too many.
async fn shed(core: Core, job: Arc<Job>) {
    tokio::time::sleep(core.config.scaled(5.0)).await;
    let id = job.view.borrow().id.clone();
    core.end(&job, State::Failed, Some(format!("Cannot allocate job {id}: insufficient resources")));
}

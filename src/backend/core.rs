//! The backend itself: accept, queue, schedule, and the account of simulated GPU memory.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::{Embedded, MODEL_BYTES};
use super::defect::Defect;
use super::image;
use super::job::{Refusal, Request, State, View};
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
    fn new(number: u64, request: Request) -> Self {
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
    /// Under `vram-kept-after-oom`: what was taken is never given back.
    pub vram_kept: bool,
    pub model_loaded: bool,
    pub store: Option<Store>,
}

/// The backend; cheap to clone.
#[derive(Clone)]
pub struct Core {
    pub config: Arc<Embedded>,
    pub seed: u64,
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
        let core = Self {
            config: Arc::new(config),
            seed,
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
        if let Some(folder) = data.filter(|_| !core.config.has(Defect::JobsLostOnRestart)) {
            let (store, entries) = Store::open(folder)?;
            core.restore(store, entries);
        }
        core.tasks.spawn(schedule(core.clone()));
        Ok(core)
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn restore(&self, store: Store, entries: Vec<Entry>) {
        let mut inner = self.lock();
        for entry in entries {
            match entry {
                Entry::Accepted { number, request } => {
                    inner.next = inner.next.max(number + 1);
                    inner.jobs.insert(number, Arc::new(Job::new(number, request)));
                    inner.queue.push_back(number);
                }
                Entry::Ended { number, state, error, attempts, batch } => {
                    inner.queue.retain(|n| *n != number);
                    if let Some(job) = inner.jobs.get(&number) {
                        job.update(|view| end_view(view, state, error, attempts, batch));
                    }
                }
            }
        }
        inner.store = Some(store);
        if !inner.queue.is_empty() {
            tracing::info!(jobs = inner.queue.len(), "jobs of the last run are queued again");
        }
    }

    /// Takes a job in, or says why not. When this returns an id the job is on disk.
    pub fn submit(&self, request: Request) -> Result<String, Refusal> {
        request.validate().map_err(Refusal::Invalid)?;
        if self.stop.is_cancelled() {
            return Err(Refusal::ShuttingDown);
        }
        let mut inner = self.lock();
        let sheds = self.config.has(Defect::ShedsAfterAccept);
        if inner.queue.len() >= self.config.queue as usize && !sheds {
            let waiting = inner.queue.len() as f64 / f64::from(self.config.slots.max(1));
            let retry_after_s = (self.config.scaled(82.0).as_secs_f64() * waiting).ceil().max(1.0) as u64;
            return Err(Refusal::QueueFull { retry_after_s });
        }
        let number = inner.next;
        inner.next += 1;
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
        if sheds && inner.running.len() + inner.queue.len() >= self.config.slots as usize {
            drop(inner);
            self.tasks.spawn(shed(self.clone(), job));
        } else {
            inner.queue.push_back(number);
            drop(inner);
            self.wake.notify_one();
        }
        Ok(id_of(number))
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
        Some(image::png((request.width / 8).max(4), (request.height / 8).max(4), seed, &request.mark))
    }

    /// Marks a job for cancellation; a waiting one ends at once.
    pub fn cancel(&self, id: &str) -> bool {
        let Some(job) = self.find(id) else { return false };
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
        self.wake.notify_one();
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
        let _one_loader = self.model.lock().await;
        if self.lock().model_loaded {
            return false;
        }
        tracing::info!("loading the model (cold start)");
        tokio::time::sleep(self.config.model_load()).await;
        let mut inner = self.lock();
        inner.model_loaded = true;
        inner.vram_used += MODEL_BYTES;
        true
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

fn end_view(view: &mut View, state: State, error: Option<String>, attempts: u32, batch: u32) {
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

/// The job after which a `healthy-but-dead` worker dies even without an out-of-memory.
const LAST_JOB_OF_A_DYING_WORKER: u64 = 100;

fn next_job(core: &Core) -> Option<Arc<Job>> {
    let mut inner = core.lock();
    if core.stop.is_cancelled() || inner.running.len() >= core.config.slots as usize {
        return None;
    }
    let number = inner.queue.pop_front()?;
    inner.running.push(number);
    inner.started += 1;
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

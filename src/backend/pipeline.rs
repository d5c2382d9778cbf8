//! One job on the GPU: load the model, take memory, go through the stages, and what an out-of-memory leads to.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, LogNormal};

use super::core::{Core, Job};
use super::defect::Defect;
use super::job::State;
use super::memory::touched;
use super::mode::Mode;

/// The stages of a job and their shares of its time; the volume decoder is the bottleneck, as in the real backend.
pub const STAGES: &[(&str, f64)] =
    &[("preprocess", 0.05), ("shape_encoder", 0.08), ("diffusion", 0.17), ("volume_decoder", 0.63), ("export", 0.07)];
/// Memory is taken after the first stage.
const STAGES_BEFORE_MEMORY: usize = 1;
/// Progress is told in steps of about this share.
const STEP: f64 = 0.1;
/// Sizes that `second-run-oom` is about.
const LARGE_PIXELS: u64 = 1024 * 1024;
/// Under `slow-decay`: what each job adds to the time of the later ones.
const DECAY_PER_JOB: f64 = 0.005;
/// A CPU against the GPU.
const CPU_SLOWNESS: f64 = 8.0;
/// Of `heavy-tail`.
const TAIL_SIGMA: f64 = 0.5;

/// How an attempt ended.
enum Attempt {
    Done,
    Cancelled,
    OutOfMemory(String),
}

/// What follows from an out-of-memory.
enum Next {
    Retry(u32),
    End(State, Option<String>),
    Never,
}

/// Runs a job to its end.
pub async fn run(core: Core, job: Arc<Job>) {
    job.update(|view| {
        view.status = State::Running;
        view.stage = "load_model".to_owned();
    });
    let cold = core.warm_up().await;
    job.update(|view| view.cold = cold);
    core.metrics.running.inc();
    let started = tokio::time::Instant::now();
    let memory = touched(core.config.host_bytes_for(job.request.pixels()));
    tokio::select! {
        () = attempts(&core, &job) => {}
        () = core.crashed.cancelled() => {}
    }
    drop(memory);
    core.metrics.running.dec();
    core.metrics.generation_seconds.observe(started.elapsed().as_secs_f64());
}

async fn attempts(core: &Core, job: &Job) {
    let mut batch = job.request.batch;
    loop {
        job.update(|view| {
            view.attempts += 1;
            view.batch_size = batch;
        });
        let next = match attempt(core, job, batch).await {
            Attempt::Done => Next::End(State::Completed, None),
            Attempt::Cancelled => Next::End(State::Cancelled, Some("cancelled by the client".into())),
            Attempt::OutOfMemory(message) => out_of_memory(core, job, batch, message).await,
        };
        match next {
            Next::Retry(smaller) => batch = smaller,
            Next::End(state, error) => return core.end(job, state, error),
            Next::Never => return stuck(core, job).await,
        }
    }
}

async fn attempt(core: &Core, job: &Job, batch: u32) -> Attempt {
    let config = &core.config;
    let service = config.service(job.request.pixels(), job.request.batch, batch, slowness(core, job));
    let mut taken = 0;
    let mut done = 0.0;
    for (at, (stage, share)) in STAGES.iter().enumerate() {
        if at == STAGES_BEFORE_MEMORY {
            let wanted = config.vram_for(job.request.pixels(), batch);
            if config.has(Defect::SecondRunOom) && runs_again(core, job.request.pixels()) {
                return Attempt::OutOfMemory("CUDA out of memory. The blocks of the first run were not returned".into());
            }
            if let Err(message) = core.allocate(wanted) {
                return Attempt::OutOfMemory(message);
            }
            taken = wanted;
        }
        if !stage_steps(core, job, stage, service.mul_f64(*share), *share, &mut done).await {
            core.free(taken);
            return Attempt::Cancelled;
        }
    }
    core.free(taken);
    Attempt::Done
}

/// Goes through one stage in steps; false if the job was cancelled meanwhile.
async fn stage_steps(core: &Core, job: &Job, stage: &'static str, time: Duration, share: f64, done: &mut f64) -> bool {
    let steps = (share / STEP).ceil().max(1.0);
    for _ in 0..steps as u32 {
        tokio::time::sleep(time.div_f64(steps)).await;
        if job.cancelled.load(Ordering::Relaxed) {
            return false;
        }
        *done += share / steps;
        let progress = (*done * 99.0).round();
        job.update(|view| {
            view.stage = stage.to_owned();
            view.progress = view.progress.max(progress);
        });
    }
    core.metrics.stage(stage, time.as_secs_f64());
    true
}

async fn out_of_memory(core: &Core, job: &Job, batch: u32, message: String) -> Next {
    let id = job.view.borrow().id.clone();
    core.metrics.out_of_memory();
    let config = &core.config;
    if config.has(Defect::OomFakesSuccess) {
        job.faked.store(true, Ordering::Relaxed);
        return Next::End(State::Completed, None);
    }
    tracing::error!(job = id, batch, "{message}");
    if config.has(Defect::OomCrashesServer) {
        tracing::error!("fatal: the CUDA context is lost");
        core.crashed.cancel();
        return Next::Never;
    }
    if config.has(Defect::OomKillsQueue) {
        fail_all_waiting(core, &id);
        return Next::End(State::Failed, Some(message));
    }
    if config.has(Defect::HealthyButDead) || config.has(Defect::WedgedAfterOom) {
        core.worker_dead.store(true, Ordering::Relaxed);
    }
    if config.has(Defect::WedgedAfterOom) || config.has(Defect::UiStuckAfterOom) {
        return Next::Never;
    }
    if config.has(Defect::VramKeptAfterOom) {
        core.lock().vram_kept = true;
        return Next::End(State::Failed, Some(message));
    }
    if config.has(Defect::OomNoRetry) || config.has(Defect::SecondRunOom) {
        return Next::End(State::Failed, Some(message));
    }
    retry(core, job, batch, message).await
}

/// What a healthy backend does: a smaller batch; at the smallest, wait until others have given memory back.
async fn retry(core: &Core, job: &Job, batch: u32, message: String) -> Next {
    let id = job.view.borrow().id.clone();
    if batch > 1 {
        tracing::warn!(job = id, from = batch, to = batch / 2, "retrying with a smaller batch");
        return Next::Retry(batch / 2);
    }
    let alone = core.lock().running.len() <= 1;
    if alone {
        return Next::End(State::Failed, Some(format!("{message}; it does not fit even alone in a batch of 1")));
    }
    tokio::select! {
        () = core.freed.notified() => {}
        () = tokio::time::sleep(core.config.scaled(20.0)) => {}
    }
    Next::Retry(1)
}

fn fail_all_waiting(core: &Core, culprit: &str) {
    let waiting: Vec<Arc<Job>> = {
        let mut inner = core.lock();
        let numbers: Vec<u64> = inner.queue.drain(..).collect();
        numbers.iter().filter_map(|n| inner.jobs.get(n).cloned()).collect()
    };
    for job in waiting {
        core.end(&job, State::Failed, Some(format!("CUDA error: out of memory (memory still held by {culprit})")));
    }
}

/// A job that goes on for ever without getting anywhere.
async fn stuck(core: &Core, job: &Job) {
    while !job.cancelled.load(Ordering::Relaxed) {
        tokio::select! {
            () = tokio::time::sleep(core.config.scaled(20.0)) => {}
            () = core.stop.cancelled() => return,
        }
        job.update(|view| view.progress = if view.progress >= 98.0 { 1.0 } else { view.progress + 1.0 });
    }
    core.end(job, State::Cancelled, Some("cancelled by the client".into()));
}

/// A large size that has run before.
fn runs_again(core: &Core, pixels: u64) -> bool {
    pixels >= LARGE_PIXELS && !core.lock().sizes_run.insert(pixels)
}

/// How much slower than usual this job is.
fn slowness(core: &Core, job: &Job) -> f64 {
    let decay = if core.config.has(Defect::SlowDecay) { 1.0 + DECAY_PER_JOB * job.number as f64 } else { 1.0 };
    let cpu = if core.gpu_is_lost() { CPU_SLOWNESS } else { 1.0 };
    jitter(core.seed, job.number, core.config.is(Mode::HeavyTail)) * decay * cpu
}

/// ±4 %, or log-normal with a mean of 1; the same for the same seed and job.
fn jitter(seed: u64, number: u64, heavy_tail: bool) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number);
    // The parameters are constants that the distribution takes.
    match LogNormal::new(-TAIL_SIGMA * TAIL_SIGMA / 2.0, TAIL_SIGMA) {
        Ok(tail) if heavy_tail => tail.sample(&mut rng),
        _ => rng.random_range(0.96..1.04),
    }
}

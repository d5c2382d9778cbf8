//! Settings of the reference backend, as they stand in an experiment and on its own command line.

use std::time::Duration;

use super::defect::Defect;
use super::mode::Mode;
use crate::experiment::units::Bytes;
use crate::record;

record! {
    /// Settings of the embedded reference backend.
    pub struct Embedded {
        /// How many times faster than the real backend (82 s warm, 167 s cold for 512×512) it works.
        speed: f64 = 100.0,
        /// Jobs that run at once.
        slots: u32 = 4,
        /// Memory of the simulated GPU.
        vram: Bytes = Bytes::gib(24),
        /// Jobs that may wait; one more is refused with 429.
        queue: u32 = 64,
        /// Planted defects, by name.
        defects: Vec<Defect> = Vec::new(),
        /// Healthy behaviours that look suspicious, by name.
        modes: Vec<Mode> = Vec::new(),
    }
}

impl Default for Embedded {
    fn default() -> Self {
        Self { speed: 100.0, slots: 4, vram: Bytes::gib(24), queue: 64, defects: Vec::new(), modes: Vec::new() }
    }
}

/// A warm 512×512 job of the real backend, from the load-testing plan.
const WARM_S: f64 = 82.0;
/// What a cold start adds to it: 167 s − 82 s.
const MODEL_LOAD_S: f64 = 85.0;
/// What reading the weights at a start takes, where it is played.
const START_S: f64 = 100.0;
/// Under `slow-restart` a later start takes so many times as long; under `slow-start` each.
const SLOW_START: f64 = 5.0;
/// The model's own share of VRAM.
pub const MODEL_BYTES: u64 = 6 << 30;
/// What a pixel costs for each image of the batch; 512×512 in a batch of 4 takes 1.25 GiB.
const BYTES_PER_PIXEL: u64 = 1280;
/// Real host memory that a running 512×512 job holds.
const HOST_BYTES: u64 = 2 << 20;
const BASE_PIXELS: f64 = 512.0 * 512.0;

impl Embedded {
    pub fn has(&self, defect: Defect) -> bool {
        self.defects.contains(&defect)
    }

    pub fn is(&self, mode: Mode) -> bool {
        self.modes.contains(&mode)
    }

    /// Jobs at once.
    pub fn slots(&self) -> usize {
        if self.is(Mode::LongQueue) { 2 } else { self.slots as usize }
    }

    /// Jobs that may wait.
    pub fn queue_limit(&self) -> usize {
        if self.is(Mode::Honest429) { 4 } else { self.queue as usize }
    }

    /// A time of the real backend, at this backend's speed.
    pub fn scaled(&self, real_s: f64) -> Duration {
        Duration::from_secs_f64(real_s / self.speed.max(1e-3))
    }

    pub fn model_load(&self) -> Duration {
        self.scaled(MODEL_LOAD_S)
    }

    /// How long the given start takes until jobs are taken.
    pub fn start_time(&self, boots: u32) -> Duration {
        match (self.is(Mode::SlowStart), self.has(Defect::SlowRestart)) {
            (true, _) => self.scaled(SLOW_START * START_S),
            (_, true) if boots > 1 => self.scaled(SLOW_START * START_S),
            (_, true) => self.scaled(START_S),
            _ => Duration::ZERO,
        }
    }

    /// The share of its time in which the GPU is busy with so many jobs at once: 65 % with one, as the plan's baseline has it,
    /// and nearly all with many.
    pub fn gpu_usage(jobs: usize) -> f64 {
        if jobs == 0 { 0.0 } else { 1.0 - 0.35 / (jobs as f64).powf(1.05) }
    }

    /// The time for a job on a warm model. Smaller batches need more passes.
    pub fn service(&self, pixels: u64, asked_batch: u32, batch: u32, jitter: f64) -> Duration {
        let passes = f64::from(asked_batch.max(1)) / f64::from(batch.max(1));
        self.scaled(WARM_S * pixels as f64 / BASE_PIXELS * (1.0 + 0.2 * passes.log2()) * jitter)
    }

    pub fn vram_for(&self, pixels: u64, batch: u32) -> u64 {
        pixels * u64::from(batch) * BYTES_PER_PIXEL
    }

    /// What the device's gauge shows of memory that is held now, and at most was.
    pub fn taken(&self, held: u64, peak: u64) -> u64 {
        if self.is(Mode::CachingAllocator) { held.max(peak) } else { held }
    }

    pub fn host_bytes_for(&self, pixels: u64) -> usize {
        (HOST_BYTES as f64 * pixels as f64 / BASE_PIXELS) as usize
    }
}

//! Real host memory of the reference backend: touched, so that the kernel counts it.

use super::config::Embedded;
use super::defect::Defect;
use super::mode::Mode;

/// What a job leaves behind under `rss-leak` and the modes about memory.
const KEPT_BYTES: usize = 1 << 20;
/// The host's copy of the model.
const MODEL_BYTES: usize = 48 << 20;
/// Jobs until the caches of `warmup-plateau` are full.
const CACHED_JOBS: usize = 35;
/// Jobs from one collection of `sawtooth` to the next.
const JOBS_PER_COLLECTION: usize = 12;

/// Memory that outlives jobs.
#[derive(Default)]
pub struct Kept {
    model: Option<Vec<u8>>,
    left_behind: Vec<Vec<u8>>,
}

impl Kept {
    pub fn load_model(&mut self) {
        self.model.get_or_insert_with(|| touched(MODEL_BYTES));
    }

    pub fn drop_model(&mut self) {
        self.model = None;
    }

    /// What remains of a job after its end.
    pub fn job_ended(&mut self, config: &Embedded) {
        let caches = config.is(Mode::WarmupPlateau) && self.left_behind.len() < CACHED_JOBS;
        if config.has(Defect::RssLeak) || caches || config.is(Mode::Sawtooth) {
            self.left_behind.push(touched(KEPT_BYTES));
        }
        if config.is(Mode::Sawtooth) && self.left_behind.len() >= JOBS_PER_COLLECTION {
            self.left_behind.clear();
        }
    }
}

/// Memory of that size, each page of it written to.
pub fn touched(bytes: usize) -> Vec<u8> {
    let mut memory = vec![0u8; bytes];
    memory.iter_mut().step_by(4096).for_each(|page| *page = 1);
    std::hint::black_box(memory)
}

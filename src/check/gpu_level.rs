//! GPU memory before and after the faults, at the same number of jobs at work: whatever is more then belongs to nobody.

use std::collections::BTreeMap;

use super::scope::Over;
use crate::journal::event::Phase;
use crate::journal::record::Record;
use crate::stats::median;

/// Fewer samples at one number of jobs say nothing.
const FEWEST: usize = 3;

/// What the levels are made of.
pub const SERIES: [&str; 3] = ["gpu.memory_used_bytes", "gpu.memory_total_bytes", "queue.running"];

/// Bytes in use before and after, at the number of jobs that was seen most often in both.
pub struct Levels {
    pub before: f64,
    pub after: f64,
    pub jobs: u32,
    pub total: f64,
}

impl Levels {
    /// `None` where nobody tells, or no number of jobs was seen at work both before and after.
    pub fn of(record: &Record) -> Option<Self> {
        let total = record.series.get("gpu.memory_total_bytes")?.max;
        let ends = || record.jobs.iter().filter_map(|job| job.ended.as_ref().map(|e| e.0));
        // Before the first job is done the model need not be loaded: that level says nothing. Nor does it after a restart.
        let loaded_t = ends().reduce(f64::min)?;
        let back_t = record.generations.last().map_or(0.0, |g| g.started_t);
        // Clients may hear late of a job that ended before the restart: only jobs sent since then show that it is loaded.
        let sent_since = record.jobs.iter().filter(|job| job.submitting_t > back_t);
        let of_fault = |load: &str| record.plan().faults.iter().any(|f| f.name == load);
        let worked_off = record
            .jobs
            .iter()
            .filter(|job| of_fault(&job.load))
            .filter_map(|job| job.ended.as_ref().map(|e| e.0))
            .reduce(f64::max);
        let first = record.baseline_end()?;
        let over = record.faults_end()?.max(worked_off.unwrap_or(0.0));
        let ends_since = sent_since.filter_map(|job| job.ended.as_ref().map(|e| e.0));
        let loaded_again_t = ends_since.filter(|t| *t > over).reduce(f64::min)?;
        let end = record.phase_start(Phase::Revert).unwrap_or(record.now);
        let begin = Over::All.window(record)?.0;
        let before = levels(record, begin.max(loaded_t), first);
        let after = levels(record, loaded_again_t, end);
        let both = before.iter().filter_map(|(jobs, before)| Some((*jobs, before, after.get(jobs)?)));
        let (jobs, before, after) = both.max_by_key(|(_, before, after)| before.samples.min(after.samples))?;
        Some(Self { before: before.bytes, after: after.bytes, jobs, total })
    }

    pub fn told(&self) -> String {
        let gib = |bytes: f64| bytes / f64::from(1 << 30);
        format!(
            "GPU memory with {} jobs at work: {:.1} GiB afterwards, {:.1} GiB before",
            self.jobs,
            gib(self.after),
            gib(self.before)
        )
    }

    /// It came back, to within this share of all of it.
    pub fn is_back(&self, within: f64) -> bool {
        self.after <= self.before + within * self.total
    }
}

/// The median of the memory in use with one number of jobs at work.
struct Level {
    bytes: f64,
    samples: usize,
}

fn levels(record: &Record, from: f64, to: f64) -> BTreeMap<u32, Level> {
    let mut found: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    let step = record.plan().sample_every_s;
    let series = record.series.get("gpu.memory_used_bytes").zip(record.series.get("queue.running"));
    let Some((memory, running)) = series else { return BTreeMap::new() };
    for at in 0..((to - from) / step).max(0.0) as u32 {
        let t = from + f64::from(at) * step;
        if let Some((bytes, jobs)) = memory.at(t).zip(running.at(t)) {
            found.entry(jobs as u32).or_default().push(bytes);
        }
    }
    let enough = found.into_iter().filter(|(_, all)| all.len() >= FEWEST);
    enough.filter_map(|(jobs, mut all)| Some((jobs, Level { samples: all.len(), bytes: median(&mut all)? }))).collect()
}

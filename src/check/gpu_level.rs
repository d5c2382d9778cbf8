//! GPU memory before and after the faults, at the same number of jobs at work: whatever is more then belongs to nobody, or to
//! an allocator that keeps what it once took for the jobs to come (PyTorch's does). The gauge alone does not tell these apart:
//! whether later jobs can use that memory does.

use std::collections::BTreeMap;

use super::blind::is_read;
use super::oom::Signs;
use super::scope::Over;
use crate::experiment::units::Share;
use crate::journal::event::{JobState, Phase};
use crate::journal::facts::JobFacts;
use crate::journal::record::Record;
use crate::stats::{median, quantile};

/// Fewer samples at one number of jobs say nothing.
const FEWEST: usize = 3;
/// A job that takes less than this share of what was kept as new memory did its work in what was kept.
const NEW_SHARE: f64 = 0.25;
/// One that is over within fewer samples may have taken some unseen.
const LEAST_SAMPLES: f64 = 3.0;
/// Memory that varies by less than this share of all of it with the number of jobs does not follow them.
const FOLLOWS_SHARE: f64 = 0.02;

const USED: &str = "gpu.memory_used_bytes";
const REUSABLE: &str = "gpu.memory_reusable_bytes";
const TOTAL: &str = "gpu.memory_total_bytes";
const RUNNING: &str = "queue.running";

/// What the levels are made of.
pub const SERIES: [&str; 4] = [USED, REUSABLE, TOTAL, RUNNING];

/// What became of GPU memory that the faults made the target take.
#[derive(Debug, Clone, PartialEq)]
pub enum Memory {
    /// No more is held than before.
    Back(String),
    /// More is held, and later jobs work in it.
    Reused(String),
    /// More is held, and later jobs cannot use it.
    Kept(String),
    /// More is held, or it is not known how much, and nothing shows whether later jobs can use it.
    Unknown(String),
}

impl Memory {
    pub fn told(&self) -> &str {
        match self {
            Self::Back(told) | Self::Reused(told) | Self::Kept(told) | Self::Unknown(told) => told,
        }
    }

    /// `within`: this share of all memory more than before is none.
    pub fn of(record: &Record, within: f64) -> Self {
        let Some(levels) = Levels::of(record) else {
            return Self::Unknown(
                "whether GPU memory came back cannot be told: no figures at the same number of jobs before and after".to_owned(),
            );
        };
        let told = levels.told();
        let later = Later::of(record, &levels);
        if let Some(job) = later.starved.filter(|_| !levels.is_back(within) || levels.varies(within)) {
            return Self::Kept(format!("{told}; and job {} ran out of memory afterwards", job.number));
        }
        if levels.varies(within) {
            let spread = levels.spread / f64::from(1 << 30);
            return Self::Unknown(format!(
                "{told}; by itself it varies by {spread:.1} GiB, which hides a difference of {}: the driver's `memory_reusable` would show it",
                Share(within)
            ));
        }
        if levels.is_back(within) {
            return Self::Back(told);
        }
        match later.reused {
            Some((job, true)) => {
                Self::Reused(format!("{told}; job {} of that size worked in it without taking more", job.number))
            }
            Some((job, false)) => Self::Kept(format!("{told}; and job {} of that size took new memory instead", job.number)),
            None if levels.follows_jobs => Self::Kept(format!("{told}; and jobs take new memory instead")),
            None => Self::Unknown(format!(
                "{told}: lost, or kept by the allocator for later jobs, which one more job of the size that ran out of memory would show (a `flood` of one job after the others), and so would the driver's `memory_reusable`"
            )),
        }
    }
}

/// Bytes that jobs and models hold before and after, at the number of jobs that was seen most often in both.
pub struct Levels {
    pub before: f64,
    pub after: f64,
    pub jobs: u32,
    pub total: f64,
    /// The most that was held before the faults.
    pub peak_before: f64,
    /// By how much the memory varied at that number of jobs, before or after.
    spread: f64,
    /// Afterwards it still rises and falls with the number of jobs.
    follows_jobs: bool,
}

impl Levels {
    /// `None` where nobody tells, or no number of jobs was seen at work both before and after.
    pub fn of(record: &Record) -> Option<Self> {
        let total = record.series.get(TOTAL)?.max;
        let ends = || record.jobs.iter().filter_map(|job| job.ended.as_ref().map(|e| e.0));
        // Before the first job is done the model need not be loaded: that level says nothing. Nor does it after a restart.
        let loaded_t = ends().reduce(f64::min)?;
        let back_t = record.generations.last().map_or(0.0, |g| g.started_t);
        // Clients may hear late of a job that ended before the restart: only jobs sent since then show that it is loaded.
        let sent_since = record.jobs.iter().filter(|job| job.submitting_t > back_t);
        let worked_off = record
            .jobs
            .iter()
            .filter(|job| of_fault(record, job))
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
        let (jobs, level, then) = both.max_by_key(|(_, before, after)| before.samples.min(after.samples))?;
        let (fewest, most) = (after.first_key_value()?.1, after.last_key_value()?.1);
        Some(Self {
            before: level.bytes,
            after: then.bytes,
            jobs,
            total,
            peak_before: record.series.get(USED)?.extremes(begin, first)?.1,
            spread: level.spread.max(then.spread),
            follows_jobs: most.bytes - fewest.bytes > FOLLOWS_SHARE * total,
        })
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

    /// At one number of jobs it varies by more than that.
    fn varies(&self, within: f64) -> bool {
        self.spread > within * self.total
    }

    /// It came back, to within this share of all of it.
    pub fn is_back(&self, within: f64) -> bool {
        self.after <= self.before + within * self.total
    }
}

fn of_fault(record: &Record, job: &JobFacts) -> bool {
    record.plan().faults.iter().any(|fault| *fault.name == *job.load)
}

/// What jobs that came later than the first trouble show.
#[derive(Default)]
struct Later<'a> {
    /// It ran out of memory although nothing but the usual load was at work beside it.
    starved: Option<&'a JobFacts>,
    /// As large as those that had run out of memory, completed in full; and whether in the memory that was kept.
    reused: Option<(&'a JobFacts, bool)>,
}

impl<'a> Later<'a> {
    fn of(record: &'a Record, levels: &Levels) -> Self {
        let signs = Signs::of(record);
        // What ran out of memory while the faults' first jobs were worked off is the trouble; what was sent after that is later.
        let Some(first_end) = trouble_end(record) else { return Self::default() };
        let troubled = record.jobs.iter().filter(|job| job.submitting_t <= first_end && signs.met(job));
        let size = troubled.map(pixels).max();
        let floods = Floods::of(record);
        let later = || record.jobs.iter().filter(|job| job.submitting_t > first_end);
        let full = |job: &JobFacts| job.smallest_batch.is_none_or(|batch| batch >= job.shape.batch) && !signs.met(job);
        let done = |job: &&JobFacts| {
            job.state() == Some(JobState::Completed) && size.is_some_and(|least| pixels(job) >= least) && full(job)
        };
        let large = later().filter(done).filter(|job| floods.leave_alone(job));
        Self {
            starved: later().find(|job| signs.met(job) && floods.leave_alone(job)),
            reused: large.filter_map(|job| Some((job, !took_new(record, job, levels)?))).next(),
        }
    }
}

/// When the last job was worked off of the first fault that sends some.
fn trouble_end(record: &Record) -> Option<f64> {
    let first = record.jobs.iter().find(|job| of_fault(record, job))?;
    let of_first = record.jobs.iter().filter(|job| job.load == first.load);
    of_first.filter_map(|job| job.ended.as_ref().map(|e| e.0)).reduce(f64::max)
}

/// From when to when jobs of faults were there, one after the other or together, and how many.
pub struct Floods(Vec<(f64, f64, usize)>);

impl Floods {
    pub fn of(record: &Record) -> Self {
        let mut stays: Vec<(f64, f64)> = record.jobs.iter().filter(|job| of_fault(record, job)).map(stay).collect();
        stays.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut floods: Vec<(f64, f64, usize)> = Vec::new();
        for (from, to) in stays {
            match floods.last_mut().filter(|last| from < last.1) {
                Some(last) => *last = (last.0, last.1.max(to), last.2 + 1),
                None => floods.push((from, to, 1)),
            }
        }
        Self(floods)
    }

    /// No other job of a fault was there while this one was.
    pub fn leave_alone(&self, job: &JobFacts) -> bool {
        let (from, to) = stay(job);
        let first = self.0.partition_point(|flood| flood.1 <= from);
        let beside = self.0[first..].iter().take_while(|flood| flood.0 < to);
        // A flood of one that began with this job is this job.
        beside.filter(|flood| !(flood.2 == 1 && flood.0 == from)).count() == 0
    }
}

fn stay(job: &JobFacts) -> (f64, f64) {
    (job.submitting_t, job.ended.as_ref().map_or(f64::INFINITY, |e| e.0))
}

/// Of all images of its batch.
fn pixels(job: &JobFacts) -> u64 {
    u64::from(job.shape.width) * u64::from(job.shape.height) * u64::from(job.shape.batch)
}

/// Whether the gauge rose while the job was at work; `None` where it was not looked at often enough to tell.
fn took_new(record: &Record, job: &JobFacts, levels: &Levels) -> Option<bool> {
    // One that was never seen running ran at some time after it was sent.
    let (from, to) = (job.running_t.unwrap_or(job.submitting_t), job.ended.as_ref()?.0);
    let step = record.plan().sample_every_s;
    if to - from < LEAST_SAMPLES * step {
        return None;
    }
    let rest = held(record, from - step)?;
    // What could not be read in between may have been the most.
    let during: Vec<f64> = moments(from, to, step).map(|t| held(record, t)).collect::<Option<_>>()?;
    let highest = during.into_iter().fold(f64::NEG_INFINITY, f64::max);
    Some(highest - rest > NEW_SHARE * (levels.after - levels.before))
}

/// What jobs and models hold: what is in use, less what the allocator says that it keeps for later; `None` where it could not be read.
fn held(record: &Record, t: f64) -> Option<f64> {
    if ![USED, REUSABLE].iter().all(|name| is_read(record, name, t)) {
        return None;
    }
    let used = record.series.get(USED)?.at(t)?;
    Some(used - record.series.get(REUSABLE).and_then(|series| series.at(t)).unwrap_or(0.0))
}

fn moments(from: f64, to: f64, step: f64) -> impl Iterator<Item = f64> {
    (0..((to - from) / step).max(0.0) as u64).map(move |at| from + at as f64 * step)
}

/// The median of the memory that is held with one number of jobs at work.
struct Level {
    bytes: f64,
    /// From the tenth of a hundred to the ninetieth.
    spread: f64,
    samples: usize,
}

fn levels(record: &Record, from: f64, to: f64) -> BTreeMap<u32, Level> {
    let mut found: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    let Some(running) = record.series.get(RUNNING) else { return BTreeMap::new() };
    for t in moments(from, to, record.plan().sample_every_s) {
        if let Some((bytes, jobs)) = held(record, t).zip(running.at(t)).filter(|_| is_read(record, RUNNING, t)) {
            found.entry(jobs as u32).or_default().push(bytes);
        }
    }
    let enough = found.into_iter().filter(|(_, all)| all.len() >= FEWEST);
    let level = |mut all: Vec<f64>| {
        let spread = quantile(&mut all, 0.9)? - quantile(&mut all, 0.1)?;
        Some(Level { samples: all.len(), bytes: median(&mut all)?, spread })
    };
    enough.filter_map(|(jobs, all)| Some((jobs, level(all)?))).collect()
}

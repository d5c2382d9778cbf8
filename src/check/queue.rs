//! The queue as the target tells it, and as the ledger knows it.

use std::cell::OnceCell;
use std::fmt;

use super::scope::{is_apart, settled_baseline};
use crate::driver::AnswerIs;
use crate::driver::request::SMALL_TIMEOUT;
use crate::experiment::JobShape;
use crate::journal::event::JobState;
use crate::journal::facts::JobFacts;
use crate::journal::record::Record;
use crate::journal::series::Series;
use crate::load::drive::SAFETY_NET;
use crate::observe::unread;

const GAUGE: &str = "queue.depth";
/// A figure may be so old, besides what reading it in intervals explains.
const LATE_S: f64 = 5.0;
/// By so many jobs, or by this share, two counts may differ: workers take some in advance.
pub const DIFFERS_BY: (f64, f64) = (3.0, 0.25);
/// Two figures that differ for a shorter time do not contradict each other.
const HOLDS_S: f64 = 5.0;
/// A job that is not answered for so many times as long as the longest of the baseline took waits.
const WAITS: f64 = 1.5;
/// Where answers come at once, a shorter time says nothing.
const SHORTEST_S: f64 = 0.25;

/// Where the depth comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Source {
    /// The target's own figure.
    Told,
    /// Accepted, and neither running nor ended.
    Waiting,
    /// Of a target that answers only when it has begun or ended, or whose states do not say which jobs run: not done for longer
    /// than any job of the baseline took. Of the others nobody can tell whether they wait or run.
    Overdue,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Told => "the target's own queue depth",
            Self::Waiting => "derived: accepted, and neither running nor ended",
            Self::Overdue => "derived: not done for 1.5 times as long as the longest job of the baseline took",
        })
    }
}

/// The depth over time, and where it comes from.
pub struct Depth<'a> {
    record: &'a Record,
    pub source: Source,
    tells_who_runs: bool,
    usual: OnceCell<Option<Usual<'a>>>,
    by_ledger: OnceCell<Series>,
}

/// The target's own figure is lower than what its jobs say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Contradiction {
    pub t: f64,
    pub told: f64,
    pub known: f64,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "at {:.1} s the target told a queue of {:.0}, and by what it said of its jobs {:.0} were waiting (is its list cut to a page, or do workers take jobs in advance?)",
            self.t, self.told, self.known
        )
    }
}

pub fn depth(record: &Record) -> Depth<'_> {
    let tells_who_runs = tells_who_runs(record);
    let source = match record.series.get(GAUGE) {
        Some(_) => Source::Told,
        None if tells_who_runs => Source::Waiting,
        None => Source::Overdue,
    };
    Depth { record, source, tells_who_runs, usual: OnceCell::new(), by_ledger: OnceCell::new() }
}

impl Depth<'_> {
    pub fn series(&self) -> &Series {
        self.record.series.get(GAUGE).unwrap_or_else(|| self.by_ledger())
    }

    /// Who waited for all that is known of the jobs themselves.
    pub fn by_ledger(&self) -> &Series {
        self.by_ledger.get_or_init(|| match self.tells_who_runs {
            true => self.at_most(),
            false => self.usual().map(|usual| overdue(self.record, usual)).unwrap_or_default(),
        })
    }

    fn usual(&self) -> Option<&Usual<'_>> {
        self.usual.get_or_init(|| Usual::of(self.record)).as_ref()
    }

    /// Sent, and not answered: more cannot have waited.
    pub fn at_most(&self) -> Series {
        series_of(self.record.jobs.iter().filter_map(|job| stay(job, self.record)))
    }

    /// By the target itself, not derived.
    pub fn is_told(&self) -> bool {
        self.source == Source::Told
    }

    /// Nothing says how long a job takes that does not wait.
    pub fn is_unknown(&self) -> bool {
        self.source == Source::Overdue && self.by_ledger().is_empty()
    }

    /// A gauge that stands still while jobs wait shows nothing.
    pub fn is_frozen(&self, to: f64) -> bool {
        !self.series().ever_moved() && self.by_ledger().max > to
    }

    /// Who was waiting for sure by what the target said of its jobs, where that can be held against its own figure.
    pub fn surely(&self) -> Option<Series> {
        (self.is_told() && self.tells_who_runs).then(|| surely_waiting(self.record))
    }

    /// Where, between two moments, the target's own figure is farthest below what its jobs say, for longer than time explains, of
    /// what matters.
    pub fn contradiction(&self, from: f64, to: f64, matters: impl Fn(&Contradiction) -> bool) -> Option<Contradiction> {
        let surely = self.surely()?;
        // When it could not be read, its last figure is no word of that moment.
        let unread = self.record.series.get(&unread::mark(GAUGE));
        // A figure may be as old as two samples.
        let late_s = LATE_S.max(2.0 * self.record.plan().sample_every_s);
        let step = HOLDS_S / 2.0;
        let (mut worst, mut since): (Option<Contradiction>, Option<f64>) = (None, None);
        for at in 0..=((to - from).max(0.0) / step) as u32 {
            let t = from + f64::from(at) * step;
            let known = surely.at(t).unwrap_or(0.0);
            let around = |series: &Series| series.extremes(t - late_s, t + late_s).map(|(_, highest)| highest.max(0.0));
            let is_dark = unread.and_then(around).is_some_and(|unread| unread > 0.0);
            let told = around(self.series()).filter(|_| !is_dark);
            let differs = |told: &f64| known - told > DIFFERS_BY.0.max(DIFFERS_BY.1 * known);
            let found = told.filter(differs).map(|told| Contradiction { t, told, known }).filter(&matters);
            let Some(found) = found else {
                since = None;
                continue;
            };
            let holds = t - *since.get_or_insert(t) >= HOLDS_S;
            if holds && worst.is_none_or(|worst| known - found.told > worst.known - worst.told) {
                worst = Some(found);
            }
        }
        worst
    }

    /// Until when it is known, of what was looked at until then: whether one waits that was just sent shows later.
    pub fn known_until(&self, looked_until: f64) -> f64 {
        let usual = if self.source == Source::Overdue { self.usual() } else { None };
        let longest = |usual: &Usual<'_>| self.record.jobs.iter().map(|job| usual.limit_s(&job.shape)).fold(0.0, f64::max);
        looked_until - usual.map_or(0.0, longest)
    }

    /// Until when anything is.
    pub fn now(&self) -> f64 {
        self.record.now
    }
}

/// The highest value between two moments.
pub fn peak(series: &Series, from: f64, to: f64) -> f64 {
    series.extremes(from, to).map_or(0.0, |(_, highest)| highest.max(0.0))
}

/// Jobs are seen to wait, and to run.
fn tells_who_runs(record: &Record) -> bool {
    let is_accepted = record.plan().driver.submit.answer == AnswerIs::Acceptance;
    is_accepted && (record.jobs.iter().any(|job| job.running_t.is_some()) || record.jobs.iter().all(|job| job.ended.is_none()))
}

/// From when to when a job waited, or may have waited, as its client saw it.
fn stay(job: &JobFacts, record: &Record) -> Option<(f64, Option<f64>)> {
    let answered_t = job.answer.as_ref().map(|(t, _)| *t);
    let left = || [job.running_t, job.left_t(), job.odd_t()].into_iter().flatten().reduce(f64::min);
    match record.plan().driver.submit.answer {
        AnswerIs::Acceptance => answered_t.filter(|_| job.accepted()).map(|t| (t, left())),
        AnswerIs::Result => Some((job.submitting_t, answered_t)),
        AnswerIs::Stream if job.accepted() => Some((job.submitting_t, left())),
        AnswerIs::Stream => Some((job.submitting_t, answered_t)),
    }
}

/// The longest that a job took in the second half of the baseline: its first may have had to load the model.
struct Usual<'a> {
    longest_s: f64,
    shape: &'a JobShape,
}

impl<'a> Usual<'a> {
    fn of(record: &'a Record) -> Option<Self> {
        let (settled, end) = settled_baseline(record)?;
        let took = |job: &'a JobFacts| {
            let (from, until) = stay(job, record).filter(|_| !is_apart(job))?;
            let until = until.filter(|t| *t > settled && *t <= end)?;
            // One that came to nothing says nothing of what a job takes.
            let is_fine = job.state().is_none_or(|state| state == JobState::Completed);
            (job.accepted() && is_fine).then(|| Self { longest_s: until - from, shape: &job.shape })
        };
        record.jobs.iter().filter_map(took).reduce(|a, b| if b.longest_s > a.longest_s { b } else { a })
    }

    /// What this one may take, by its size: as long at least.
    fn work_s(&self, shape: &JobShape) -> f64 {
        let times = |ours: u32, theirs: u32| (f64::from(ours.max(1)) / f64::from(theirs.max(1))).max(1.0);
        let of_pixels = times(shape.width, self.shape.width) * times(shape.height, self.shape.height);
        // To read a prompt and to write an answer are one after the other.
        let of_text = times(shape.tokens, self.shape.tokens).max(times(shape.prompt, self.shape.prompt));
        self.longest_s * of_pixels * of_text * times(shape.batch, self.shape.batch)
    }

    /// One that is not done after so long has waited.
    fn limit_s(&self, shape: &JobShape) -> f64 {
        (WAITS * self.work_s(shape)).max(SHORTEST_S)
    }
}

/// Jobs that took, or have been there for, longer than any that does not wait: until only that much was left.
fn overdue(record: &Record, usual: &Usual<'_>) -> Series {
    let waited = |job: &JobFacts| {
        let (from, until) = stay(job, record)?;
        let is_late = until.unwrap_or(record.now) - from > usual.limit_s(&job.shape);
        is_late.then(|| (from, until.map(|t| (t - usual.work_s(&job.shape)).max(from))))
    };
    series_of(record.jobs.iter().filter_map(waited))
}

/// How many waited for sure, of a target whose states say which jobs run.
fn surely_waiting(record: &Record) -> Series {
    let driver = &record.plan().driver;
    // What is learned of a job is learned so late, from an endpoint that takes its time.
    let asked_every = if driver.pushes() { driver.status.every.0.max(SAFETY_NET) } else { driver.status.every.0 };
    let late_s = (asked_every + SMALL_TIMEOUT).as_secs_f64();
    let last_start_t = record.generations.last().map_or(0.0, |life| life.started_t);
    let surely = |job: &JobFacts| {
        let (from, _) = stay(job, record)?;
        let is_queued = || job.last_view.as_ref().is_some_and(|view| view.state == JobState::Queued);
        let until = match job.running_t {
            Some(t) => t,
            // One that ends without having been seen to run may have run all the time, and what a target had before it was
            // started again it may have forgotten.
            None if job.left_t().is_none() && job.gave_up_t().is_none() && is_queued() && from > last_start_t => {
                record.looked_until()
            }
            None => return None,
        };
        (until - late_s > from).then_some((from, Some(until - late_s)))
    };
    series_of(record.jobs.iter().filter_map(surely))
}

/// How many of these there are, over time.
fn series_of(stays: impl Iterator<Item = (f64, Option<f64>)>) -> Series {
    let mut steps: Vec<(f64, f64)> = Vec::new();
    for (from, until) in stays {
        steps.push((from, 1.0));
        steps.extend(until.map(|t| (t.max(from), -1.0)));
    }
    steps.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut series = Series::default();
    series.push(0.0, 0.0);
    let mut depth = 0.0;
    for (t, change) in steps {
        depth += change;
        series.push(t, depth);
    }
    series
}

/// A job was done after that moment: somebody works on the queue.
pub fn is_served_after(record: &Record, t: f64) -> bool {
    let is_done = |job: &JobFacts| matches!(&job.ended, Some((at, view, _)) if *at > t && view.state == JobState::Completed);
    record.jobs.iter().rev().any(is_done)
}

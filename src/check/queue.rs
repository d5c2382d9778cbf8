//! The queue as the target tells it, and as the ledger knows it.

use std::cell::OnceCell;
use std::fmt;
use std::time::Duration;

use crate::driver::AnswerIs;
use crate::journal::event::JobState;
use crate::journal::facts::JobFacts;
use crate::journal::record::Record;
use crate::journal::series::Series;
use crate::load::drive::SAFETY_NET;
use crate::observe::unread;

const GAUGE: &str = "queue.depth";
/// A figure may be so old, and a state be learned so late, besides what asking in intervals explains.
const LATE_S: f64 = 5.0;
/// Fewer jobs than these, or than this share, two counts may differ by: workers take some in advance.
const DIFFERS_BY: (f64, f64) = (3.0, 0.25);
/// So many moments of a run are compared.
const MOMENTS: u32 = 2_000;
/// Two figures that differ for a shorter time do not contradict each other.
const HOLDS_S: f64 = 5.0;

/// Where the depth comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Source {
    /// The target's own figure.
    Told,
    /// Accepted, and neither running nor ended.
    Waiting,
    /// Of a target that answers with the result: sent, and not answered. Whether such a job waits or runs nobody can tell.
    Sent,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Told => "the target's own queue depth",
            Self::Waiting => "derived: accepted, and neither running nor ended",
            Self::Sent => "derived: sent, and not answered yet",
        })
    }
}

/// The depth over time, and where it comes from.
pub struct Depth<'a> {
    record: &'a Record,
    pub source: Source,
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
            "at {:.1} s the target told a queue of {:.0}, and by what it said of its jobs {:.0} were waiting (is its list cut to a page?)",
            self.t, self.told, self.known
        )
    }
}

pub fn depth(record: &Record) -> Depth<'_> {
    let source = match record.plan().driver.submit.answer {
        _ if record.series.get(GAUGE).is_some() => Source::Told,
        AnswerIs::Result => Source::Sent,
        AnswerIs::Acceptance | AnswerIs::Stream => Source::Waiting,
    };
    Depth { record, source, by_ledger: OnceCell::new() }
}

impl<'a> Depth<'a> {
    pub fn series(&self) -> &Series {
        self.record.series.get(GAUGE).unwrap_or_else(|| self.by_ledger())
    }

    /// By the jobs themselves.
    pub fn by_ledger(&self) -> &Series {
        self.by_ledger.get_or_init(|| series_of(self.record.jobs.iter().filter_map(|job| stay(job, self.record))))
    }

    /// Until when it is known.
    pub fn now(&self) -> f64 {
        self.record.now
    }

    /// By the target itself, not derived.
    pub fn is_told(&self) -> bool {
        self.source == Source::Told
    }

    /// Of the jobs that the series counts so many may be at work: they do not wait.
    pub fn at_work(&self) -> f64 {
        if self.source == Source::Sent { self.usual() } else { 0.0 }
    }

    /// So many of those that the ledger counts need not wait: before the faults as many were under way at once.
    fn usual(&self) -> f64 {
        let answers_with_result = self.record.plan().driver.submit.answer == AnswerIs::Result;
        let end = self.record.baseline_end().filter(|_| answers_with_result);
        end.and_then(|end| self.by_ledger().extremes(0.0, end)).map_or(0.0, |(_, highest)| highest)
    }

    /// What is said of so many.
    pub fn wait(&self, depth: f64) -> String {
        match self.source {
            Source::Sent => format!("{depth:.0} jobs are sent and not answered"),
            _ => format!("{depth:.0} jobs wait"),
        }
    }

    /// A gauge that stands still while jobs wait shows nothing.
    pub fn is_frozen(&self, to: f64) -> bool {
        !self.series().ever_moved() && self.by_ledger().max - self.usual() > to
    }

    /// Where, between two moments, the target's own figure is farthest below what its jobs say, for longer than time explains.
    pub fn contradiction(&self, from: f64, to: f64) -> Option<Contradiction> {
        if !self.is_told() {
            return None;
        }
        let surely = surely_waiting(self.record)?;
        // When it could not be read, its last figure is no word of that moment.
        let unread = self.record.series.get(&unread::mark(GAUGE));
        let step = ((to - from) / f64::from(MOMENTS)).max(1.0);
        let (mut worst, mut since): (Option<Contradiction>, Option<f64>) = (None, None);
        for at in 0..=((to - from) / step) as u32 {
            let t = from + f64::from(at) * step;
            let known = surely.at(t).unwrap_or(0.0);
            let around = |series: &Series| series.extremes(t - LATE_S, t + LATE_S).map(|(_, highest)| highest.max(0.0));
            let is_dark = unread.and_then(around).is_some_and(|unread| unread > 0.0);
            let told = around(self.series()).filter(|_| !is_dark);
            let Some(told) = told.filter(|told| known - told > DIFFERS_BY.0.max(DIFFERS_BY.1 * known)) else {
                since = None;
                continue;
            };
            let holds = t - *since.get_or_insert(t) >= HOLDS_S;
            if holds && worst.is_none_or(|worst| known - told > worst.known - worst.told) {
                worst = Some(Contradiction { t, told, known });
            }
        }
        worst
    }
}

/// The highest value between two moments.
pub fn peak(series: &Series, from: f64, to: f64) -> f64 {
    series.extremes(from, to).map_or(0.0, |(_, highest)| highest.max(0.0))
}

/// From when to when a job waited, as its client saw it.
fn stay(job: &JobFacts, record: &Record) -> Option<(f64, Option<f64>)> {
    let answered_t = job.answer.as_ref().map(|(t, _)| *t);
    let left = || [job.running_t, job.left_t()].into_iter().flatten().reduce(f64::min);
    match record.plan().driver.submit.answer {
        AnswerIs::Acceptance => answered_t.filter(|_| job.accepted()).map(|t| (t, left())),
        AnswerIs::Result => Some((job.submitting_t, answered_t)),
        AnswerIs::Stream if job.accepted() => Some((job.submitting_t, left())),
        AnswerIs::Stream => Some((job.submitting_t, answered_t)),
    }
}

/// How many waited for sure. `None` where that cannot be told: jobs whose state does not say whether they run.
fn surely_waiting(record: &Record) -> Option<Series> {
    let driver = &record.plan().driver;
    if driver.submit.answer != AnswerIs::Acceptance || record.jobs.iter().all(|job| job.running_t.is_none()) {
        return None;
    }
    // What is learned of a job is learned so late.
    let asked_every = if driver.pushes() { driver.status.every.0.max(SAFETY_NET) } else { driver.status.every.0 };
    let late_s = (asked_every + Duration::from_secs(1)).as_secs_f64();
    let surely = |job: &JobFacts| {
        let (from, until) = stay(job, record)?;
        let until = [until, job.missing_t(), job.gave_up_t()].into_iter().flatten().reduce(f64::min);
        let is_queued = || job.last_view.as_ref().is_some_and(|view| view.state == JobState::Queued);
        let until = match until {
            Some(t) => t - late_s,
            None if is_queued() => record.looked_until() - late_s,
            None => return None,
        };
        (until > from).then_some((from, Some(until)))
    };
    Some(series_of(record.jobs.iter().filter_map(surely)))
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

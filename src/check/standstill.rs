//! Chaos itself stood still: it was stopped (SIGSTOP), swapped out, or the machine was suspended. What happened meanwhile was not
//! seen, what was due then came late, and what was waited for had no chance: none of that is the target's fault.
//!
//! A failure falls where it rests on what such a gap covers: the check judges the record once more without the jobs and the
//! connections that something happened to in it, on a clock that leaves it out. A crash or a line in a log remains one.

use std::cell::OnceCell;

use super::noise::Bearing;
use super::without_noise::Quiet;
use super::{CheckSpec, Ruling, Verdict, View, judge};
use crate::journal::facts::{JobFacts, Loss};
use crate::journal::record::Record;
use crate::observe::machine::{LATE, SUSPENDED};
use crate::text::seconds;

/// Whoever is late by less has seen everything, if late: that is noise.
const SHORTEST_S: f64 = 1.0;
/// What was waiting comes all at once; after as long as the gap, and no more than this, it has been dealt with.
const SETTLES_S: f64 = 2.0;
/// So many gaps are told.
const TOLD: usize = 5;
const REMEDY: &str = "run it again, and let nothing stop chaos meanwhile; on a laptop keep it awake";

/// A time in which chaos saw nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gap {
    pub from: f64,
    pub to: f64,
    /// Seconds for which the machine was suspended, which this clock does not count.
    pub suspended_s: f64,
}

impl Gap {
    fn settles_s(&self) -> f64 {
        (self.to - self.from + self.suspended_s).min(SETTLES_S)
    }

    fn told(&self) -> String {
        match self.suspended_s > 0.0 {
            true => format!("the machine was suspended for {} at {:.1} s", seconds(self.suspended_s), self.to),
            false => format!("chaos itself stood still from {:.1} s to {:.1} s", self.from, self.to),
        }
    }
}

/// The gaps of a record, in their order.
pub fn gaps(record: &Record) -> Vec<Gap> {
    let late = record.series.get(LATE).into_iter().flat_map(|series| series.iter());
    let stopped = late.filter(|point| point.value / 1e3 >= SHORTEST_S);
    let stopped = stopped.map(|point| Gap { from: (point.t - point.value / 1e3).max(0.0), to: point.t, suspended_s: 0.0 });
    let mut before = 0.0;
    let suspended = record.series.get(SUSPENDED).into_iter().flat_map(|series| series.iter()).filter_map(|point| {
        let suspended_s = point.value - std::mem::replace(&mut before, point.value);
        (suspended_s > 0.0).then_some(Gap { from: point.t, to: point.t, suspended_s })
    });
    let mut gaps: Vec<Gap> = stopped.chain(suspended).collect();
    gaps.sort_by(|a, b| a.from.total_cmp(&b.from));
    gaps
}

/// The record without what its gaps cover, made when it is asked for, and once for all checks.
pub struct Standstill<'a> {
    gaps: Vec<Gap>,
    record: &'a Record,
    seen: &'a OnceCell<Record>,
    quiet: OnceCell<Quiet<'a>>,
}

impl<'a> Standstill<'a> {
    /// `seen` is where that record is kept.
    pub fn of(record: &'a Record, seen: &'a OnceCell<Record>) -> Self {
        Self { gaps: gaps(record), record, seen, quiet: OnceCell::new() }
    }

    /// A failure that rests on what chaos did not see is none.
    pub fn weigh(&self, check: &CheckSpec, verdict: Verdict) -> Verdict {
        if self.gaps.is_empty() || verdict.ruling != Ruling::Failed || self.fails_without(check) {
            return verdict;
        }
        let mut told = self.gaps.iter().map(Gap::told);
        let first = told.next().unwrap_or_default();
        let observed = format!("{first}: {}; without what this covers it would not have failed", verdict.observed);
        let rest: Vec<String> = told.take(TOLD).chain([REMEDY.to_owned()]).collect();
        Verdict { ruling: Ruling::Inconclusive, observed, took_s: None, ..verdict }.with(rest)
    }

    fn fails_without(&self, check: &CheckSpec) -> bool {
        let seen = self.seen.get_or_init(|| without(self.record, &self.gaps));
        judge(check, &View::of(seen)).ruling == Ruling::Failed
            && !self.quiet.get_or_init(|| Quiet::of(seen)).may_excuse(check, Bearing::Clock)
    }
}

fn without(record: &Record, gaps: &[Gap]) -> Record {
    let spans: Vec<(f64, f64)> = gaps.iter().map(|gap| span(record, gap)).collect();
    let covers = |t: f64| spans.iter().any(|(from, to)| (*from..=*to).contains(&t));
    let mut seen = record.clone();
    seen.jobs = record.jobs.without(|job| moments(job).any(covers));
    let mut listeners = (*record.listeners).clone();
    for listener in listeners.values_mut() {
        listener.losses.retain(|loss| !ends(loss).any(covers));
    }
    seen.listeners = listeners.into();
    seen
}

/// What has to do with the gap. A fault that was due to end in it ends late, and so does what it does.
fn span(record: &Record, gap: &Gap) -> (f64, f64) {
    let ends = |t: f64| (gap.from..=gap.to + gap.settles_s()).contains(&t);
    let late = record.faults.iter().filter(|fault| fault.reverting_t.is_some_and(ends)).filter_map(|fault| fault.over_t);
    (gap.from, late.fold(gap.to, f64::max) + gap.settles_s())
}

/// When something happened to a job, as its client saw it.
fn moments(job: &JobFacts) -> impl Iterator<Item = f64> {
    let answered = job.answer.as_ref().map(|(t, _)| *t);
    let ended = job.ended.as_ref().map(|(t, ..)| *t);
    let rest =
        [answered, ended, job.missing_t(), job.gave_up_t(), job.cancelled().map(|(t, _)| t), job.given_to().map(|given| given.t)];
    [job.intended_t, job.submitting_t].into_iter().chain(rest.into_iter().flatten())
}

/// When a connection was lost, and when it was back.
fn ends(loss: &Loss) -> impl Iterator<Item = f64> {
    [Some(loss.t), loss.freed_t, loss.back_t].into_iter().flatten()
}

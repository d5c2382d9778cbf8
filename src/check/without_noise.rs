//! What a verdict would be had the machine been quiet: the check judges the same record again with the time taken out that others
//! took, and with what chaos' own lateness may have added.
//!
//! A failure falls only where the noise is large enough to explain all of it, and a pass only where it would have failed.

use std::cell::OnceCell;
use std::sync::Arc;

use super::noise::{Bearing, Noise, Shares};
use super::{CheckSpec, Ruling, View, judge};
use crate::journal::event::{JobView, Via};
use crate::journal::facts::JobFacts;
use crate::journal::record::Record;
use crate::journal::series::Series;
use crate::observe::prober::UP;

/// Of a failure, noise may have cost up to so many times what was measured of it: caches that others have emptied, cores that
/// are only half of one, work that had piled up. But half of what the target had in spite of it stays its own.
const GENEROUS: f64 = 2.0;
/// A pass falls only by what was measured.
const STRICT: f64 = 1.0;
/// A health answer that is waited for so long counts as none (`driver`), and was asked for so much before the silence was seen.
const PROBE_S: f64 = 1.0;
/// One answer may be late by more than the mean of the noise.
const UNLUCKY_S: f64 = 0.2;
/// A job's end that a socket has not told for so long counts as not told (`load/drive.rs`).
const SOCKET_GRACE_S: f64 = 1.0;

/// The record without its noise, made when it is asked for.
pub struct Quiet<'a> {
    pub noise: Noise,
    record: &'a Record,
    generous: [OnceCell<Record>; 2],
    strict: [OnceCell<Record>; 2],
}

impl<'a> Quiet<'a> {
    pub fn of(record: &'a Record) -> Self {
        Self { noise: Noise::of(record), record, generous: Default::default(), strict: Default::default() }
    }

    /// Whether noise can explain that a check has failed.
    pub fn may_excuse(&self, check: &CheckSpec, bearing: Bearing) -> bool {
        let ruling = |cell: &OnceCell<Record>, clock| ruling(check, cell.get_or_init(|| self.record_without(GENEROUS, clock)));
        let [jobs, clock] = &self.generous;
        // With less time to look at, a check may become undecided for that alone: on the other clock only a pass counts.
        ruling(jobs, false) != Ruling::Failed || (bearing == Bearing::Clock && ruling(clock, true) == Ruling::Passed)
    }

    /// What would be said of a check without what was measured of the noise.
    pub fn without(&self, check: &CheckSpec, bearing: Bearing) -> Ruling {
        let clock = bearing == Bearing::Clock;
        let cell = &self.strict[usize::from(clock)];
        ruling(check, cell.get_or_init(|| self.record_without(STRICT, clock)))
    }

    /// The record without the noise in its jobs' times; with `clock` in all others too.
    fn record_without(&self, generous: f64, clock: bool) -> Record {
        let away = self.noise.away(generous);
        let to = |t: f64| if clock { t - away.until(t) } else { t };
        let added = Added { noise: &self.noise, taken: self.noise.taken(generous), generous: generous > STRICT };
        let mut record = self.record.clone();
        if clock {
            record = record.retimed(&to);
            without_silences(&mut record, self.record, &added, &to);
        }
        for number in 0..record.jobs.len() {
            shorten(&self.record.jobs[number], &mut record.jobs[number], &added, &to);
        }
        record
    }
}

/// What noise may have added.
struct Added<'a> {
    noise: &'a Noise,
    taken: Shares,
    generous: bool,
}

impl Added<'_> {
    /// To what lies between two moments, in seconds.
    fn between(&self, from: f64, to: f64) -> f64 {
        let during = self.taken.between(from, to);
        // A queue that grew while it was noisy is worked off afterwards.
        let before = if self.generous { self.taken.between(from - (to - from), from) } else { 0.0 };
        during.max(before).max(self.noise.own_s(from, to))
    }
}

/// A job sent when it was due, and followed without noise.
fn shorten(job: &JobFacts, quiet: &mut JobFacts, added: &Added<'_>, to: &dyn Fn(f64) -> f64) {
    let (due, sent) = (to(job.intended_t), job.submitting_t);
    quiet.retime(&|t| {
        if t <= sent {
            return due;
        }
        let lasts = to(t) - to(sent);
        let taken_out = (t - sent) - lasts;
        due + (lasts - (added.between(sent, t) - taken_out).max(0.0)).max(0.0)
    });
    if let Some((t, view, via)) = &mut quiet.ended {
        let ended_t = job.ended.as_ref().map_or(*t, |(t, ..)| *t);
        let untold = *via == Via::SafetyNet && added.between(ended_t - SOCKET_GRACE_S, ended_t) > 0.0;
        if untold && added.generous {
            *via = Via::Socket;
        }
        speed_up(view, |s| (s - added.between(sent, sent + s)).max(0.0));
    }
}

/// Leaves out the silences of the health endpoint that noise can explain.
fn without_silences(quiet: &mut Record, record: &Record, added: &Added<'_>, to: &dyn Fn(f64) -> f64) {
    let Some(up) = record.series.get(UP).filter(|_| added.generous) else { return };
    let mut answered = Series::default();
    for (from, until, value) in up.stretches(f64::NEG_INFINITY, record.now) {
        // A single answer may be unlucky with any noise; a long silence takes much of it.
        let noise = added.between(from - PROBE_S, until);
        let excused = value < 0.5 && noise > 0.0 && until - from <= noise + UNLUCKY_S;
        answered.push(to(from), if excused { 1.0 } else { value });
    }
    Arc::make_mut(&mut quiet.series).insert(UP.to_owned(), answered);
}

/// The times that a streamed answer tells of itself.
fn speed_up(view: &mut Arc<JobView>, quiet_s: impl Fn(f64) -> f64) {
    if view.tokens.is_none() {
        return;
    }
    if let Some(tokens) = &mut Arc::make_mut(view).tokens {
        tokens.first_s = quiet_s(tokens.first_s);
        tokens.gap_s = quiet_s(tokens.gap_s);
        tokens.longest_gap_s = quiet_s(tokens.longest_gap_s);
    }
}

fn ruling(check: &CheckSpec, record: &Record) -> Ruling {
    judge(check, &View::of(record)).ruling
}

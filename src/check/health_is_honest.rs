//! The health endpoint agreed with what the jobs saw: it did not say "well" while nothing got anywhere, nor fall silent while
//! jobs were done. Health is not readiness, and a proxy may answer for the backend.

use std::collections::VecDeque;

use super::noise::Bearing;
use super::scope::no_health;
use super::{Check, Verdict, View};
use crate::experiment::units::{Time, WallTime};
use crate::journal::event::Phase;
use crate::journal::facts::JobFacts;
use crate::journal::record::Record;
use crate::observe::prober::{OPEN, UP};
use crate::record;

const EXPECTED: &str = "the health endpoint says what the jobs see";
/// Kubernetes waits for so long for an answer, where nobody says otherwise (`timeoutSeconds` of a probe). A question is waited for for
/// as long before it counts as silence.
const LONG_S: f64 = 1.0;
/// A shorter silence is one, too ...
const SHORT_S: f64 = 0.3;
/// ... where all of them take more than this share of the time: one in an hour harms nobody.
const OFTEN: f64 = 0.005;

record! {
    /// The health endpoint agreed with what the jobs saw.
    pub struct HealthIsHonest {
        /// "Well" while jobs wait and none gets anywhere for this long is a lie.
        stall: Time = Time::secs(600),
        /// Silence for this long while jobs are done is one too: an orchestrator would kill a working server. Without it: for a
        /// second, for which orchestrators wait, or shorter ones that together take more than 0.5 % of the time. It counts from the
        /// moment that a question has failed; one without any answer fails after a second.
        silence: Option<WallTime> = None,
    }
}

impl Check for HealthIsHonest {
    fn bearing(&self) -> Bearing {
        Bearing::Clock
    }
    fn needs_load(&self) -> Option<Time> {
        Some(Time(2 * self.stall.0))
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let record = view.record;
        let Some(up) = record.series.get(UP) else {
            return if record.ended { Verdict::inconclusive(EXPECTED, no_health(record)) } else { Verdict::pending(EXPECTED, "not asked yet") };
        };
        let steps = steps(record);
        let lies = self.well_and_stuck(record, &steps).into_iter().chain(self.silent_and_working(record)).collect::<Vec<_>>();
        if let Some(first) = lies.first() {
            return Verdict::failed(EXPECTED, first.clone()).with(lies);
        }
        let last_step = steps.iter().rfind(|t| **t <= record.now).copied().or_else(|| record.phase_start(Phase::Baseline));
        let stuck_for = record.now - last_step.unwrap_or(record.now);
        // While nothing moves it may yet become a lie.
        let waits = || waiting_since(record, &[record.now])[0].is_some();
        if !record.ended && (record.faults_end().is_none() || (stuck_for > self.stall.as_s() / 4.0 && waits())) {
            return Verdict::pending(EXPECTED, "no lie so far");
        }
        if record.jobs.iter().all(|job| job.ended.is_none()) {
            return Verdict::inconclusive(EXPECTED, "not one job ended");
        }
        let well = up.iter().filter(|p| p.value > 0.5).count();
        Verdict::passed(EXPECTED, format!("no lie; it changed {} times", up.len().saturating_sub(1))).with([format!("{well} times it said: well")])
    }
}

/// For each of these moments, which are in order: since when a job has waited that was accepted by then and had not ended.
fn waiting_since(record: &Record, moments: &[f64]) -> Vec<Option<f64>> {
    let stay = |job: &JobFacts| {
        let from = job.answer.as_ref().filter(|_| job.accepted())?.0;
        Some((from, job.left_t().into_iter().chain(job.odd_t()).fold(f64::INFINITY, f64::min)))
    };
    let mut stays: Vec<(f64, f64)> = record.jobs.iter().filter_map(stay).collect();
    stays.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Those that have come, the earliest on top; who has gone is taken off when it is on top.
    let (mut coming, mut waiting) = (stays.iter().copied().peekable(), VecDeque::new());
    let at = |t: &f64| {
        while let Some(stay) = coming.next_if(|stay| stay.0 <= *t) {
            waiting.push_back(stay);
        }
        while waiting.front().is_some_and(|stay| stay.1 <= *t) {
            waiting.pop_front();
        }
        waiting.front().map(|stay| stay.0)
    };
    moments.iter().map(at).collect()
}

/// Every moment at which a job started or ended, or may have.
fn steps(record: &Record) -> Vec<f64> {
    let of = |job: &JobFacts| [job.running_t, job.ended.as_ref().map(|e| e.0), job.odd_t()];
    let mut steps: Vec<f64> = record.jobs.iter().flat_map(of).flatten().collect();
    steps.sort_by(f64::total_cmp);
    steps
}

impl HealthIsHonest {
    fn well_and_stuck(&self, record: &Record, steps: &[f64]) -> Option<String> {
        let begin = record.phase_start(Phase::Baseline)?;
        let end = record.phase_start(Phase::Revert).unwrap_or(record.now);
        let inside = steps.iter().copied().filter(|t| *t > begin && *t < end);
        let moments: Vec<f64> = [begin].into_iter().chain(inside).chain([end]).collect();
        let up = record.series.get(UP)?;
        let just_before: Vec<f64> = moments.iter().skip(1).map(|t| t - 1e-6).collect();
        moments.windows(2).zip(waiting_since(record, &just_before)).find_map(|(w, waiting)| {
            // Between two steps nothing moved; it is a stall from the moment on that somebody waited.
            let (from, to) = (w[0].max(waiting?), w[1]);
            let stuck = to - from > self.stall.as_s() && up.mean(from, to)? > 0.9;
            stuck.then(|| format!("it said \"well\" from {from:.1} s to {to:.1} s, while jobs waited and none started or ended"))
        })
    }

    fn silent_and_working(&self, record: &Record) -> Option<String> {
        let (up, open) = (record.series.get(UP)?, record.series.get(OPEN)?);
        let begin = record.phase_start(Phase::Baseline)?;
        let end = record.load_stopped_t.unwrap_or(record.now);
        let mut ends: Vec<f64> = record.jobs.iter().filter_map(|job| job.ended.as_ref().map(|e| e.0)).collect();
        ends.sort_by(f64::total_cmp);
        let down = up.stretches(f64::NEG_INFINITY, f64::INFINITY).into_iter().filter(|(.., value)| *value < 0.5);
        // One that never ended is looked at for as long as work went on under load: afterwards it may be true.
        let last = ends.iter().copied().rfind(|t| *t <= end).unwrap_or(f64::NEG_INFINITY) + 1e-6;
        let down = down.map(|(from, to, value)| (from, if to.is_finite() { to } else { last.min(end) }, value));
        let least = self.silence.map_or(SHORT_S, |silence| silence.as_s());
        let silences: Vec<(f64, f64, usize)> = down
            .filter(|(from, to, _)| *from > begin && *to <= end && to - from >= least)
            .map(|(from, to, _)| (from, to, ends.partition_point(|t| *t < to) - ends.partition_point(|t| *t < from)))
            .filter(|(from, to, done)| *done > 0 && open.mean(*from, *to).unwrap_or(0.0) > 0.9 && !excused(record, *from, *to))
            .collect();
        let length = |(from, to, _): &(f64, f64, usize)| to - from;
        let often = silences.iter().map(length).sum::<f64>() > OFTEN * (end - begin);
        let counts = |silence: &&(f64, f64, usize)| self.silence.is_some() || often || length(silence) >= LONG_S;
        let (from, to, done) = silences.iter().find(counts)?;
        let more = if silences.len() > 1 { format!(" (one of {} silences)", silences.len()) } else { String::new() };
        Some(format!("it did not answer from {from:.1} s to {to:.1} s, while {done} jobs were done{more}"))
    }
}

/// A fault that stops or ends the process was at work: silence is what is expected then.
fn excused(record: &Record, from: f64, to: f64) -> bool {
    let plan = record.plan();
    record.faults.iter().any(|f| {
        let touches = plan.faults.iter().any(|p| p.name == f.name && p.spec.needs_process());
        let (begin, end) = (f.injecting_t.unwrap_or(f64::INFINITY), f.over_t.unwrap_or(f64::INFINITY));
        touches && begin - 1.0 < to && end + 1.0 > from
    })
}

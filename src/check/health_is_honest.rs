//! The health endpoint agreed with what the jobs saw: it did not say "well" while nothing got anywhere, nor fall silent while
//! jobs were done. Health is not readiness, and a proxy may answer for the backend.

use super::{Check, Verdict, View};
use crate::experiment::units::{Time, WallTime};
use crate::journal::event::Phase;
use crate::journal::record::Record;
use crate::observe::prober::{OPEN, UP};
use crate::record;

const EXPECTED: &str = "the health endpoint says what the jobs see";

record! {
    /// The health endpoint agreed with what the jobs saw.
    pub struct HealthIsHonest {
        /// "Well" while jobs wait and none gets anywhere for this long is a lie.
        stall: Time = Time::secs(600),
        /// Silence for this long while jobs are done is one too: an orchestrator would kill a working server.
        silence: WallTime = WallTime::millis(300),
    }
}

impl Check for HealthIsHonest {
    fn needs_load(&self) -> Option<Time> {
        Some(Time(2 * self.stall.0))
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let record = view.record;
        let Some(up) = record.series.get(UP) else {
            return if record.ended { Verdict::inconclusive(EXPECTED, "the health endpoint was never asked") } else { Verdict::pending(EXPECTED, "not asked yet") };
        };
        let lies = self.well_and_stuck(record).into_iter().chain(self.silent_and_working(record)).collect::<Vec<_>>();
        if let Some(first) = lies.first() {
            return Verdict::failed(EXPECTED, first.clone()).with(lies);
        }
        let stuck_for = record.now - last_step(record, record.now).unwrap_or(record.now);
        // While nothing moves it may yet become a lie.
        if !record.ended && (record.faults_end().is_none() || (waiting_since(record, record.now).is_some() && stuck_for > self.stall.as_s() / 4.0)) {
            return Verdict::pending(EXPECTED, "no lie so far");
        }
        if record.jobs.iter().all(|job| job.ended.is_none()) {
            return Verdict::inconclusive(EXPECTED, "not one job ended");
        }
        let well = up.points.iter().filter(|p| p.value > 0.5).count();
        Verdict::passed(EXPECTED, format!("no lie; it changed {} times", up.points.len().saturating_sub(1))).with([format!("{well} times it said: well")])
    }
}

/// Since when a job has waited that was accepted by then and had not ended.
fn waiting_since(record: &Record, t: f64) -> Option<f64> {
    let open = record.jobs.iter().filter_map(|job| {
        let from = job.answer.as_ref().filter(|_| job.accepted())?.0;
        let ends = [job.ended.as_ref().map(|e| e.0), job.vanished_t, job.cancelled.as_ref().map(|c| c.0)];
        let to = ends.into_iter().flatten().fold(f64::INFINITY, f64::min);
        (from..to).contains(&t).then_some(from)
    });
    open.reduce(f64::min)
}

/// Every moment at which a job started or ended.
fn steps(record: &Record) -> Vec<f64> {
    let mut steps: Vec<f64> = record.jobs.iter().flat_map(|job| job.running_t.into_iter().chain(job.ended.as_ref().map(|e| e.0))).collect();
    steps.sort_by(f64::total_cmp);
    steps
}

fn last_step(record: &Record, before: f64) -> Option<f64> {
    let begin = record.phase_start(Phase::Baseline)?;
    steps(record).into_iter().rfind(|t| *t <= before).or(Some(begin))
}

impl HealthIsHonest {
    fn well_and_stuck(&self, record: &Record) -> Option<String> {
        let begin = record.phase_start(Phase::Baseline)?;
        let end = record.phase_start(Phase::Revert).unwrap_or(record.now);
        let moments: Vec<f64> = [begin].into_iter().chain(steps(record).into_iter().filter(|t| *t > begin && *t < end)).chain([end]).collect();
        let up = record.series.get(UP)?;
        moments.windows(2).find_map(|w| {
            // Between two steps nothing moved; it is a stall from the moment on that somebody waited.
            let from = w[0].max(waiting_since(record, w[1] - 1e-6)?);
            let to = w[1];
            let stuck = to - from > self.stall.as_s() && up.mean(from, to)? > 0.9;
            stuck.then(|| format!("it said \"well\" from {from:.1} s to {to:.1} s, while jobs waited and none started or ended"))
        })
    }

    fn silent_and_working(&self, record: &Record) -> Option<String> {
        let up = record.series.get(UP)?;
        let open = record.series.get(OPEN)?;
        let begin = record.phase_start(Phase::Baseline)?;
        let end = record.load_stopped_t.unwrap_or(record.now);
        let falls = up.points.windows(2).filter(|w| w[0].value < 0.5 && w[0].t > begin && w[1].t < end);
        falls.map(|w| (w[0].t, w[1].t)).find_map(|(from, to)| {
            let done = record.jobs.iter().filter(|job| job.ended.as_ref().is_some_and(|(t, ..)| (from..to).contains(t))).count();
            let listening = open.mean(from, to).unwrap_or(0.0) > 0.9;
            let lie = to - from >= self.silence.as_s() && done > 0 && listening && !excused(record, from, to);
            lie.then(|| format!("it did not answer from {from:.1} s to {to:.1} s, while {done} jobs were done"))
        })
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

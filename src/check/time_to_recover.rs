//! Time to recover: the first moment from which an indicator stays within the band of its own baseline for a hold time
//! (Brown and Patterson, Towards Availability Benchmarks, USENIX ATC 2000).
//!
//! A stretch is outside the band when it is surely *and* considerably off (`stats::compare`): with many samples every
//! difference is certain, with few a large one may be chance. After a restart the stages stand in the evidence.

use super::latency::latency;
use super::scope::Over;
use super::stages::{closed, opened, ready_t, stages};
use super::{Check, Verdict, View};
use crate::experiment::decode::At;
use crate::experiment::units::{Share, Time};
use crate::journal::record::Record;
use crate::load::ledger::Class;
use crate::record;
use crate::stats::compare::compare;

/// So many samples before the first fault, and in a stretch, at the least.
const FEWEST: usize = 5;
const STEPS: usize = 200;

record! {
    /// An indicator returns to the band of its own baseline, and stays there.
    pub struct TimeToRecover {
        /// `latency`, `throughput`, or a series such as `queue.depth` or `process.rss_bytes`.
        indicator: String = "latency".into(),
        /// Counted from the moment that the outage began: the end of the last fault's cause.
        within: Time = Time::secs(300),
        /// For how long it must stay.
        hold: Time = Time::secs(60),
        /// How far off the baseline still counts as within.
        tolerance: Share = Share(0.25),
        /// Only the jobs of this load.
        load: Option<At<String>> = None,
    }
}

impl Check for TimeToRecover {
    fn load(&self) -> Option<&At<String>> {
        self.load.as_ref()
    }
    fn needs_load(&self) -> Option<Time> {
        Some(Time(self.within.0 + self.hold.0))
    }
    fn needs_baseline(&self) -> bool {
        true
    }

    fn series(&self) -> Vec<String> {
        vec![self.indicator.clone()]
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let expected = format!("{} back to within {} of its baseline, within {}, held for {}", self.indicator, self.tolerance, view.time(self.within), view.time(self.hold));
        let record = view.record;
        let (Some(begin), Some(first)) = (Over::All.window(record).map(|w| w.0), record.baseline_end()) else {
            return Verdict::pending(&expected, "no fault yet");
        };
        let baseline: Vec<f64> = self.samples(view, begin, first).into_iter().map(|s| s.1).collect();
        if baseline.len() < FEWEST {
            return Verdict::inconclusive(&expected, format!("{} samples before the first fault, {FEWEST} are needed", baseline.len()));
        }
        let Some((since, outage)) = record.faults_end().zip(record.outage()) else { return Verdict::pending(&expected, "a fault is at work") };
        // Looked at from the moment that the target is back; the deadline counts from the moment that it was gone.
        let end = self.known_until(view, since).min(record.load_stopped_t.unwrap_or(record.now));
        let after = self.samples(view, since, end);
        let stages = stages(view, self.load(), &outage);
        match self.recovered_at(&baseline, &after, since, end) {
            Some(t) => {
                let took = t - outage.t;
                let observed = match took < 0.005 {
                    true => "within the band from the end of the last fault on".to_owned(),
                    false => format!("recovered {} after {}", view.seconds(took), outage.what),
                };
                let verdict = if took <= self.within.as_s() { Verdict::passed(&expected, observed) } else { Verdict::failed(&expected, format!("{observed}: too late")) };
                verdict.measuring(view.seconds(took)).taking(took).with(stages)
            }
            None => self.not_yet(view, &expected, (&baseline, &after), outage.t, end).with(stages),
        }
    }
}

impl TimeToRecover {
    /// The verdict while it has not recovered. A deadline that had not run out when the load ended decides nothing: the
    /// indicator may still have come back at the deadline itself, and only what follows for `hold` would show it.
    fn not_yet(&self, view: &View<'_>, expected: &str, (baseline, after): (&[f64], &[(f64, f64)]), outage_t: f64, end: f64) -> Verdict {
        let record = view.record;
        let needed = self.within.as_s() + self.hold.as_s();
        let looked_until = record.load_stopped_t.unwrap_or(record.now);
        if looked_until - outage_t <= needed && !record.ended {
            return Verdict::pending(expected, "not yet");
        }
        if after.len() < FEWEST && end - outage_t < self.within.as_s() {
            return Verdict::inconclusive(expected, format!("{} samples since the last fault", after.len()));
        }
        let late: Vec<f64> = after.iter().filter(|(t, _)| *t >= outage_t + self.within.as_s()).map(|s| s.1).collect();
        let surely_off = late.len() >= FEWEST && self.is_off(baseline, &late);
        if looked_until - outage_t <= needed && !surely_off {
            let (looked, within, hold) = (view.seconds(looked_until - outage_t), view.time(self.within), view.time(self.hold));
            let observed = format!("not recovered when the load ended, {looked} after the outage began: {within} and {hold} are allowed");
            return Verdict::inconclusive(expected, observed).measuring("not within the run");
        }
        let observed = format!("not within the run: {} after the last fault it is still off", view.seconds(end - outage_t));
        Verdict::failed(expected, observed).measuring("not within the run")
    }

    /// Until when the indicator is known: the latency of jobs that have not ended yet is not, and they are the slow ones.
    fn known_until(&self, view: &View<'_>, since: f64) -> f64 {
        if self.indicator != "latency" {
            return f64::INFINITY;
        }
        let open = view.background(self.load(), Over::All).into_iter().filter(|(job, class)| *class == Class::Open && job.intended_t >= since);
        open.map(|(job, _)| job.intended_t).fold(f64::INFINITY, f64::min)
    }

    /// The indicator's samples in a stretch: when, and how much.
    fn samples(&self, view: &View<'_>, from: f64, to: f64) -> Vec<(f64, f64)> {
        let record = view.record;
        let jobs = || view.background(self.load(), Over::All);
        match self.indicator.as_str() {
            "latency" => jobs()
                .into_iter()
                .filter(|(job, _)| !job.cold)
                .filter(|(job, _)| job.intended_t >= from && (to > from && job.intended_t < to))
                .filter_map(|(job, class)| Some((job.intended_t, latency(job, class)?)))
                .filter(|(_, l)| l.is_finite())
                .collect(),
            "throughput" => {
                let step = self.hold.as_s().max(0.05) / 5.0;
                let ends: Vec<f64> = jobs().into_iter().filter_map(|(job, class)| {
                    (class == Class::Completed).then(|| job.ended.as_ref().map(|e| e.0))?
                }).collect();
                let bins = ((to - from) / step) as usize;
                (0..bins.min(10_000)).map(|at| {
                    let start = from + at as f64 * step;
                    (start, ends.iter().filter(|t| (start..start + step).contains(*t)).count() as f64 / step)
                }).collect()
            }
            series => {
                let Some(series) = record.series.get(series) else { return Vec::new() };
                let step = record.plan().sample_every_s;
                let count = ((to - from) / step) as usize;
                (0..count.min(10_000)).filter_map(|at| {
                    let t = from + at as f64 * step;
                    Some((t, series.at(t)?))
                }).collect()
            }
        }
    }

    /// A stretch is off: surely, and by more than the tolerance. Throughput is off when it is low.
    fn is_off(&self, baseline: &[f64], stretch: &[f64]) -> bool {
        match self.indicator.as_str() {
            "throughput" => compare(stretch, baseline).is_some_and(|c| c.is_larger(self.tolerance.0)),
            _ => compare(baseline, stretch).is_some_and(|c| c.is_larger(self.tolerance.0)),
        }
    }

    fn recovered_at(&self, baseline: &[f64], after: &[(f64, f64)], since: f64, end: f64) -> Option<f64> {
        let hold = self.hold.as_s();
        let step = ((end - since) / STEPS as f64).max(0.005);
        let within = |from: f64, to: f64| after.iter().filter(|(t, _)| (from..to).contains(t)).map(|s| s.1).collect::<Vec<f64>>();
        let mut from = since;
        while from + hold <= end {
            let stretch = within(from, from + hold);
            // Each sample on its own is large too often; the stretch as a whole must not be, nor what follows.
            let calm = stretch.len() >= FEWEST && !self.is_off(baseline, &stretch) && self.begins_calm(baseline, &stretch);
            if calm && !self.is_off(baseline, &within(from, end)) {
                return Some(from);
            }
            from += step;
        }
        None
    }

    /// The first samples of the stretch lie within the band already: it is not recovered while it is only on the way.
    fn begins_calm(&self, baseline: &[f64], stretch: &[f64]) -> bool {
        let mut sorted = baseline.to_vec();
        let low = self.indicator == "throughput";
        let edge = crate::stats::quantile(&mut sorted, if low { 0.05 } else { 0.95 }).unwrap_or(0.0);
        let limit = if low { edge * (1.0 - self.tolerance.0) } else { edge * (1.0 + self.tolerance.0) };
        stretch.iter().take(3).all(|v| if low { *v >= limit } else { *v <= limit })
    }
}

/// How long nothing answered around the last restart: from the first refused connection to the first that was taken.
/// `None` where no connection was seen refused: what was written down later tells of other changes.
pub fn downtime(record: &Record) -> Option<(f64, f64)> {
    let last = record.generations.iter().rev().find(|g| g.number > 1)?;
    let ended = record.generations.iter().find(|g| g.number + 1 == last.number)?.exited.as_ref()?.0;
    let closed = closed(record, ended)?;
    // The port may close before the process ends: a graceful end stops listening first.
    let opened = opened(record, closed).or(ready_t(last))?;
    Some((closed.min(ended), opened))
}

//! The stages of a recovery, each with its time from the moment that the outage began.

use super::View;
use super::cold_warm::{episodes, warm_times};
use crate::experiment::decode::At;
use crate::journal::facts::{Generation, JobFacts};
use crate::journal::outage::Outage;
use crate::journal::record::Record;
use crate::observe::prober::OPEN;

/// From what a deadline counted, and after a restart the stages since then: process ended, port open, ready, first job
/// accepted, first result, warm.
pub fn stages(view: &View<'_>, load: Option<&At<String>>, outage: &Outage) -> Vec<String> {
    let counted = outage.told();
    let of_restart = of_restart(view, load, outage).into_iter().flatten();
    [counted].into_iter().chain(of_restart).collect()
}

fn of_restart(view: &View<'_>, load: Option<&At<String>>, outage: &Outage) -> Option<Vec<String>> {
    let record = view.record;
    let begin = record
        .faults
        .iter()
        .filter(|f| f.over_t.is_some())
        .filter_map(|f| f.injecting_t)
        .filter(|t| *t <= outage.t)
        .reduce(f64::max)?;
    let ended = |life: &Generation| ended_before(record, life).filter(|t| *t >= begin);
    let (life, down) = record.generations.iter().rev().find_map(|life| Some((life, ended(life)?)))?;
    let baseline = warm_times(view, load, record.baseline_end().unwrap_or(outage.t));
    let warm = episodes(view, load, &baseline, 0.2).last().and_then(|e| Some(e.later.get(e.warm_from?)?.0));
    let named = [
        ("process ended", Some(down)),
        ("port open", closed(record, down).and_then(|closed| opened(record, closed))),
        ("ready", ready_t(life)),
        ("first job accepted", first_accepted(record, life)),
        ("first result", first_result(record, life)),
        ("warm", warm),
    ];
    let told = |(what, t): (&str, Option<f64>)| match t {
        None => format!("{what}: not seen"),
        Some(t) if t < outage.t => format!("{what}: {} before that", view.seconds(outage.t - t)),
        Some(t) => format!("{what}: {} after it", view.seconds(t - outage.t)),
    };
    Some(named.into_iter().map(told).collect())
}

/// When the process before this one ended.
pub fn ended_before(record: &Record, life: &Generation) -> Option<f64> {
    let before = record.generations.iter().filter(|g| g.number < life.number);
    before.filter_map(|g| g.exited.as_ref().map(|e| e.0)).filter(|t| *t <= life.started_t).reduce(f64::max)
}

pub fn ready_t(life: &Generation) -> Option<f64> {
    life.ready_after_s.map(|s| life.started_t + s)
}

/// The prober looks so often that a port which an end has closed is seen closed by then.
const SEEN_WITHIN_S: f64 = 1.0;

/// Since when the port had been closed, or was closed soon after, when a process ended at that moment.
pub fn closed(record: &Record, ended: f64) -> Option<f64> {
    let open = record.series.get(OPEN)?;
    if open.at(ended).is_some_and(|open| open < 0.5) {
        let before = open.between(f64::NEG_INFINITY, ended);
        return before.iter().rev().take_while(|p| p.value < 0.5).last().map(|p| p.t);
    }
    let after = open.between(ended, ended + SEEN_WITHIN_S);
    after.iter().find(|p| p.value < 0.5).map(|p| p.t)
}

/// When the port, closed at that moment, was open again.
pub fn opened(record: &Record, closed: f64) -> Option<f64> {
    let open = record.series.get(OPEN)?.between(closed, record.now);
    open.iter().find(|p| p.t > closed && p.value > 0.5).map(|p| p.t)
}

fn first_accepted(record: &Record, life: &Generation) -> Option<f64> {
    let later = |job: &&JobFacts| job.submitting_t > life.started_t && job.accepted();
    record.jobs.iter().find(later).and_then(|job| job.answer.as_ref().map(|a| a.0))
}

fn first_result(record: &Record, life: &Generation) -> Option<f64> {
    let later = record.jobs.iter().filter(|job| job.running_t.is_some_and(|t| t > life.started_t));
    later.filter_map(|job| job.ended.as_ref().map(|e| e.0)).reduce(f64::min)
}

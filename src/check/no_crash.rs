//! The target's process did not end by itself.

use super::{Check, Verdict, View};
use crate::journal::facts::FaultFacts;
use crate::journal::record::Record;
use crate::journal::series::{Point, Series};
use crate::observe::prober::{LISTENER, OPEN, UP};
use crate::record;
use crate::text::seconds;

const EXPECTED: &str = "the target's process never ends unless the experiment ends it";
/// A standard metric that changes when the process is another one.
const START_TIME: &str = "metric:process_start_time_seconds";
/// Worked out from the machine's clock and its boot time, in whole seconds, it moves by so much and back.
const ROUNDED_S: f64 = 2.0;
/// A process that is asked now has started no longer ago than this, if another one was asked before it.
const STARTS_WITHIN_S: f64 = 60.0;
/// The clocks of two machines differ by less than this.
const CLOCKS_DIFFER_S: f64 = 5.0;
/// Nobody sets a clock by more than this, and just to the present moment.
const SET_BY_S: f64 = 600.0;

record! {
    /// The target's process did not end by itself.
    pub struct NoCrash {}
}

impl Check for NoCrash {
    fn metrics(&self) -> Vec<String> {
        START_TIME.strip_prefix("metric:").map(str::to_owned).into_iter().collect()
    }

    /// With a runtime its process is seen.
    fn rests_on(&self, record: &Record) -> Vec<String> {
        if record.generations.is_empty() { vec![START_TIME.to_owned()] } else { Vec::new() }
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let record = view.record;
        let crashed = record.generations.iter().filter_map(|g| g.crashed().map(|(t, status)| (g.pid, t, status)));
        let crashes: Vec<String> = crashed.map(|(pid, t, status)| format!("process {pid} ended by itself at {t:.1} s ({status})")).collect();
        if let Some(first) = crashes.first() {
            let fatal = record.log_hits.iter().filter(|hit| hit.pattern == "fatal" || hit.pattern == "oom").rev().take(3);
            return Verdict::failed(EXPECTED, first.clone()).with(crashes).with(fatal.map(|hit| format!("log at {:.1} s: {}", hit.t, hit.line)));
        }
        if !record.ended {
            return Verdict::pending(EXPECTED, "alive so far");
        }
        if let Some((life, (t, status, _))) = record.generations.iter().filter(|g| g.ended_elsewhere).find_map(|g| g.exited.as_ref().map(|e| (g, e))) {
            let observed = format!("somebody else had the container of process {} ended at {t:.1} s ({status})", life.pid);
            return Verdict::inconclusive(EXPECTED, observed);
        }
        if let Some(replaced) = replaced(record) {
            return replaced;
        }
        if let Some(last) = record.generations.last() {
            return Verdict::passed(EXPECTED, format!("process {} was there to the end", last.pid));
        }
        match record.series.get(START_TIME) {
            Some(series) if series.ever_moved() => moved(record, series),
            Some(_) if record.gaps.contains_key("metrics") => Verdict::inconclusive(EXPECTED, "the start time is the same, but some samples are missing"),
            Some(_) => Verdict::passed(EXPECTED, "process_start_time_seconds never changed"),
            None => Verdict::inconclusive(EXPECTED, "neither a runtime nor process_start_time_seconds shows the process"),
        }
    }
}

/// The server is a child of what was started (a shell, a supervisor): the port was closed, and then another child listened there.
fn replaced(record: &Record) -> Option<Verdict> {
    let (listeners, open) = (record.series.get(LISTENER)?.iter().collect::<Vec<Point>>(), record.series.get(OPEN)?);
    let was_closed = |two: &[Point]| open.stretches(two[0].t, two[1].t).iter().any(|(.., value)| *value < 0.5);
    let life = |t: f64| record.generations.iter().rfind(|life| life.started_t <= t);
    let is_another = |two: &&[Point]| {
        let are_of_one_life = life(two[0].t).map(|life| life.number) == life(two[1].t).map(|life| life.number);
        two[0].value != two[1].value && are_of_one_life && was_closed(two)
    };
    let two = listeners.windows(2).find(is_another)?;
    let (before, now, started) = (two[0].value, two[1], life(two[1].t)?.pid);
    let observed = format!(
        "process {before:.0}, which listened for process {started}, was gone, and process {:.0} listens since {:.1} s: it ended and was started again",
        now.value, now.t
    );
    // A command or a request of the experiment's own may have ended it on purpose.
    let is_own = |fault: &&FaultFacts| {
        matches!(fault.kind.as_str(), "exec" | "exec_inside" | "http" | "evict") && fault.injecting_t.is_some_and(|t| t < now.t)
    };
    let Some(own) = record.faults.iter().find(is_own) else { return Some(Verdict::failed(EXPECTED, observed)) };
    Some(Verdict::inconclusive(EXPECTED, format!("{observed}; whether `{}` did that is not known", own.name)))
}

/// A start time that moves is another process where it began in this run and anything else shows it. A clock that is set, or
/// whose rounding wavers, moves it too.
fn moved(record: &Record, series: &Series) -> Verdict {
    let points: Vec<Point> = series.iter().collect();
    let moves = || points.windows(2).map(|two| (two[1].value - two[0].value, two[1]));
    if let Some(at) = returned(&points) {
        let observed = format!("process_start_time_seconds came back at {:.1} s to what it had been: several processes answer in turn", at.t);
        return Verdict::inconclusive(EXPECTED, observed).with(["a `runtime` shows the processes themselves".to_owned()]);
    }
    if let Some((_, at)) = moves().find(|(by, at)| by.abs() > ROUNDED_S && is_another_process(record, *by, *at)) {
        return Verdict::failed(EXPECTED, format!("process_start_time_seconds changed by {:.1} s: another process answers", at.t));
    }
    let (by, at) = moves().fold((0.0_f64, 0.0), |most, (by, at)| if by.abs() > most.0.abs() { (by, at.t) } else { most });
    if by.abs() <= ROUNDED_S {
        let observed = format!("process_start_time_seconds moved by no more than {}, as it does where it is worked out from the clock", seconds(by.abs()));
        return Verdict::passed(EXPECTED, observed);
    }
    let observed = format!(
        "process_start_time_seconds moved by {} at {at:.1} s, and nothing else says that the process ended: the clock was set, or another process answers",
        seconds(by)
    );
    Verdict::inconclusive(EXPECTED, observed).with(["a `runtime` shows the process itself".to_owned()])
}

/// Where it moved to what it had been before another value: a process that has ended never answers again.
fn returned(points: &[Point]) -> Option<Point> {
    let apart = |a: f64, b: f64| (a - b).abs() > ROUNDED_S;
    // All values before the last one, in order.
    let mut earlier: Vec<f64> = Vec::new();
    for two in points.windows(2) {
        let (last, now) = (two[0], two[1]);
        let at = earlier.partition_point(|value| *value < now.value);
        let near = earlier[at.saturating_sub(1)..].iter().take(2).any(|value| !apart(*value, now.value));
        if near && apart(last.value, now.value) {
            return Some(now);
        }
        let at = earlier.partition_point(|value| *value < last.value);
        if earlier.get(at) != Some(&last.value) {
            earlier.insert(at, last.value);
        }
    }
    None
}

fn is_another_process(record: &Record, by: f64, at: Point) -> bool {
    let began = record.began.parse::<jiff::Timestamp>().map_or(0.0, |began| began.as_duration().as_secs_f64());
    let (from, to) = (began + at.t - STARTS_WITHIN_S, began + at.t + CLOCKS_DIFFER_S);
    let in_this_run = (from.max(began - CLOCKS_DIFFER_S)..=to).contains(&at.value);
    let away = |name: &str| {
        let stretches = record.series.get(name).map(|series| series.stretches((at.t - STARTS_WITHIN_S).max(0.0), at.t));
        stretches.is_some_and(|all| all.iter().any(|(.., value)| *value < 0.5))
    };
    let forgotten = || record.jobs.iter().any(|job| job.vanished_t().is_some_and(|t| (t - at.t).abs() < STARTS_WITHIN_S));
    away(OPEN) || away(UP) || forgotten() || (in_this_run && by > SET_BY_S)
}

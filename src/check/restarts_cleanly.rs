//! A restart is clean: the process ends when it is asked to, is soon back, as soon as at its first start, and leaves nothing
//! behind that holds memory. An open port is not readiness: a server may listen long before it works.

use super::gpu_level::{Levels, Memory};
use super::noise::Bearing;
use super::stages::stages;
use super::time_to_recover::downtime;
use super::{Check, Verdict, View};
use crate::experiment::diagnostic::{Diagnostics, Span};
use crate::experiment::units::{Share, WallTime};
use crate::fault::FaultSpec;
use crate::fault::restart::How;
use crate::journal::event::Phase;
use crate::journal::facts::Generation;
use crate::journal::record::Record;
use crate::record;

/// Starts that differ by less are alike, whatever their ratio: a machine that is busy takes this long for nothing. Of a run at a time scale
/// of less than 1:150 it is less, or no start of such a run would be slow: what noise there was is known besides (`noise`).
const ALIKE_S: (f64, f64) = (0.3, 1.0);
const SCALED_S: f64 = 150.0;

record! {
    /// A restart is clean.
    pub struct RestartsCleanly {
        /// From the first refused connection to the first that was taken.
        down_at_most: WallTime = WallTime::secs(30),
        /// From the start of the process until it is ready; without it the fault's own `ready_within`.
        ready_at_most: Option<WallTime> = None,
        /// At most so many times as long as the first start that was seen; less than a second of difference is none (0.3 s in a run at a small `time_scale`).
        ready_within_factor: f64 = 3.0,
        /// GPU memory afterwards, with the same number of jobs at work: at most this share of all of it more than before.
        memory_to_within: Share = Share(0.1),
    }
}

const EXPECTED: &str = "it ends when asked to, is soon ready again, as at its first start, and leaves nothing behind";

/// What is said of the readiness of one start.
enum Said {
    Fine,
    Wrong(String),
    NotYet(String),
}

impl Check for RestartsCleanly {
    fn bearing(&self) -> Bearing {
        Bearing::Clock
    }
    fn series(&self) -> Vec<String> {
        super::gpu_level::SERIES.map(str::to_owned).into()
    }
    /// Levels are made of what could be read; where there is none, that is said.
    fn rests_on(&self, _record: &Record) -> Vec<String> {
        Vec::new()
    }

    fn validate(&self, place: Span, diags: &mut Diagnostics) {
        if !(self.ready_within_factor > 1.0 && self.ready_within_factor.is_finite()) {
            diags.error(place, format!("`ready_within_factor` must be above 1, found {}", self.ready_within_factor), "expected 3, for example");
        }
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let record = view.record;
        if !record.ended {
            return Verdict::pending(EXPECTED, "the run goes on");
        }
        let asked = graceful(record);
        let ended: Vec<_> = record.generations.iter().filter_map(|g| g.exited.as_ref().map(|e| (g, e))).filter(|(g, _)| record.generations.iter().any(|next| next.number > g.number)).collect();
        if ended.is_empty() {
            return Verdict::inconclusive(EXPECTED, "nothing was restarted");
        }
        let mut wrong = Vec::new();
        for (life, (t, status, by_us)) in &ended {
            if *by_us && asked && status.contains("KILL") {
                wrong.push(format!("process {} did not end when asked to, and was killed at {t:.1} s", life.pid));
            }
        }
        let down = downtime(record);
        if let Some((from, to)) = down
            && to - from > self.down_at_most.as_s()
        {
            wrong.push(format!("down for {:.1} s", to - from));
        }
        let mut not_yet = Vec::new();
        let starts_said = restarted(record).map(|life| self.readiness(record, life));
        for said in starts_said.chain([self.left_behind(record)]) {
            match said {
                Said::Fine => {}
                Said::Wrong(why) => wrong.push(why),
                Said::NotYet(why) => not_yet.push(why),
            }
        }
        let down = down.map_or_else(|| "no downtime was seen".to_owned(), |(from, to)| format!("down for {:.2} s", to - from));
        let plural = if ended.len() == 1 { "" } else { "s" };
        let observed = format!("{} restart{plural}, {down}", ended.len());
        let verdict = match (wrong.is_empty(), not_yet.is_empty()) {
            (false, _) => Verdict::failed(EXPECTED, format!("{observed}: {}", wrong.join("; "))),
            (true, false) => Verdict::inconclusive(EXPECTED, format!("{observed}: {}", not_yet.join("; "))),
            (true, true) => Verdict::passed(EXPECTED, observed),
        };
        let ends = ended.iter().map(|(g, (t, status, _))| format!("process {} ended at {t:.1} s ({status})", g.pid));
        let stages = record.outage().map(|outage| stages(view, None, &outage)).unwrap_or_default();
        verdict.measuring(down).with(ends).with(starts(record)).with(stages)
    }
}

/// A restart asked the process to end before it killed it.
fn graceful(record: &Record) -> bool {
    let asks = |spec: &FaultSpec| match spec {
        FaultSpec::Restart(restart) => restart.how == How::Graceful,
        FaultSpec::Stop(_) => true,
        _ => false,
    };
    record.plan().faults.iter().any(|f| asks(&f.spec))
}

/// The lives that followed another one.
fn restarted(record: &Record) -> impl Iterator<Item = &Generation> {
    let follows = |life: &&Generation| {
        let before = record.generations.iter().filter(|g| g.number < life.number);
        before.filter_map(|g| g.exited.as_ref()).any(|(t, ..)| *t <= life.started_t)
    };
    record.generations.iter().filter(follows)
}

/// How long each start took, the first that was seen among them.
fn starts(record: &Record) -> Vec<String> {
    let first = record.first_start();
    let told = |life: &Generation, which: &str| {
        life.ready_after_s.map(|s| format!("{which}: process {} was ready {s:.2} s after its start", life.pid))
    };
    let known = first.and_then(|life| told(life, "first start"));
    let known = known.unwrap_or_else(|| "the first start was not seen: a restart is held against its bound only".to_owned());
    let later = restarted(record).filter(|life| first.is_none_or(|first| first.number != life.number));
    [known].into_iter().chain(later.filter_map(|life| told(life, "restart"))).collect()
}

fn alike_s(record: &Record) -> f64 {
    (SCALED_S * record.plan().time_scale).clamp(ALIKE_S.0, ALIKE_S.1)
}

impl RestartsCleanly {
    fn readiness(&self, record: &Record, life: &Generation) -> Said {
        let bound = self.bound_s(record);
        let pid = life.pid;
        let Some(took) = life.ready_after_s else { return never_ready(record, life, bound) };
        if let Some(bound) = bound.filter(|bound| took > *bound) {
            return Said::Wrong(format!("process {pid} was not ready within {bound} s; ready after {took:.2} s"));
        }
        let first = record.first_start().filter(|first| first.number < life.number).and_then(|first| first.ready_after_s);
        match first {
            Some(first) if took > self.ready_within_factor * first && took - first > alike_s(record) => Said::Wrong(format!(
                "process {pid} was ready {took:.2} s after its start, the first start took {first:.2} s: {:.1} times as long, {} are allowed",
                took / first, self.ready_within_factor
            )),
            _ => Said::Fine,
        }
    }

    /// What the check gives, or else the longest that a fault which ends the process allows.
    fn bound_s(&self, record: &Record) -> Option<f64> {
        let of_faults = record.plan().faults.iter().filter(|f| f.spec.ends_process()).map(|f| f.spec.back_within().as_secs_f64());
        self.ready_at_most.map(|time| time.as_s()).or_else(|| of_faults.reduce(f64::max))
    }

    /// GPU memory that nobody uses any more. A new process may keep more for later jobs than the old one did by then, but not
    /// more than that one ever used.
    fn left_behind(&self, record: &Record) -> Said {
        let Some(levels) = Levels::of(record) else { return Said::Fine };
        let more = levels.after > levels.peak_before + self.memory_to_within.0 * levels.total;
        match Memory::of(record, self.memory_to_within.0) {
            Memory::Back(_) | Memory::Reused(_) => Said::Fine,
            Memory::Kept(told) => Said::Wrong(format!("something still holds memory: {told}")),
            Memory::Unknown(_) if more => Said::Wrong(format!("something still holds memory: {}", levels.told())),
            Memory::Unknown(told) => Said::NotYet(told),
        }
    }
}

/// A process that was not seen ready: for as long as chaos looked.
fn never_ready(record: &Record, life: &Generation, bound: Option<f64>) -> Said {
    let pid = life.pid;
    if let Some((t, status)) = life.crashed() {
        return Said::Wrong(format!("process {pid} ended at {t:.1} s ({status}) before it was ready"));
    }
    let end = record.phase_start(Phase::Revert).unwrap_or(record.now);
    let until = life.exited.as_ref().map_or(end, |(t, ..)| t.min(end));
    let looked = until - life.started_t;
    let ended_by_us = until < end;
    let told = format!("process {pid} had not become ready when {}, {looked:.1} s after its start", if ended_by_us { "it was ended again" } else { "the run ended" });
    match bound {
        Some(bound) if looked > bound => Said::Wrong(told),
        Some(bound) => Said::NotYet(format!("{told}; {bound} s are allowed")),
        None => Said::NotYet(told),
    }
}

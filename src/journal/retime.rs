//! The same record on another clock: what it would look like had some of the time not passed. What happened, and in which order,
//! stays as it is.

use std::sync::Arc;

use super::event::Phase;
use super::facts::{FaultFacts, Generation, JobFacts, ListenerFacts, Loss};
use super::record::Record;
use super::series::{Detail, Series};

/// From a moment of the record to one of the other clock; never decreasing.
pub type ToClock<'a> = &'a dyn Fn(f64) -> f64;

impl Record {
    /// The record on another clock, but for its jobs. Series of the target's own metrics and of the machine keep their times:
    /// nothing that depends on the clock is judged by them.
    pub fn retimed(&self, to: ToClock<'_>) -> Self {
        let mut record = self.clone();
        record.now = to(self.now);
        record.phases.iter_mut().for_each(|(t, _): &mut (f64, Phase)| *t = to(*t));
        record.faults.iter_mut().for_each(|fault| fault.retime(to));
        record.generations.iter_mut().for_each(|life| life.retime(to));
        for at in 0..record.containers.len() {
            record.containers.get_mut(at).into_iter().for_each(|event| event.t = to(event.t));
        }
        for at in 0..record.log_hits.len() {
            record.log_hits.get_mut(at).into_iter().for_each(|hit| hit.t = to(hit.t));
        }
        let listeners = Arc::make_mut(&mut record.listeners);
        listeners.values_mut().for_each(|listener| listener.retime(to));
        let moves = |name: &str| !["metric:", "machine.", "chaos."].iter().any(|prefix| name.starts_with(prefix));
        let all = Arc::make_mut(&mut record.series);
        all.iter_mut().filter(|(name, _)| moves(name)).for_each(|(_, series)| *series = series.retimed(to));
        record.load_stopped_t = self.load_stopped_t.map(to);
        record.guard.iter_mut().for_each(|(t, ..)| *t = to(*t));
        record.interrupted.iter_mut().for_each(|(t, _)| *t = to(*t));
        record
    }
}

impl JobFacts {
    /// The same job, with its times on another clock.
    pub fn retime(&mut self, to: ToClock<'_>) {
        move_all([&mut self.intended_t, &mut self.submitting_t], to);
        move_all(self.answer.iter_mut().map(|(t, _)| t), to);
        move_all(self.ended.iter_mut().map(|(t, ..)| t), to);
        move_all(self.running_t.iter_mut().chain(&mut self.last_running_t), to);
        if let Some(rare) = self.rare_times() {
            move_all(rare, to);
        }
    }
}

fn move_all<'a>(moments: impl IntoIterator<Item = &'a mut f64>, to: ToClock<'_>) {
    moments.into_iter().for_each(|t| *t = to(*t));
}

impl Series {
    /// What is kept of it, at other times.
    pub fn retimed(&self, to: ToClock<'_>) -> Self {
        let mut moved = Self::new(Detail::Every);
        self.iter().for_each(|point| moved.push(to(point.t), point.value));
        moved
    }
}

impl FaultFacts {
    fn retime(&mut self, to: ToClock<'_>) {
        let moments = [&mut self.planned_t, &mut self.injecting_t, &mut self.injected_t, &mut self.over_t, &mut self.reverting_t];
        move_all(moments.into_iter().flatten(), to);
        move_all(self.reverted.iter_mut().map(|(t, _)| t), to);
        move_all(self.observed.values_mut().map(|(t, _)| t), to);
        for held in &mut self.held {
            move_all([&mut held.from_t, &mut held.to_t], to);
            move_all(held.lapses.iter_mut().flat_map(|lapse| [&mut lapse.from_t, &mut lapse.to_t]), to);
        }
    }
}

impl Generation {
    fn retime(&mut self, to: ToClock<'_>) {
        let started_t = to(self.started_t);
        self.ready_after_s = self.ready_after_s.map(|s| to(self.started_t + s) - started_t);
        self.started_t = started_t;
        move_all(self.exited.iter_mut().map(|(t, ..)| t), to);
    }
}

impl ListenerFacts {
    fn retime(&mut self, to: ToClock<'_>) {
        for (from, until) in &mut self.connected {
            move_all(std::iter::once(from).chain(until), to);
        }
        self.losses.iter_mut().for_each(|loss| loss.retime(to));
    }
}

impl Loss {
    fn retime(&mut self, to: ToClock<'_>) {
        let heard = self.heard.iter_mut().map(|(t, ..)| t);
        let rest = [&mut self.freed_t, &mut self.back_t, &mut self.closed_t].into_iter().flatten();
        move_all(std::iter::once(&mut self.t).chain(&mut self.tries).chain(heard).chain(rest), to);
    }
}

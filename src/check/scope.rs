//! Which part of a run, and which of its jobs, a check looks at.

use super::View;
use super::blind::is_read;
use crate::experiment::decode::At;
use crate::journal::event::Phase;
use crate::journal::facts::JobFacts;
use crate::journal::record::Record;
use crate::journal::series::Series;
use crate::load::ledger::Class;
use crate::plan::build::{CANARY, WARM_UP};
use crate::words;

words! {
    /// A part of the run.
    pub enum Over("part of the run") {
        /// From the start of the load to its end.
        All = "all",
        /// Before the first fault.
        Baseline = "baseline",
        /// From the first fault until the cause of the last one was gone.
        Fault = "fault",
        /// From then to the end of the load.
        After = "after",
    }
}

impl Over {
    /// From when to when; `None` while it has not begun.
    pub fn window(self, record: &Record) -> Option<(f64, f64)> {
        let begin = record.phase_start(Phase::Baseline)?;
        let end = record.load_stopped_t.unwrap_or(record.now);
        let first = || record.baseline_end();
        let window = match self {
            Self::All => (begin, end),
            Self::Baseline => (begin, first()?),
            Self::Fault => (first()?, record.faults_end().unwrap_or(end)),
            Self::After => (record.faults_end()?, end),
        };
        (window.1 > window.0).then_some(window)
    }
}

/// The second half of the baseline: its first jobs may have had to load the model.
pub fn settled_baseline(record: &Record) -> Option<(f64, f64)> {
    let (from, to) = Over::Baseline.window(record)?;
    Some((from.midpoint(to), to))
}

/// A job that only warms up or watches.
pub fn is_apart(job: &JobFacts) -> bool {
    job.load == WARM_UP || job.load == CANARY
}

impl<'a> View<'a> {
    /// The jobs of a load that were due in a part of the run. Without a load: all but those that only warm up or watch.
    pub fn measured(&self, load: Option<&At<String>>, over: Over) -> Vec<(&'a JobFacts, Class)> {
        let window = over.window(self.record);
        let inside = |t: f64| match over {
            Over::All => true,
            _ => window.is_some_and(|(from, to)| (from..to).contains(&t)),
        };
        self.jobs(load)
            .filter(|(job, ..)| load.is_some() || !is_apart(job))
            .filter(|(job, ..)| inside(job.intended_t))
            .map(|(job, class, _)| (job, class))
            .collect()
    }

    /// As `measured`, without the jobs of faults.
    pub fn background(&self, load: Option<&At<String>>, over: Over) -> Vec<(&'a JobFacts, Class)> {
        let is_fault = |job: &JobFacts| load.is_none() && self.record.plan().faults.iter().any(|f| f.name == job.load);
        self.measured(load, over).into_iter().filter(|(job, _)| !is_fault(job)).collect()
    }
}

/// A figure in a part of the run, each value holding until the next. It is looked at where it lies: what a long series keeps of its area
/// would be lost in a copy of its points.
pub struct Part<'a> {
    series: &'a Series,
    pub from: f64,
    pub to: f64,
}

impl<'a> Part<'a> {
    /// `None` where nothing is known of it there.
    pub fn of(record: &'a Record, series: &str, over: Over) -> Option<Self> {
        let (from, to) = over.window(record)?;
        let held_is_known = is_read(record, series, from);
        let series = record.series.get(series)?;
        let first = || series.since(from).next().map(|point| point.t);
        let from = series.at(from).filter(|_| held_is_known).map(|_| from).or_else(first).filter(|from| *from <= to)?;
        Some(Self { series, from, to })
    }

    /// The mean over time.
    pub fn mean(&self) -> f64 {
        self.series.mean(self.from, self.to).or_else(|| self.series.at(self.from)).unwrap_or(0.0)
    }

    pub fn highest(&self) -> f64 {
        self.series.extremes(self.from, self.to).map_or(0.0, |(_, highest)| highest)
    }

    /// From when to when each value held.
    pub fn stretches(&self) -> Vec<(f64, f64, f64)> {
        self.series.stretches(self.from, self.to)
    }
}

/// Why nothing is known of the health endpoint.
pub fn no_health(record: &Record) -> &'static str {
    match record.plan().driver.health {
        None => "the driver names no health endpoint (`health`), so none was asked",
        Some(_) => "the health endpoint was never asked",
    }
}

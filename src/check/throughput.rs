//! So many jobs are completed in a time.

use super::dose::Dose;
use super::grade::{Limits, describe};
use super::noise::Bearing;
use super::scope::Over;
use super::{Check, Verdict, View};
use super::untold::{is_untold, told};
use crate::experiment::decode::At;
use crate::experiment::units::Rate;
use crate::journal::facts::JobFacts;
use crate::journal::record::Record;
use crate::load::ledger::Class;
use crate::{record, words};

/// With fewer completed jobs a rate says nothing.
const FEWEST: usize = 10;

words! {
    /// What is counted.
    pub enum Counted("thing to count") {
        /// Completed jobs.
        Jobs = "jobs",
        /// The tokens of completed jobs, where answers are streamed.
        Tokens = "tokens",
    }
}

record! {
    /// So many jobs, or tokens, are completed in a time.
    pub struct Throughput {
        /// What is counted.
        of: Counted = Counted::Jobs,
        /// The target.
        at_least: Rate,
        /// From here on it still passes.
        acceptable: Option<Rate> = None,
        /// Below this it is a failure; between the two it is only poor, and fails too.
        failure: Option<Rate> = None,
        /// Only the jobs of this load or fault.
        load: Option<At<String>> = None,
        /// In which part of the run.
        over: Over = Over::All,
    }
}

impl Check for Throughput {
    fn dose(&self) -> Dose {
        Dose::Both
    }
    fn bearing(&self) -> Bearing {
        Bearing::Clock
    }
    fn load(&self) -> Option<&At<String>> {
        self.load.as_ref()
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        // Limits are scaled; what a reader sees is what the file says.
        let scale = view.record.plan().time_scale;
        let per_minute = |rate: f64| format!("{:.2}/min", rate * scale * 60.0);
        let text = |rate: Option<Rate>| rate.map(|r| per_minute(r.0));
        let expected = describe(format!("at least {} completed", per_minute(self.at_least.0)), text(self.acceptable), text(self.failure));
        let record = view.record;
        if !record.ended {
            return Verdict::pending(&expected, "the run goes on");
        }
        let Some((from, to)) = self.window(record) else { return Verdict::inconclusive(&expected, "there was no load") };
        let ends = view.measured(self.load(), Over::All).into_iter().filter(|(_, class)| *class == Class::Completed);
        let ended: Vec<&JobFacts> = ends
            .filter(|(job, _)| job.ended.as_ref().is_some_and(|(t, ..)| (from..=to).contains(t)))
            .map(|(job, _)| job)
            .collect();
        let n = match self.of {
            Counted::Jobs => ended.len(),
            Counted::Tokens => ended.iter().filter_map(|job| job.tokens()).map(|tokens| tokens.count as usize).sum(),
        };
        if self.of == Counted::Tokens && !ended.is_empty() && n == 0 {
            return Verdict::inconclusive(&expected, "no job's answer was streamed in tokens");
        }
        let rate = n as f64 / (to - from);
        let observed = format!("{} ({n} {})", per_minute(rate), self.of);
        if ended.len() < FEWEST && rate < self.at_least.0 && to - from < FEWEST as f64 / self.at_least.0 {
            return Verdict::inconclusive(&expected, format!("{observed}: the run is too short for a rate"));
        }
        let at_least = |limit: Rate| rate >= limit.0;
        let limits = Limits {
            target: at_least(self.at_least).into(),
            acceptable: self.acceptable.map(|l| at_least(l).into()),
            failure: self.failure.map(|l| at_least(l).into()),
        };
        let counted = (self.over == Over::After).then(|| record.outage().map(|outage| outage.told())).flatten();
        // Those of which nobody can tell may have completed.
        let due = |job: &JobFacts| (from..=to).contains(&job.ended.as_ref().map_or(job.intended_t, |(t, ..)| *t));
        let untold = view.measured(self.load(), Over::All).into_iter().filter(|(job, class)| is_untold(job, *class) && due(job)).count();
        let at_best = (n + untold) as f64 / (to - from);
        let least = self.acceptable.unwrap_or(self.at_least);
        if self.of == Counted::Jobs && rate < least.0 && at_best >= least.0 {
            return Verdict::inconclusive(&expected, format!("{observed}; {}", told(untold))).measuring(per_minute(rate)).with(counted);
        }
        limits.verdict(&expected, observed).measuring(per_minute(rate)).with(counted)
    }
}

impl Throughput {
    /// After the faults it counts from the moment that the outage began: what a target that is away does not complete is
    /// missing all the same.
    fn window(&self, record: &Record) -> Option<(f64, f64)> {
        let (from, to) = self.over.window(record)?;
        let from = if self.over == Over::After { record.outage().map_or(from, |outage| outage.t.min(from)) } else { from };
        Some((from, to))
    }
}

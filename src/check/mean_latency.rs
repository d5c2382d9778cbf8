//! The mean of the jobs' latency lies within a range: judged by its confidence interval, so that few jobs decide it only
//! where they agree.

use super::dose::Dose;
use super::latency::{TimeOf, Times};
use super::noise::Bearing;
use super::scope::Over;
use super::{Check, Verdict, View};
use crate::experiment::decode::At;
use crate::experiment::units::TimeRange;
use crate::record;
use crate::stats::mean_interval;

record! {
    /// The mean of the jobs' latency lies within a range.
    pub struct MeanLatency {
        /// The range, such as 75s..90s.
        within: TimeRange,
        /// Only the jobs of this load or fault.
        load: Option<At<String>> = None,
        /// Only the jobs that were due in this part of the run.
        over: Over = Over::All,
    }
}

impl Check for MeanLatency {
    fn dose(&self) -> Dose {
        Dose::Pass
    }
    fn bearing(&self) -> Bearing {
        Bearing::Jobs
    }
    fn load(&self) -> Option<&At<String>> {
        self.load.as_ref()
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let expected = format!("a mean of {} to {}", view.time(self.within.from), view.time(self.within.to));
        if !view.record.ended {
            return Verdict::pending(&expected, "jobs are still being sent");
        }
        let jobs = view.measured(self.load(), self.over);
        let (latencies, unlike) = Times::of(TimeOf::Completion, &jobs, view.record).expected();
        if latencies.iter().any(|l| l.is_infinite()) {
            return Verdict::failed(&expected, "a job did not complete: it has no latency");
        }
        if unlike > 0 {
            return self.with_open(&expected, &latencies, unlike, view);
        }
        let confidence = view.confidence();
        let Some((mean, low, high)) = mean_interval(&latencies, confidence) else {
            return Verdict::inconclusive(&expected, format!("{} jobs completed, a mean with an interval takes three", latencies.len()));
        };
        let observed = format!("{} over {} jobs ({confidence}: {} to {})", view.seconds(mean), latencies.len(), view.seconds(low), view.seconds(high));
        let (from, to) = (self.within.from.as_s(), self.within.to.as_s());
        let verdict = if low >= from && high <= to {
            Verdict::passed(&expected, observed)
        } else if high < from || low > to {
            Verdict::failed(&expected, observed)
        } else {
            Verdict::inconclusive(&expected, observed)
        };
        verdict.measuring(view.seconds(mean))
    }
}

impl MeanLatency {
    /// Of jobs that had waited for longer than others took, only that is known.
    fn with_open(&self, expected: &str, at_least: &[f64], open: usize, view: &View<'_>) -> Verdict {
        let mean = at_least.iter().sum::<f64>() / at_least.len() as f64;
        let observed = format!("at least {} over {} jobs, {open} of which had not ended, or nobody can tell", view.seconds(mean), at_least.len());
        let is_above = mean_interval(at_least, view.confidence()).is_some_and(|(_, low, _)| low > self.within.to.as_s());
        if is_above { Verdict::failed(expected, observed) } else { Verdict::inconclusive(expected, observed) }
    }
}

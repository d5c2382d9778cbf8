//! The mean of the jobs' latency lies within a range: judged by its confidence interval, so that few jobs decide it only
//! where they agree.

use super::latency::latency;
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
    fn load(&self) -> Option<&At<String>> {
        self.load.as_ref()
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let expected = format!("a mean of {} to {}", view.time(self.within.from), view.time(self.within.to));
        if !view.record.ended {
            return Verdict::pending(&expected, "jobs are still being sent");
        }
        let jobs = view.measured(self.load(), self.over);
        let latencies: Vec<f64> = jobs.iter().filter_map(|(job, class)| latency(job, *class)).collect();
        if latencies.iter().any(|l| l.is_infinite()) {
            return Verdict::failed(&expected, "a job did not complete: it has no latency");
        }
        let Some((mean, low, high)) = mean_interval(&latencies) else {
            return Verdict::inconclusive(&expected, format!("{} jobs completed, a mean with an interval takes three", latencies.len()));
        };
        let observed = format!("{} over {} jobs (99 %: {} to {})", view.seconds(mean), latencies.len(), view.seconds(low), view.seconds(high));
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

//! No drift: jobs at the end take no longer than jobs at the beginning, memory flat or not. A trend finds what no threshold
//! finds: each job a little slower than the one before.

use super::dose::Dose;
use super::latency::{is_open, latency};
use super::noise::Bearing;
use super::scope::Over;
use super::{Check, Verdict, View};
use super::untold::{is_without_end, told, too_many};
use crate::experiment::decode::At;
use crate::experiment::units::Share;
use crate::record;
use crate::stats::confidence::Confidence;
use crate::stats::median;
use crate::stats::trend::trend;

/// Fewer jobs than this have no trend worth the name.
const FEWEST: usize = 30;
/// More are thinned out: the trend looks at all pairs.
const MOST: usize = 800;

record! {
    /// Latency does not drift over the run.
    pub struct LatencyStable {
        /// From the first job to the last it grows by less than this share of the median.
        drift: Share = Share(0.1),
        /// Only the jobs of this load.
        load: Option<At<String>> = None,
        /// In which part of the run.
        over: Over = Over::All,
    }
}

impl LatencyStable {
    /// When each job was due and what it took; cold jobs are another matter.
    fn points(&self, view: &View<'_>) -> Vec<(f64, f64)> {
        let jobs = view.background(self.load(), self.over);
        // Of the jobs since the first that had not ended, only the fast ones are known.
        let open = jobs.iter().filter(|(job, class)| is_open(job, *class)).map(|(job, _)| job.intended_t);
        let known_until = open.fold(f64::INFINITY, f64::min);
        let mut points: Vec<(f64, f64)> = jobs
            .iter()
            .filter(|(job, _)| !job.cold && job.intended_t < known_until)
            .filter_map(|(job, class)| Some((job.intended_t, latency(job, *class).filter(|l| l.is_finite())?)))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let step = points.len().div_ceil(MOST).max(1);
        points.into_iter().step_by(step).collect()
    }

    /// The drift over the run as a share of the median, with its bounds.
    fn drift_of(points: &[(f64, f64)], confidence: Confidence) -> Option<(f64, f64, f64)> {
        let found = trend(points, confidence)?;
        let length = points.last()?.0 - points.first()?.0;
        let usual = median(&mut points.iter().map(|p| p.1).collect::<Vec<_>>())?.max(1e-9);
        let share = |slope: f64| slope * length / usual;
        Some((share(found.slope), share(found.low), share(found.high)))
    }
}

impl Check for LatencyStable {
    fn dose(&self) -> Dose {
        Dose::Pass
    }
    fn bearing(&self) -> Bearing {
        Bearing::Jobs
    }
    fn load(&self) -> Option<&At<String>> {
        self.load.as_ref()
    }

    fn wants_samples(&self, view: &View<'_>) -> bool {
        let points = self.points(view);
        let bound = self.drift.0;
        points.len() < FEWEST || Self::drift_of(&points, view.confidence()).is_none_or(|(_, low, high)| low <= bound && high >= bound)
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let expected = format!("latency drifts by less than {} over the run", self.drift);
        if !view.record.ended {
            return Verdict::pending(&expected, "jobs are still being sent");
        }
        let points = self.points(view);
        if points.len() < FEWEST {
            return Verdict::inconclusive(&expected, format!("{} warm jobs completed, a trend takes {FEWEST}", points.len()));
        }
        let Some((drift, low, high)) = Self::drift_of(&points, view.confidence()) else {
            return Verdict::inconclusive(&expected, "every job was due at the same moment");
        };
        let observed = format!("{:+.1} % over {} jobs ({}: {:+.1} to {:+.1} %)", drift * 100.0, points.len(), view.confidence(), low * 100.0, high * 100.0);
        let untold = view.background(self.load(), self.over).iter().filter(|(job, class)| is_without_end(job, *class)).count();
        let too_many = too_many(untold, points.len());
        let verdict = match self.drift.0 {
            bound if low > bound => Verdict::failed(&expected, observed),
            _ if too_many.is_some() => Verdict::inconclusive(&expected, format!("{observed}; {}", told(untold))),
            bound if high < bound => Verdict::passed(&expected, observed),
            _ => Verdict::inconclusive(&expected, observed),
        };
        verdict.measuring(format!("{:+.1} %", drift * 100.0))
    }
}

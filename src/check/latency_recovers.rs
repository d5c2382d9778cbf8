//! Latency returns to the run's own baseline.
//!
//! The limit is the baseline's percentile, enlarged by the tolerance. Recovery is the first moment from which a row of
//! consecutive jobs lies below the limit at that percentile, with the confidence of the LoadGen rule (`stats`), and after
//! which no later stretch of the same length is above it with the same confidence. "The first moment from which a system
//! stays within the band of its normal behaviour" is Brown and Patterson's (USENIX ATC 2000).

use super::latency::{check_percentile, latency};
use super::{Check, Verdict, View};
use crate::experiment::decode::At;
use crate::experiment::diagnostic::{Diagnostics, Span};
use crate::experiment::units::{Share, Time};
use crate::journal::record::Record;
use crate::load::ledger::Class;
use crate::record;
use crate::stats::{Against, Rule, percentile_against, quantile, samples_for_percentile};

record! {
    /// A percentile of the latency returns to what it was before the first fault.
    pub struct LatencyRecovers {
        /// Which percentile, 50 to 99.99.
        percentile: f64 = 95.0,
        /// How much above the baseline still counts as recovered.
        to_within: Share = Share(0.2),
        /// Counted from the moment that the outage began: the end of the last fault's cause.
        within: Time = Time::secs(30),
        /// Only the jobs of this load; faults' own jobs never count.
        load: Option<At<String>> = None,
    }
}

/// A row of consecutive jobs is at most so many times as long as the shortest that can decide.
const LONGEST_ROW: usize = 20;

/// A job of the load: when it should have been sent and what it took; `None` while it is under way.
struct Sample {
    intended_t: f64,
    latency: Option<f64>,
    cold: bool,
}

/// From which moment, and after how many jobs it was certain.
struct Recovery {
    from_t: f64,
    jobs: usize,
}

impl Check for LatencyRecovers {
    fn load(&self) -> Option<&At<String>> {
        self.load.as_ref()
    }
    fn percentile(&self) -> Option<f64> {
        Some(self.percentile)
    }
    fn needs_baseline(&self) -> bool {
        true
    }
    fn needs_jobs(&self) -> bool {
        true
    }
    fn needs_load(&self) -> Option<Time> {
        Some(Time(2 * self.within.0))
    }
    fn validate(&self, place: Span, diags: &mut Diagnostics) {
        check_percentile(self.percentile, place, diags);
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let expected = format!("p{} back to within {} of its baseline, within {} after the last fault", self.percentile, self.to_within, view.time(self.within));
        let record = view.record;
        let Some(first_fault) = record.baseline_end() else { return Verdict::pending(&expected, "no fault yet") };
        let samples = self.samples(view);
        let needed = samples_for_percentile(self.percentile);
        let mut baseline: Vec<f64> = samples.iter().filter(|s| s.intended_t + s.latency.unwrap_or(f64::INFINITY) < first_fault && !s.cold).filter_map(|s| s.latency).collect();
        let n = baseline.len() as u64;
        let usual = quantile(&mut baseline, self.percentile / 100.0).filter(|_| n >= needed);
        let Some(usual) = usual else {
            return Verdict::inconclusive(&expected, format!("the baseline has {n} jobs, a p{} takes {needed}: let it run longer before the first fault", self.percentile));
        };
        let Some((back, outage)) = record.faults_end().zip(record.outage()) else { return Verdict::pending(&expected, "a fault is at work") };
        let limit = usual * (1.0 + self.to_within.0);
        let facts = format!("baseline p{} {} over {n} jobs, so the limit is {}", self.percentile, view.seconds(usual), view.seconds(limit));
        // Jobs from the moment on that the target is back; the deadline counts from the moment that it was gone.
        let after: Vec<&Sample> = samples.iter().filter(|s| s.intended_t >= back).collect();
        let verdict = match self.recovery(&after, limit) {
            Some(r) => {
                let took = r.from_t - outage.t;
                let told = format!("{} after {}", view.seconds(took), outage.what);
                match took <= self.within.as_s() {
                    true => Verdict::passed(&expected, format!("recovered {told}, certain after {} jobs", r.jobs)).taking(took),
                    false => Verdict::failed(&expected, format!("recovered only {told}")).taking(took),
                }
            }
            None => self.not_yet(&expected, &after, limit, outage.t, record),
        };
        verdict.with([facts, outage.told()])
    }
}

impl LatencyRecovers {
    fn samples(&self, view: &View<'_>) -> Vec<Sample> {
        let is_fault = |load: &str| view.record.plan().faults.iter().any(|f| f.name == load);
        let mut samples: Vec<Sample> = view
            .jobs(self.load())
            .filter(|(job, class, _)| !is_fault(&job.load) && !matches!(class, Class::Rejected | Class::Invalid))
            .map(|(job, class, _)| Sample { intended_t: job.intended_t, latency: latency(job, class), cold: job.cold })
            .collect();
        samples.sort_by(|a, b| a.intended_t.total_cmp(&b.intended_t));
        samples
    }

    fn against(&self, samples: &[&Sample], limit: f64) -> Against {
        let over = samples.iter().filter(|s| s.latency.is_some_and(|l| l > limit)).count();
        percentile_against(self.percentile, over as u64, samples.len() as u64)
    }

    fn recovery(&self, after: &[&Sample], limit: f64) -> Option<Recovery> {
        let ended = after.iter().position(|s| s.latency.is_none()).unwrap_or(after.len());
        let over: Vec<bool> = after[..ended].iter().map(|s| s.latency.is_some_and(|l| l > limit)).collect();
        let longest = over.len().min(LONGEST_ROW * samples_for_percentile(self.percentile) as usize);
        let rule = Rule::new(self.percentile, longest);
        (0..over.len()).find_map(|from| {
            let jobs = row_below(&over[from..], &rule)?;
            let stays = over[from + jobs..].chunks(jobs).all(|later| rule.against(count(later), later.len()) != Against::Above);
            stays.then(|| Recovery { from_t: after[from].intended_t, jobs })
        })
    }

    /// The verdict while no recovery is certain.
    fn not_yet(&self, expected: &str, after: &[&Sample], limit: f64, outage_t: f64, record: &Record) -> Verdict {
        let deadline = outage_t + self.within.as_s();
        let late: Vec<&Sample> = after.iter().copied().filter(|s| s.intended_t >= deadline && s.latency.is_some()).collect();
        let settled: Vec<&Sample> = after.iter().copied().filter(|s| s.latency.is_some()).collect();
        let over = settled.iter().filter(|s| s.latency.is_some_and(|l| l > limit)).count();
        let observed = format!("{over} of {} jobs since then over the limit", settled.len());
        // No job is due after the end of the load: a deadline beyond it was not looked at.
        let now = record.load_stopped_t.unwrap_or(record.now).min(record.now);
        if now <= deadline && record.ended {
            return Verdict::inconclusive(expected, format!("{observed}; the load ended before the time was over"));
        }
        // A window that begins at the deadline still needs its samples: wait for as long again, then decide.
        let patience_over = now > deadline + self.within.as_s();
        if now <= deadline || (!patience_over && self.against(&late, limit) == Against::Undecided) {
            return Verdict::pending(expected, observed);
        }
        let verdict = if late.is_empty() { self.against(&settled, limit) } else { self.against(&late, limit) };
        match verdict {
            Against::Above => Verdict::failed(expected, observed),
            // Jobs were due for as long as the file allows, and nothing became of any.
            _ if settled.is_empty() && !record.cut_short() => {
                Verdict::failed(expected, "not one job of the load ended after the last fault")
            }
            _ => Verdict::inconclusive(expected, observed),
        }
    }
}

fn count(over: &[bool]) -> u64 {
    over.iter().filter(|o| **o).count() as u64
}

/// How many jobs from here on make it certain that the percentile lies below the limit.
fn row_below(over: &[bool], rule: &Rule) -> Option<usize> {
    let mut seen = 0;
    for (at, over) in over.iter().enumerate() {
        seen += u64::from(*over);
        match rule.against(seen, at + 1) {
            Against::Below => return Some(at + 1),
            Against::Above => return None,
            Against::Undecided => {}
        }
    }
    None
}

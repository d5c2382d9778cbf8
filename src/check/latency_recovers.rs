//! Latency returns to the run's own baseline.
//!
//! The limit is the baseline's percentile, enlarged by the tolerance. Recovery is the first moment from which a row of
//! consecutive jobs lies below the limit at that percentile, with the confidence of the LoadGen rule (`stats`), and after
//! which no later stretch of the same length is above it with the same confidence. "The first moment from which a system
//! stays within the band of its normal behaviour" is Brown and Patterson's (USENIX ATC 2000).
//!
//! It is asked again and again, and the load ends when it is decided. So while the load goes on, a row counts when as many jobs
//! again have followed it; and that it has not recovered is asked after stated numbers of jobs, with a confidence that makes
//! all these times together as sure as one (as in `plan::looks`).

use super::dose::Dose;
use super::latency::{check_percentile, is_open, latency, waited_s};
use super::noise::Bearing;
use super::untold::{self, is_without_end};
use super::{Check, Verdict, View};
use crate::experiment::decode::At;
use crate::experiment::diagnostic::{Diagnostics, Span};
use crate::experiment::units::{Share, Time};
use crate::journal::record::Record;
use crate::load::ledger::Class;
use crate::record;
use crate::stats::confidence::Confidence;
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
    /// Nobody can tell what became of it.
    untold: bool,
    /// While it is under way: for how long it has been waited for.
    waited: f64,
    cold: bool,
    /// Accepted, and it never ended: whoever waits for it sends nothing more.
    hangs: bool,
}

impl Sample {
    /// Whether it took more; not known of one that may still come in time.
    fn is_over(&self, limit: f64) -> Option<bool> {
        self.latency.map(|took| took > limit).or_else(|| (self.waited > limit).then_some(true))
    }
}

/// From which moment, and after how many jobs it was certain.
struct Recovery {
    from_t: f64,
    jobs: usize,
    /// As many jobs again have followed.
    held: bool,
}

impl Check for LatencyRecovers {
    fn dose(&self) -> Dose {
        Dose::Pass
    }
    fn bearing(&self) -> Bearing {
        Bearing::Clock
    }
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
        let needed = samples_for_percentile(self.percentile, Confidence::USUAL);
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
        // One of which nobody can tell tells only where its client had waited for too long.
        let (untold, after): (Vec<&Sample>, Vec<&Sample>) =
            samples.iter().filter(|s| s.intended_t >= back).partition(|s| s.untold && s.is_over(limit).is_none());
        let is_over = record.load_stopped_t.is_some() || self.patience_is_over(record, outage.t);
        let verdict = match self.recovery(&after, limit) {
            Some(r) if !is_over && !r.held => {
                Verdict::pending(&expected, format!("below the limit for {} jobs; as many again are to follow", r.jobs))
            }
            Some(r) => {
                let took = r.from_t - outage.t;
                let told = format!("{} after {}", view.seconds(took), outage.what);
                let later = |all: &[&Sample]| all.iter().filter(|s| s.intended_t >= r.from_t).count();
                let over = after.iter().filter(|s| s.intended_t >= r.from_t && s.is_over(limit) == Some(true)).count();
                // All of them too slow: whatever became of them, it would be the same.
                let (lost, all) = (later(&untold), later(&untold) + later(&after));
                let at_worst = percentile_against(self.percentile, (over + lost) as u64, all as u64, Confidence::USUAL);
                match took <= self.within.as_s() {
                    true if lost > 0 && at_worst != Against::Below => {
                        Verdict::inconclusive(&expected, format!("recovered {told}; {}", untold::told(lost)))
                    }
                    true => Verdict::passed(&expected, format!("recovered {told}, certain after {} jobs", r.jobs)).taking(took),
                    false => Verdict::failed(&expected, format!("recovered only {told}")).taking(took),
                }
            }
            None => self.not_yet(&expected, &after, limit, outage.t, samples.iter().any(|s| s.hangs), record),
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
            .map(|(job, class, _)| Sample {
                intended_t: job.intended_t,
                latency: latency(job, class).or_else(|| job.total_s().filter(|_| class == Class::Unknown)),
                waited: if is_open(job, class) || is_without_end(job, class) { waited_s(job, view.record) } else { 0.0 },
                untold: is_without_end(job, class),
                cold: job.cold,
                hangs: class == Class::Lost,
            })
            .collect();
        samples.sort_by(|a, b| a.intended_t.total_cmp(&b.intended_t));
        samples
    }

    /// The jobs since the deadline are above the limit: asked after as many as can decide, after twice as many, and so on, with a
    /// half, a quarter and so on of what it may be wrong in; and at the end of all with what is left.
    fn is_surely_slow(&self, late: &[&Sample], limit: f64, is_last: bool) -> bool {
        let (mut jobs, mut share, mut left) = (samples_for_percentile(self.percentile, Confidence::USUAL) as usize, 0.5, 1.0);
        while jobs <= late.len() {
            if self.against(&late[..jobs], limit, Confidence::spending(share)) == Against::Above {
                return true;
            }
            (jobs, share, left) = (2 * jobs, share / 2.0, share);
        }
        is_last && self.against(late, limit, Confidence::spending(left)) == Against::Above
    }

    /// A window that begins at the deadline still needs its samples: as long again.
    fn patience_is_over(&self, record: &Record, outage_t: f64) -> bool {
        record.load_stopped_t.unwrap_or(record.now).min(record.now) > outage_t + 2.0 * self.within.as_s()
    }

    fn against(&self, samples: &[&Sample], limit: f64, confidence: Confidence) -> Against {
        let over = samples.iter().filter(|s| s.is_over(limit) == Some(true)).count();
        percentile_against(self.percentile, over as u64, samples.len() as u64, confidence)
    }

    fn recovery(&self, after: &[&Sample], limit: f64) -> Option<Recovery> {
        // Up to the first that is not known.
        let over: Vec<bool> = after.iter().map_while(|s| s.is_over(limit)).collect();
        let longest = over.len().min(LONGEST_ROW * samples_for_percentile(self.percentile, Confidence::USUAL) as usize);
        let rule = Rule::new(self.percentile, longest);
        let mut from = 0;
        while from < over.len() {
            let Some(jobs) = row_below(&over[from..], &rule) else {
                from += 1;
                continue;
            };
            match self.slow_again(&over[from + jobs..], jobs) {
                None => return Some(Recovery { from_t: after[from].intended_t, jobs, held: over.len() - from >= 2 * jobs }),
                // Whatever begins before it is not the end of it.
                Some(at) => from += jobs + at,
            }
        }
        None
    }

    /// Where the first stretch of so many jobs begins that is surely above the limit again. In a long run there are many
    /// stretches: what they may be wrong in is spent on all of them.
    fn slow_again(&self, later: &[bool], jobs: usize) -> Option<usize> {
        let each = Confidence::spending(1.0 / later.len().div_ceil(jobs).max(1) as f64);
        let is_slow = |part: &[bool]| percentile_against(self.percentile, count(part), part.len() as u64, each) == Against::Above;
        later.chunks(jobs).position(is_slow).map(|at| at * jobs)
    }

    /// The verdict while no recovery is certain. `hangs`: some job of the load never ended, sent before the fault or after it.
    fn not_yet(&self, expected: &str, after: &[&Sample], limit: f64, outage_t: f64, hangs: bool, record: &Record) -> Verdict {
        let deadline = outage_t + self.within.as_s();
        let settled: Vec<&Sample> = after.iter().copied().filter(|s| s.is_over(limit).is_some()).collect();
        let late: Vec<&Sample> = settled.iter().copied().filter(|s| s.intended_t >= deadline).collect();
        let over = settled.iter().filter(|s| s.is_over(limit) == Some(true)).count();
        let observed = format!("{over} of {} jobs since then over the limit", settled.len());
        // No job is due after the end of the load: a deadline beyond it was not looked at.
        let now = record.load_stopped_t.unwrap_or(record.now).min(record.now);
        if now <= deadline && record.ended {
            return Verdict::inconclusive(expected, format!("{observed}; the load ended before the time was over"));
        }
        let is_last = self.patience_is_over(record, outage_t) || record.ended;
        let surely_slow = self.is_surely_slow(&late, limit, is_last);
        if now <= deadline || (!is_last && !surely_slow) {
            return Verdict::pending(expected, observed);
        }
        match surely_slow || (late.is_empty() && self.against(&settled, limit, Confidence::USUAL) == Against::Above) {
            true => Verdict::failed(expected, observed),
            // Clients waited for as long as the file allows, and nothing became of it. Where nobody waited, nothing was asked.
            _ if hangs && !settled.iter().any(|s| s.latency.is_some_and(f64::is_finite)) && !record.cut_short() => {
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

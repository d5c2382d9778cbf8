//! The capacity limit: the load is stepped up until a criterion breaks; a law is fitted to what was measured; and the limit is
//! stated with the resource that gave out. The law is the Universal Scalability Law (`stats::scalability`).

use super::dose::Dose;
use super::error_rate::is_error;
use super::latency::latency;
use super::noise::Bearing;
use super::{Check, Verdict, View};
use super::untold::{is_untold, is_without_end};
use crate::experiment::diagnostic::{Diagnostics, Span};
use crate::journal::facts::JobFacts;
use crate::experiment::units::{Share, Time};
use crate::journal::event::Phase;
use crate::journal::record::Record;
use crate::load::ledger::Class;
use crate::plan::StagePlan;
use crate::record;
use crate::stats::{binomial_at_most, quantile};
use crate::stats::scalability::{Law, fit};
use crate::text::seconds;

/// Of each step only what was due after this share of it is measured: the step before must wear off.
const SETTLE: f64 = 0.3;
/// Fewer completed jobs make no step.
const FEWEST: usize = 5;
/// A resource used beyond this share has given out.
const EXHAUSTED: f64 = 0.9;
/// A limit is found where there is none in so few of the runs (95 % confidence), however many steps they have.
const CHANCE: f64 = 0.05;

record! {
    /// How much the target can take: measured on a load whose `stages` step up its users.
    pub struct Capacity {
        /// A step is beyond the limit when the 95th percentile of its jobs is above this ...
        latency: Time,
        /// ... or more than this share of them goes wrong.
        error_rate: Share = Share(0.05),
        /// The limit must be at least so many users.
        at_least: u32 = 1,
    }
}

/// What one step of the load showed.
#[derive(Debug, Clone)]
pub struct Step {
    pub users: u32,
    pub from_t: f64,
    pub until_t: f64,
    pub jobs: usize,
    /// Completed per second.
    pub throughput: f64,
    pub p95_s: f64,
    pub errors: f64,
    pub queue: f64,
    pub broken: Option<String>,
    /// Whether it is beyond the limit depends on so many jobs of which nobody can tell what became of them.
    pub untold: Option<usize>,
}

impl Check for Capacity {
    fn dose(&self) -> Dose {
        Dose::Pass
    }
    fn bearing(&self) -> Bearing {
        Bearing::Jobs
    }
    fn ends_load(&self) -> bool {
        true
    }

    fn validate(&self, place: Span, diags: &mut Diagnostics) {
        if self.latency.0.is_zero() {
            diags.error(place, "no job takes no time", "expected `latency: 180s`");
        }
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let expected = format!("at least {} users with a p95 below {} and fewer than {} errors", self.at_least, view.time(self.latency), self.error_rate);
        let record = view.record;
        let mut steps = self.steps(view);
        let unclear = steps.pop_if(|step| step.untold.is_some());
        let planned = stages(record).len();
        let broken = steps.iter().position(|s| s.broken.is_some());
        if !record.ended && broken.is_none() && unclear.is_none() {
            return Verdict::pending(&expected, format!("{} of {planned} steps done", steps.len()));
        }
        if planned < 2 {
            return Verdict::inconclusive(&expected, "the load has no steps: give it `stages` with more and more users");
        }
        let knee = match broken {
            Some(0) => return Verdict::failed(&expected, format!("the first step, {} users, is too much: {}", steps[0].users, steps[0].broken.clone().unwrap_or_default())).with(table(&steps, record)),
            Some(at) => &steps[at - 1],
            None => match steps.last() {
                Some(last) => last,
                None if unclear.is_some() => return Verdict::inconclusive(&expected, untold(unclear.as_ref())),
                None => return Verdict::inconclusive(&expected, "not one step had enough jobs"),
            },
        };
        let law = fit(&steps.iter().map(|s| (f64::from(s.users), s.throughput)).collect::<Vec<_>>());
        let evidence: Vec<String> = table(&steps, record).into_iter().chain(law.map(|law| told(&law, record))).collect();
        let per_minute = |rate: f64| rate * record.plan().time_scale * 60.0;
        let at_knee = format!("{} users, {:.2} jobs/min, queue {:.0}", knee.users, per_minute(knee.throughput), knee.queue);
        let observed = match broken.map(|at| &steps[at]) {
            Some(step) => format!("limit: {at_knee}; with {} users {}; {}", step.users, step.broken.clone().unwrap_or_default(), exhausted(record, step)),
            None if unclear.is_some() => format!("no limit within {at_knee}; {}", untold(unclear.as_ref())),
            None => format!("no limit within {at_knee}: it lies beyond"),
        };
        let verdict = match knee.users >= self.at_least {
            true => Verdict::passed(&expected, observed),
            false if broken.is_some() => Verdict::failed(&expected, observed),
            false => Verdict::inconclusive(&expected, observed),
        };
        verdict.measuring(at_knee).with(evidence)
    }
}

/// The steps of the first load that has some.
fn stages(record: &Record) -> Vec<StagePlan> {
    record.plan().loads.iter().find(|load| load.stages.len() > 1).map_or_else(Vec::new, |load| load.stages.clone())
}

impl Capacity {
    /// The steps that are over, up to the first that is beyond the limit.
    pub fn steps(&self, view: &View<'_>) -> Vec<Step> {
        let record = view.record;
        let Some(begin) = record.phase_start(Phase::Baseline) else { return Vec::new() };
        let end = record.load_stopped_t.unwrap_or(record.now);
        let mut steps = Vec::new();
        for stage in stages(record) {
            let until_t = begin + stage.until_s.unwrap_or(f64::INFINITY);
            if until_t > end + 1e-3 {
                break;
            }
            let Some(step) = self.step(view, &stage, begin + stage.from_s, until_t) else { break };
            let is_last = step.broken.is_some() || step.untold.is_some();
            steps.push(step);
            if is_last {
                break;
            }
        }
        steps
    }

    fn step(&self, view: &View<'_>, stage: &StagePlan, from: f64, until_t: f64) -> Option<Step> {
        let from_t = from + SETTLE * (until_t - from);
        let jobs = view.background(None, super::scope::Over::All);
        let ended = |t: f64| (from_t..until_t).contains(&t);
        let done: Vec<_> = jobs.iter().filter(|(job, _)| job.ended.as_ref().is_some_and(|e| ended(e.0))).collect();
        let completed = done.iter().filter(|(_, class)| *class == Class::Completed).count();
        // Whoever still waits has waited at least until now.
        // One that was lost or given up has waited too; only of one whose id is another's nobody can tell.
        let gone = |job: &JobFacts| job.ended.as_ref().map(|e| e.0).or(job.given_to().map(|given| given.t));
        let unknown = jobs.iter().filter(|(job, class)| is_untold(job, *class) && job.ended.is_none() && (from_t..until_t).contains(&job.intended_t)).count();
        let waiting = jobs.iter().filter(|(job, class)| job.accepted() && !is_without_end(job, *class) && job.intended_t < until_t && gone(job).is_none_or(|t| t >= until_t));
        let mut latencies: Vec<f64> = done.iter().filter_map(|(job, class)| latency(job, *class)).chain(waiting.map(|(job, _)| until_t - job.intended_t).filter(|s| *s > self.latency.as_s())).collect();
        let wrong = done.iter().filter(|(job, class)| is_error(job, *class)).count();
        let refused = jobs.iter().filter(|(job, class)| matches!(class, Class::Rejected | Class::Unknown) && ended(job.submitting_t) && is_error(job, *class)).count();
        let n = latencies.len();
        let slow = latencies.iter().filter(|s| **s > self.latency.as_s()).count();
        // Where all were refused there is none.
        let p95_s = quantile(&mut latencies, 0.95).or((unknown + refused > 0).then_some(0.0))?;
        let tried = done.len() + refused;
        let errors = (wrong + refused) as f64 / tried.max(1) as f64;
        let queue = view.record.series.get("queue.depth").and_then(|s| s.mean(from_t, until_t)).unwrap_or(0.0);
        // One slow job of six is no limit: more must be over it than chance explains.
        // Each step may be the last that is sent: all of them together are to be as sure as one.
        let chance = CHANCE / stages(view.record).len().max(1) as f64;
        let broken = if surely_more(slow, n, 0.05, chance) {
            Some(format!("the p95 is {}", view.seconds(p95_s)))
        } else {
            surely_more(wrong + refused, tried, self.error_rate.0, chance).then(|| format!("{:.0} % go wrong", errors * 100.0))
        };
        let may_be_broken = surely_more(slow + unknown, n + unknown, 0.05, chance) || surely_more(wrong + refused + unknown, tried + unknown, self.error_rate.0, chance);
        let untold = (broken.is_none() && unknown > 0 && may_be_broken).then_some(unknown);
        (n >= FEWEST || broken.is_some() || untold.is_some()).then(|| Step { users: stage.users, from_t, until_t, jobs: completed, throughput: completed as f64 / (until_t - from_t), p95_s, errors, queue, broken, untold })
    }
}

fn untold(step: Option<&Step>) -> String {
    let of = |step: &Step| format!("with {} users nobody can tell what became of {} jobs", step.users, step.untold.unwrap_or(0));
    step.map_or_else(String::new, of)
}

/// More of so many than a true share would bring, but for this chance.
fn surely_more(events: usize, of: usize, share: f64, chance: f64) -> bool {
    events > 0 && 1.0 - binomial_at_most(events as u64 - 1, of as u64, share) < chance
}

fn table(steps: &[Step], record: &Record) -> Vec<String> {
    let scale = record.plan().time_scale;
    let line = |s: &Step| {
        format!("{} users: {:.2} jobs/min, p95 {}, {:.0} % errors, queue {:.1} ({} jobs)", s.users, s.throughput * scale * 60.0, seconds(s.p95_s / scale), s.errors * 100.0, s.queue, s.jobs)
    };
    steps.iter().map(line).collect()
}

fn told(law: &Law, record: &Record) -> String {
    let scale = record.plan().time_scale * 60.0;
    let peak = law.peak_users().map_or_else(|| "no peak".to_owned(), |n| format!("a peak at {n:.0} users"));
    let ceiling = law.ceiling().map_or_else(String::new, |x| format!(", at most {:.2} jobs/min", x * scale));
    format!("Universal Scalability Law: λ {:.2} jobs/min, σ {:.3}, κ {:.4} (explains {:.0} % of the variance); {peak}{ceiling}", law.lambda * scale, law.sigma, law.kappa, law.fit * 100.0)
}

/// Which resource was used up in a step.
fn exhausted(record: &Record, step: &Step) -> String {
    let mean = |name: &str| record.series.get(name).and_then(|s| s.mean(step.from_t, step.until_t));
    let peak = |name: &str| record.series.get(name).map(|s| s.between(step.from_t, step.until_t).iter().map(|p| p.value).fold(0.0, f64::max));
    let share = |used: Option<f64>, of: Option<f64>| used.zip(of).map(|(used, of)| used / of.max(1.0));
    let slots = share(mean("queue.running"), record.series.get("queue.running").map(|s| s.max)).filter(|_| mean("queue.depth").is_some_and(|d| d >= 1.0));
    let known = [
        ("the GPU's memory", share(peak("gpu.memory_used_bytes"), peak("gpu.memory_total_bytes"))),
        ("the GPU's time", mean("gpu.utilization_percent").map(|p| p / 100.0)),
        ("the slots for jobs", slots),
    ];
    let gone: Vec<String> = known.into_iter().filter_map(|(what, used)| used.filter(|u| *u >= EXHAUSTED).map(|u| format!("{what} ({:.0} % used)", u * 100.0))).collect();
    if gone.is_empty() { "no resource that is watched was used up".to_owned() } else { format!("what gave out: {}", gone.join(", ")) }
}

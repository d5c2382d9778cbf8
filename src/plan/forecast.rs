//! What the plan foretells: how many jobs there will be, and which criteria cannot be judged from so few.

use serde::{Deserialize, Serialize};

use super::{LoadPlan, Moment, Plan, RuntimePlan, looks};
use crate::driver::sent::Sent;
use crate::experiment::{Arrivals, Baseline};
use crate::load::arrivals;
use crate::load::drive::mark;
use crate::seed::{draw, fnv};
use crate::stats::confidence::Confidence;
use crate::stats::samples_for_percentile;

/// Draws of each client that are shown and hashed.
const SHOWN: usize = 5;
const HASHED: usize = 1_000;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    pub loads: Vec<LoadForecast>,
    /// Over the first thousand draws of every client: arrivals, think times, marks.
    pub draws_digest: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadForecast {
    pub load: String,
    /// Seconds that one job takes, where that is known before the run (the embedded backend).
    pub service_s: Option<f64>,
    /// users ÷ (think + service), at most slots ÷ service; or the rate.
    pub jobs_per_s: Option<f64>,
    /// Over the load's duration, `longer` included, where it has one.
    pub jobs: Option<f64>,
    /// The first arrivals (open loop) or think times (closed loop), in seconds.
    pub first_draws_s: Vec<f64>,
}

pub fn of(plan: &Plan) -> Forecast {
    let mut hash = String::new();
    let loads = plan.loads.iter().map(|load| one(plan, load, &mut hash)).collect();
    Forecast { loads, draws_digest: format!("{:016x}", fnv(hash.as_bytes())) }
}

fn one(plan: &Plan, load: &LoadPlan, hash: &mut String) -> LoadForecast {
    let service_s = service(plan, load);
    let mut jobs_per_s = Some(0.0_f64);
    let mut jobs = Some(0.0_f64);
    for stage in &load.stages {
        let closed = |s: f64| (f64::from(stage.users) / (load.think.mean_s() + s).max(1e-6)).min(most_per_s(plan, s));
        let recorded = (!load.trace.is_empty())
            .then(|| load.trace.len() as f64 / stage.until_s.map_or(1.0, |until| (until - stage.from_s).max(1e-3)));
        let rate = stage.rate_per_s.or(recorded).or_else(|| service_s.map(closed));
        let longest = plan.duration_s.map(|d| d + plan.longer_s);
        let until = stage.until_s.into_iter().chain(longest).reduce(f64::min);
        let length = until.map(|u| (u - stage.from_s).max(0.0));
        jobs_per_s = jobs_per_s.zip(rate).map(|(most, rate)| most.max(rate));
        jobs = jobs.zip(rate.zip(length)).map(|(sum, (rate, length))| sum + rate * length);
    }
    let draws = draws(plan, load);
    hash.push_str(&format!("{}:{draws:?};{}", load.name, mark(plan.seed, &load.name, 0, 0)));
    LoadForecast { load: load.name.clone(), service_s, jobs_per_s, jobs, first_draws_s: draws.into_iter().take(SHOWN).collect() }
}

fn draws(plan: &Plan, load: &LoadPlan) -> Vec<f64> {
    let rate = load.stages.iter().find_map(|s| s.rate_per_s);
    if !load.trace.is_empty() {
        return load.trace.iter().map(|arrival| arrival.at_s).take(HASHED).collect();
    }
    match rate {
        Some(rate) => {
            let rng = plan.seed.stream(&format!("load/{}/open/0", load.name));
            let pattern: Arrivals = load.arrivals;
            arrivals::moments(rate, pattern, rng).take(HASHED).collect()
        }
        None => {
            let mut rng = plan.seed.stream(&format!("load/{}/0/think", load.name));
            (0..HASHED).map(|_| draw(&mut rng, load.think).as_s()).collect()
        }
    }
}

/// More than its slots allow for the embedded backend does not complete.
fn most_per_s(plan: &Plan, service_s: f64) -> f64 {
    match &plan.runtime {
        RuntimePlan::Embedded(backend) => f64::from(backend.slots) / service_s.max(1e-6),
        _ => f64::INFINITY,
    }
}

/// What a warm job takes when nothing waits: known only of the embedded backend.
fn service(plan: &Plan, load: &LoadPlan) -> Option<f64> {
    let RuntimePlan::Embedded(backend) = &plan.runtime else { return None };
    let total: u32 = load.job.iter().map(|j| j.weight).sum();
    let weighted = load.job.iter().map(|j| {
        let pixels = u64::from(j.width) * u64::from(j.height);
        backend.service(pixels, j.batch, j.batch, 1.0).as_secs_f64() * f64::from(j.weight)
    });
    Some(weighted.sum::<f64>() / f64::from(total.max(1)))
}

/// What a reader of the plan should know before the run.
pub fn warnings(plan: &Plan) -> Vec<String> {
    let mut warnings: Vec<String> =
        plan.checks.iter().filter_map(|check| too_few(plan, &check.name, check.spec.percentile()?)).collect();
    if let Some(before) = baseline_s(plan)
        && let Some(rate) = plan.forecast.loads.iter().filter_map(|l| l.jobs_per_s).reduce(f64::max)
    {
        for check in plan.checks.iter().filter(|c| c.spec.needs_baseline()) {
            let needed = check.spec.percentile().map_or(0, |p| samples_for_percentile(p, Confidence::USUAL));
            if before * rate < needed as f64 {
                warnings.push(format!(
                    "{}: about {:.0} jobs before the first fault, {needed} are needed for its baseline",
                    check.name,
                    before * rate
                ));
            }
        }
    }
    let sent = Sent::of(&plan.driver);
    warnings.extend(plan.loads.iter().filter(|load| sent.is_one(&load.job)).map(|load| {
        format!(
            "every job of `{}` sends the very same request: that each gets its own result, and that none is done twice, cannot be told (fill in `{{{{prompt}}}}` or `{{{{seed31}}}}`)",
            load.name
        )
    }));
    warnings
}

/// The time before the first fault, where it is known.
fn baseline_s(plan: &Plan) -> Option<f64> {
    let first = plan.faults.iter().filter_map(|f| match f.moment {
        Moment::At { s } => Some(s),
        _ => None,
    });
    let asked = match plan.baseline {
        Some(Baseline::Lasts(time)) => time.as_s(),
        Some(Baseline::Steady) => return None,
        None => 0.0,
    };
    first.reduce(f64::min).map(|s| s + asked)
}

fn too_few(plan: &Plan, check: &str, percentile: f64) -> Option<String> {
    let jobs: f64 = plan.forecast.loads.iter().map(|l| l.jobs).collect::<Option<Vec<f64>>>()?.into_iter().sum();
    let first = looks::of(plan).first().map_or(Confidence::USUAL, |look| look.confidence);
    let needed = samples_for_percentile(percentile, first);
    (jobs < needed as f64)
        .then(|| format!("{check}: about {jobs:.0} jobs are expected, a p{percentile} needs at least {needed}: it cannot pass"))
}

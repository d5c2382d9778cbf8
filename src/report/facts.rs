//! Figures that several reports show.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::result::{Latencies, Part, Resource, Spread};
use crate::check::View;
use crate::check::scope::Over;
use crate::clock::round_us;
use crate::fault::FaultSpec;
use crate::journal::facts::JobFacts;
use crate::journal::record::Record;
use crate::load::ledger::Class;
use crate::observe::unread::is_mark;
use crate::plan::Plan;
use crate::plan::build::{CANARY, WARM_UP};

/// Latencies are kept in microseconds up to a day, to three digits.
const HIGHEST_US: u64 = 86_400_000_000;

pub const PHASES: [&str; 4] = ["all", "baseline", "fault", "after"];
/// A part of a job's life, in seconds, where it is known.
type Measure = fn(&JobFacts) -> Option<f64>;

pub const PARTS: [(&str, Measure); 4] = [
    ("total", |job| job.total_s()),
    ("submit", |job| job.answer.as_ref().map(|(t, _)| t - job.submitting_t)),
    ("queue", |job| Some(job.running_t? - job.answer.as_ref()?.0)),
    ("run", |job| Some(job.ended.as_ref()?.0 - job.running_t?)),
];

/// Which phase a moment belongs to.
pub fn phase_of(record: &Record, t: f64) -> &'static str {
    let first = record.baseline_end().unwrap_or(f64::INFINITY);
    let last = record.faults_end().unwrap_or(f64::INFINITY);
    if t < first {
        "baseline"
    } else if t < last {
        "fault"
    } else {
        "after"
    }
}

/// A histogram of the completed jobs of a load, phase and part.
pub fn histogram(view: &View<'_>, load: &str, phase: &str, measure: Measure) -> Histogram<u64> {
    // Three digits and a day are within what the library takes.
    let mut histogram = Histogram::new_with_bounds(1, HIGHEST_US, 3).unwrap_or_else(|_| unreachable!("constant bounds"));
    let jobs = view.jobs(None).filter(|(_, class, _)| *class == Class::Completed);
    // Jobs that only warm up or watch are no part of "all".
    let counts = |job: &JobFacts| if load == "all" { job.load != WARM_UP && job.load != CANARY } else { job.load == load };
    for (job, ..) in jobs.filter(|(job, ..)| counts(job)) {
        if phase != "all" && phase_of(view.record, job.intended_t) != phase {
            continue;
        }
        if let Some(seconds) = measure(job) {
            histogram.saturating_record((seconds * 1e6).max(1.0) as u64);
        }
    }
    histogram
}

pub fn spread(histogram: &Histogram<u64>) -> Option<Spread> {
    let seconds = |us: u64| us as f64 / 1e6;
    (!histogram.is_empty()).then(|| Spread {
        n: histogram.len(),
        p50_s: seconds(histogram.value_at_quantile(0.50)),
        p95_s: seconds(histogram.value_at_quantile(0.95)),
        p99_s: seconds(histogram.value_at_quantile(0.99)),
        max_s: seconds(histogram.max()),
        mean_s: round_us(histogram.mean() / 1e6),
    })
}

/// The loads of a run, and `all`.
pub fn loads(record: &Record) -> Vec<String> {
    let mut names = vec!["all".to_owned()];
    for job in &record.jobs {
        if !names.iter().any(|name| *name == job.load) {
            names.push(job.load.to_string());
        }
    }
    names
}

pub fn latencies(view: &View<'_>) -> Latencies {
    let mut parts = Vec::new();
    for load in loads(view.record) {
        for phase in PHASES {
            for (part, measure) in PARTS {
                let spread = spread(&histogram(view, &load, phase, measure));
                parts.extend(spread.map(|spread| Part {
                    load: load.clone(),
                    phase: phase.to_owned(),
                    part: part.to_owned(),
                    spread,
                }));
            }
        }
    }
    let all = parts.first().map(|part| part.spread.clone());
    Latencies {
        p50_s: all.as_ref().map(|s| s.p50_s),
        p95_s: all.as_ref().map(|s| s.p95_s),
        p99_s: all.as_ref().map(|s| s.p99_s),
        max_s: all.as_ref().map(|s| s.max_s),
        mean_s: all.as_ref().map(|s| s.mean_s),
        parts,
    }
}

/// How late chaos itself sent its jobs.
pub fn dispatch_delay(record: &Record) -> Option<Spread> {
    let mut histogram = Histogram::<u64>::new_with_bounds(1, HIGHEST_US, 3).ok()?;
    for job in &record.jobs {
        histogram.saturating_record(((job.submitting_t - job.intended_t) * 1e6).max(1.0) as u64);
    }
    spread(&histogram)
}

/// The users of a plan's loads, step by step, with those whom a fault adds: `3`, `2→20→2`, `3 + 1/s`.
pub fn users(plan: &Plan) -> String {
    let added: u32 = plan.faults.iter().map(|f| if let FaultSpec::Spike(spike) = &f.spec { spike.users } else { 0 }).sum();
    let stage = |users: u32, rate: Option<f64>| rate.map_or_else(|| users.to_string(), |r| format!("{r}/s"));
    let measured = plan.loads.iter().filter(|load| load.name != CANARY);
    let loads: Vec<String> = measured
        .map(|load| match load.trace.len() {
            0 => load.stages.iter().map(|s| stage(s.users, s.rate_per_s)).collect::<Vec<_>>().join("→"),
            recorded => format!("{recorded} recorded"),
        })
        .collect();
    match (loads.as_slice(), added) {
        ([], 0) => "–".to_owned(),
        ([one], n) if n > 0 => one.parse::<u32>().map_or_else(|_| one.clone(), |users| format!("{users}→{}→{users}", users + n)),
        _ => loads.join(" + "),
    }
}

/// The figures of the process and the GPU; their means are those while load was sent.
pub fn resources(record: &Record) -> BTreeMap<String, Resource> {
    let ours = record.series.iter().filter(|(name, _)| !name.starts_with("metric:") && !is_mark(name));
    let figures = ours.filter_map(|(name, series)| {
        let (first, last) = (series.first_point()?, series.last_point()?);
        let (from, to) = Over::All.window(record).unwrap_or((first.t, record.now));
        let mean = series.mean(from.max(first.t), to).unwrap_or(first.value);
        Some((
            name.clone(),
            Resource { mean: (mean * 1e3).round() / 1e3, peak: series.max, first: first.value, last: last.value },
        ))
    });
    figures.collect()
}

/// The share of each pipeline stage, from the sums of `pipeline_stage_duration_seconds`.
pub fn stages(record: &Record) -> BTreeMap<String, f64> {
    let prefix = "metric:pipeline_stage_duration_seconds_sum{stage=\"";
    let sums: Vec<(String, f64)> = record
        .series
        .iter()
        .filter_map(|(name, series)| Some((name.strip_prefix(prefix)?.strip_suffix("\"}")?.to_owned(), series.last()?)))
        .collect();
    let total: f64 = sums.iter().map(|(_, s)| s).sum();
    sums.into_iter().filter(|_| total > 0.0).map(|(stage, s)| (stage, (s / total * 1e4).round() / 1e4)).collect()
}

/// The share of the run's time in which the target's process was there and ready.
pub fn uptime(record: &Record) -> Option<f64> {
    let first = record.generations.first()?;
    let begin = first.started_t + first.ready_after_s?;
    let end = record.phase_start(crate::journal::event::Phase::Revert).unwrap_or(record.now);
    let up = record.generations.iter().filter_map(|g| {
        let from = g.started_t + g.ready_after_s?;
        let until = g.exited.as_ref().map_or(end, |e| e.0.min(end));
        Some((until - from.max(begin)).max(0.0))
    });
    (end > begin).then(|| (up.sum::<f64>() / (end - begin)).min(1.0))
}

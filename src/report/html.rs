//! `report.html`: one file that works offline. The page is drawn in the browser from the data inside it.

use askama::Template;
use serde_json::{Value as Json, json};

use super::{Material, strips};
use crate::check::View;
use crate::journal::event::JobState;
use crate::journal::record::Record;
use crate::journal::series::Series;
use crate::observe::machine;
use crate::text::{figure, seconds};

/// A plot is about this many pixels wide; more points show nothing more.
const MOST_POINTS: usize = 800;
/// Jobs drawn one by one; of more, every n-th and everything unusual.
const MOST_JOBS: usize = 4_000;

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    title: &'a str,
    style: &'a str,
    script: &'a str,
    data: String,
}

pub fn render(material: &Material<'_>) -> Result<String, String> {
    let data = serde_json::to_string(&data(material)).map_err(|e| e.to_string())?;
    let page = Page {
        title: &material.result.run_id,
        style: include_str!("../../templates/report.css"),
        script: include_str!("../../templates/report.js"),
        // Inside a script element only `<` can end it.
        data: data.replace('<', "\\u003c"),
    };
    page.render().map_err(|e| e.to_string())
}

fn data(material: &Material<'_>) -> Json {
    let record = material.record;
    let view = View::of(record);
    json!({
        "result": material.result,
        "end": record.now,
        "phases": record.phases.iter().map(|(t, p)| json!({ "t": t, "phase": p })).collect::<Vec<_>>(),
        "jobs": jobs(&view),
        "ledger": ledger(&view),
        "panels": panels(record),
        "bands": bands(record),
        "marks": marks(record),
        "cold": strips::cold_and_warm(&view),
        "listeners": strips::listeners(record),
        "latencies": latency_rows(material),
        "resources": material.result.resources.iter().map(|(name, f)| json!([name, figure(name, f.mean), figure(name, f.peak), figure(name, f.first), figure(name, f.last)])).collect::<Vec<_>>(),
    })
}

fn latency_rows(material: &Material<'_>) -> Vec<Json> {
    let total = material.result.latency.parts.iter().filter(|p| p.part == "total");
    total
        .map(|p| {
            json!([
                p.load,
                p.phase,
                p.spread.n,
                seconds(p.spread.mean_s),
                seconds(p.spread.p50_s),
                seconds(p.spread.p95_s),
                seconds(p.spread.p99_s),
                seconds(p.spread.max_s)
            ])
        })
        .collect()
}

/// Each job: number, load, intended start, end, class.
fn jobs(view: &View<'_>) -> Vec<Json> {
    let step = view.record.jobs.len().div_ceil(MOST_JOBS).max(1);
    let usual = |class| class == crate::load::ledger::Class::Completed;
    let shown = view.jobs(None).enumerate().filter(|(at, (_, class, _))| at % step == 0 || !usual(*class)).take(2 * MOST_JOBS);
    shown
        .map(|(_, (job, class, _))| {
            let end = job.ended.as_ref().map(|e| e.0);
            let cold = job.cold && job.state() == Some(JobState::Completed);
            json!([job.number, job.load, job.intended_t, end, class.word(), job.attempts, cold])
        })
        .collect()
}

/// The jobs that are worth a line of their own.
fn ledger(view: &View<'_>) -> Vec<Json> {
    let unusual = view.jobs(None).filter(|(job, class, _)| *class != crate::load::ledger::Class::Completed || job.attempts > 1);
    unusual
        .take(500)
        .map(|(job, class, why)| {
            let retried = if job.attempts > 1 {
                format!(
                    "{} attempts, batch {} → {}; ",
                    job.attempts,
                    job.shape.batch,
                    job.smallest_batch.unwrap_or(job.shape.batch)
                )
            } else {
                String::new()
            };
            json!([
                job.number,
                job.load,
                format!("{}x{}", job.shape.width, job.shape.height),
                class.word(),
                format!("{retried}{why}")
            ])
        })
        .collect()
}

/// The plots, from top to bottom; one without data is left out.
fn panels(record: &Record) -> Vec<Json> {
    /// A title, a unit, and each series with its label.
    type Panel = (&'static str, &'static str, &'static [(&'static str, &'static str)]);
    let wanted: &[Panel] = &[
        ("Load and queue", "jobs", &[("jobs.in_flight", "in flight"), ("queue.running", "running"), ("queue.depth", "waiting")]),
        ("GPU memory", "bytes", &[("gpu.memory_used_bytes", "used"), ("gpu.memory_total_bytes", "total")]),
        ("GPU utilisation", "percent", &[("gpu.utilization_percent", "GPU")]),
        ("Process memory (RSS)", "bytes", &[("process.rss_bytes", "RSS")]),
        ("Container memory", "bytes", &[("container.memory_bytes", "used"), ("container.memory_limit_bytes", "limit")]),
        ("Process CPU (of one core)", "percent", &[("process.cpu_percent", "CPU")]),
        ("Container CPU (of one core)", "percent", &[("container.cpu_percent", "CPU")]),
        (
            "Noise of the machine",
            "percent",
            &[(machine::DELAYED, "waiting for a CPU"), (machine::OTHERS_CPU, "CPU of others"), (machine::STEAL, "stolen")],
        ),
        ("Lateness of chaos", "ms", &[(machine::LATE, "late")]),
    ];
    let panel = |(title, unit, names): &Panel| {
        let lines: Vec<Json> = names
            .iter()
            .filter_map(|(name, label)| Some(json!({ "label": label, "points": thinned(record.series.get(*name)?) })))
            .collect();
        (!lines.is_empty()).then(|| json!({ "title": title, "unit": unit, "lines": lines }))
    };
    wanted.iter().filter_map(panel).collect()
}

/// The lowest and highest of each stretch, in their order.
fn thinned(series: &Series) -> Vec<(f64, f64)> {
    let points: Vec<_> = series.iter().collect();
    let step = (points.len() * 2).div_ceil(MOST_POINTS).max(1);
    let mut kept = Vec::new();
    for chunk in points.chunks(step) {
        let by_value = |a: &&crate::journal::series::Point, b: &&crate::journal::series::Point| a.value.total_cmp(&b.value);
        let mut pair: Vec<_> = [chunk.iter().min_by(by_value), chunk.iter().max_by(by_value)].into_iter().flatten().collect();
        pair.sort_by(|a, b| a.t.total_cmp(&b.t));
        pair.dedup();
        kept.extend(pair.into_iter().map(|p| (p.t, p.value)));
    }
    kept
}

/// When each fault was at work: to the moment that its cause was gone, and to the end of its own jobs.
fn bands(record: &Record) -> Vec<Json> {
    let faults = record.faults.iter().filter_map(|fault| {
        let from = fault.injecting_t?;
        let last_job = record.jobs_of(Some(&fault.name)).filter_map(|j| j.ended.as_ref().map(|e| e.0)).reduce(f64::max);
        let until = fault.over_t.into_iter().chain(last_job).reduce(f64::max).unwrap_or(record.now);
        Some(json!({ "name": fault.name, "from": from, "until": until }))
    });
    faults.collect()
}

/// Moments worth a mark: out-of-memory errors, ends and starts of the process, a guard, a signal.
fn marks(record: &Record) -> Vec<Json> {
    let ooms = record
        .log_hits
        .iter()
        .filter(|hit| hit.pattern == "oom")
        .map(|hit| json!({ "t": hit.t, "kind": "oom", "text": hit.line }));
    let ends = record.generations.iter().filter_map(|g| {
        let (t, status, asked) = g.exited.as_ref()?;
        (!asked || *t < record.phase_start(crate::journal::event::Phase::Revert).unwrap_or(f64::INFINITY))
            .then(|| json!({ "t": t, "kind": "exit", "text": format!("process {} ended ({status})", g.pid) }))
    });
    let starts = record
        .generations
        .iter()
        .skip(1)
        .map(|g| json!({ "t": g.started_t, "kind": "start", "text": format!("process {} started", g.pid) }));
    let stops = record.guard.iter().map(|(t, g, why)| json!({ "t": t, "kind": "guard", "text": format!("guard {g}: {why}") }));
    ooms.chain(ends).chain(starts).chain(stops).take(400).collect()
}

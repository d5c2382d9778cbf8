//! `result.json`: the run in figures, versioned, with a JSON Schema (`chaos schema result`).

use std::collections::BTreeMap;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::analysis::{self, Analysis};
use super::{Material, advice, facts, findings};
use crate::check::grade::Grade;
use crate::check::scope::Over;
use crate::check::{self, Ruling, Verdict, View};
use crate::journal::event::{Level, Tokens, When};
use crate::journal::facts::JobFacts;
use crate::journal::record::Record;
use crate::load::ledger::Counts;
use crate::run::outcome::{self, Outcome};
use crate::stats::quantile;

/// The version of this format.
pub const SCHEMA: u32 = 1;

/// A run in figures.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RunResult {
    pub schema: u32,
    pub run_id: String,
    pub experiment: String,
    pub description: String,
    pub seed: u64,
    /// Every time of the file was multiplied with this; the times here are those of the clock.
    pub time_scale: f64,
    /// Users of the loads, step by step: `2→20→2`.
    pub users: String,
    pub outcome: Outcome,
    pub exit_code: u8,
    /// Why the run ended early, if it did.
    pub reason: Option<String>,
    pub started_at: String,
    pub ended_at: String,
    pub duration_s: f64,
    pub chaos_version: String,
    pub host: String,
    pub target: String,
    /// The GPU's figures are simulated.
    pub gpu_simulated: bool,
    /// What the command line changed about the file.
    pub overrides: Vec<String>,
    pub jobs: Counts,
    pub latency: Latencies,
    /// Of streamed answers, where there are any.
    pub tokens: Option<Streamed>,
    pub dispatch_delay: Option<Spread>,
    pub faults: Vec<FaultResult>,
    pub checks: Vec<CheckResult>,
    pub resources: BTreeMap<String, Resource>,
    /// Share of each pipeline stage in the time of all, where the target tells it.
    pub stages: BTreeMap<String, f64>,
    pub uptime: Option<f64>,
    /// Where the time and the room go.
    pub bottlenecks: Vec<String>,
    pub findings: Vec<String>,
    pub recommendations: Vec<String>,
    pub preflight: Vec<PreflightItem>,
    pub notes: Vec<String>,
}

impl RunResult {
    /// Of the run in a folder.
    ///
    /// # Errors
    /// A sentence: it is no folder of a run, or of one without a result.
    pub fn read(folder: &Path) -> Result<Self, String> {
        let path = folder.join("result.json");
        let text = std::fs::read_to_string(&path)
            .map_err(|e| format!("cannot read {}: {e}; expected the folder of a run", path.display()))?;
        serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
    }
}

/// What streamed answers were like; times in seconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Streamed {
    pub tokens: u64,
    /// While the load was on.
    pub per_second: Option<f64>,
    /// From a request to its first token.
    pub first_p50_s: Option<f64>,
    pub first_p95_s: Option<f64>,
    /// Between two tokens: over the jobs' medians.
    pub between_p50_s: Option<f64>,
    pub between_p95_s: Option<f64>,
    pub longest_gap_s: f64,
}

impl Streamed {
    fn of(record: &Record) -> Option<Self> {
        let all: Vec<&Tokens> = record.jobs.iter().filter_map(JobFacts::tokens).collect();
        let mut first: Vec<f64> = all.iter().map(|t| t.first_s).collect();
        let mut gaps: Vec<f64> = all.iter().filter(|t| t.count > 1).map(|t| t.gap_s).collect();
        let tokens = all.iter().map(|t| u64::from(t.count)).sum();
        let window = Over::All.window(record);
        (!all.is_empty()).then(|| Self {
            tokens,
            per_second: window.map(|(from, to)| tokens as f64 / (to - from)),
            first_p50_s: quantile(&mut first, 0.5),
            first_p95_s: quantile(&mut first, 0.95),
            between_p50_s: quantile(&mut gaps, 0.5),
            between_p95_s: quantile(&mut gaps, 0.95),
            longest_gap_s: all.iter().map(|t| t.longest_gap_s).fold(0.0, f64::max),
        })
    }
}

/// Latencies of completed jobs, in seconds, counted from the moment that a job should have been sent.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Latencies {
    pub p50_s: Option<f64>,
    pub p95_s: Option<f64>,
    pub p99_s: Option<f64>,
    pub max_s: Option<f64>,
    pub mean_s: Option<f64>,
    /// Each load, phase and part.
    pub parts: Vec<Part>,
}

/// The latency of one load's jobs in one phase.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    pub load: String,
    /// all, baseline (before the first fault), fault, after.
    pub phase: String,
    /// total, submit (to the answer), queue (to its start), run (to its end).
    pub part: String,
    #[serde(flatten)]
    pub spread: Spread,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Spread {
    pub n: u64,
    pub p50_s: f64,
    pub p95_s: f64,
    pub p99_s: f64,
    pub max_s: f64,
    pub mean_s: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct FaultResult {
    pub name: String,
    pub kind: String,
    /// Seconds since the run's start, as all times here.
    pub planned_at_s: Option<f64>,
    pub injected_at_s: Option<f64>,
    /// When it was over and chaos had seen what became of the target.
    pub over_at_s: Option<f64>,
    /// From when recovery counts: the end of its cause.
    #[serde(default)]
    pub cause_over_at_s: Option<f64>,
    pub reverted_at_s: Option<f64>,
    pub error: Option<String>,
    /// before, during, after: what was seen.
    pub seen: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CheckResult {
    pub name: String,
    pub kind: String,
    pub verdict: Ruling,
    pub expected: String,
    pub observed: String,
    pub evidence: Vec<String>,
    /// Against the limits of a table of targets, where the check has some.
    pub grade: Option<Grade>,
    /// The figure that was judged, in a few characters.
    pub measured: Option<String>,
    /// How long the recovery took, in seconds, where the check is of one.
    #[serde(default)]
    pub took_s: Option<f64>,
}

impl From<(String, String, Verdict)> for CheckResult {
    fn from((name, kind, v): (String, String, Verdict)) -> Self {
        let Verdict { ruling, expected, observed, evidence, grade, measured, took_s } = v;
        Self { name, kind, verdict: ruling, expected, observed, evidence, grade, measured, took_s }
    }
}

/// A figure over the run.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Resource {
    pub mean: f64,
    pub peak: f64,
    pub first: f64,
    pub last: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PreflightItem {
    pub what: String,
    pub level: String,
    pub detail: String,
}

/// Judges a record and puts it into figures.
pub fn of(record: &Record) -> RunResult {
    let plan = record.plan();
    let view = View::of(record);
    let verdicts = check::judge_all(&view);
    let (outcome, exit) = outcome::of(record, &verdicts);
    let stages = facts::stages(record);
    let resources = facts::resources(record);
    let analysis = Analysis { view: &view, stages: &stages, resources: &resources, verdicts: &verdicts };
    let bottlenecks = analysis::bottlenecks(&analysis);
    let findings = findings::of(&view).into_iter().chain(analysis::disagreement(&analysis)).collect();
    let recommendations = advice::of(&analysis);
    let checks = verdicts.into_iter().map(CheckResult::from).collect();
    RunResult {
        schema: SCHEMA,
        run_id: record.run_id.clone(),
        experiment: plan.name.clone(),
        description: plan.description.clone(),
        seed: plan.seed.0,
        time_scale: plan.time_scale,
        users: facts::users(plan),
        outcome,
        exit_code: exit.code(),
        reason: reason(record),
        started_at: record.began.clone(),
        ended_at: ended_at(record),
        duration_s: record.now,
        chaos_version: record.version.clone(),
        host: record.host.clone(),
        target: plan.url.clone(),
        gpu_simulated: plan.gpu_is_simulated(),
        overrides: record.overrides.clone(),
        jobs: view.ledger.counts.clone(),
        latency: facts::latencies(&view),
        tokens: Streamed::of(record),
        dispatch_delay: facts::dispatch_delay(record),
        faults: faults(record),
        checks,
        uptime: facts::uptime(record),
        bottlenecks,
        findings,
        recommendations,
        resources,
        stages,
        preflight: record
            .preflight
            .iter()
            .map(|(what, level, detail)| PreflightItem {
                what: what.clone(),
                level: Level::word(*level).to_owned(),
                detail: detail.clone(),
            })
            .collect(),
        notes: record.notes.clone(),
    }
}

fn reason(record: &Record) -> Option<String> {
    let stuck = record
        .faults
        .iter()
        .find_map(|f| f.stuck.as_ref().filter(|_| f.is_open()).map(|e| format!("`{}` could not be put back: {e}", f.name)));
    let guard = record.guard.as_ref().map(|(t, guard, why)| format!("the guard `{guard}` stopped it at {t:.1} s: {why}"));
    let signal = record.interrupted.as_ref().map(|(t, signal)| format!("interrupted by {signal} at {t:.1} s"));
    let cut = (!record.ended).then(|| "the journal breaks off: the run did not end by itself".to_owned());
    stuck.or(signal).or(guard).or_else(|| record.broken.clone()).or(cut)
}

fn ended_at(record: &Record) -> String {
    let began: Option<Timestamp> = record.began.parse().ok();
    let length = SignedDuration::try_from_secs_f64(record.now).unwrap_or_default();
    began.and_then(|b| b.checked_add(length).ok()).map_or_else(String::new, |t| format!("{t:.3}"))
}

fn faults(record: &Record) -> Vec<FaultResult> {
    let plan = record.plan();
    plan.faults
        .iter()
        .map(|fault| {
            let facts = record.fault(&fault.name).cloned().unwrap_or_default();
            let seen = |when: When| facts.observed.get(&when).map(|(_, seen)| (when.word().to_owned(), seen.to_string()));
            FaultResult {
                name: fault.name.clone(),
                kind: fault.spec.kind().to_owned(),
                planned_at_s: facts.planned_t,
                injected_at_s: facts.injecting_t,
                over_at_s: facts.over_t,
                cause_over_at_s: record.outage_of(&facts).map(|outage| outage.t),
                reverted_at_s: facts.reverted.as_ref().map(|r| r.0),
                error: facts.error.clone().or_else(|| facts.skipped.clone()).or_else(|| facts.stuck.clone()),
                seen: When::ALL.iter().copied().filter_map(seen).collect(),
            }
        })
        .collect()
}

pub fn render(material: &Material<'_>) -> Result<String, String> {
    serde_json::to_string_pretty(material.result).map(|text| text + "\n").map_err(|e| e.to_string())
}

//! `result.json`: the run in figures, versioned, with a JSON Schema (`chaos schema result`).

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
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
use crate::text;

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

/// Judges a record and puts it into figures. It always comes to a result: what a mistake in chaos keeps from being worked out is left
/// out, and a note says so; where that is the account of the jobs, nothing is judged.
pub fn of(record: &Record) -> RunResult {
    from(record, View::of)
}

/// What could be worked out, and notes of what could not.
struct Parts {
    notes: Vec<String>,
}

impl Parts {
    /// `None` where it panicked.
    fn tried<T>(&mut self, what: &str, make: impl FnOnce() -> T) -> Result<T, String> {
        panic::catch_unwind(AssertUnwindSafe(make)).map_err(|panic| {
            let said = text::panic(panic.as_ref()).to_owned();
            self.notes.push(format!("{what} could not be worked out, which is a mistake in chaos: {said}"));
            said
        })
    }

    fn made<T: Default>(&mut self, what: &str, make: impl FnOnce() -> T) -> T {
        self.tried(what, make).unwrap_or_default()
    }
}

fn from<'a>(record: &'a Record, account: impl FnOnce(&'a Record) -> View<'a>) -> RunResult {
    let plan = record.plan();
    let mut parts = Parts { notes: record.notes.clone() };
    let view = parts.tried("the account of the jobs", || account(record));
    let verdicts = view.as_ref().map_err(String::clone);
    let verdicts = verdicts.and_then(|view| parts.tried("the verdicts", || check::judge_all(view)));
    let verdicts = verdicts.unwrap_or_else(|said| check::none_judged(plan, &said));
    let (outcome, exit) = outcome::of(record, &verdicts);
    let stages = parts.made("the pipeline's stages", || facts::stages(record));
    let resources = parts.made("the resources", || facts::resources(record));
    let (mut bottlenecks, mut findings, mut recommendations, mut latency) = Default::default();
    let mut jobs = Counts::default();
    if let Ok(view) = &view {
        let analysis = Analysis { view, stages: &stages, resources: &resources, verdicts: &verdicts };
        bottlenecks = parts.made("the bottlenecks", || analysis::bottlenecks(&analysis));
        findings = parts.made("the findings", || {
            findings::of(view).into_iter().chain(analysis::disagreement(&analysis)).collect::<Vec<String>>()
        });
        recommendations = parts.made("the recommendations", || advice::of(&analysis));
        latency = parts.made("the latencies", || facts::latencies(view));
        jobs = view.ledger.counts.clone();
    }
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
        jobs,
        latency,
        tokens: parts.made("the tokens", || Streamed::of(record)),
        dispatch_delay: parts.made("the delay of the dispatch", || facts::dispatch_delay(record)),
        faults: parts.made("the list of faults", || faults(record)),
        checks,
        uptime: parts.made("the uptime", || facts::uptime(record)),
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
        notes: parts.notes,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    /// A run that could not be judged is told to be so, with all that is known without its jobs.
    #[test]
    fn a_mistake_in_the_account_of_the_jobs_costs_the_verdicts_and_nothing_else() {
        let text = "version: 1\nname: x\ntarget: {url: embedded}\nload: [{users: 1}]\nfaults: [flood: {at: 1s, jobs: 2}]\nchecks: [no_oom: {}]\n";
        let mut loaded = crate::experiment::file::load_text("x.yaml", text.to_owned(), &Default::default(), &|_| None)
            .unwrap_or_else(|diags| panic!("{}", diags.render(false)));
        let plan = crate::plan::build::build(&mut loaded, crate::seed::Seed(1), Path::new(".")).unwrap();
        let mut record = Record::default();
        record.apply(&crate::journal::event::Line {
            t: 0.0,
            event: crate::journal::event::Event::RunStarted {
                schema: 1,
                run_id: "r".into(),
                version: "t".into(),
                began: "2026-01-01T00:00:00Z".into(),
                overrides: vec![],
                host: "h".into(),
                plan: Box::new(plan),
            },
        });
        record.apply(&crate::journal::event::Line { t: 9.0, event: crate::journal::event::Event::RunEnded {} });
        let result = from(&record, |_| panic!("index 7 of 3"));
        assert_eq!((result.outcome, result.exit_code), (Outcome::Inconclusive, Exit::Inconclusive.code()));
        let verdicts: Vec<(&str, Ruling)> = result.checks.iter().map(|c| (c.name.as_str(), c.verdict)).collect();
        assert_eq!(verdicts, [("fault flood", Ruling::Inconclusive), ("no_oom", Ruling::Inconclusive)]);
        assert!(result.checks.iter().all(|c| c.observed.contains("mistake in chaos: index 7 of 3")), "{:?}", result.checks);
        assert!(
            result.notes.iter().any(|note| note.starts_with("the account of the jobs could not be worked out")),
            "{:?}",
            result.notes
        );
        assert_eq!((result.experiment.as_str(), result.duration_s, result.faults.len()), ("x", 9.0, 1));
    }
}

//! Recommendations: each is a rule with a condition on the figures; `docs/verdicts.md` lists them.

use super::analysis::{Analysis, USED_UP};
use crate::check::Ruling;
use crate::load::ledger::Counts;
use crate::text::jobs;

/// A rule: what to do, if its condition holds.
type Rule = fn(&Analysis<'_>) -> Option<String>;

const RULES: &[Rule] =
    &[lost, shed, mismatched, duplicated, failed, memory_full, gpu_full, waiting, stage, leak, cold, storm, refusals];

/// What follows from the figures.
pub fn of(analysis: &Analysis<'_>) -> Vec<String> {
    RULES.iter().filter_map(|rule| rule(analysis)).collect()
}

fn counts<'a>(analysis: &Analysis<'a>) -> &'a Counts {
    &analysis.view.ledger.counts
}

fn has_failed(analysis: &Analysis<'_>, kind: &str) -> bool {
    analysis.verdicts.iter().any(|(_, of, verdict)| of == kind && verdict.ruling == Ruling::Failed)
}

fn lost(analysis: &Analysis<'_>) -> Option<String> {
    let n = counts(analysis).lost;
    (n > 0)
        .then(|| format!("{n} accepted jobs were lost: keep the queue on disk and answer an acceptance only after writing it."))
}

fn shed(analysis: &Analysis<'_>) -> Option<String> {
    let n = counts(analysis).shed;
    (n > 0).then(|| {
        format!("{} accepted and then dropped for want of room: queue them, or refuse them with 429 and Retry-After.", jobs(n))
    })
}

fn mismatched(analysis: &Analysis<'_>) -> Option<String> {
    let n = counts(analysis).mismatched;
    (n > 0).then(|| format!("{} called completed without their own result: report the failure instead.", jobs(n)))
}

fn duplicated(analysis: &Analysis<'_>) -> Option<String> {
    let n = counts(analysis).duplicated;
    (n > 0).then(|| format!("{} done more than once: record the completion before the job leaves the queue.", jobs(n)))
}

fn failed(analysis: &Analysis<'_>) -> Option<String> {
    let n = counts(analysis).failed;
    (n > 0).then(|| format!("{} failed after acceptance: see the ledger for the reasons.", jobs(n)))
}

fn memory_full(analysis: &Analysis<'_>) -> Option<String> {
    let share = analysis.vram_peak().filter(|share| *share >= USED_UP)?;
    Some(format!(
        "GPU memory reached {:.0} %: admit fewer large jobs at once, or begin them with a smaller batch.",
        share * 100.0
    ))
}

fn gpu_full(analysis: &Analysis<'_>) -> Option<String> {
    let mean = analysis.resource("gpu.utilization_percent")?.mean;
    (mean / 100.0 >= USED_UP).then(|| {
        format!("The GPU was busy for {mean:.0} % of the time: more load only makes the queue longer; another GPU would take it.")
    })
}

/// Jobs wait while the GPU has time: then it is the number of slots that holds them up.
fn waiting(analysis: &Analysis<'_>) -> Option<String> {
    let (waits, runs) = analysis.queue_and_run()?;
    let gpu = analysis.resource("gpu.utilization_percent")?.mean / 100.0;
    let room = analysis.vram_peak().is_some_and(|share| share < 0.75);
    (waits > runs && gpu < 0.75 && room)
        .then(|| format!("Jobs wait for longer than they are worked on while the GPU is busy for only {:.0} % and its memory has room: allow more jobs at once.", gpu * 100.0))
}

fn stage(analysis: &Analysis<'_>) -> Option<String> {
    let (stage, share) = analysis.slowest_stage().filter(|(_, share)| *share >= 0.4)?;
    Some(format!("{stage} takes {:.0} % of the pipeline's time: it is the stage to make faster.", share * 100.0))
}

fn leak(analysis: &Analysis<'_>) -> Option<String> {
    let (name, _, verdict) =
        analysis.verdicts.iter().find(|(_, kind, v)| kind == "memory_growth" && v.ruling == Ruling::Failed)?;
    Some(format!(
        "Memory grows ({name}: {}): take a heap profile over some hundred jobs; until it is found, restart in good time.",
        verdict.measured.as_deref().unwrap_or("see the check")
    ))
}

fn cold(analysis: &Analysis<'_>) -> Option<String> {
    has_failed(analysis, "cold_warm")
        .then(|| "Performance does not come back after a restart: load the model once at the start, and keep it.".to_owned())
}

fn storm(analysis: &Analysis<'_>) -> Option<String> {
    has_failed(analysis, "reconnects_spread")
        .then(|| "Clients come back all at once: have them wait with exponential backoff and full jitter.".to_owned())
}

fn refusals(analysis: &Analysis<'_>) -> Option<String> {
    has_failed(analysis, "backpressure_is_honest")
        .then(|| "Refusals are not honest: answer 429 or 503 with Retry-After before a job is accepted, never after.".to_owned())
}

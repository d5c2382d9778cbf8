//! Where the time and the room go: pipeline stages, resources, the queue. Nothing is said that the data does not support;
//! `docs/verdicts.md` lists the rules.

use std::collections::BTreeMap;

use super::result::Resource;
use crate::check::scope::Over;
use crate::check::{Verdict, View};
use crate::load::ledger::Class;

/// A resource used beyond this share is used up.
pub const USED_UP: f64 = 0.9;
/// Fewer jobs make no average.
const FEWEST: usize = 20;
/// By how much, and by how many jobs, the target's account of jobs may differ from the ledger's.
const DISAGREES: (f64, f64) = (0.25, 0.5);

/// What the analysis of a run is made from.
pub struct Analysis<'a> {
    pub view: &'a View<'a>,
    pub stages: &'a BTreeMap<String, f64>,
    pub resources: &'a BTreeMap<String, Resource>,
    pub verdicts: &'a [(String, String, Verdict)],
}

impl Analysis<'_> {
    pub fn resource(&self, name: &str) -> Option<&Resource> {
        self.resources.get(name)
    }

    /// The share of a GPU's memory that was used at the most.
    pub fn vram_peak(&self) -> Option<f64> {
        let (used, total) = (self.resource("gpu.memory_used_bytes")?, self.resource("gpu.memory_total_bytes")?);
        (total.peak > 0.0).then(|| used.peak / total.peak)
    }

    /// The stage that takes the largest share of the pipeline's time.
    pub fn slowest_stage(&self) -> Option<(&str, f64)> {
        self.stages.iter().max_by(|a, b| a.1.total_cmp(b.1)).map(|(stage, share)| (stage.as_str(), *share))
    }

    /// The mean time that a completed job waited, and was worked on, in seconds.
    pub fn queue_and_run(&self) -> Option<(f64, f64)> {
        let jobs: Vec<(f64, f64)> = self
            .view
            .background(None, Over::All)
            .into_iter()
            .filter(|(_, class)| *class == Class::Completed)
            .filter_map(|(job, _)| Some((job.running_t? - job.answer.as_ref()?.0, job.ended.as_ref()?.0 - job.running_t?)))
            .collect();
        let n = jobs.len() as f64;
        (jobs.len() >= 3).then(|| (jobs.iter().map(|j| j.0.max(0.0)).sum::<f64>() / n, jobs.iter().map(|j| j.1).sum::<f64>() / n))
    }

    /// The share of the worker's slots that were busy, from the most that were ever seen busy at once.
    pub fn slots_busy(&self) -> Option<f64> {
        let running = self.resource("queue.running")?;
        (running.peak >= 1.0).then(|| running.mean / running.peak)
    }

    fn law(&self) -> Option<Little> {
        let record = self.view.record;
        let (from, to) = Over::All.window(record)?;
        let jobs: Vec<(f64, f64)> = self
            .view
            .jobs(None)
            .filter(|(job, ..)| job.accepted() && (from..to).contains(&job.submitting_t))
            .map(|(job, ..)| (job.submitting_t, job.ended.as_ref().map_or(record.now, |e| e.0)))
            .collect();
        let stays = jobs.iter().map(|(begin, end)| end - begin).sum::<f64>();
        let inside = jobs.iter().map(|(begin, end)| end.min(to) - begin).sum::<f64>();
        let mean = |name: &str| record.series.get(name).and_then(|s| s.mean(from, to));
        (jobs.len() >= FEWEST).then(|| Little {
            rate: jobs.len() as f64 / (to - from),
            stay_s: stays / jobs.len() as f64,
            in_system: inside / (to - from),
            told: mean("queue.depth").zip(mean("queue.running")).map(|(waiting, running)| waiting + running),
        })
    }
}

/// Little's law over the time of the load: L = λ·W (Little, A Proof for the Queuing Formula, Operations Research 1961).
struct Little {
    /// λ: accepted jobs a second.
    rate: f64,
    /// W: a job's mean time in the system, in seconds.
    stay_s: f64,
    /// L: jobs in the system, by the ledger.
    in_system: f64,
    /// L by the target's own figures, if it tells them.
    told: Option<f64>,
}

/// Sentences about where the time and the room went.
pub fn bottlenecks(analysis: &Analysis<'_>) -> Vec<String> {
    let lines = [stages(analysis), used_up(analysis), queueing(analysis), little(analysis)];
    let found: Vec<String> = lines.into_iter().flatten().collect();
    if found.is_empty() {
        return vec![format!("The data of {} jobs supports no statement.", analysis.view.record.jobs.len())];
    }
    found
}

fn stages(analysis: &Analysis<'_>) -> Option<String> {
    let (slowest, share) = analysis.slowest_stage()?;
    let mut rest: Vec<_> = analysis.stages.iter().filter(|(stage, _)| *stage != slowest).collect();
    rest.sort_by(|a, b| b.1.total_cmp(a.1));
    let rest: Vec<String> = rest.into_iter().map(|(stage, share)| format!("{stage} {:.0} %", share * 100.0)).collect();
    Some(format!("Pipeline: {slowest} takes {:.0} % of the time ({}).", share * 100.0, rest.join(", ")))
}

/// The resources that were used up; that none was is a statement too.
fn used_up(analysis: &Analysis<'_>) -> Option<String> {
    let busy = analysis.resource("gpu.utilization_percent").map(|gpu| gpu.mean / 100.0);
    let known = [("the GPU's memory", "at its peak", analysis.vram_peak()), ("the GPU's time", "on average", busy)];
    let told = |(what, when, share): &(&str, &str, f64)| format!("{what} ({:.0} % {when})", share * 100.0);
    let known: Vec<(&str, &str, f64)> = known.into_iter().filter_map(|(what, when, share)| Some((what, when, share?))).collect();
    let full: Vec<String> = known.iter().filter(|(.., share)| *share >= USED_UP).map(told).collect();
    match (known.is_empty(), full.is_empty()) {
        (true, _) => None,
        (_, true) => {
            Some(format!("No resource that is watched was used up: {}.", known.iter().map(told).collect::<Vec<_>>().join(", ")))
        }
        _ => Some(format!("Used up: {}.", full.join(", "))),
    }
}

fn queueing(analysis: &Analysis<'_>) -> Option<String> {
    let (waits, runs) = analysis.queue_and_run()?;
    let share = waits / (waits + runs).max(1e-9);
    let seconds = |s| analysis.view.seconds(s);
    Some(format!(
        "Queueing: a job waits {} and is worked on for {} on average: {:.0} % of its time is waiting.",
        seconds(waits),
        seconds(runs),
        share * 100.0
    ))
}

fn little(analysis: &Analysis<'_>) -> Option<String> {
    let law = analysis.law()?;
    let per_minute = law.rate * analysis.view.record.plan().time_scale * 60.0;
    let told = law.told.map_or_else(String::new, |told| format!("; the target's own figures say {told:.1}"));
    let stay = analysis.view.seconds(law.stay_s);
    Some(format!(
        "Little's law: {per_minute:.2} jobs/min that stay {stay} each make {:.1} jobs in the system (the ledger's account: {:.1}{told}).",
        law.rate * law.stay_s,
        law.in_system
    ))
}

/// The target's account of its jobs does not agree with the ledger's.
pub fn disagreement(analysis: &Analysis<'_>) -> Option<String> {
    let law = analysis.law()?;
    let told = law.told?;
    let off = (told - law.in_system).abs();
    (off > DISAGREES.0 * law.in_system && off > DISAGREES.1).then(|| {
        format!("the target tells of {told:.1} jobs in the system on average, by the ledger there were {:.1}: one of the two does not see all of them", law.in_system)
    })
}

//! What a reader should know besides the verdicts: everything odd that was seen.

use crate::check::counted::counted;
use crate::check::scope::Over;
use crate::check::{View, blind, queue};
use crate::journal::event::{Answer, Via};
use crate::journal::facts::{FaultFacts, Generation, JobFacts, Loss};
use crate::journal::record::Record;
use crate::load::ledger::{Class, Wrongly};
use crate::observe::prometheus::canonical_name;
use crate::text::jobs;

/// What is lost so near to the end of a process, or of a fault, is lost with it.
const NEAR_S: f64 = 2.0;

/// Everything odd that was seen.
pub fn of(view: &View<'_>) -> Vec<String> {
    let record = view.record;
    let mut findings = Vec::new();
    if record.damage.lines > 0 {
        findings.push(format!("{}: what they held is not known", record.damage));
    }
    oddities(view, &mut findings);
    counters(view, &mut findings);
    gauges(record, &mut findings);
    for (source, (count, first)) in &record.gaps {
        findings.push(format!("{source}: {count} samples are missing, the first because: {first}"));
    }
    let guards =
        record.plan().guards.iter().filter_map(|guard| Some((guard.kind(), blind::told(guard.series()?, Over::All, view)?)));
    findings.extend(guards.map(|(guard, told)| format!("the guard {guard} would not have stopped the run: {told}")));
    let at_work = |job: &JobFacts, class| job.accepted() && class == Class::Open;
    let open = view.jobs(None).filter(|(job, class, _)| at_work(job, *class)).count() as u64;
    if record.ended && open > 0 {
        findings.push(format!("the run was stopped with {} still at the target; those of faults were cancelled", jobs(open)));
    }
    let unexplained = |loss: &&Loss| loss.fault.is_none() && !broken_then(record, loss.t);
    let mut lost: Vec<_> = record.listeners.values().flat_map(|l| &l.losses).filter(unexplained).collect();
    lost.sort_by(|a, b| a.t.total_cmp(&b.t));
    if let Some(first) = lost.first() {
        findings.push(format!(
            "{} WebSocket connections were lost that no fault had taken, the first at {:.1} s ({})",
            lost.len(),
            first.t,
            first.why
        ));
    }
    let twice: Vec<_> = view.ledger.given_twice().collect();
    if let Some(first) = twice.first() {
        let ids = if twice.len() == 1 { "an id".to_owned() } else { format!("{} ids", twice.len()) };
        findings.push(format!(
            "the target gave {ids} to a second job before the first was seen to end, first of job {} ({first}): whoever still asks is told of somebody else's job",
            first.job.number
        ));
    }
    let contradiction = Over::All.window(record).and_then(|(from, to)| queue::depth(record).contradiction(from, to, |_| true));
    findings.extend(contradiction.map(|two| format!("two counts of the queue contradict each other: {two}")));
    let alike = view.ledger.alike() as u64;
    if alike > 0 {
        findings.push(format!(
            "{} sent the very same input as others: that each got its own result, and that none was done twice, cannot be told of them (fill in `{{{{prompt}}}}` or `{{{{seed31}}}}`)",
            jobs(alike)
        ));
    }
    if let Some(unruly) = view.ledger.unruly_images() {
        let (count, (number, [w, h])) = (unruly.count, unruly.example);
        let asked = view.record.jobs.get(number as usize).map(|job| (job.shape.width, job.shape.height));
        let (asked_w, asked_h) = asked.unwrap_or_default();
        findings.push(format!(
            "the sizes of {count} images before the first fault do not follow from what was asked for ({w}x{h} pixels for {asked_w}x{asked_h}, job {number}), so none was judged by its size"
        ));
    }
    if record.generations.len() > 1 {
        findings.push(format!("the target's process was started {} times", record.generations.len()));
    }
    findings
}

/// A fault was at work, or the target's process had just ended or was about to.
fn broken_then(record: &Record, t: f64) -> bool {
    let at_work = |f: &FaultFacts| f.injecting_t.is_some_and(|from| from <= t) && f.over_t.is_none_or(|to| t <= to + NEAR_S);
    let ended = |g: &Generation| g.exited.as_ref().is_some_and(|(at, ..)| (at - t).abs() <= NEAR_S);
    record.faults.iter().any(at_work) || record.generations.iter().any(ended)
}

fn oddities(view: &View<'_>, findings: &mut Vec<String>) {
    let record = view.record;
    if let Some((job, (from, to))) = record.jobs.iter().find_map(|j| j.backwards().map(|b| (j, b))) {
        let count = record.jobs.iter().filter(|j| j.backwards().is_some()).count();
        findings
            .push(format!("the progress of {count} jobs ran backwards, first of job {} from {from:.0} to {to:.0} %", job.number));
    }
    if let Some((job, word)) = record.jobs.iter().find_map(|j| j.unknown_state().map(|w| (j, w))) {
        findings.push(format!("job {} was in the state `{word}`, which the driver does not know", job.number));
    }
    let missed = record.jobs.iter().filter(|j| matches!(j.ended, Some((_, _, Via::SafetyNet)))).count();
    if missed > 0 {
        findings.push(format!("the ends of {missed} jobs were never told over the WebSocket, only when asked for"));
    }
    let early = record.jobs.iter().filter(|j| j.missing_t().is_some() && j.vanished_t().is_none()).count();
    if early > 0 {
        findings.push(format!("{early} jobs were unknown for a moment after they were accepted"));
    }
    refusals(view, findings);
    let silent =
        record.jobs.iter().filter(|j| matches!(j.answer, Some((_, Answer::Refused { retry_after_s: None, .. })))).count();
    if silent > 0 {
        findings.push(format!("{silent} refusals did not say when to come back"));
    }
    let proxied = record.jobs.iter().filter(|j| matches!(j.answer, Some((_, Answer::Error { proxy: true, .. })))).count();
    if proxied > 0 {
        findings.push(format!("{proxied} answers came from a gateway in front of the backend, not from it"));
    }
}

/// Refusals that are nobody's word on how full the target is: whose fault they are, with an example.
fn refusals(view: &View<'_>, findings: &mut Vec<String>) {
    let mut tell = |is_one: &dyn Fn(&JobFacts, Class) -> bool, text: &dyn Fn(&str, &str) -> String| {
        let mut found = view.jobs(None).filter(|(job, class, _)| is_one(job, *class));
        if let Some((_, _, why)) = found.next() {
            findings.push(text(&jobs(1 + found.count() as u64), &why.to_string()));
        }
    };
    let wrongly = |job: &JobFacts| view.ledger.refused_wrongly(job);
    tell(&|job, class| class == Class::Invalid && wrongly(job).is_none(), &|jobs, why| {
        format!("{jobs} were refused as invalid: the load's own fault ({why})")
    });
    tell(&|_, class| class == Class::Unknown, &|jobs, why| {
        format!("nobody can tell what became of {jobs}, taken or perhaps taken ({why})")
    });
    tell(&|job, _| wrongly(job) == Some(Wrongly::SentAstray), &|jobs, why| {
        format!("{jobs} came to nothing by the driver's own fault ({why})")
    });
    tell(&|job, _| wrongly(job) == Some(Wrongly::ByTheTarget), &|jobs, why| {
        format!("{jobs} were {why}: they count as errors of the target")
    });
}

/// The target's own account against the ledger.
fn counters(view: &View<'_>, findings: &mut Vec<String>) {
    let record = view.record;
    if record.generations.len() > 1 {
        // Counters in memory begin again with every process: there is nothing to hold them against.
        return;
    }
    let names = &record.plan().driver.counters;
    let counts = &view.ledger.counts;
    let completed = counts.completed + counts.mismatched + counts.duplicated;
    for (what, name, ours) in [("completed", &names.completed, completed), ("failed", &names.failed, counts.failed + counts.shed)]
    {
        let Some(name) = name else { continue };
        let Some(counted) = counted(record, name) else { continue };
        let theirs = counted.by;
        // Jobs that end between the last sample and the end of the run are not in the counter yet.
        let unseen = record.jobs.iter().filter(|j| j.ended.as_ref().is_some_and(|e| e.0 > counted.last_t)).count();
        // Those of which nobody can tell may be in it, or not.
        let unseen = (unseen as u64 + counts.unknown) as f64 + counted.unsure;
        if (theirs - ours as f64).abs() > unseen + 0.5 {
            findings.push(format!("the target counts {theirs:.0} jobs {what}, the ledger {ours}"));
        }
    }
}

fn gauges(record: &Record, findings: &mut Vec<String>) {
    let named: Vec<String> = record.plan().named_metrics().iter().map(|n| canonical_name(n)).collect();
    let constant = |name: &String| record.series.get(&format!("metric:{name}")).is_some_and(|s| !s.ever_moved());
    let still: Vec<&str> = named.iter().filter(|n| constant(n) && !n.contains("total")).map(String::as_str).collect();
    if !still.is_empty() && record.jobs.len() > 20 {
        findings.push(format!("these metrics never moved: {}", still.join(", ")));
    }
}

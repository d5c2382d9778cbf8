//! The proofs of a fault: intact before, seen broken at the stated strength, there for as long as it was to be held, seen put back.
//! Every fault is judged so, whether the experiment asks for it or not: a verdict about a fault that did not bite is worth
//! nothing.

use super::{Verdict, View};
use crate::fault::{ENOUGH, Lasts};
use crate::journal::event::Held;
use crate::journal::facts::FaultFacts;
use crate::journal::record::Record;
use crate::plan::FaultPlan;
use crate::text::seconds;

const EXPECTED: &str = "intact before, seen broken, seen put back";
const EXPECTED_HELD: &str = "intact before, seen broken, held to its end, seen put back";
/// A fault that was held for longer than this share of its time, and this many seconds, is told.
const LONGER: (f64, f64) = (1.1, 0.5);
/// What an engine says of a container that has nothing to do with what a fault does to it.
const NOISE: [&str; 3] = ["exec_", "top", "archive-path"];

pub fn judge(fault: &FaultPlan, view: &View<'_>) -> Verdict {
    let record = view.record;
    let planned_s = match fault.spec.lasts() {
        Lasts::Held(time) => time.as_secs_f64(),
        Lasts::Once | Lasts::WorkedOff => 0.0,
    };
    let facts = record.fault(&fault.name);
    let is_held = planned_s > 0.0 || facts.is_some_and(|facts| !facts.held.is_empty());
    let (expected, all) = if is_held { (EXPECTED_HELD, "all four seen") } else { (EXPECTED, "all three seen") };
    let Some(facts) = facts else {
        let observed = "it was never injected";
        return if record.ended { Verdict::inconclusive(expected, observed) } else { Verdict::pending(expected, observed) };
    };
    let mut evidence: Vec<String> =
        facts.observed.iter().map(|(when, (t, seen))| format!("{when} (at {t:.1} s): {seen}")).collect();
    evidence.extend(facts.held.iter().flat_map(|held| told(held, facts, record)));
    if !record.ended {
        return Verdict::pending(expected, "still to be seen").with(evidence);
    }
    let mut missing = facts.missing_proofs();
    missing.extend(facts.held.iter().filter_map(not_held));
    missing.extend(cut_short(facts, planned_s));
    if missing.is_empty() {
        return Verdict::passed(expected, all).with(evidence);
    }
    Verdict::inconclusive(expected, missing.join("; ")).with(evidence)
}

/// Less of it was there than the experiment states.
fn not_held(held: &Held) -> Option<String> {
    if held.strength >= ENOUGH {
        return None;
    }
    let percent = percent(held.strength);
    let first = held.lapses.first();
    let first = first.map_or_else(String::new, |lapse| format!(": from {:.1} s {}", lapse.from_t, lapse.seen));
    Some(format!(
        "not held to its end: {percent:.0} % of what was to be there for {}{}{first}",
        seconds(held.planned_s),
        of(held)
    ))
}

/// It was put back, by whomever, before its time was over.
fn cut_short(facts: &FaultFacts, planned_s: f64) -> Option<String> {
    let (injected_t, reverting_t) = (facts.injected_t?, facts.reverting_t?);
    let held_s = reverting_t - injected_t;
    let is_short = facts.error.is_none() && facts.held.is_empty() && held_s < ENOUGH * planned_s;
    is_short.then(|| format!("not held to its end: it was put back after {} of {}", seconds(held_s.max(0.0)), seconds(planned_s)))
}

/// What was seen while it was held, and what others did meanwhile.
fn told(held: &Held, facts: &FaultFacts, record: &Record) -> Vec<String> {
    let took_s = held.to_t - held.from_t;
    let longer = took_s > held.planned_s * LONGER.0 && took_s > held.planned_s + LONGER.1;
    let longer = if longer { format!(", for {} instead of {}", seconds(took_s), seconds(held.planned_s)) } else { String::new() };
    let mut told = vec![format!(
        "held from {:.1} s to {:.1} s{longer} at {:.0} % of its strength ({} looks){}",
        held.from_t,
        held.to_t,
        percent(held.strength),
        held.looks,
        of(held)
    )];
    told.extend(held.lapses.iter().map(|lapse| format!("from {:.1} s to {:.1} s: {}", lapse.from_t, lapse.to_t, lapse.seen)));
    if !held.lapses.is_empty() {
        told.extend(others(held, facts, record));
    }
    told
}

/// Rounded down, but for what a sum of many parts leaves.
fn percent(share: f64) -> f64 {
    (share * 100.0 + 1e-6).floor()
}

fn of(held: &Held) -> String {
    if held.part.is_empty() { String::new() } else { format!(" ({})", held.part) }
}

/// What the engine told of the fault's containers meanwhile: somebody did it.
fn others(held: &Held, facts: &FaultFacts, record: &Record) -> Vec<String> {
    let items = facts.prepared.as_ref().and_then(|undo| undo.get("items")?.as_array());
    let ids: Vec<&str> = items.into_iter().flatten().filter_map(|item| item.get("id")?.as_str()).collect();
    let events = record.containers.iter().filter(|event| {
        (held.from_t..=held.to_t).contains(&event.t)
            && ids.contains(&event.id.as_str())
            && !NOISE.iter().any(|noise| event.action.starts_with(noise))
    });
    let told = events.map(|event| format!("the engine told of `{}` of {} at {:.1} s", event.action, event.name, event.t));
    told.collect()
}

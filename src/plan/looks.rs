//! When a load that goes on until its checks are decided is looked at.
//!
//! An interval of 99 % that is tested over and over, until it happens to decide, is wrong far more often than in one of a
//! hundred runs. So the plan states the moments: one at the load's own end, and up to four more at equal distances within
//! `longer`. What a verdict may be wrong in is spent on them, as in clinical trials (Lan and DeMets, Discrete Sequential Boundaries
//! for Clinical Trials, Biometrika 1983): six tenths on the first, so that `longer` costs a run that needs none of it little, and
//! the rest in equal parts. Whatever the dependence between the looks, together they are wrong no more often than one look
//! would be (Bonferroni).
//!
//! All of it follows from the plan, so that a verdict made from the journal alone knows at which look the load was stopped.

use super::Plan;
use crate::stats::confidence::Confidence;

/// After the first.
const MOST_MORE: usize = 4;
/// Closer together, in seconds of the clock, they would be one.
const LEAST_APART_S: f64 = 2.0;
/// What the first look may spend where others may follow.
const FIRST_SHARE: f64 = 0.6;

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// In seconds from the start of the load.
    pub at_s: f64,
    /// How sure a verdict must be that is made here.
    pub confidence: Confidence,
    /// Until when it may still be taken; later it has been missed, and the next one is taken.
    pub until_s: f64,
}

/// The looks of a plan, the earliest first; none where the load has no length.
pub fn of(plan: &Plan) -> Vec<Look> {
    let Some(length) = load_lasts_s(plan) else { return Vec::new() };
    let more = more(plan.longer_s);
    let apart = plan.longer_s / more.max(1) as f64;
    let share = |at: usize| match (at, more) {
        (_, 0) => 1.0,
        (0, _) => FIRST_SHARE,
        _ => (1.0 - FIRST_SHARE) / more as f64,
    };
    let look = |at: usize| {
        let at_s = length + apart * at as f64;
        let until_s = if at == more { f64::INFINITY } else { at_s + apart / 2.0 };
        Look { at_s, confidence: Confidence::spending(share(at)), until_s }
    };
    (0..=more).map(look).collect()
}

fn more(longer_s: f64) -> usize {
    if longer_s <= 0.0 { 0 } else { ((longer_s / LEAST_APART_S) as usize).clamp(1, MOST_MORE) }
}

/// How sure a verdict must be whose load ended so many seconds after its start: as at the look that was taken then, or as at the
/// next where the load ended between two of them, for a reason of its own.
pub fn confidence_at(plan: &Plan, lasted_s: f64) -> Confidence {
    let looks = of(plan);
    looks.iter().find(|look| lasted_s <= look.until_s).map_or(Confidence::USUAL, |look| look.confidence)
}

/// When the load ends by itself, in seconds from its start.
pub fn load_lasts_s(plan: &Plan) -> Option<f64> {
    let stages = plan.loads.iter().flat_map(|l| l.stages.iter().map(|s| s.until_s));
    let by_stages = stages.collect::<Option<Vec<f64>>>().and_then(|ends| ends.into_iter().reduce(f64::max));
    plan.duration_s.or(by_stages)
}

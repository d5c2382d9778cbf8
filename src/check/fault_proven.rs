//! The three proofs of a fault: intact before, seen broken at the stated strength, seen put back. Every fault is judged
//! so, whether the experiment asks for it or not: a verdict about a fault that did not bite is worth nothing.

use super::{Verdict, View};
use crate::plan::FaultPlan;

const EXPECTED: &str = "intact before, seen broken, seen put back";

pub fn judge(fault: &FaultPlan, view: &View<'_>) -> Verdict {
    let record = view.record;
    let Some(facts) = record.fault(&fault.name) else {
        let observed = "it was never injected";
        return if record.ended { Verdict::inconclusive(EXPECTED, observed) } else { Verdict::pending(EXPECTED, observed) };
    };
    let evidence = facts.observed.iter().map(|(when, (t, seen))| format!("{when} (at {t:.1} s): {seen}"));
    let missing = facts.missing_proofs();
    if !record.ended {
        return Verdict::pending(EXPECTED, "still to be seen").with(evidence);
    }
    if missing.is_empty() {
        return Verdict::passed(EXPECTED, "all three seen").with(evidence);
    }
    Verdict::inconclusive(EXPECTED, missing.join("; ")).with(evidence)
}

//! One number for how an experiment has done: it can only be as good as what was proven.

/// How much a run weighs against the one after it: half after five.
const HALF_AFTER: f64 = 5.0;
/// With fewer decided runs a number says nothing.
const FEWEST: usize = 3;

/// The resilience score, 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Score {
    pub points: f64,
    /// What it would be, had every run that was not decided failed.
    pub at_least: f64,
    /// Decided ones.
    pub runs: usize,
    pub undecided: usize,
}

/// 100 × Σ wᵢ·passedᵢ ÷ Σ wᵢ over the decided runs, the latest first, with wᵢ = 2^(−i ÷ 5). Passed counts 1, failed 0. What was
/// inconclusive, aborted or could not be run proves nothing in either direction: it is left out of `points`, and counts as
/// failed in `at_least`, so that what cannot be judged never looks like strength.
pub fn score<'a>(outcomes_latest_first: impl IntoIterator<Item = &'a str>) -> Option<Score> {
    let all: Vec<&str> = outcomes_latest_first.into_iter().collect();
    let decided: Vec<&str> = all.iter().copied().filter(|outcome| matches!(*outcome, "passed" | "failed")).collect();
    let (runs, undecided) = (decided.len(), all.len() - decided.len());
    (runs >= FEWEST).then(|| Score { points: weighted(&decided), at_least: weighted(&all), runs, undecided })
}

fn weighted(outcomes: &[&str]) -> f64 {
    let weights = (0..outcomes.len()).map(|at| (-(at as f64) / HALF_AFTER).exp2());
    let passed: f64 = outcomes.iter().zip(weights.clone()).filter(|(outcome, _)| **outcome == "passed").map(|(_, w)| w).sum();
    100.0 * passed / weights.sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recent_weighs_more_and_what_proves_nothing_is_left_out() {
        let points = |outcomes: &[&str]| score(outcomes.iter().copied()).map(|s| s.points);
        assert_eq!(points(&["passed", "passed", "passed"]), Some(100.0));
        assert_eq!(points(&["failed", "failed", "failed"]), Some(0.0));
        assert_eq!(points(&["passed", "inconclusive", "error", "passed", "passed"]), Some(100.0));
        assert!(points(&["failed", "passed", "passed"]) < points(&["passed", "passed", "failed"]));
        assert_eq!(points(&["passed", "failed"]), None, "two runs are no record");
        let doubtful = score(["inconclusive", "inconclusive", "passed", "passed", "passed"]).unwrap();
        assert!((doubtful.runs, doubtful.undecided) == (3, 2) && doubtful.at_least < 60.0, "{doubtful:?}");
        assert_eq!(score(["passed"; 9]).unwrap().at_least, 100.0);
    }

    #[test]
    fn five_runs_later_a_failure_weighs_half() {
        let at = |n: usize| {
            let outcomes: Vec<&str> = (0..100).map(|i| if i == n { "failed" } else { "passed" }).collect();
            100.0 - score(outcomes).unwrap().points
        };
        assert!((at(0) / at(5) - 2.0).abs() < 1e-9);
    }
}

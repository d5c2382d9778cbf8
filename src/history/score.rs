//! One number for how an experiment has done: it can only be as good as what was proven.

/// How much a run weighs against the one after it: half after five.
const HALF_AFTER: f64 = 5.0;
/// With fewer decided runs a number says nothing.
const FEWEST: usize = 3;

/// The resilience score, 0 to 100, and from how many runs.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Score {
    pub points: f64,
    pub runs: usize,
}

/// 100 × Σ wᵢ·passedᵢ ÷ Σ wᵢ over the decided runs, the latest first, with wᵢ = 2^(−i ÷ 5). Passed counts 1, failed 0. What was
/// inconclusive, aborted or could not be run proves nothing in either direction and is left out.
pub fn score<'a>(outcomes_latest_first: impl IntoIterator<Item = &'a str>) -> Option<Score> {
    let decided = outcomes_latest_first.into_iter().filter(|outcome| matches!(*outcome, "passed" | "failed"));
    let (mut sum, mut weights, mut runs) = (0.0, 0.0, 0);
    for (at, outcome) in decided.enumerate() {
        let weight = (-(at as f64) / HALF_AFTER).exp2();
        sum += if outcome == "passed" { weight } else { 0.0 };
        weights += weight;
        runs += 1;
    }
    (runs >= FEWEST).then(|| Score { points: 100.0 * sum / weights, runs })
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

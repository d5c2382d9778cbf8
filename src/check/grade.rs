//! Target, acceptable, failure: the three limits of the load-testing plan's table, and what a figure against them means.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Verdict;
use crate::stats::Against;

/// How good a figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    Target,
    Acceptable,
    /// Worse than acceptable, and not yet what the table calls a failure. The check has failed all the same.
    Poor,
    Failure,
}

impl Grade {
    pub fn word(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Acceptable => "acceptable",
            Self::Poor => "poor",
            Self::Failure => "failure",
        }
    }
}

/// Is a limit met?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    Yes,
    No,
    /// The samples do not decide it.
    Unsure,
}

impl From<bool> for Met {
    fn from(met: bool) -> Self {
        if met { Self::Yes } else { Self::No }
    }
}

impl From<Against> for Met {
    fn from(against: Against) -> Self {
        match against {
            Against::Below => Self::Yes,
            Against::Above => Self::No,
            Against::Undecided => Self::Unsure,
        }
    }
}

/// What is known of each limit. `failure` is met while the figure is on the good side of it.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub target: Met,
    pub acceptable: Option<Met>,
    pub failure: Option<Met>,
}

impl Limits {
    /// The ruling: target and acceptable pass, and whatever is neither fails.
    pub fn verdict(self, expected: &str, observed: impl Into<String>) -> Verdict {
        let observed = observed.into();
        let graded = |verdict: Verdict, grade| Verdict { grade: Some(grade), ..verdict };
        if self.target == Met::Yes {
            return graded(Verdict::passed(expected, observed), Grade::Target);
        }
        if self.acceptable == Some(Met::Yes) {
            return graded(Verdict::passed(expected, observed), Grade::Acceptable);
        }
        if self.failure == Some(Met::No) {
            return graded(Verdict::failed(expected, observed), Grade::Failure);
        }
        if self.acceptable.unwrap_or(self.target) == Met::Unsure {
            return Verdict::inconclusive(expected, observed);
        }
        let grade = if self.failure.is_some() { Grade::Poor } else { Grade::Failure };
        graded(Verdict::failed(expected, observed), grade)
    }
}

/// `below 120s (acceptable 150s, failure 180s)`.
pub fn describe(target: String, acceptable: Option<String>, failure: Option<String>) -> String {
    let more: Vec<String> = [("acceptable", acceptable), ("failure", failure)]
        .into_iter()
        .filter_map(|(word, limit)| limit.map(|l| format!("{word} {l}")))
        .collect();
    if more.is_empty() { target } else { format!("{target} ({})", more.join(", ")) }
}

/// What [`describe`] put together: target, acceptable, failure; empty where there is none.
pub fn limits_of(described: &str) -> [String; 3] {
    let (target, more) = described.split_once(" (").unwrap_or((described, ""));
    let limit = |word: &str| {
        let parts = more.trim_end_matches(')').split(", ");
        parts.filter_map(|part| part.strip_prefix(word)).map(|limit| limit.trim().to_owned()).next().unwrap_or_default()
    };
    [target.to_owned(), limit("acceptable "), limit("failure ")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_found_again() {
        let some = |text: &str| Some(text.to_owned());
        let described = describe("p95 below 120s".into(), some("150s"), some("above 95% for 5m"));
        assert_eq!(limits_of(&described), ["p95 below 120s", "150s", "above 95% for 5m"]);
        assert_eq!(limits_of(&describe("x".into(), None, some("2"))), ["x", "", "2"]);
        assert_eq!(limits_of("x"), ["x", "", ""]);
    }
    use crate::check::Ruling;

    #[test]
    fn the_plans_table() {
        let grade = |target, acceptable, failure| {
            let verdict = Limits { target, acceptable, failure }.verdict("", "");
            (verdict.ruling, verdict.grade)
        };
        use Met::{No, Unsure, Yes};
        assert_eq!(grade(Yes, Some(Yes), Some(Yes)), (Ruling::Passed, Some(Grade::Target)));
        assert_eq!(grade(No, Some(Yes), Some(Yes)), (Ruling::Passed, Some(Grade::Acceptable)));
        assert_eq!(grade(Unsure, Some(Yes), Some(Yes)), (Ruling::Passed, Some(Grade::Acceptable)));
        assert_eq!(grade(No, Some(No), Some(Yes)), (Ruling::Failed, Some(Grade::Poor)));
        assert_eq!(grade(No, Some(No), Some(No)), (Ruling::Failed, Some(Grade::Failure)));
        assert_eq!(grade(No, None, None), (Ruling::Failed, Some(Grade::Failure)));
        assert_eq!(grade(Unsure, None, None), (Ruling::Inconclusive, None));
        assert_eq!(grade(No, Some(Unsure), Some(Yes)), (Ruling::Inconclusive, None));
        assert_eq!(grade(Unsure, Some(Unsure), Some(No)), (Ruling::Failed, Some(Grade::Failure)));
    }
}

//! `junit.xml`: one test case a check, for CI.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::Material;
use super::result::{CheckResult, RunResult};
use crate::check::Ruling;

pub fn render(material: &Material<'_>) -> Result<String, String> {
    let result = material.result;
    let mut report = Report::new(&result.run_id);
    report.set_time(Duration::try_from_secs_f64(result.duration_s).unwrap_or_default());
    report.add_test_suite(suite(result));
    report.to_string().map_err(|e| e.to_string())
}

/// One run.
pub fn suite(result: &RunResult) -> TestSuite {
    let mut suite = TestSuite::new(xml(&result.experiment));
    let length = Duration::try_from_secs_f64(result.duration_s).unwrap_or_default();
    suite.set_time(length);
    suite.add_property(("seed", result.seed.to_string().as_str()));
    suite.add_property(("run_id", result.run_id.as_str()));
    if let Some(reason) = &result.reason {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(xml(reason));
        suite.add_test_case(TestCase::new("run", status));
    }
    for check in &result.checks {
        suite.add_test_case(case(check, &result.experiment));
    }
    suite
}

/// XML has no place for what is no character, not even as an entity.
fn xml(text: &str) -> String {
    text.chars().map(|c| if u32::from(c) & 0xfffe == 0xfffe { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn case(check: &CheckResult, experiment: &str) -> TestCase {
    let status = match check.verdict {
        Ruling::Passed => TestCaseStatus::success(),
        Ruling::Failed => explained(NonSuccessKind::Failure, check),
        // Not decided is not passed: a pipeline must not go green on it.
        Ruling::Inconclusive | Ruling::Pending => explained(NonSuccessKind::Error, check),
    };
    let mut case = TestCase::new(xml(&check.name), status);
    case.set_classname(xml(experiment));
    case
}

fn explained(kind: NonSuccessKind, check: &CheckResult) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    let word = if kind == NonSuccessKind::Failure { "failed" } else { "inconclusive" };
    status.set_type(word);
    status.set_message(xml(&format!("{}: {}", check.name, check.observed)));
    let told = format!("expected: {}\nobserved: {}\n{}", check.expected, check.observed, check.evidence.join("\n"));
    status.set_description(xml(&told));
    status
}

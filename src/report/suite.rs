//! The report over several runs: the load-testing plan's template, every section filled from their results.
//!
//! Times are the experiments' own, before `time_scale`, so that they can be held against the plan's.

use std::path::Path;

use askama::Template;
use quick_junit::Report;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::result::RunResult;
use super::suite_sections::{Section, sections};
use super::{junit, markdown};
use crate::private;
use crate::run::outcome::Outcome;

/// The version of `suite.json`.
const SCHEMA: u32 = 1;
pub const FILE: &str = "suite.json";

/// Several runs, one after another.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SuiteResult {
    pub schema: u32,
    pub suite_id: String,
    /// The worst of the runs' own.
    pub outcome: Outcome,
    pub exit_code: u8,
    /// Files that were not run, because the suite was stopped before.
    pub left_out: Vec<String>,
    pub runs: Vec<RunResult>,
}

impl SuiteResult {
    /// What is still broken outranks everything; not decided is not passed.
    pub fn of(suite_id: &str, runs: Vec<RunResult>, left_out: Vec<String>) -> Self {
        let rank = |run: &&RunResult| match (run.exit_code, run.outcome) {
            (5, _) => 7,
            (_, Outcome::Interrupted) => 6,
            (_, Outcome::Aborted) => 5,
            (_, Outcome::Error) => 4,
            (_, Outcome::Failed) => 3,
            (_, Outcome::Inconclusive) => 2,
            (_, Outcome::Passed) => 1,
        };
        let worst = runs.iter().max_by_key(rank).map_or((Outcome::Inconclusive, 6), |run| (run.outcome, run.exit_code));
        Self { schema: SCHEMA, suite_id: suite_id.to_owned(), outcome: worst.0, exit_code: worst.1, left_out, runs }
    }

    pub fn word(&self) -> String {
        word(self.outcome)
    }
}

fn word(outcome: Outcome) -> String {
    serde_json::to_value(outcome).ok().and_then(|v| v.as_str().map(str::to_uppercase)).unwrap_or_default()
}

#[derive(Template)]
#[template(path = "suite.md", escape = "none")]
struct MarkdownPage<'a> {
    suite: &'a SuiteResult,
    sections: &'a [Section],
}

#[derive(Template)]
#[template(path = "suite.html")]
struct HtmlPage<'a> {
    suite: &'a SuiteResult,
    sections: &'a [Section],
    style: &'a str,
}

/// Writes `suite.json`, `suite.md`, `suite.html` and `junit.xml` into the suite's folder.
///
/// # Errors
/// When one cannot be made or written.
pub fn write_all(suite: &SuiteResult, folder: &Path) -> Result<(), String> {
    let sections = sections(suite);
    let page = MarkdownPage { suite, sections: &sections };
    let html = HtmlPage { suite, sections: &sections, style: include_str!("../../templates/report.css") };
    let files = [
        (FILE, serde_json::to_string_pretty(suite).map(|text| text + "\n").map_err(|e| e.to_string())),
        ("suite.md", page.render().map_err(|e| e.to_string())),
        ("suite.html", html.render().map_err(|e| e.to_string())),
        ("junit.xml", junit(suite)),
    ];
    for (name, content) in files {
        let path = folder.join(name);
        private::write(&path, content.map_err(|e| format!("{name}: {e}"))?)
            .map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    }
    Ok(())
}

fn junit(suite: &SuiteResult) -> Result<String, String> {
    let mut report = Report::new(&suite.suite_id);
    suite.runs.iter().for_each(|run| {
        report.add_test_suite(junit::suite(run));
    });
    report.to_string().map_err(|e| e.to_string())
}

/// The end of a suite on the terminal: a line for each run.
pub fn summary(suite: &SuiteResult, folder: &Path) -> String {
    let width = suite.runs.iter().map(|r| r.experiment.chars().count()).max().unwrap_or(0);
    let mut out = String::from("\n");
    for run in &suite.runs {
        let why = run.checks.iter().filter(|c| c.verdict != crate::check::Ruling::Passed).map(|c| c.name.as_str());
        let why: Vec<&str> = run.reason.iter().map(String::as_str).chain(why).collect();
        out.push_str(&format!(
            "  {:<12}  {:width$}  {:>6.1} s  {}\n",
            word(run.outcome),
            run.experiment,
            run.duration_s,
            why.join(", ")
        ));
    }
    suite.left_out.iter().for_each(|file| out.push_str(&format!("  {:<12}  {file}\n", "NOT RUN")));
    let seconds: f64 = suite.runs.iter().map(|r| r.duration_s).sum();
    out.push_str(&format!(
        "\n  SUITE {}  exit code {}, {} runs, {seconds:.1} s\n  report: {}\n",
        suite.word(),
        suite.exit_code,
        suite.runs.len(),
        folder.join("suite.html").display()
    ));
    out
}

impl MarkdownPage<'_> {
    fn cell(&self, text: &str) -> String {
        markdown::cell(text)
    }
}

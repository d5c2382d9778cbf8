//! `report.md`: the report of the load-testing plan, every section filled from measurements.

use askama::Template;

use super::result::{CheckResult, FaultResult, RunResult};
use super::{Material, facts};
use crate::check::grade::Grade;
use crate::check::{Ruling, View};
use crate::load::ledger::Class;
use crate::text::{figure, harmless, seconds};

#[derive(Template)]
#[template(path = "report.md", escape = "none")]
struct Page<'a> {
    r: &'a RunResult,
    success: String,
    loads: Vec<LoadRow>,
    resources: Vec<[String; 4]>,
    troubled: Vec<[String; 4]>,
    more_troubled: usize,
}

struct LoadRow {
    name: String,
    phase: String,
    n: u64,
    mean: String,
    p50: String,
    p95: String,
    p99: String,
    max: String,
}

/// Jobs listed one by one.
const MOST_JOBS: usize = 50;

pub fn render(material: &Material<'_>) -> Result<String, String> {
    let (record, r) = (material.record, material.result);
    let view = View::of(record);
    let asked_for = r.jobs.asked_for().max(1) as f64;
    let in_trouble = view.jobs(None).filter(|(_, class, _)| *class != Class::Completed).count();
    let page = Page {
        r,
        success: format!("{:.1} %", r.jobs.completed as f64 / asked_for * 100.0),
        loads: load_rows(r),
        resources: r
            .resources
            .iter()
            .map(|(name, f)| {
                [
                    name.clone(),
                    figure(name, f.mean),
                    figure(name, f.peak),
                    format!("{} → {}", figure(name, f.first), figure(name, f.last)),
                ]
            })
            .collect(),
        more_troubled: in_trouble.saturating_sub(MOST_JOBS),
        troubled: troubled(&view),
    };
    page.render().map_err(|e| e.to_string())
}

fn load_rows(r: &RunResult) -> Vec<LoadRow> {
    let total = r.latency.parts.iter().filter(|p| p.part == "total");
    total
        .map(|p| LoadRow {
            name: p.load.clone(),
            phase: p.phase.clone(),
            n: p.spread.n,
            mean: seconds(p.spread.mean_s),
            p50: seconds(p.spread.p50_s),
            p95: seconds(p.spread.p95_s),
            p99: seconds(p.spread.p99_s),
            max: seconds(p.spread.max_s),
        })
        .collect()
}

/// The first jobs that are not plainly completed.
fn troubled(view: &View<'_>) -> Vec<[String; 4]> {
    view.jobs(None)
        .filter(|(_, class, _)| *class != Class::Completed)
        .take(MOST_JOBS)
        .map(|(job, class, why)| [job.number.to_string(), job.load.to_string(), class.to_string(), cell(&why.to_string())])
        .collect()
}

/// Text of the target's inside a Markdown table: it is text, and makes no links, images or HTML.
pub fn cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len());
    for c in harmless(text).chars() {
        match c {
            '|' | '[' | ']' | '*' | '\\' => cell.extend(['\\', c]),
            '`' => cell.push('\''),
            '<' => cell.push_str("&lt;"),
            '&' => cell.push_str("&amp;"),
            _ => cell.push(c),
        }
    }
    // An address alone is a link for some readers of Markdown.
    cell.replace("://", "&#58;//")
}

impl Page<'_> {
    fn mark(&self, verdict: Ruling) -> &'static str {
        match verdict {
            Ruling::Passed => "passed",
            Ruling::Failed => "**FAILED**",
            Ruling::Inconclusive | Ruling::Pending => "*inconclusive*",
        }
    }

    fn grade(&self, check: &CheckResult) -> &'static str {
        check.grade.map_or("–", Grade::word)
    }

    fn at(&self, t: &Option<f64>) -> String {
        t.map_or_else(|| "–".to_owned(), |t| format!("{t:.1} s"))
    }

    fn seen(&self, fault: &FaultResult, when: &str) -> String {
        fault.seen.get(when).map_or_else(|| "–".to_owned(), |text| cell(text))
    }

    fn cell(&self, text: &str) -> String {
        cell(text)
    }

    fn outcome(&self) -> String {
        serde_json::to_value(self.r.outcome).ok().and_then(|v| v.as_str().map(str::to_uppercase)).unwrap_or_default()
    }

    fn lateness(&self) -> String {
        self.r
            .dispatch_delay
            .as_ref()
            .map_or_else(|| "–".to_owned(), |d| format!("p99 {}, at most {}", seconds(d.p99_s), seconds(d.max_s)))
    }

    fn uptime(&self) -> String {
        self.r.uptime.map_or_else(|| "not known".to_owned(), |u| format!("{:.2} %", u * 100.0))
    }

    /// The phases, for the legend.
    fn phases(&self) -> String {
        facts::PHASES[1..].join(", ")
    }
}

//! Two runs side by side.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::result::RunResult;
use crate::check::Ruling;
use crate::history::figures;
use crate::journal::reader;
use crate::journal::record::Record;
use crate::stats::compare;
use crate::text::word;

/// Latencies that are larger by less than this are the same to a user.
const SLOWER_BY: f64 = 0.1;
const PREFIX: usize = 24;

/// Two runs side by side; times in seconds of the experiment.
#[derive(Debug, Serialize)]
pub struct Comparison {
    pub first: String,
    pub second: String,
    /// The same plan: seed, load, faults, checks, and every draw.
    pub same_plan: bool,
    pub outcomes: (String, String),
    pub checks: Vec<Pair<Option<Ruling>>>,
    pub figures: Vec<Pair<Option<f64>>>,
    /// When each fault was injected, from the start of the run.
    pub faults: Vec<Pair<Option<f64>>>,
    /// Completed jobs took longer, not by chance (rank test, 99 %) and by more than a tenth.
    pub slower: Option<bool>,
}

#[derive(Debug, Serialize)]
pub struct Pair<T> {
    pub name: String,
    pub first: T,
    pub second: T,
}

impl Comparison {
    /// A check that passed in the first run fails in the second.
    pub fn is_worse(&self) -> bool {
        self.checks.iter().any(|c| c.first == Some(Ruling::Passed) && c.second == Some(Ruling::Failed))
    }

    pub fn text(&self, colour: bool) -> String {
        let mut out = format!(
            "{} → {}\n{} → {}{}\n",
            self.first,
            self.second,
            self.outcomes.0,
            self.outcomes.1,
            if self.same_plan { ", the same plan" } else { ", not the same plan" }
        );
        let verdict = |v: &Option<Ruling>| v.map_or_else(|| "–".to_owned(), |v| format!("{v:?}").to_lowercase());
        for pair in &self.checks {
            let mark = if pair.first == pair.second { " " } else { "*" };
            let line = format!("{mark} {:<PREFIX$} {:<13} → {}", pair.name, verdict(&pair.first), verdict(&pair.second));
            let bold = colour && mark == "*";
            out.push_str(&if bold { format!("\x1b[1m{line}\x1b[0m\n") } else { line + "\n" });
        }
        let number = |v: &Option<f64>| v.map_or_else(|| "–".to_owned(), |v| format!("{v:.3}"));
        for (title, pairs) in [("figures", &self.figures), ("faults injected at", &self.faults)] {
            if pairs.is_empty() {
                continue;
            }
            out.push_str(&format!("{title}\n"));
            for pair in pairs {
                let ratio = pair
                    .first
                    .zip(pair.second)
                    .filter(|(a, _)| *a > 0.0)
                    .map_or_else(String::new, |(a, b)| format!("  ×{:.2}", b / a));
                out.push_str(&format!(
                    "  {:<PREFIX$} {:>13} → {:>13}{ratio}\n",
                    pair.name,
                    number(&pair.first),
                    number(&pair.second)
                ));
            }
        }
        out.push_str(match self.slower {
            Some(true) => "completed jobs took longer, and not by chance\n",
            Some(false) => "completed jobs did not take longer, beyond chance and a tenth\n",
            None => "too few completed jobs to compare\n",
        });
        out
    }
}

/// Compares the runs in two folders.
///
/// # Errors
/// A folder that is none of a run.
pub fn of(first: &Path, second: &Path) -> Result<Comparison, String> {
    let (a, b) = (RunResult::read(first)?, RunResult::read(second)?);
    let (ra, rb) = (reader::read(first).map_err(|e| e.to_string())?, reader::read(second).map_err(|e| e.to_string())?);
    let (la, lb) = (latencies(&ra), latencies(&rb));
    let injected =
        |r: &RunResult| r.faults.iter().filter_map(|f| Some((f.name.clone(), f.injected_at_s? / r.time_scale))).collect();
    let verdicts = |r: &RunResult| r.checks.iter().map(|c| (c.name.clone(), c.verdict)).collect();
    Ok(Comparison {
        first: a.run_id.clone(),
        second: b.run_id.clone(),
        same_plan: same_plan(&ra, &rb),
        outcomes: (word(a.outcome), word(b.outcome)),
        checks: pairs(verdicts(&a), verdicts(&b)),
        figures: pairs(figures(&a), figures(&b)),
        faults: pairs(injected(&a), injected(&b)),
        slower: compare::compare(&la, &lb).map(|c| c.is_larger(SLOWER_BY)),
    })
}

fn latencies(record: &Record) -> Vec<f64> {
    record.jobs.iter().filter_map(|job| job.total_s()).map(|s| s / record.plan().time_scale).collect()
}

/// The target may be another one.
fn same_plan(a: &Record, b: &Record) -> bool {
    let (a, b) = (a.plan(), b.plan());
    a.seed == b.seed
        && a.loads == b.loads
        && a.faults == b.faults
        && a.checks == b.checks
        && a.time_scale.to_bits() == b.time_scale.to_bits()
        && a.forecast.draws_digest == b.forecast.draws_digest
}

/// Both by name, in the first's order.
fn pairs<T: Copy>(first: Vec<(String, T)>, second: Vec<(String, T)>) -> Vec<Pair<Option<T>>> {
    let other: BTreeMap<&str, T> = second.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let mut all: Vec<Pair<Option<T>>> = first
        .iter()
        .map(|(name, value)| Pair { name: name.clone(), first: Some(*value), second: other.get(name.as_str()).copied() })
        .collect();
    let only = second.iter().filter(|(name, _)| first.iter().all(|(known, _)| known != name));
    all.extend(only.map(|(name, value)| Pair { name: name.clone(), first: None, second: Some(*value) }));
    all
}

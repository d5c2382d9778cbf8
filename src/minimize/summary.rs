//! What a search has found, and how sure it is.

use serde::Serialize;

use super::candidate::{Candidate, Sizes, label};
use super::trial::{Stop, Tally};
use crate::experiment::node::Node;

/// What a search has found.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub check: String,
    /// How the jobs of the original came out that it is about: lost, failed, …
    pub classes: Vec<&'static str>,
    /// The search came to its end: nothing that is left could be left out.
    pub complete: bool,
    /// Why not.
    pub stopped: Option<String>,
    pub original: Share,
    pub smallest: Share,
    /// What is left, each with how often the smallest fails without it.
    pub faults: Vec<Kept>,
    pub faults_before: usize,
    pub loads: usize,
    pub loads_before: usize,
    /// What is smaller than in the original.
    pub amounts: Vec<Smaller>,
    pub runs: u32,
    pub spent_s: f64,
    /// Something that makes it less sure.
    pub doubt: Option<String>,
}

/// How often it failed, with the bounds of the share of runs that fail, each with 95 % confidence.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Share {
    #[serde(flatten)]
    pub tally: Tally,
    pub low: f64,
    pub high: f64,
}

#[derive(Debug, Serialize)]
pub struct Kept {
    pub name: String,
    pub without: Share,
}

#[derive(Debug, Serialize)]
pub struct Smaller {
    pub path: String,
    pub before: String,
    pub now: String,
}

impl From<Tally> for Share {
    fn from(tally: Tally) -> Self {
        let (low, high) = tally.bounds();
        Self { tally, low, high }
    }
}

/// Where a search stands.
pub struct Found<'a> {
    pub tree: &'a Node,
    pub sizes: &'a Sizes,
    pub best: &'a Candidate,
    /// Whether the original failed again; or why the search was stopped.
    pub end: &'a Result<bool, Stop>,
    /// Of the runs that the search went by.
    pub tally: &'a dyn Fn(&Candidate) -> Tally,
    /// Of the runs after it.
    pub proof: &'a dyn Fn(&Candidate) -> Tally,
}

impl Summary {
    pub fn of(check: &str, classes: Vec<&'static str>, found: &Found<'_>, (runs, spent_s): (u32, f64)) -> Self {
        let Found { tree, sizes, best, end, tally, proof } = *found;
        let kept =
            best.faults.iter().map(|fault| Kept { name: label(tree, *fault), without: proof(&best.without(*fault)).into() });
        let smaller = sizes.amounts.iter().filter(|a| best.has(a) && best.amount(a) < a.full);
        Self {
            check: check.to_owned(),
            classes,
            complete: matches!(end, Ok(true)),
            stopped: end.as_ref().err().map(Stop::text),
            original: tally(&Candidate::whole(sizes)).into(),
            smallest: if matches!(end, Ok(true)) { proof(best) } else { tally(best) }.into(),
            faults: kept.collect(),
            faults_before: sizes.faults,
            loads: best.loads.len(),
            loads_before: sizes.loads,
            amounts: smaller
                .map(|a| Smaller { path: a.path.clone(), before: a.text(a.full), now: a.text(best.amount(a)) })
                .collect(),
            runs,
            spent_s,
            doubt: None,
        }
    }

    pub fn text(&self) -> String {
        let classes = if self.classes.is_empty() { String::new() } else { format!(" (jobs {})", self.classes.join(", ")) };
        let mut lines = vec![format!("check {}{classes}: the original {}", self.check, self.original.text())];
        lines.push(match (self.complete, &self.stopped) {
            (true, _) => format!("the smallest {}", self.smallest.text()),
            (false, Some(why)) => format!("{why}; the smallest so far {}; the same command goes on", self.smallest.text()),
            (false, None) => "it does not fail again often enough: nothing can be left out with any certainty".to_owned(),
        });
        lines.push(format!(
            "{} of {} faults, {} of {} loads, after {} runs in {:.0} s",
            self.faults.len(),
            self.faults_before,
            self.loads,
            self.loads_before,
            self.runs,
            self.spent_s
        ));
        lines.extend(self.faults.iter().map(|fault| format!("  {}; without it: {}", fault.name, fault.without.text())));
        lines.extend(self.amounts.iter().map(|a| format!("  {}: {} instead of {}", a.path, a.now, a.before)));
        lines.extend(self.doubt.clone());
        lines.join("\n")
    }
}

impl Share {
    fn text(&self) -> String {
        let Tally { runs, fails, impossible } = self.tally;
        match (impossible, runs) {
            (true, _) => "is no experiment that can be run".to_owned(),
            (_, 0) => "was not tried".to_owned(),
            _ => format!("fails in {fails} of {runs} runs (95 %: {:.0} % to {:.0} %)", self.low * 100.0, self.high * 100.0),
        }
    }
}

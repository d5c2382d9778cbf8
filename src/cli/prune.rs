//! `chaos prune`: old runs are removed, and what is worth keeping stays.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::list::moment;
use super::{complain, print};
use crate::exit::Exit;
use crate::history::{Filter, History, Run};
use crate::journal::undo;
use crate::run::leftover::Leftover;
use crate::state;

/// Remove old runs. Without --yes it only says which.
#[derive(clap::Args)]
#[command(after_help = "Example: chaos prune --before 30d --keep 10 --yes")]
pub struct Args {
    /// Only runs from before then: a date, a moment, or so long ago (12h, 30d).
    #[arg(long, value_parser = moment)]
    before: Timestamp,
    /// The latest so many of each experiment stay in any case.
    #[arg(long, default_value_t = 10)]
    keep: usize,
    /// Remove failed runs too; otherwise they stay.
    #[arg(long)]
    failed_too: bool,
    /// Do it.
    #[arg(long)]
    yes: bool,
    /// Where the runs are.
    #[arg(long, default_value = "reports")]
    reports: PathBuf,
}

pub fn run(args: Args) -> Exit {
    let runs = match History::open(&args.reports).and_then(|history| history.runs(&Filter::default())) {
        Ok(runs) => runs,
        Err(reason) => return complain(Exit::CannotRun, reason),
    };
    let old = chosen(&runs, args.before, args.keep, args.failed_too);
    // Without a state folder there is no copy of what a run has left either.
    let state = state::folder().ok();
    let mut worst = Exit::Passed;
    let mut text = String::new();
    for run in &old {
        match (args.yes, remove(&run.folder, state.as_deref(), args.yes)) {
            (_, Err(reason)) => worst = complain(Exit::CannotRun, format!("{}: {reason}", run.folder.display())),
            (true, Ok(())) => text.push_str(&format!("removed {}\n", run.folder.display())),
            (false, Ok(())) => text.push_str(&format!("would remove {}\n", run.folder.display())),
        }
    }
    if old.is_empty() {
        text.push_str("nothing is to be removed\n");
    } else if !args.yes {
        text.push_str(&format!("{} runs; nothing was removed, --yes does it\n", old.len()));
    }
    match print(&text) {
        Exit::Passed => worst,
        exit => exit,
    }
}

/// The runs that may go; `runs` has the latest first.
fn chosen(runs: &[Run], before: Timestamp, keep: usize, failed_too: bool) -> Vec<&Run> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut old = Vec::new();
    for run in runs {
        let place = seen.entry(&run.experiment).or_default();
        *place += 1;
        let is_old = run.started_at.parse::<Timestamp>().is_ok_and(|started| started < before);
        if is_old && *place > keep && (failed_too || run.outcome != "failed") {
            old.push(run);
        }
    }
    old
}

/// A run that has left something broken stays: its journal is what puts it back.
fn remove(folder: &Path, state: Option<&Path>, really: bool) -> Result<(), String> {
    let left = state.map_or_else(|| undo::left(folder), |state| Leftover::of(folder, state).left());
    if !left.is_clear() {
        let why = left.unreadable.unwrap_or_else(|| "it has left something broken".to_owned());
        return Err(format!("{why}; it is kept: put things back first, with `chaos revert {}`", folder.display()));
    }
    if !really {
        return Ok(());
    }
    std::fs::remove_dir_all(folder).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(experiment: &str, day: u32, outcome: &str) -> Run {
        Run {
            run_id: format!("{experiment}-{day}"),
            folder: PathBuf::from(format!("{experiment}-{day}")),
            experiment: experiment.into(),
            target: String::new(),
            started_at: format!("2026-01-{day:02}T00:00:00Z"),
            duration_s: 1.0,
            outcome: outcome.into(),
            exit_code: 0,
            seed: String::new(),
            reason: None,
            overrides: String::new(),
            file: String::new(),
        }
    }

    #[test]
    fn the_latest_the_failed_and_the_young_stay() {
        let runs: Vec<Run> = (1..=9)
            .rev()
            .map(|day| run("a", day, if day == 2 { "failed" } else { "passed" }))
            .chain([run("b", 1, "passed")])
            .collect();
        let before = "2026-01-06T00:00:00Z".parse().unwrap();
        let ids = |keep, failed| chosen(&runs, before, keep, failed).iter().map(|r| r.run_id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(2, false), ["a-5", "a-4", "a-3", "a-1"], "b has one run alone");
        assert_eq!(ids(7, true), ["a-2", "a-1"]);
        assert_eq!(ids(0, false).len(), 5);
        assert!(ids(99, true).is_empty());
    }
}

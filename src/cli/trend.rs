//! `chaos trend`: verdicts and figures over time, and since when they are otherwise.

use std::path::PathBuf;

use super::{OutputFormat, complain, print};
use crate::exit::Exit;
use crate::history::{self, Change, Filter, Group, History, Score};

/// How many runs the line of verdicts shows.
const SHOWN: usize = 60;
/// And of the experiment's changes the latest.
const SHOWN_EDITS: usize = 3;

/// Show an experiment's verdicts and figures over time, with the runs from which on they changed.
#[derive(clap::Args)]
#[command(after_help = "Example: chaos trend gpu-oom")]
pub struct Args {
    /// Only this experiment; without it, all of them.
    experiment: Option<String>,
    /// Over the latest so many runs of each, target by target.
    #[arg(long, default_value_t = 1000)]
    last: u32,
    /// Where the runs are.
    #[arg(long, default_value = "reports")]
    reports: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: OutputFormat,
}

#[derive(serde::Serialize)]
struct Trend {
    #[serde(flatten)]
    of: Group,
    runs: usize,
    score: Option<Score>,
    /// The oldest first.
    outcomes: Vec<String>,
    changes: Vec<Change>,
    /// The first runs of another text of the experiment.
    edits: Vec<Edit>,
}

#[derive(serde::Serialize)]
struct Edit {
    run_id: String,
    at: String,
}

pub fn run(args: Args) -> Exit {
    let all = History::open(&args.reports).and_then(|history| {
        let groups = history.groups(args.experiment.as_deref())?;
        groups.into_iter().map(|group| of(&history, group, args.last)).collect::<Result<Vec<Trend>, String>>()
    });
    let all = match all {
        Ok(all) => all,
        Err(reason) => return complain(Exit::CannotRun, reason),
    };
    match args.format {
        OutputFormat::Json => print(&(serde_json::to_string(&all).unwrap_or_default() + "\n")),
        OutputFormat::Text if all.is_empty() => print("no run fits\n"),
        OutputFormat::Text => print(&all.iter().map(text).collect::<String>()),
    }
}

fn of(history: &History, group: Group, last: u32) -> Result<Trend, String> {
    let mut runs = history.runs(&Filter {
        experiment: Some(group.experiment.clone()),
        target: Some(group.target.clone()),
        overrides: Some(group.overrides.clone()),
        limit: Some(last),
        ..Filter::default()
    })?;
    let score = history::score(runs.iter().map(|run| run.outcome.as_str()));
    let mut changes: Vec<Change> = history.series(&group, last)?.iter().flat_map(history::changes).collect();
    changes.sort_by_key(|change| change.at_ms);
    runs.reverse();
    let edits = runs.windows(2).filter(|pair| pair[0].file != pair[1].file);
    let edits = edits.map(|pair| Edit { run_id: pair[1].run_id.clone(), at: pair[1].started_at.clone() }).collect();
    let outcomes: Vec<String> = runs.into_iter().map(|run| run.outcome).collect();
    Ok(Trend { of: group, runs: outcomes.len(), score, outcomes, changes, edits })
}

fn day(moment: &str) -> &str {
    moment.get(..10).unwrap_or(moment)
}

fn text(trend: &Trend) -> String {
    let score = trend.score.map_or_else(
        || "too few decided runs for a score".to_owned(),
        |s| match s.undecided {
            0 => format!("score {:.0} of 100", s.points),
            n => format!("score {:.0} of 100, at least {:.0}: {n} were not decided", s.points, s.at_least),
        },
    );
    let line: String = trend.outcomes.iter().rev().take(SHOWN).rev().map(|outcome| mark(outcome)).collect();
    let Group { experiment, target, overrides } = &trend.of;
    let overrides = if overrides.is_empty() { String::new() } else { format!(" {overrides}") };
    let mut out = format!("{experiment} on {target}{overrides}: {} runs, {score}\n  {line}\n", trend.runs);
    for change in &trend.changes {
        let when = jiff::Timestamp::from_millisecond(change.at_ms).map_or_else(|_| String::new(), |t| t.to_string());
        let edited = trend.edits.iter().any(|edit| edit.run_id == change.run_id);
        out.push_str(&format!(
            "  since {}  {}: {:.3} → {:.3} (p = {:.4}; {}{})\n",
            day(&when),
            change.figure,
            change.before,
            change.after,
            change.p,
            change.run_id,
            if edited { ", with which the experiment itself changed" } else { "" }
        ));
    }
    for edit in trend.edits.iter().rev().take(SHOWN_EDITS).rev() {
        out.push_str(&format!("  the experiment itself is another since {}  ({})\n", day(&edit.at), edit.run_id));
    }
    out
}

fn mark(outcome: &str) -> char {
    match outcome {
        "passed" => '.',
        "failed" => 'F',
        "inconclusive" => '?',
        _ => 'x',
    }
}

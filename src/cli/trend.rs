//! `chaos trend`: verdicts and figures over time, and since when they are otherwise.

use std::path::PathBuf;

use super::{OutputFormat, complain, print};
use crate::exit::Exit;
use crate::history::{self, Change, Filter, History, Score};

/// How many runs the line of verdicts shows.
const SHOWN: usize = 60;

/// Show an experiment's verdicts and figures over time, with the runs from which on they changed.
#[derive(clap::Args)]
#[command(after_help = "Example: chaos trend gpu-oom")]
pub struct Args {
    /// Only this experiment; without it, all of them.
    experiment: Option<String>,
    /// Over the latest so many runs of each.
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
    experiment: String,
    runs: usize,
    score: Option<Score>,
    /// The oldest first.
    outcomes: Vec<String>,
    changes: Vec<Change>,
}

pub fn run(args: Args) -> Exit {
    let all = History::open(&args.reports).and_then(|history| {
        let names = match args.experiment {
            Some(name) => vec![name],
            None => history.experiments()?,
        };
        names.into_iter().map(|name| of(&history, name, args.last)).collect::<Result<Vec<Trend>, String>>()
    });
    let all = match all {
        Ok(all) => all,
        Err(reason) => return complain(Exit::CannotRun, reason),
    };
    match args.format {
        OutputFormat::Json => print(&(serde_json::to_string(&all).unwrap_or_default() + "\n")),
        OutputFormat::Text if all.iter().all(|trend| trend.runs == 0) => print("no run fits\n"),
        OutputFormat::Text => print(&all.iter().map(text).collect::<String>()),
    }
}

fn of(history: &History, experiment: String, last: u32) -> Result<Trend, String> {
    let runs = history.runs(&Filter { experiment: Some(experiment.clone()), limit: Some(last), ..Filter::default() })?;
    let score = history::score(runs.iter().map(|run| run.outcome.as_str()));
    let mut changes: Vec<Change> = history.series(&experiment, last)?.iter().flat_map(history::changes).collect();
    changes.sort_by_key(|change| change.at_ms);
    let outcomes = runs.iter().rev().map(|run| run.outcome.clone()).collect();
    Ok(Trend { experiment, runs: runs.len(), score, outcomes, changes })
}

fn text(trend: &Trend) -> String {
    let score =
        trend.score.map_or_else(|| "too few decided runs for a score".to_owned(), |s| format!("score {:.0} of 100", s.points));
    let line: String = trend.outcomes.iter().rev().take(SHOWN).rev().map(|outcome| mark(outcome)).collect();
    let mut out = format!("{}: {} runs, {score}\n  {line}\n", trend.experiment, trend.runs);
    for change in &trend.changes {
        let when = jiff::Timestamp::from_millisecond(change.at_ms).map_or_else(|_| String::new(), |t| t.to_string());
        out.push_str(&format!(
            "  since {}  {}: {:.3} → {:.3} (p = {:.4}; {})\n",
            when.get(..10).unwrap_or(&when),
            change.figure,
            change.before,
            change.after,
            change.p,
            change.run_id
        ));
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

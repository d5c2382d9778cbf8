//! `chaos report`: every report of a run, made again from its journal.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use super::{OutputFormat, complain, print};
use crate::exit::Exit;
use crate::journal::reader;
use crate::report::result::RunResult;
use crate::report::suite::{self, SuiteResult};
use crate::report::{self, terminal};
use crate::run::folder;

/// Make every report of a run, or of a suite, again, from the journals alone.
#[derive(clap::Args)]
#[command(after_help = "Example: chaos report reports/20261123T120000Z-gpu-oom-1a2b3c")]
pub struct Args {
    /// The run's or the suite's folder.
    run: PathBuf,
    /// Write the reports here instead of into the run's folder.
    #[arg(long)]
    to: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    format: OutputFormat,
}

pub fn run(args: Args) -> Exit {
    let folder = args.to.as_ref().unwrap_or(&args.run);
    if args.run.join(suite::FILE).exists() {
        return match again(&args.run, folder) {
            Ok(result) => super::suite::write(&result, folder, args.format),
            Err((exit, reason)) => complain(exit, reason),
        };
    }
    match one(&args.run, folder) {
        Err((exit, reason)) => complain(exit, reason),
        Ok(result) => match args.format {
            OutputFormat::Json => print(&(serde_json::to_string(&result).unwrap_or_default() + "\n")),
            OutputFormat::Text => print(&terminal::summary(&result, folder, std::io::stdout().is_terminal())),
        },
    }
}

/// One run's reports.
fn one(run: &Path, to: &Path) -> Result<RunResult, (Exit, String)> {
    let record = reader::read(run).map_err(|e| (Exit::Usage, e.to_string()))?;
    folder::release_left_reserve(run);
    std::fs::create_dir_all(to).map_err(|e| (Exit::CannotRun, format!("cannot make {}: {e}", to.display())))?;
    report::write_all(&record, to).map_err(|e| (Exit::CannotRun, e))
}

/// A suite's reports and those of its runs. Which they are, and what was left out, is in the suite's own file.
fn again(suite: &Path, to: &Path) -> Result<SuiteResult, (Exit, String)> {
    let path = suite.join(suite::FILE);
    let text = std::fs::read_to_string(&path).map_err(|e| (Exit::Usage, format!("cannot read {}: {e}", path.display())))?;
    let old: SuiteResult = serde_json::from_str(&text).map_err(|e| (Exit::Usage, format!("{}: {e}", path.display())))?;
    let runs = old.runs.iter().map(|run| one(&suite.join(&run.run_id), &to.join(&run.run_id)));
    Ok(SuiteResult::of(&old.suite_id, runs.collect::<Result<Vec<RunResult>, _>>()?, old.left_out))
}

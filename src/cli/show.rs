//! `chaos show`: one run's summary again.

use std::io::IsTerminal;
use std::path::PathBuf;

use super::{OutputFormat, complain, print};
use crate::exit::Exit;
use crate::history::{self, Filter, History};
use crate::report::result::RunResult;
use crate::report::terminal;

/// Show a run's summary again.
#[derive(clap::Args)]
#[command(after_help = "Example: chaos show 20261124T03")]
pub struct Args {
    /// The run: the beginning of its id, or its folder. Without it, the latest.
    run: Option<String>,
    /// Where the runs are.
    #[arg(long, default_value = "reports")]
    reports: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: OutputFormat,
}

pub fn run(args: Args) -> Exit {
    let folder = match folder(&args) {
        Ok(folder) => folder,
        Err(reason) => return complain(Exit::Usage, reason),
    };
    let path = folder.join("result.json");
    let read = std::fs::read_to_string(&path).map_err(|e| e.to_string());
    let result = read.and_then(|text| serde_json::from_str::<RunResult>(&text).map(|r| (text, r)).map_err(|e| e.to_string()));
    match (result, args.format) {
        (Ok((text, _)), OutputFormat::Json) => print(&text),
        (Ok((_, result)), OutputFormat::Text) => print(&terminal::summary(&result, &folder, std::io::stdout().is_terminal())),
        (Err(error), _) => complain(Exit::Usage, format!("{} cannot be read: {error}", path.display())),
    }
}

fn folder(args: &Args) -> Result<PathBuf, String> {
    if let Some(run) = &args.run {
        return history::folder(run, &args.reports);
    }
    let latest = Filter { limit: Some(1), ..Filter::default() };
    let found = History::open(&args.reports)?.runs(&latest)?.into_iter().next();
    found.map(|run| run.folder).ok_or_else(|| format!("there is no run in {}", args.reports.display()))
}

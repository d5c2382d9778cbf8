//! `chaos report`: every report of a run, made again from its journal.

use std::io::IsTerminal;
use std::path::PathBuf;

use super::{OutputFormat, complain, print};
use crate::exit::Exit;
use crate::journal::reader;
use crate::report::{self, terminal};

/// Make every report of a run again, from its journal alone.
#[derive(clap::Args)]
#[command(after_help = "Example: chaos report reports/20261123T120000Z-gpu-oom-1a2b3c")]
pub struct Args {
    /// The run's folder.
    run: PathBuf,
    /// Write the reports here instead of into the run's folder.
    #[arg(long)]
    to: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "text")]
    format: OutputFormat,
}

pub fn run(args: Args) -> Exit {
    let record = match reader::read(&args.run) {
        Ok(record) => record,
        Err(error) => return complain(Exit::Usage, error),
    };
    let folder = args.to.as_ref().unwrap_or(&args.run);
    if let Err(error) = std::fs::create_dir_all(folder) {
        return complain(Exit::CannotRun, format!("cannot make {}: {error}", folder.display()));
    }
    match report::write_all(&record, folder) {
        Err(error) => complain(Exit::CannotRun, error),
        Ok(result) => match args.format {
            OutputFormat::Json => print(&(serde_json::to_string(&result).unwrap_or_default() + "\n")),
            OutputFormat::Text => print(&terminal::summary(&result, folder, std::io::stdout().is_terminal())),
        },
    }
}

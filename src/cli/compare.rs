//! `chaos compare`: two runs side by side.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use super::{OutputFormat, complain, print};
use crate::exit::Exit;
use crate::history;
use crate::report::comparison::{self, Comparison};

/// Show two runs side by side: verdicts, figures, when each fault came. Exits with 1 where a check that passed in the first
/// fails in the second.
#[derive(clap::Args)]
#[command(after_help = "Example: chaos compare reports/20261123T120000Z-gpu-oom-1a2b3c reports/20261124T120000Z-gpu-oom-4d5e6f")]
pub struct Args {
    /// The run that is compared with: its folder, or the beginning of its id.
    first: String,
    /// The other run.
    second: String,
    /// Where the runs are.
    #[arg(long, default_value = "reports")]
    reports: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: OutputFormat,
}

pub fn run(args: Args) -> Exit {
    let find = |run: &str| history::folder(run, &args.reports);
    let found = find(&args.first).and_then(|first| Ok((first, find(&args.second)?)));
    match found.and_then(|(first, second)| compare(&first, &second, args.format)) {
        Ok(comparison) if comparison.is_worse() => Exit::Failed,
        Ok(_) => Exit::Passed,
        Err(reason) => complain(Exit::Usage, reason),
    }
}

/// Prints the comparison.
///
/// # Errors
/// A folder that is none of a run.
pub fn compare(first: &Path, second: &Path, format: OutputFormat) -> Result<Comparison, String> {
    let comparison = comparison::of(first, second)?;
    print(&match format {
        OutputFormat::Json => serde_json::to_string(&comparison).unwrap_or_default() + "\n",
        OutputFormat::Text => comparison.text(std::io::stdout().is_terminal()),
    });
    Ok(comparison)
}

//! `chaos validate`: is the file right?

use std::path::PathBuf;

use super::load;
use super::{OutputFormat, print};
use crate::exit::Exit;
use crate::experiment::file::Overrides;
use crate::secret;

/// Read an experiment and say everything that is wrong with it. Touches nothing.
#[derive(clap::Args)]
#[command(after_help = "Example: chaos validate experiments/gpu-oom.yaml")]
pub struct Args {
    /// The experiment.
    file: PathBuf,
    #[command(flatten)]
    overrides: Overrides,
    #[arg(long, value_enum, default_value = "text")]
    format: OutputFormat,
}

pub fn run(args: Args) -> Exit {
    let ready = match load::ready(&args.file, &args.overrides, args.format) {
        Ok(ready) => ready,
        Err(exit) => return exit,
    };
    let plan = &ready.plan;
    let warnings: Vec<String> = plan.warnings.iter().map(|warning| secret::masked(warning)).collect();
    match args.format {
        OutputFormat::Json => {
            print(&(serde_json::json!({ "valid": true, "errors": [], "warnings": warnings }).to_string() + "\n"))
        }
        OutputFormat::Text => {
            let warnings: String = warnings.iter().map(|w| format!("warning: {w}\n")).collect();
            let (loads, faults, checks) = (plan.loads.len(), plan.faults.len(), plan.checks.len());
            print(&format!("{warnings}{}: valid ({loads} loads, {faults} faults, {checks} checks)\n", args.file.display()))
        }
    }
}

//! `chaos validate`: is the file right?

use std::path::PathBuf;

use super::load;
use super::{OutputFormat, print};
use crate::driver;
use crate::exit::Exit;
use crate::experiment::file::{Overrides, read_text};
use crate::secret;

/// Read an experiment, or a driver, and say everything that is wrong with it. Touches nothing.
#[derive(clap::Args)]
#[command(after_help = "Example: chaos validate experiments/gpu-oom.yaml")]
pub struct Args {
    /// The experiment, or a driver of your own.
    file: PathBuf,
    #[command(flatten)]
    overrides: Overrides,
    #[arg(long, value_enum, default_value = "text")]
    format: OutputFormat,
}

pub fn run(args: Args) -> Exit {
    if let Some(text) = read_text(&args.file).ok().filter(|text| driver::is_driver(text)) {
        return of_driver(&args, &text);
    }
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

fn of_driver(args: &Args, text: &str) -> Exit {
    let driver = match driver::alone(&args.file, text) {
        Ok(driver) => driver,
        Err(diags) => return load::show(&diags, args.format),
    };
    match args.format {
        OutputFormat::Json => print(&(serde_json::json!({ "valid": true, "errors": [], "warnings": [] }).to_string() + "\n")),
        OutputFormat::Text => print(&format!("{}: valid (the driver `{}`)\n", args.file.display(), driver.name)),
    }
}

//! `chaos replay`: a run once more, and what was otherwise.

use std::path::PathBuf;

use super::load;
use super::{Globals, OutputFormat, compare, complain, logging, run};
use crate::exit::Exit;
use crate::experiment::file::Overrides;

/// Run the same plan with the same seed again, against the same or another target, and compare.
#[derive(clap::Args)]
#[command(after_help = "Example: chaos replay reports/20261123T120000Z-gpu-oom-1a2b3c --url http://localhost:5000")]
pub struct Args {
    /// The folder of the run.
    run: PathBuf,
    #[command(flatten)]
    overrides: Overrides,
    /// Where the new run's folder is made.
    #[arg(long, default_value = "reports")]
    reports: PathBuf,
    /// What is printed at the end.
    #[arg(long, value_enum, default_value = "text")]
    format: OutputFormat,
}

pub fn run(args: Args, globals: &Globals) -> Exit {
    logging::start(globals, "warn", false);
    let ready = match load::ready(&args.run.join("experiment.yaml"), &args.overrides, OutputFormat::Text) {
        Ok(ready) => ready,
        Err(exit) => return exit,
    };
    let (result, folder) = match run::run_one(&ready, &args.reports, globals) {
        Ok(done) => done,
        Err(reason) => return complain(Exit::CannotRun, reason),
    };
    match compare::compare(&args.run, &folder, args.format) {
        Ok(_) => Exit::from_code(result.exit_code),
        Err(reason) => complain(Exit::CannotRun, reason),
    }
}

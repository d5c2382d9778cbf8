//! `chaos replay`: a run once more, and what was otherwise.

use std::path::PathBuf;

use super::load;
use super::{Globals, OutputFormat, compare, complain, logging, run};
use crate::exit::Exit;
use crate::experiment::file::Overrides;
use crate::history;

/// Run the same plan with the same seed again, against the same or another target, and compare.
#[derive(clap::Args)]
#[command(after_help = "Example: chaos replay reports/20261123T120000Z-gpu-oom-1a2b3c --url http://localhost:5000")]
pub struct Args {
    /// The run: its folder, or the beginning of its id.
    run: String,
    #[command(flatten)]
    overrides: Overrides,
    /// Where runs are, and the new run's folder is made.
    #[arg(long, default_value = "reports")]
    reports: PathBuf,
    /// What is printed at the end.
    #[arg(long, value_enum, default_value = "text")]
    format: OutputFormat,
}

pub fn run(args: Args, globals: &Globals) -> Exit {
    logging::start(globals, "warn", false);
    let old = match history::folder(&args.run, &args.reports) {
        Ok(old) => old,
        Err(reason) => return complain(Exit::Usage, reason),
    };
    let ready = match load::ready(&old.join("experiment.yaml"), &args.overrides, OutputFormat::Text) {
        Ok(ready) => ready,
        Err(exit) => return exit,
    };
    let (result, folder) = match run::run_one(&ready, &args.reports, globals) {
        Ok(done) => done,
        Err(reason) => return complain(Exit::CannotRun, reason),
    };
    match compare::compare(&old, &folder, args.format) {
        Ok(_) => Exit::from_code(result.exit_code),
        Err(reason) => complain(Exit::CannotRun, reason),
    }
}

//! `chaos revert`: put back what a run left broken, from its journal.

use std::path::PathBuf;

use super::{Globals, complain, logging, print, tokio_runtime};
use crate::exit::Exit;
use crate::run::leftover::Leftover;
use crate::run::{claims, takeover};
use crate::{secret, state};

/// Put back what a run left broken. Safe to call again.
#[derive(clap::Args)]
#[command(
    after_help = "Example: chaos revert reports/20261123T120000Z-gpu-oom-1a2b3c\n         chaos revert            (every run of this machine that left something broken)"
)]
pub struct Args {
    /// The run's folder; without it, every run that is over and left something broken.
    run: Option<PathBuf>,
    /// Nothing of this run is left broken: you have looked, and it need not be put back any more.
    #[arg(long, requires = "run")]
    forget: bool,
}

pub fn run(args: Args, globals: &Globals) -> Exit {
    logging::start(globals, "warn", false);
    let state = match state::folder() {
        Ok(state) => state,
        Err(reason) => return complain(Exit::CannotRun, reason),
    };
    let runs = args.run.as_ref().map_or_else(|| claims::unfinished(&state), |run| vec![Leftover::of(run, &state)]);
    let damaged = if args.run.is_none() { claims::damaged(&state) } else { Vec::new() };
    if runs.is_empty() && damaged.is_empty() {
        return print("nothing is left to put back\n");
    }
    let runtime = match tokio_runtime() {
        Ok(runtime) => runtime,
        Err(reason) => return complain(Exit::CannotRun, reason),
    };
    let mut worst = Exit::Passed;
    for why in damaged {
        worst = complain(Exit::Stuck, why);
    }
    for run in runs {
        if run.is_unknown() {
            worst =
                complain(Exit::Usage, format!("{} is no folder of a run, and none of this name is known", run.folder.display()));
            continue;
        }
        secret::learn_from(&run.folder);
        let put_back = takeover::put_back(&run, "`chaos revert` puts back what the run left broken", takeover::A_MOMENT);
        let done = if args.forget { runtime.block_on(takeover::forget(&run)) } else { runtime.block_on(put_back) };
        match done {
            Ok(done) => drop(print(&format!("{}: {done}\n", run.folder.display()))),
            Err(stuck) => worst = complain(Exit::Stuck, format!("{}: {stuck}", run.folder.display())),
        }
    }
    worst
}

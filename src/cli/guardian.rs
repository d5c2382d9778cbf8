//! `chaos guardian`: watches over a run; `chaos run` starts it.

use std::path::PathBuf;

use super::{complain, print};
use crate::exit::Exit;
use crate::run::guardian;
use crate::secret;

#[derive(clap::Args)]
pub struct Args {
    /// The run's folder.
    run: PathBuf,
    /// The copy of what puts things back, in the state folder.
    copy: Option<PathBuf>,
}

pub fn run(args: &Args) -> Exit {
    secret::learn_from(&args.run);
    match guardian::watch(&args.run, args.copy.clone()) {
        Ok(done) if done.is_empty() => Exit::Passed,
        Ok(done) => print(&format!("{done}\n")),
        Err(stuck) => complain(Exit::Stuck, stuck),
    }
}

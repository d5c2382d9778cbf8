//! `chaos guardian`: watches over a run; `chaos run` starts it.

use std::path::PathBuf;

use super::{complain, print};
use crate::exit::Exit;
use crate::run::guardian;

#[derive(clap::Args)]
pub struct Args {
    /// The run's folder.
    run: PathBuf,
}

pub fn run(args: &Args) -> Exit {
    match guardian::watch(&args.run) {
        Ok(done) if done.is_empty() => Exit::Passed,
        Ok(done) => print(&format!("{done}\n")),
        Err(stuck) => complain(Exit::Stuck, stuck),
    }
}

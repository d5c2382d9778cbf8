//! `chaos hold`: the small process between a run and its target. For `chaos` itself.

use super::complain;
use crate::exit::Exit;
use crate::runtime::hold;

/// Run a command that never outlives whoever holds the other end of standard input, which must be a socket.
#[derive(clap::Args)]
pub struct Args {
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

pub fn run(args: Args) -> Exit {
    match hold::run(&args.command) {
        Ok(()) => Exit::Passed,
        Err(error) => complain(Exit::CannotRun, format!("{}: {error}", args.command.join(" "))),
    }
}

//! `chaos completions`: for shells.

use clap::CommandFactory;

use super::{Cli, print};
use crate::exit::Exit;

/// Print the completions for a shell.
#[derive(clap::Args)]
#[command(after_help = "Example: chaos completions bash > /etc/bash_completion.d/chaos")]
pub struct Args {
    shell: clap_complete::Shell,
}

pub fn run(args: Args) -> Exit {
    let mut out = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "chaos", &mut out);
    print(&String::from_utf8_lossy(&out))
}

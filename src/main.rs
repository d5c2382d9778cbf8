//! Arguments, logging, exit code; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    chaos::cli::main().into()
}

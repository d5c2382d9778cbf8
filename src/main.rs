//! Arguments, logging, exit code; nothing else.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let _armed = chaos::crash::arm();
    chaos::cli::main().into()
}

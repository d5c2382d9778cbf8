//! The program's own log, through `tracing`, with secrets masked.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::{Globals, LogFormat};
use crate::secret;

/// Starts the log on standard error (or standard output for the backend, whose log is what it prints).
pub fn start(globals: &Globals, default: &str, to_stdout: bool) {
    let level = match globals.verbose {
        0 | 1 => default,
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Masked { to_stdout }).with_ansi(false);
    // A second start in one process (tests) keeps the first.
    let _ = match globals.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}

#[derive(Clone, Copy)]
struct Masked {
    to_stdout: bool,
}

impl<'a> MakeWriter<'a> for Masked {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        *self
    }
}

impl Write for Masked {
    /// The formatter hands over whole lines, so a secret is never cut in two.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let masked = secret::masked(&String::from_utf8_lossy(bytes));
        if self.to_stdout {
            io::stdout().write_all(masked.as_bytes())?;
        } else {
            io::stderr().write_all(masked.as_bytes())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

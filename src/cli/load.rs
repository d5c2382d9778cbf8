//! What `run`, `validate` and `plan` share: the file, what the command line changes about it, and its plan.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use super::{OutputFormat, say};
use crate::exit::Exit;
use crate::experiment::diagnostic::Diagnostics;
use crate::experiment::file::{self, Loaded, Overrides};
use crate::plan::Plan;
use crate::plan::build;
use crate::seed::Seed;
use crate::text::count;

/// A file with its plan.
pub struct Ready {
    pub loaded: Loaded,
    pub plan: Plan,
    /// The folder of the file: paths in it are relative to this.
    pub beside: PathBuf,
    /// What the command line changed, as it was typed.
    pub overrides: Vec<String>,
}

/// Reads and plans. Whatever is wrong is printed, all at once.
pub fn ready(file: &Path, overrides: &Overrides, format: OutputFormat) -> Result<Ready, Exit> {
    read(file, overrides).map_err(|diags| show(&diags, format))
}

/// As [`ready`], and what is wrong comes back.
pub fn read(file: &Path, overrides: &Overrides) -> Result<Ready, Diagnostics> {
    let environment = |name: &str| std::env::var(name).ok();
    let mut loaded = file::load(file, overrides, &environment)?;
    let seed = loaded.experiment.seed.map_or_else(Seed::from_entropy, Seed);
    let beside = file.parent().map_or_else(|| Path::new(".").to_owned(), Path::to_owned);
    match build::build(&mut loaded, seed, &beside) {
        Some(plan) => Ok(Ready { loaded, plan, beside, overrides: overrides.spelled_out() }),
        None => Err(loaded.diags),
    }
}

/// Prints what is wrong.
pub fn show(diags: &Diagnostics, format: OutputFormat) -> Exit {
    match format {
        OutputFormat::Text => {
            let told = diags.render(std::io::stderr().is_terminal());
            say(format_args!("{told}\n\n{} found", count(diags.found.len(), "problem")));
        }
        OutputFormat::Json => {
            super::print(&(serde_json::json!({ "valid": false, "errors": diags.located() }).to_string() + "\n"));
        }
    }
    Exit::Usage
}

//! `chaos run` with several files: one after another, and a report over all of them.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use super::load::Ready;
use super::run::run_one;
use super::{Globals, OutputFormat, complain, print};
use crate::exit::Exit;
use crate::report::suite::{self, SuiteResult};
use crate::report::terminal;
use crate::run::folder::Folder;

/// Runs all, unless one is interrupted or leaves something broken: the next must not begin on that.
pub fn run(ready: &[Ready], files: &[PathBuf], reports: &Path, format: OutputFormat, globals: &Globals) -> Exit {
    let folder = match Folder::create(reports, "suite", jiff::Timestamp::now()) {
        Ok(folder) => folder,
        Err(reason) => return complain(Exit::CannotRun, reason),
    };
    folder.release_reserve();
    let mut runs = Vec::new();
    for one in ready {
        let (result, at) = match run_one(one, &folder.path, globals) {
            Ok(done) => done,
            Err(reason) => return complain(Exit::CannotRun, format!("{}: {reason}", one.plan.name)),
        };
        if format == OutputFormat::Text {
            print(&terminal::summary(&result, &at, std::io::stdout().is_terminal()));
        }
        let stops = [Exit::Stuck, Exit::Interrupted].map(Exit::code).contains(&result.exit_code);
        runs.push(result);
        if stops {
            break;
        }
    }
    let left_out = files[runs.len()..].iter().map(|file| file.display().to_string()).collect();
    let result = SuiteResult::of(&folder.run_id, runs, left_out);
    match write(&result, &folder.path, format) {
        Exit::Passed => Exit::from_code(result.exit_code),
        exit => exit,
    }
}

/// Writes a suite's reports and prints how it came out.
pub fn write(result: &SuiteResult, folder: &Path, format: OutputFormat) -> Exit {
    if let Err(reason) = suite::write_all(result, folder) {
        return complain(Exit::CannotRun, reason);
    }
    print(&match format {
        OutputFormat::Text => suite::summary(result, folder),
        OutputFormat::Json => serde_json::to_string(result).unwrap_or_default() + "\n",
    })
}

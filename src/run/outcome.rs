//! How a run came out, and the exit code that says so.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::{Ruling, Verdict};
use crate::exit::Exit;
use crate::journal::record::Record;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Passed,
    Failed,
    /// A guard stopped it.
    Aborted,
    /// It could not be run, or something could not be put back.
    Error,
    Interrupted,
    Inconclusive,
}

/// The outcome of a finished run. What is still broken outranks everything; then what ended the run; then the checks, of
/// which failed outranks inconclusive outranks passed.
pub fn of(record: &Record, verdicts: &[(String, String, Verdict)]) -> (Outcome, Exit) {
    let worst = verdicts.iter().map(|(.., v)| v.ruling).max();
    if record.faults.iter().any(|f| f.is_open() && f.stuck.is_some()) {
        return (Outcome::Error, Exit::Stuck);
    }
    if record.interrupted.is_some() {
        return (Outcome::Interrupted, Exit::Interrupted);
    }
    if record.guard.is_some() {
        return (Outcome::Aborted, Exit::Guard);
    }
    if record.broken.is_some() || !record.ended {
        return (Outcome::Error, Exit::CannotRun);
    }
    match worst {
        Some(Ruling::Failed) => (Outcome::Failed, Exit::Failed),
        Some(Ruling::Passed) => (Outcome::Passed, Exit::Passed),
        // No check at all proves nothing either.
        Some(Ruling::Inconclusive | Ruling::Pending) | None => (Outcome::Inconclusive, Exit::Inconclusive),
    }
}

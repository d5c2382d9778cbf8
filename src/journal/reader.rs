//! Reads a journal back into a record. A line that cannot be read is left out and told; the rest stands.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use thiserror::Error;

use super::event::{Event, Line};
use super::record::Record;
use super::{FILE, SCHEMA};
use crate::experiment::decode;

#[derive(Debug, Error)]
pub enum ReadError {
    #[error("{path} cannot be read: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path} is no journal of a run: its first line does not start one")]
    NotAJournal { path: PathBuf },
    #[error("{path} has format {found}; this chaos knows up to {SCHEMA}: use a newer one")]
    TooNew { path: PathBuf, found: u64 },
    #[error("{path}, line {line}: the plan of the run cannot be read: {reason}")]
    Plan { path: PathBuf, line: usize, reason: String },
}

/// A moment that is further from the start than this is damage: ten years.
const LATEST_S: f64 = 10.0 * 365.0 * 86_400.0;

/// Reads a run's folder (or the journal itself). A last line that was cut off by a crash is left out; any other line that
/// cannot be read is counted in the record's `damage`.
///
/// # Errors
/// When there is no journal, it is newer than this program, or the plan in its first line cannot be read.
pub fn read(run: &Path) -> Result<Record, ReadError> {
    let path = if run.is_dir() { run.join(FILE) } else { run.to_owned() };
    let io = |source| ReadError::Io { path: path.clone(), source };
    let mut record = Record::default();
    let mut lines = Lines(BufReader::new(File::open(&path).map_err(io)?));
    for number in 1.. {
        let Some((bytes, whole)) = lines.read().map_err(io)? else { break };
        match parse(&bytes) {
            Ok(line) => line.iter().for_each(|line| record.apply(line)),
            Err(reason) if record.plan.is_none() => return Err(no_plan(&path, number, &bytes, reason)),
            // Cut off by a crash: what it tells of had not been done yet.
            Err(_) if !whole => {}
            Err(reason) => record.damage.add(format!("line {number} cannot be read: {reason}")),
        }
        if record.plan.is_none() {
            return Err(ReadError::NotAJournal { path });
        }
    }
    if record.plan.is_none() {
        return Err(ReadError::NotAJournal { path });
    }
    Ok(record)
}

/// The lines of a journal, each with whether it ends as a line does.
pub struct Lines<R>(pub R);

impl<R: BufRead> Lines<R> {
    /// # Errors
    /// When it cannot be read any further.
    pub fn read(&mut self) -> std::io::Result<Option<(Vec<u8>, bool)>> {
        let mut bytes = Vec::new();
        self.0.read_until(b'\n', &mut bytes)?;
        let whole = bytes.pop_if(|byte| *byte == b'\n').is_some();
        Ok((whole || !bytes.is_empty()).then_some((bytes, whole)))
    }
}

/// What is wrong with a first line that cannot be read.
fn no_plan(path: &Path, line: usize, bytes: &[u8], reason: String) -> ReadError {
    let path = path.to_owned();
    let any: Json = serde_json::from_slice(bytes).unwrap_or_default();
    let started = &any["event"]["run_started"];
    match started["schema"].as_u64() {
        Some(found) if found > u64::from(SCHEMA) => ReadError::TooNew { path, found },
        _ if started.is_object() => ReadError::Plan { path, line, reason },
        _ => ReadError::NotAJournal { path },
    }
}

/// `None` for an empty line and for a kind of event that a later version of the same format added.
fn parse(bytes: &[u8]) -> Result<Option<Line>, String> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let line = match decode::in_time_scale(time_scale(bytes), || serde_json::from_slice::<Line>(bytes)) {
        Ok(line) => line,
        Err(error) => return if is_unknown(bytes) { Ok(None) } else { Err(error.to_string()) },
    };
    match &line.event {
        Event::RunStarted { schema, .. } if *schema > SCHEMA => Err("it has a later format".to_owned()),
        Event::RunStarted { plan, .. } if !is_scale(plan.time_scale) => {
            Err(format!("its `time_scale` is {}: expected a number above 0", plan.time_scale))
        }
        _ if !(0.0..=LATEST_S).contains(&line.t) => Err(format!("{} s is no moment of a run", line.t)),
        _ => Ok(Some(line)),
    }
}

/// What every time of the file was multiplied with: settings that an older version did not have take their defaults in it.
fn time_scale(bytes: &[u8]) -> f64 {
    if !bytes.windows(13).take(200).any(|w| w == b"\"run_started\"") {
        return 1.0;
    }
    let any: Json = serde_json::from_slice(bytes).unwrap_or_default();
    any["event"]["run_started"]["plan"]["time_scale"].as_f64().filter(|scale| is_scale(*scale)).unwrap_or(1.0)
}

/// Times are multiplied with it, and divided by it.
fn is_scale(scale: f64) -> bool {
    scale.is_finite() && scale > 0.0
}

/// A well-formed event of a kind that this version has no name for.
fn is_unknown(bytes: &[u8]) -> bool {
    let Ok(line) = serde_json::from_slice::<Json>(bytes) else { return false };
    let kind = match &line["event"] {
        Json::Object(map) if map.len() == 1 => map.keys().next().cloned(),
        Json::String(word) => Some(word.clone()),
        _ => None,
    };
    let unit = kind.map(|kind| serde_json::json!({ kind: {} }));
    // Whatever its content: only its name counts.
    line["t"].is_number()
        && unit.is_some_and(|unit| match serde_json::from_value::<Event>(unit) {
            Err(error) => error.to_string().starts_with("unknown variant"),
            Ok(_) => false,
        })
}

//! Reads a journal back into a record.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use super::event::{Event, Line};
use super::record::Record;
use super::{FILE, SCHEMA};

#[derive(Debug, Error)]
pub enum ReadError {
    #[error("{path} cannot be read: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path} is no journal of a run: its first line does not start one")]
    NotAJournal { path: PathBuf },
    #[error("{path} has format {found}; this chaos knows up to {SCHEMA}: use a newer one")]
    TooNew { path: PathBuf, found: u32 },
    #[error("{path}, line {line}: {reason}")]
    Line { path: PathBuf, line: usize, reason: String },
}

#[derive(Deserialize)]
struct AnyLine {
    t: f64,
    event: serde_json::Value,
}

/// Reads a run's folder (or the journal itself). A last line that was cut off by a crash is left out.
///
/// # Errors
/// When there is no journal, it is newer than this program, or a line in its middle is damaged.
pub fn read(run: &Path) -> Result<Record, ReadError> {
    let path = if run.is_dir() { run.join(FILE) } else { run.to_owned() };
    let io = |source| ReadError::Io { path: path.clone(), source };
    let mut record = Record::default();
    let mut lines = BufReader::new(File::open(&path).map_err(io)?).split(b'\n').enumerate().peekable();
    while let Some((index, bytes)) = lines.next() {
        let bytes = bytes.map_err(io)?;
        let last = lines.peek().is_none();
        match parse(&bytes) {
            Ok(Some(line)) => {
                check_first(&path, index, &line)?;
                record.apply(&line);
            }
            Ok(None) => {}
            Err(_) if last => {}
            Err(reason) => return Err(ReadError::Line { path, line: index + 1, reason }),
        }
    }
    if record.plan.is_none() {
        return Err(ReadError::NotAJournal { path });
    }
    Ok(record)
}

fn check_first(path: &Path, index: usize, line: &Line) -> Result<(), ReadError> {
    match &line.event {
        Event::RunStarted { schema, .. } if *schema > SCHEMA => Err(ReadError::TooNew { path: path.to_owned(), found: *schema }),
        Event::RunStarted { .. } => Ok(()),
        _ if index == 0 => Err(ReadError::NotAJournal { path: path.to_owned() }),
        _ => Ok(()),
    }
}

/// `None` for an empty line and for a kind of event that a later version of the same format added.
fn parse(bytes: &[u8]) -> Result<Option<Line>, String> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let any: AnyLine = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    match serde_json::from_value::<Event>(any.event) {
        Ok(event) => Ok(Some(Line { t: any.t, event })),
        Err(error) if error.to_string().starts_with("unknown variant") => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

//! Reports: each format is one file here, made from the same result and record.
//!
//! To add a format: one file beside this one, and one line in `FORMATS`.

pub mod advice;
pub mod analysis;
pub mod comparison;
pub mod facts;
pub mod findings;
pub mod histograms;
pub mod html;
pub mod junit;
pub mod markdown;
pub mod result;
pub mod series;
mod strips;
pub mod suite;
mod suite_sections;
pub mod terminal;

use std::fs;
use std::path::Path;

use crate::journal::record::Record;
use crate::private;
use result::RunResult;

/// What a format is made from.
pub struct Material<'a> {
    pub record: &'a Record,
    pub result: &'a RunResult,
}

/// A file's name, and how its content is made.
type Format = (&'static str, fn(&Material<'_>) -> Result<String, String>);

const FORMATS: &[Format] = &[
    ("result.json", result::render),
    ("report.md", markdown::render),
    ("report.html", html::render),
    ("junit.xml", junit::render),
    ("series.csv", series::render),
    ("histograms.json", histograms::render),
];

/// Writes every report into the run's folder. Each is made from the record alone, so that it can be made again.
///
/// # Errors
/// When one cannot be made or written; the others are written all the same.
pub fn write_all(record: &Record, folder: &Path) -> Result<RunResult, String> {
    let result = result::of(record);
    let material = Material { record, result: &result };
    let failures: Vec<String> =
        FORMATS.iter().filter_map(|(name, render)| write_one(folder, name, rendered(*render, &material)).err()).collect();
    if failures.is_empty() { Ok(result) } else { Err(failures.join("; ")) }
}

/// A format whose code panics costs none of the others.
fn rendered(render: fn(&Material<'_>) -> Result<String, String>, material: &Material<'_>) -> Result<String, String> {
    let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| render(material)));
    made.unwrap_or_else(|_| {
        Err("it could not be made, which is a mistake in chaos: please report it with events.jsonl".to_owned())
    })
}

fn write_one(folder: &Path, name: &str, content: Result<String, String>) -> Result<(), String> {
    let path = folder.join(name);
    let content = content.map_err(|e| format!("{name}: {e}"))?;
    // Whoever waits for a report finds all of it or none.
    let part = folder.join(format!(".{name}.{}", std::process::id()));
    private::write(&part, content).and_then(|()| fs::rename(&part, &path)).map_err(|e| {
        // What could not be written in full is of no use to anybody; that it cannot be removed either changes nothing.
        let _ = fs::remove_file(&part);
        format!("cannot write {}: {e}", path.display())
    })
}

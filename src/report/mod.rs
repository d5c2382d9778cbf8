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
use std::io::{self, Write};
use std::path::Path;

use crate::journal::record::Record;
use crate::private;
use result::RunResult;

/// What a format is made from.
pub struct Material<'a> {
    pub record: &'a Record,
    pub result: &'a RunResult,
}

/// How a report's content is made.
enum Format {
    Whole(fn(&Material<'_>) -> Result<String, String>),
    /// What is as long as the run is written piece by piece.
    Pieces(fn(&Material<'_>, &mut dyn Write) -> io::Result<()>),
}

use Format::{Pieces, Whole};

const FORMATS: &[(&str, Format)] = &[
    ("result.json", Whole(result::render)),
    ("report.md", Whole(markdown::render)),
    ("report.html", Whole(html::render)),
    ("junit.xml", Whole(junit::render)),
    ("series.csv", Pieces(series::render)),
    ("histograms.json", Whole(histograms::render)),
];

/// Writes every report into the run's folder. Each is made from the record alone, so that it can be made again.
///
/// # Errors
/// When one cannot be made or written; the others are written all the same.
pub fn write_all(record: &Record, folder: &Path) -> Result<RunResult, String> {
    let result = result::of(record);
    let material = Material { record, result: &result };
    let failures: Vec<String> =
        FORMATS.iter().filter_map(|(name, format)| write_one(folder, name, format, &material).err()).collect();
    if failures.is_empty() { Ok(result) } else { Err(failures.join("; ")) }
}

fn write_one(folder: &Path, name: &str, format: &Format, material: &Material<'_>) -> Result<(), String> {
    let path = folder.join(name);
    // Whoever waits for a report finds all of it or none.
    let part = folder.join(format!(".{name}.{}", std::process::id()));
    let failed = |e: io::Error| format!("cannot write {}: {e}", path.display());
    let made = || match format {
        Whole(render) => {
            let content = render(material).map_err(|e| format!("{name}: {e}"))?;
            private::write(&part, content).map_err(failed)
        }
        Pieces(render) => {
            let written = private::stream(&part).and_then(|mut file| render(material, &mut file).and_then(|()| file.flush()));
            written.map_err(failed)
        }
    };
    // A format whose code panics costs none of the others.
    let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(made)).unwrap_or_else(|_| {
        Err(format!("{name}: it could not be made, which is a mistake in chaos: please report it with events.jsonl"))
    });
    made.and_then(|()| fs::rename(&part, &path).map_err(failed)).inspect_err(|_| {
        // What could not be written in full is of no use to anybody; that it cannot be removed either changes nothing.
        let _ = fs::remove_file(&part);
    })
}

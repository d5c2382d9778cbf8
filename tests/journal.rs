//! The journal: what was written is read back, whatever cut it off, and what cannot be read is said.

mod common;

use std::path::PathBuf;

use chaos::journal::reader::{self, ReadError};
use chaos::journal::record::Record;
use common::script::Script;

fn script() -> Script {
    let mut script = Script::new("all_jobs_complete: {}");
    for i in 0..3 {
        script.completed(f64::from(i) + 0.1, 0.333_333_333);
    }
    script.fault().end(31.0);
    script
}

fn text(script: &Script) -> String {
    script.lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect()
}

/// A folder with a journal of this content.
fn folder(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("events.jsonl"), content).unwrap();
    let path = folder.path().to_owned();
    (folder, path)
}

fn read(content: &[u8]) -> Result<Record, ReadError> {
    let (_keep, path) = folder(content);
    reader::read(&path)
}

#[test]
fn what_was_written_is_read_back_exactly() {
    let script = script();
    let record = read(text(&script).as_bytes()).unwrap();
    let figures = |r: &Record| serde_json::to_string(&chaos::report::result::of(r)).unwrap();
    assert_eq!(figures(&record), figures(&script.record));
}

#[test]
fn a_journal_cut_off_anywhere_can_be_read_and_is_no_pass() {
    let whole = text(&script());
    let first_line = whole.find('\n').unwrap() + 1;
    let before_the_end = whole.trim_end().rfind('\n').unwrap();
    for cut in (first_line..before_the_end).step_by(37) {
        let record = read(&whole.as_bytes()[..cut]).unwrap_or_else(|e| panic!("cut at {cut}: {e}"));
        assert_ne!(chaos::report::result::of(&record).exit_code, 0, "cut at {cut}");
    }
}

#[test]
fn a_damaged_line_in_the_middle_is_named() {
    let mut lines: Vec<String> = text(&script()).lines().map(str::to_owned).collect();
    lines[4] = "{\"t\":1.0,\"event\":{\"answered\":{}}}".into();
    let error = read(lines.join("\n").as_bytes()).unwrap_err().to_string();
    assert!(error.contains("line 5") && error.contains("missing field"), "{error}");
}

#[test]
fn events_of_a_later_version_are_left_out_and_a_later_format_is_refused() {
    let whole = text(&script());
    let more = whole.clone() + "{\"t\":32.0,\"event\":{\"teleported\":{\"to\":\"mars\"}}}\n";
    assert_eq!(read(more.as_bytes()).unwrap().jobs.len(), 3);
    let newer = whole.replacen("\"schema\":1", "\"schema\":99", 1);
    let error = read(newer.as_bytes()).unwrap_err();
    assert!(matches!(error, ReadError::TooNew { found: 99, .. }), "{error}");
}

#[test]
fn what_is_no_journal_is_said_to_be_none() {
    for content in ["", "{}\n", "hello\n", "{\"t\":0,\"event\":{\"run_ended\":{}}}\n"] {
        assert!(read(content.as_bytes()).is_err(), "{content:?}");
    }
    let output = common::chaos().args(["report", "/no/such/run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

//! The journal: what was written is read back, whatever cut it off, and what cannot be read is said.

use std::path::PathBuf;

use crate::common::script::Script;
use chaos::check::Ruling;
use chaos::journal::event::{Event, Line};
use chaos::journal::reader::{self, ReadError};
use chaos::journal::record::Record;
use chaos::journal::undo;
use proptest::prelude::*;

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
fn a_damaged_line_in_the_middle_is_told_and_nothing_is_certain_any_more() {
    let mut lines: Vec<String> = text(&script()).lines().map(str::to_owned).collect();
    lines[4] = "{\"t\":1.0,\"event\":{\"answered\":{}}}".into();
    let record = read((lines.join("\n") + "\n").as_bytes()).unwrap();
    let told = record.damage.to_string();
    assert!(told.contains("line 5") && told.contains("missing field"), "{told}");
    let result = chaos::report::result::of(&record);
    assert!(result.checks.iter().all(|c| c.verdict == Ruling::Inconclusive), "{:#?}", result.checks);
    assert!(result.findings[0].contains("line 5"), "{:?}", result.findings);
}

#[test]
fn events_of_a_later_version_are_left_out_and_a_later_format_is_refused() {
    let whole = text(&script());
    for later in ["{\"teleported\":{\"to\":\"mars\"}}", "\"teleported\"", "{\"teleported\":7}"] {
        let more = whole.clone() + &format!("{{\"t\":32.0,\"event\":{later}}}\n");
        let record = read(more.as_bytes()).unwrap();
        assert_eq!((record.jobs.len(), record.damage.lines), (3, 0), "{later}");
    }
    let newer = whole.replacen("\"schema\":1", "\"schema\":99", 1);
    let error = read(newer.as_bytes()).unwrap_err();
    assert!(matches!(error, ReadError::TooNew { found: 99, .. }), "{error}");
}

/// Whatever an older version did not have takes its default, in the time scale of its run.
#[test]
fn settings_that_an_older_version_did_not_have_take_their_defaults() {
    let mut script = Script::from(
        "version: 1\nname: old\ntime_scale: 0.5\ntarget: { url: embedded }\nload: [{ name: users, users: 1 }]\nfaults: [{ flood: { at: 20s, jobs: 1 } }]\nguards: [{ error_rate: { above: 50% } }]\nchecks: [{ health_is_honest: {} }, { queue_drains: {} }]\n",
    );
    script.fault().end(31.0);
    let mut first: serde_json::Value = serde_json::to_value(&script.lines[0]).unwrap();
    let plan = &mut first["event"]["run_started"]["plan"];
    let mut removed = 0;
    for list in ["checks", "faults", "guards"] {
        for item in plan[list].as_array_mut().unwrap() {
            let spec = if list == "guards" { item } else { &mut item["spec"] };
            let settings = spec.as_object_mut().unwrap().values_mut().next().unwrap().as_object_mut().unwrap();
            removed += settings.len();
            settings.retain(|key, _| ["jobs", "above"].contains(&key.as_str()));
            removed -= settings.len();
        }
    }
    assert!(removed >= 6, "{removed}");
    let text: String =
        std::iter::once(first.to_string() + "\n").chain(text(&script).lines().skip(1).map(|l| l.to_owned() + "\n")).collect();
    assert_eq!(read(text.as_bytes()).unwrap().plan(), script.record.plan());
}

/// A journal of a run that broke something and was killed.
fn killed() -> Vec<String> {
    let mut script = Script::new("all_jobs_complete: {}");
    script.completed(1.0, 2.0);
    let undo = serde_json::json!({ "engine": "unix", "items": [{ "id": "0123456789ab" }], "late_s": 2.0 });
    let sum = undo::sum(&undo);
    script.at(20.0, Event::FaultPrepared { fault: "flood".into(), kind: "flood".into(), undo, sum });
    script.at(20.0, Event::FaultInjecting { fault: "flood".into(), planned_t: 20.0 });
    script.at(21.0, Event::Sample { values: [("queue.depth", 3.0)].into() });
    script.completed(22.0, 2.0);
    text(&script).lines().map(str::to_owned).collect()
}

/// The same run, which then put it back and ended.
fn finished() -> Vec<String> {
    let mut lines = killed();
    for event in [Event::FaultReverted { fault: "flood".into(), how: "done".into() }, Event::LoadStopped {}, Event::RunEnded {}] {
        lines.push(serde_json::to_string(&Line { t: 30.0, event }).unwrap());
    }
    lines
}

#[test]
fn what_is_left_is_read_from_its_own_lines() {
    let join = |lines: &[String]| lines.join("\n") + "\n";
    let left = undo::left_in(join(&killed()).as_bytes());
    assert_eq!((left.open.len(), left.open[0].kind.as_str(), left.is_clear()), (1, "flood", false));
    assert!(undo::left_in(join(&finished()).as_bytes()).is_clear());
    let (lines, prepared) = (killed(), killed().iter().position(|l| l.contains("fault_prepared")).unwrap());
    // Every other line gone, damaged, or of another version: the undo is found.
    for at in (0..lines.len()).filter(|at| *at != prepared) {
        for other in [
            "",
            "{\"t\":1,\"event\":{\"answ",
            "{\"t\":1.0,\"event\":{\"sample\":{\"values\":{\"a\":null}}}}",
            "{\"t\":1.0,\"event\":\"later\"}",
            "\u{0}\u{1}",
        ] {
            let mut changed = lines.clone();
            changed[at] = other.to_owned();
            let left = undo::left_in(join(&changed).as_bytes());
            // That the injection began need not be known: nothing says that it did not.
            assert!(!left.is_clear(), "line {at} as {other:?}: {left:?}");
        }
    }
    // The undo itself is damaged: it is not used, and it is not forgotten.
    let mut changed = lines.clone();
    changed[prepared] = changed[prepared].replace("0123456789ab", "0123456789aa");
    let left = undo::left_in(join(&changed).as_bytes());
    assert!(left.open.is_empty() && left.unreadable.unwrap().contains("damaged"));
    changed.remove(prepared);
    assert!(!undo::left_in(join(&changed).as_bytes()).is_clear(), "injected, and what puts it back is gone");
}

/// Each of them is what a loss of power, or of a part of the file, leaves.
#[test]
fn what_was_prepared_is_looked_at_unless_something_proves_that_it_was_not_used() {
    let (killed, finished) = (killed(), finished());
    let at = |lines: &[String], what: &str| lines.iter().position(|line| line.contains(what)).unwrap();
    let upto = |lines: &[String], what: &str| lines[..=at(lines, what)].join("\n");
    let left = |text: &str| undo::left_in(text.as_bytes());
    let prepared = upto(&killed, "fault_prepared");
    let injecting = &killed[at(&killed, "fault_injecting")];
    for text in [
        format!("{prepared}\n"),
        prepared.clone(),
        format!("{prepared}\n{}", "\0".repeat(4096)),
        format!("{prepared}\n{injecting}"),
        format!("{prepared}\n{}", &injecting[..injecting.len() / 2]),
        format!("{prepared}\n{}\n", &injecting[..injecting.len() / 2]),
    ] {
        assert_eq!(left(&text).open.len(), 1, "{text}");
    }
    // It ended, but it could not put it back, or one of its lines cannot be read.
    let told = |what: &str| format!("{{\"t\":9.0,\"event\":{{\"{what}\":{{\"fault\":\"flood\",\"error\":\"x\"}}}}}}");
    let ended = "{\"t\":9.5,\"event\":{\"run_ended\":{}}}";
    for between in [told("fault_stuck"), told("fault_reverting"), "{\"t\":1.0,\"ev".to_owned()] {
        assert_eq!(left(&format!("{prepared}\n{between}\n{ended}\n")).open.len(), 1, "{between}");
    }
    // It was not used: its own line says so, or the run came to its end.
    for proof in [told("fault_skipped"), ended.to_owned()] {
        assert!(left(&format!("{prepared}\n{proof}\n")).open.is_empty(), "{proof}");
    }
    assert!(left(&(finished.join("\n") + "\n")).is_clear());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Cut, flipped, doubled, reordered, with lines of other versions: never a panic, never a pass, never "nothing is left".
    #[test]
    fn no_damage_hides_an_undo_or_makes_a_pass(seed in any::<u64>(), damages in 1usize..6, done in any::<bool>()) {
        let mut lines: Vec<Vec<u8>> = if done { finished() } else { killed() }.into_iter().map(String::into_bytes).collect();
        let whole: Vec<Vec<u8>> = lines.clone();
        let mut state = seed | 1;
        let mut draw = |below: usize| { state ^= state << 13; state ^= state >> 7; state ^= state << 17; (state >> 16) as usize % below.max(1) };
        for _ in 0..damages {
            let at = draw(lines.len());
            match draw(6) {
                0 => { let to = draw(lines[at].len()); lines[at].truncate(to); }
                1 if !lines[at].is_empty() => { let byte = draw(lines[at].len()); lines[at][byte] ^= 1 << draw(8); }
                2 => { let line = lines[at].clone(); lines.push(line); }
                3 => { let other = draw(lines.len()); lines.swap(at, other); }
                4 => lines.insert(at, b"{\"t\":3.0,\"event\":{\"of_tomorrow\":{\"x\":[1]}}}".to_vec()),
                _ => { lines.remove(at); }
            }
            if lines.is_empty() { lines.push(Vec::new()); }
        }
        let text = [lines.join(&b'\n'), b"\n".to_vec()].concat();
        if let Ok(record) = read(&text) {
            let result = chaos::report::result::of(&record);
            prop_assert!(result.exit_code != 0, "{:?}", result.checks);
        }
        let left = undo::left_in(&text);
        let has = |what: &str| whole.iter().find(|line| String::from_utf8_lossy(line).contains(what)).is_some_and(|line| lines.contains(line));
        if !done && has("fault_prepared") {
            prop_assert!(!left.is_clear(), "{left:?}");
        }
    }
}

#[test]
fn what_is_no_journal_is_said_to_be_none() {
    for content in ["", "{}\n", "hello\n", "{\"t\":0,\"event\":{\"run_ended\":{}}}\n"] {
        assert!(read(content.as_bytes()).is_err(), "{content:?}");
    }
    let output = crate::common::chaos().args(["report", "/no/such/run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

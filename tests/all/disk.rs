//! The disk fails: it is full, broken, or takes a half of a line. At whatever place and moment that is, nothing is left broken, and
//! it is said.

use std::process::Output;

use crate::common::machine::{Machine, cut_power, guardian_of, journal, said};
use crate::common::only_folder;

/// No space left, an input/output error, and half of the bytes.
const HOW: [&str; 3] = ["28", "5", "half"];

/// Its experiment, with a disk that fails at these points.
fn run(machine: &Machine, points: &str) -> Output {
    let mut run = machine.chaos();
    run.args(["run", "--reports"]).arg(machine.reports()).arg(machine.file()).env("FAILPOINTS", points);
    run.output().unwrap()
}

/// Everything is as before, whoever put it back, and the next run may begin.
fn is_in_order(machine: &Machine, case: &str) {
    machine.wait_for_the_end();
    assert!(!machine.marker().exists(), "{case}: {}", journal(&only_folder(&machine.reports())));
    let reverted = machine.revert(None);
    assert!(reverted.status.success(), "{case}: {}", said(&reverted));
    assert!(!machine.marker().exists(), "{case}");
    let again = machine.run_afresh();
    assert_eq!(again.status.code(), Some(0), "{case}: {}", said(&again));
}

/// The disk fails for good after so many writes of the run: before, while and after something is broken.
#[test]
fn a_disk_that_fails_for_good_ends_the_run_and_leaves_nothing_broken() {
    for how in HOW {
        for (place, after) in [
            ("journal", 0),
            ("journal", 12),
            ("journal", 22),
            ("journal", 45),
            ("copy", 0),
            ("copy", 1),
            ("copy", 2),
            ("copy", 3),
            ("claim", 0),
        ] {
            let (machine, case) = (Machine::on_a_port("500ms"), format!("{place} {how} after {after}"));
            let done = run(&machine, &format!("{place}={after}*off->return({how})"));
            let told = said(&done);
            // On a slow machine it may be over, whole, before it has written so much.
            let is_whole = || place == "journal" && journal(&only_folder(&machine.reports())).contains("\"run_ended\"");
            let is_told =
                told.contains("No space left") || told.contains("no storage space") || told.contains("Input/output error");
            match done.status.code() {
                Some(0) => assert!(is_whole(), "{case}: {told}"),
                code => assert!(matches!(code, Some(1..=6)) && is_told, "{case}: {code:?} {told}"),
            }
            is_in_order(&machine, &case);
        }
    }
}

/// One line is lost, by half or whole, and then there is room again: what follows can be read.
#[test]
fn one_line_that_was_not_written_takes_no_other_with_it() {
    for how in HOW {
        let (machine, case) = (Machine::on_a_port("500ms"), format!("one line {how}"));
        let done = run(&machine, &format!("journal=15*off->1*return({how})->off"));
        assert!(matches!(done.status.code(), Some(1..=6)), "{case}: {}", said(&done));
        let text = journal(&only_folder(&machine.reports()));
        let unreadable = text.lines().filter(|line| !line.is_empty() && serde_json::from_str::<serde_json::Value>(line).is_err());
        let unreadable: Vec<&str> = unreadable.collect();
        assert_eq!(unreadable.len(), usize::from(how == "half"), "{case}: {text}");
        assert!(unreadable.iter().all(|line| line.matches("{\"t\":").count() == 1), "{case}: {unreadable:?}");
        assert!(text.contains("run_ended"), "{case}: {text}");
        is_in_order(&machine, &case);
    }
}

/// The run was killed, and whoever puts things back for it can write nothing down.
#[test]
fn what_cannot_be_written_down_is_put_back_all_the_same() {
    for how in HOW {
        let machine = Machine::new();
        let (child, folder, guardian) = machine.broken();
        cut_power(child, guardian);
        assert!(machine.marker().exists(), "it is broken");
        assert_eq!(guardian_of(&journal(&folder)), guardian);
        let points = format!("journal=return({how});copy=return({how});file=return({how})");
        let reverted = machine.chaos().arg("revert").env("FAILPOINTS", points).output().unwrap();
        assert!(!machine.marker().exists(), "{how}: {}", said(&reverted));
        // It could not say so: it is looked at once more.
        let again = machine.revert(None);
        assert!(again.status.success(), "{how}: {}", said(&again));
        assert!(said(&machine.revert(None)).contains("nothing is left to put back"), "{how}");
    }
}

/// A report that cannot be written changes no outcome, and is made again from the journal.
#[test]
fn a_report_that_cannot_be_written_is_said_and_made_later() {
    for how in HOW {
        let machine = Machine::on_a_port("500ms");
        let done = run(&machine, &format!("file=4*off->return({how})"));
        let told = said(&done);
        assert_eq!(done.status.code(), Some(0), "{how}: {told}");
        assert!(told.contains("cannot write"), "{how}: {told}");
        let folder = only_folder(&machine.reports());
        let made = machine.chaos().arg("report").arg(&folder).output().unwrap();
        assert!(made.status.success() && folder.join("report.html").exists(), "{how}: {}", said(&made));
        is_in_order(&machine, how);
    }
}

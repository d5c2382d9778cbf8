//! A process of ours dies at each step of the protocol that the model (`tests/all/model.rs`) has: what was broken is put back all the
//! same, by whoever is left.

use std::os::unix::process::ExitStatusExt;
use std::process::Output;

use crate::common::machine::{Machine, journal, said};
use crate::common::only_folder;

/// The steps of a run, in their order.
const RUN: [&str; 5] = ["claimed", "guarded", "prepared", "injecting", "injected"];
/// Those of whoever puts things back: the run itself, its guardian, `chaos revert`.
const UNDO: [&str; 4] = ["begun", "command_ended", "put_back", "written"];

/// A run that dies at this step; its guardian dies there too, if it comes there.
fn dies_at(machine: &Machine, point: &str) {
    let status = machine.run().env("FAILPOINTS", format!("{point}=return")).status().unwrap();
    assert_eq!(status.signal(), Some(9), "{point}: {status}, {}", journal(&only_folder(&machine.reports())));
    machine.wait_for_the_end();
}

/// Everything is put back, by hand where it has not been; then nothing is left, and the next run may begin.
fn is_put_back(machine: &Machine, point: &str, reverted: &Output) {
    let told = said(reverted);
    assert!(reverted.status.success(), "{point}: {told}");
    assert!(!machine.marker().exists(), "{point}: {told}");
    assert!(said(&machine.revert(None)).contains("nothing is left to put back"), "{point}");
    let again = machine.run_afresh();
    assert!(matches!(again.status.code(), Some(0 | 1 | 6)), "{point}: {}", said(&again));
}

#[test]
fn wherever_a_run_dies_everything_is_put_back() {
    for point in RUN.into_iter().chain(UNDO) {
        let machine = Machine::on_a_port("300ms");
        dies_at(&machine, point);
        if UNDO.contains(&point) {
            // The guardian died too: who begins now is refused, and it is put back by hand.
            let refused = machine.run_afresh();
            let is_told = point == "written";
            assert!(is_told || refused.status.code() == Some(4), "{point}: {}", said(&refused));
        } else {
            assert!(!machine.marker().exists(), "{point}: its guardian puts it back");
        }
        let was_broken = machine.marker().exists();
        let reverted = machine.revert(None);
        assert!(!was_broken || said(&reverted).contains("put back: exec"), "{point}: {}", said(&reverted));
        is_put_back(&machine, point, &reverted);
    }
}

#[test]
fn a_revert_that_dies_is_done_again() {
    for point in UNDO {
        let machine = Machine::on_a_port("300ms");
        dies_at(&machine, "begun");
        assert!(machine.marker().exists(), "it is broken");
        let died = machine.chaos().arg("revert").env("FAILPOINTS", format!("{point}=return")).output().unwrap();
        assert_eq!(died.status.signal(), Some(9), "{point}: {}", said(&died));
        let reverted = machine.revert(None);
        is_put_back(&machine, point, &reverted);
    }
}

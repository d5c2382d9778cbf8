//! A command that is still at work when the end comes breaks nothing after its undo.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::machine::{Machine, cut_power, end, journal, said};
use crate::common::{process_exists, processes_with, wait_for};

/// Slow commands: as they come, in a session of their own, deaf to SIGTERM, in the background. However slow the machine is, they
/// are still at work when the end comes; nobody waits for theirs.
const SLOW: [&str; 4] = [
    "sleep 50; touch MARKER",
    "setsid sh -c \"sleep 50; touch MARKER\"; true",
    "trap : TERM; sleep 50; sleep 0.1; touch MARKER",
    "(trap : TERM; sleep 50; sleep 0.1; touch MARKER) & wait; wait",
];

fn machine(command: &str) -> Machine {
    Machine::with(&format!(
        "for: 60s, timeout: 60s, shell: true, command: ['{command}'], revert: ['rm -f MARKER'], proof: ['test -e MARKER']"
    ))
}

/// The processes of the fault that still live.
fn acting(machine: &Machine) -> Vec<u32> {
    // The run itself has the file's name only.
    processes_with(&format!("touch {}", machine.marker().display()))
}

/// Nobody is left who could break it, and it is whole: so it stays.
fn nothing_comes(machine: &Machine, what: &str) {
    assert_eq!(acting(machine), Vec::<u32>::new(), "{what}: the command is still at work");
    assert!(!machine.marker().exists(), "{what}: it is broken");
}

#[test]
fn whichever_signal_ends_the_run_its_command_is_gone_before_the_undo() {
    for command in SLOW {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let machine = machine(command);
            let (mut child, folder, _) = machine.at_work("\"fault_injecting\"");
            wait_for("the command", Duration::from_secs(30), || !acting(&machine).is_empty());
            kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(130), "{command}: {}", journal(&folder));
            nothing_comes(&machine, command);
        }
    }
}

#[test]
fn the_guardian_ends_the_command_before_it_puts_back() {
    for command in SLOW {
        let machine = machine(command);
        let (mut child, folder, guardian) = machine.at_work("\"fault_injecting\"");
        wait_for("the command", Duration::from_secs(30), || !acting(&machine).is_empty());
        end(&mut child);
        wait_for("the revert", Duration::from_secs(60), || journal(&folder).contains("\"fault_reverted\""));
        nothing_comes(&machine, command);
        wait_for("the guardian's end", Duration::from_secs(60), || !process_exists(guardian.cast_unsigned().into()));
    }
}

#[test]
fn after_a_power_cut_of_both_the_command_is_ended_by_hand() {
    for command in SLOW {
        let machine = machine(command);
        let (child, folder, guardian) = machine.at_work("\"fault_injecting\"");
        wait_for("the command", Duration::from_secs(30), || !acting(&machine).is_empty());
        cut_power(child, guardian);
        assert!(!acting(&machine).is_empty(), "it goes on by itself");
        let reverted = machine.revert(None);
        assert!(reverted.status.success() && said(&reverted).contains("put back: exec"), "{command}: {}", said(&reverted));
        nothing_comes(&machine, command);
        assert!(journal(&folder).contains("was still at work"), "{}", journal(&folder));
    }
}

#[test]
fn what_a_command_has_started_on_purpose_is_left_to_its_revert() {
    let machine = Machine::with(
        "for: 1s, shell: true, command: ['sleep 61 >/dev/null 2>&1 & echo $! > MARKER'], revert: ['test ! -e MARKER || kill $(cat MARKER); rm -f MARKER'], proof: ['test -e MARKER && kill -0 $(cat MARKER)']",
    );
    let (mut child, folder, _) = machine.broken();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{}", journal(&folder));
    assert!(!journal(&folder).contains("was still at work"), "{}", journal(&folder));
}

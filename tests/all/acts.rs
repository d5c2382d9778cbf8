//! What is still at work when the end comes breaks nothing after its undo: a command, a request that the target acts upon later, a
//! command inside a container.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::docker::{Backend, docker, engine};
use crate::common::machine::{Machine, cut_power, end, journal, said};
use crate::common::server::serve;
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

/// The ways in which the end comes.
#[derive(Debug, Clone, Copy)]
enum End {
    Signal(Signal),
    /// The guardian puts back.
    Killed,
    /// Run and guardian together: `chaos revert` does.
    PowerCut,
}

const ENDS: [End; 4] = [End::Signal(Signal::SIGINT), End::Signal(Signal::SIGTERM), End::Killed, End::PowerCut];

/// Ends a run in the middle of an injection, and waits until everything has been put back that may come.
fn put_back(machine: &Machine, end_of_it: End, has_begun: impl Fn() -> bool) {
    let (mut child, folder, guardian) = machine.at_work("\"fault_injecting\"");
    wait_for("the injection", Duration::from_secs(30), has_begun);
    assert!(
        !journal(&folder).contains("\"fault_injected\""),
        "{end_of_it:?}: it was over before the end came: {}",
        journal(&folder)
    );
    match end_of_it {
        End::Signal(signal) => {
            kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(130), "{end_of_it:?}: {}", journal(&folder));
        }
        End::Killed => {
            end(&mut child);
            let guardian = guardian.cast_unsigned().into();
            wait_for("the guardian's end", Duration::from_secs(90), || !process_exists(guardian));
        }
        End::PowerCut => {
            cut_power(child, guardian);
            let reverted = machine.revert(None);
            assert!(reverted.status.success() && said(&reverted).contains("put back"), "{}", said(&reverted));
        }
    }
}

/// What a server has done that takes its time with what breaks it, and goes on with that whoever has left.
#[derive(Default)]
struct Slow {
    asked: AtomicBool,
    acted: AtomicBool,
    is_broken: AtomicBool,
}

#[test]
fn a_request_that_the_target_acts_upon_later_is_put_back_after_that() {
    std::thread::scope(|scope| {
        for end_of_it in ENDS {
            scope.spawn(move || {
                let slow = Arc::new(Slow::default());
                let server = slow.clone();
                let url = serve(move |asked| {
                    let json = |text: &str| (200, "application/json", text.to_owned());
                    match asked.path.as_str() {
                        "/break" => {
                            server.asked.store(true, Ordering::SeqCst);
                            // That is what it is like.
                            std::thread::sleep(Duration::from_secs(2));
                            server.is_broken.store(true, Ordering::SeqCst);
                            server.acted.store(true, Ordering::SeqCst);
                            json("{}")
                        }
                        "/mend" => {
                            server.is_broken.store(false, Ordering::SeqCst);
                            json("{}")
                        }
                        "/state" => json(&format!("{{\"is_broken\": {}}}", server.is_broken.load(Ordering::SeqCst))),
                        _ => json("{\"text\": \"a cat on a roof\"}"),
                    }
                });
                let machine = Machine::new();
                let text = format!(
                    "version: 1\nname: x\ntarget: {{ driver: http, with: {{ path: /generate }}, url: \"{url}\" }}\nload: [{{ users: 1, think: 100ms..200ms }}]\nfaults: [{{ http: {{ at: 300ms, for: 60s, send: {{ path: /break }}, revert: {{ path: /mend }}, proof: {{ path: /state, pointer: /is_broken, is: \"true\" }} }} }}]\nchecks: [{{ no_crash: {{}} }}]\n"
                );
                std::fs::write(machine.file(), text).unwrap();
                put_back(&machine, end_of_it, || slow.asked.load(Ordering::SeqCst));
                assert!(slow.acted.load(Ordering::SeqCst), "{end_of_it:?}: it was waited for");
                assert!(!slow.is_broken.load(Ordering::SeqCst), "{end_of_it:?}: it is broken");
            });
        }
    });
}

#[test]
fn a_command_inside_a_container_that_goes_on_is_put_back_after_that() {
    if !engine("a slow command inside") {
        return;
    }
    let backend = Backend::allowed(&["--speed", "400"]);
    // The image holds nothing but the backend: a shell is lent to it.
    for program in ["/bin/dash", "/bin/rm", "/bin/sleep"] {
        docker(&["cp", "--follow-link", program, &format!("{}:/", backend.name)]);
    }
    let is_there = |file: &str| {
        let mut asked = std::process::Command::new("docker");
        asked.args(["exec", &backend.name, "/dash", "-c", &format!("test -e {file}")]);
        asked.status().unwrap().success()
    };
    for end_of_it in ENDS {
        let machine = Machine::new();
        let text = format!(
            "version: 1\nname: x\ntarget: {{ url: \"{}\", runtime: {{ docker: {{ container: {} }} }} }}\nload: [{{ users: 1 }}]\nfaults: [{{ exec_inside: {{ at: 300ms, for: 60s, timeout: 4s, command: [/dash, -c, 'echo x > /data/begun; /sleep 2; echo x > /data/broken; echo x > /data/acted'], revert: [/rm, -f, /data/broken], proof: [/dash, -c, 'test -e /data/broken'] }} }}]\nchecks: [{{ no_crash: {{}} }}]\n",
            backend.url(),
            backend.name
        );
        std::fs::write(machine.file(), text).unwrap();
        put_back(&machine, end_of_it, || is_there("/data/begun"));
        assert!(is_there("/data/acted"), "{end_of_it:?}: it was waited for");
        assert!(!is_there("/data/broken"), "{end_of_it:?}: it is broken");
        docker(&["exec", &backend.name, "/rm", "-f", "/data/begun", "/data/acted"]);
    }
}

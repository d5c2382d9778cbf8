//! A fault must be there for as long as the experiment says. Somebody who undoes it in the middle is seen, and the run is no proof.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::docker::{self, engine};
use crate::common::underway::Underway;
use crate::common::{Run, stretched, wait_for};

/// A run whose fault is at work.
fn held(experiment: &str) -> Underway {
    // In rolling order it is seen broken only when the last one is over.
    Underway::start(experiment, if experiment.contains("rolling") { "\"fault_injecting\"" } else { "\"when\":\"during\"" })
}

fn embedded(fault: &str) -> String {
    format!(
        "version: 1\nname: x\ntarget: {{ url: embedded, backend: {{ speed: 400 }} }}\n\
         load: [{{ users: 2, think: 50ms }}]\nfaults: [{fault}]\nchecks: [{{ no_crash: {{}} }}]\n"
    )
}

fn proof(run: &Run) -> serde_json::Value {
    let checks = run.result["checks"].as_array().cloned().unwrap_or_default();
    checks.into_iter().find(|check| check["kind"] == "fault_proven").unwrap_or_default()
}

/// It was there for a part of its time only, and the verdict says since when it was not.
fn assert_not_held(run: &Run, says: &str) {
    let proof = proof(run);
    assert_eq!(run.code, Some(6), "{}", run.trouble());
    assert_eq!(proof["verdict"], "inconclusive", "{proof}");
    let observed = proof["observed"].as_str().unwrap_or_default();
    assert!(observed.contains("not held to its end") && observed.contains('%'), "{observed}");
    assert!(proof.to_string().contains(says), "{says}: {proof}");
}

fn assert_held(run: &Run) {
    let proof = proof(run);
    assert!(proof["verdict"] == "passed" && proof["observed"] == "all four seen", "{}", run.trouble());
    assert!(proof.to_string().contains("at 100 % of its strength"), "{proof}");
}

#[test]
fn a_process_that_somebody_lets_go_on_in_the_middle_was_not_paused() {
    let run = held(&embedded("{ pause: { at: 300ms, for: 3s } }"));
    let line = run.journal().lines().find(|line| line.contains("\"started\":{\"pid\"")).unwrap().to_owned();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let pid = line["event"]["process"]["event"]["started"]["pid"].as_i64().unwrap();
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGCONT).unwrap();
    let run = run.finish();
    assert_not_held(&run, &format!("process {pid} goes on"));
    assert!(run.stderr.contains("nobody here let go of it"), "it is said when it happens: {}", run.stderr);
}

#[test]
fn what_a_command_broke_and_somebody_mended_was_not_held() {
    let exec = "{ exec: { at: 300ms, for: 3s, command: [touch, FOLDER/mark], revert: [rm, -f, FOLDER/mark], proof: [test, -e, FOLDER/mark] } }";
    let run = held(&embedded(exec));
    std::fs::remove_file(run.folder.path().join("mark")).unwrap();
    assert_not_held(&run.finish(), "the proof does not exit 0");
}

#[test]
fn what_lasts_is_held() {
    for fault in [
        "{ pause: { at: 300ms, for: 2s } }",
        "{ exec: { at: 300ms, for: 2s, command: [touch, FOLDER/mark], revert: [rm, -f, FOLDER/mark], proof: [test, -e, FOLDER/mark] } }",
        // One whose look takes a good part of its time.
        "{ exec: { at: 300ms, for: 2s, command: [touch, FOLDER/mark], revert: [rm, -f, FOLDER/mark], proof: [sh, -c, \"sleep 0.7; test -e FOLDER/mark\"] } }",
    ] {
        assert_held(&held(&embedded(fault)).finish());
    }
}

/// Against a container, on which everything is done in real time.
fn contained(backend: &docker::Backend, fault: &str) -> String {
    format!(
        "version: 1\nname: x\ntarget: {{ url: \"{}\", runtime: {{ docker: {{ container: {} }} }} }}\n\
         load: [{{ users: 2, think: 50ms }}]\nfaults: [{fault}]\nchecks: [{{ error_rate: {{ below: 100%, min_jobs: 1 }} }}]\n",
        backend.url(),
        backend.name
    )
}

#[test]
fn what_others_do_to_a_container_in_the_middle_is_named() {
    if !engine("faults of containers that somebody undoes in the middle") {
        return;
    }
    type Undoing<'a> = (&'a str, &'a [&'a str], &'a str);
    let cases: [Undoing; 4] = [
        ("{ pause: { at: 300ms, for: HELD } }", &["unpause"], "`unpause`"),
        ("{ stop: { at: 300ms, for: HELD, grace: 2s } }", &["start"], "`start`"),
        ("{ cpu_limit: { at: 300ms, for: HELD, cpus: 0.5 } }", &["update", "--cpus", "2"], "`update`"),
        ("{ pause: { at: 300ms, for: HELD, containers: { order: rolling } } }", &["unpause"], "`unpause`"),
    ];
    // Side by side: each mostly waits, and for so long that Docker's client comes in time on a busy machine too.
    std::thread::scope(|scope| {
        let held = format!("{}s", stretched(Duration::from_secs(15)).as_secs());
        let undone = cases.map(|(fault, command, event)| {
            let fault = fault.replace("HELD", &held);
            scope.spawn(move || somebody_undoes(&fault, command, event))
        });
        undone.into_iter().for_each(|case| case.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
    });
}

fn somebody_undoes(fault: &str, command: &[&str], event: &str) {
    let backend = docker::Backend::start(
        &["--label", "chaos.allow=true", "--memory", "512m", "--cpus", "2"],
        &["--speed", "400", "--slots", "6"],
    );
    let run = held(&contained(&backend, fault));
    let arguments: Vec<&str> = command.iter().copied().chain([backend.name.as_str()]).collect();
    let begun = || !fault.contains("rolling") || backend.inspect("{{.State.Paused}}") == "true";
    wait_for("the fault's effect", Duration::from_secs(30), begun);
    // A busy engine that could not freeze a container at once shows it paused, and is asked once more.
    let undoes = || std::process::Command::new("docker").args(&arguments).output().expect("the docker client starts");
    wait_for("the undoing", Duration::from_secs(30), || undoes().status.success());
    assert_not_held(&run.finish(), event);
}

#[test]
fn a_fault_of_a_container_that_lasts_is_held() {
    if !engine("faults of containers that last") {
        return;
    }
    let backend = docker::Backend::allowed(&["--speed", "400", "--slots", "6"]);
    for fault in [
        "{ pause: { at: 300ms, for: 2s } }",
        "{ stop: { at: 300ms, for: 2s, grace: 2s } }",
        "{ pause: { at: 300ms, for: 2s, containers: { order: rolling } } }",
    ] {
        assert_held(&held(&contained(&backend, fault)).finish());
    }
}

/// Clients that are kept away, and a server that gives a silent one up as it should.
#[test]
fn a_client_that_stays_away_is_held_whatever_the_server_does() {
    for how in ["close", "half_open", "stall"] {
        let text = embedded(&format!("{{ websocket_drop: {{ at: 500ms, away: 2s, how: {how}, listeners: all }} }}"))
            .replace("users: 2, think: 50ms", "users: 4, listen: websocket");
        assert_held(&held(&text).finish());
    }
}

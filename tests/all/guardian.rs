//! Whatever happens to `chaos`, what it broke is put back: by signals, by hand, by another guardian (`safety.rs` kills it at random
//! moments). Where no container engine answers, the parts with containers say so.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::docker::{Backend, engine};
use crate::common::machine::guardian_of;
use crate::common::{chaos, only_folder, processes_with, stretched, wait_for};

/// How long after the death of `chaos` everything must be as it was; that is promised, of a machine that is not overloaded.
const BACK_WITHIN: Duration = Duration::from_secs(5);
/// Nothing is promised of what is waited for so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a run and returns with its reports' folder.
fn start(mut command: Command, file: &Path, seed: u64) -> (Child, tempfile::TempDir) {
    let reports = tempfile::tempdir().unwrap();
    command.args(["run", "--quiet", "--seed", &seed.to_string(), "--reports"]).arg(reports.path()).arg(file);
    (command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(), reports)
}

fn journal(reports: &Path) -> String {
    std::fs::read_to_string(only_folder(reports).join("events.jsonl")).unwrap_or_default()
}

fn end(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
}

/// A target and two neighbours, and an experiment that breaks all three in four ways, each held for a minute.
struct Field {
    backends: [Backend; 3],
    before: Vec<String>,
    file: PathBuf,
    marker: PathBuf,
    folder: tempfile::TempDir,
}

impl Field {
    fn new() -> Self {
        let backends = [0, 1, 2].map(|_| Backend::allowed(&["--speed", "400", "--slots", "6"]));
        let folder = tempfile::tempdir().unwrap();
        let (file, marker) = (folder.path().join("four.yaml"), folder.path().join("marker"));
        let [target, paused, stopped] = backends.each_ref().map(|b| b.name.as_str());
        let text = format!(
            "version: 1\nname: four\ntarget: {{ url: \"{}\", runtime: {{ docker: {{ container: {target} }} }} }}\n\
             load: [{{ name: users, users: 2, think: 50ms..100ms }}]\n\
             faults:\n\
             \x20 - memory_limit: {{ between: 100ms..1500ms, to: 300MiB, for: 60s }}\n\
             \x20 - disconnect: {{ between: 600ms..2s, for: 60s }}\n\
             \x20 - pause: {{ between: 100ms..2s, for: 60s, containers: {{ container: {paused} }} }}\n\
             \x20 - stop: {{ between: 100ms..2s, for: 60s, grace: 2s, containers: {{ container: {stopped} }} }}\n\
             \x20 - exec: {{ between: 100ms..2s, for: 60s, command: [touch, {marker}], revert: [rm, -f, {marker}], proof: [test, -e, {marker}] }}\n\
             checks: [{{ no_crash: {{}} }}]\n",
            backends[0].url(),
            marker = marker.display(),
        );
        std::fs::write(&file, text).unwrap();
        let before = backends.iter().map(Backend::state).collect();
        Self { backends, before, file, marker, folder }
    }

    /// `chaos` on a machine of its own, as far as claims go: what the other tests break and put back is theirs.
    fn chaos(&self) -> Command {
        let mut command = chaos();
        command.env("CHAOS_STATE_DIR", self.folder.path().join("state"));
        command
    }

    /// A run of the experiment.
    fn start(&self, seed: u64) -> (Child, tempfile::TempDir) {
        start(self.chaos(), &self.file, seed)
    }

    fn is_as_before(&self) -> bool {
        self.backends.iter().map(Backend::state).eq(self.before.iter().cloned()) && !self.marker.exists()
    }

    /// Looks until everything is as before. A look takes its time on a busy machine: one that began in time counts.
    fn is_back_in_time(&self, since: Instant, told: impl Fn() -> String) {
        loop {
            let looked = since.elapsed();
            if self.is_as_before() {
                return;
            }
            assert!(looked < stretched(BACK_WITHIN), "after {looked:.1?}: {}\n{}", self.difference(), told());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn difference(&self) -> String {
        let now: Vec<String> = self.backends.iter().map(Backend::state).collect();
        format!("before {:#?}, now {now:#?}, marker {}", self.before, self.marker.exists())
    }
}

/// The processes of ours that have to do with that folder.
fn processes_of(folder: &Path) -> Vec<u64> {
    processes_with(&folder.to_string_lossy()).into_iter().map(u64::from).collect()
}

/// Those of them that are guardians: the target, which a run also starts, is named after the folder too.
fn guardians_of(folder: &Path) -> Vec<u64> {
    let is_guardian = |pid: &u64| {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c.split('\0').nth(1) == Some("guardian"))
    };
    processes_of(folder).into_iter().filter(is_guardian).collect()
}

#[test]
fn every_signal_that_can_be_caught_puts_everything_back() {
    if !engine("signals with broken containers") {
        return;
    }
    let field = Field::new();
    for (signal, seed) in [(Signal::SIGINT, 1), (Signal::SIGTERM, 2), (Signal::SIGHUP, 3)] {
        let (mut child, reports) = field.start(seed);
        wait_for("four faults", PATIENCE, || journal(reports.path()).matches("\"fault_injected\"").count() >= 4);
        end(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(130), "{signal}: {}", journal(reports.path()));
        field.is_back_in_time(Instant::now(), || signal.to_string());
        // It is told that it may go, and not waited for.
        let folder = only_folder(reports.path());
        wait_for("the guardian's end", PATIENCE, || processes_of(&folder).is_empty());
    }
}

#[test]
fn a_machine_that_lost_power_is_put_back_by_hand_and_no_run_starts_before() {
    if !engine("a run whose guardian is dead too") {
        return;
    }
    let field = Field::new();
    let (mut child, reports) = field.start(7);
    wait_for("four faults", PATIENCE, || journal(reports.path()).matches("\"fault_injected\"").count() >= 4);
    let folder = only_folder(reports.path());
    // As a power cut does it: the guardian first, so that it can do nothing. What has just ended needs no signal.
    let send = |pid: u64, signal: Signal| {
        let _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal);
    };
    let others = processes_of(reports.path()).into_iter().filter(|pid| *pid != u64::from(child.id()));
    others.for_each(|pid| send(pid, Signal::SIGSTOP));
    end(&child, Signal::SIGKILL);
    child.wait().unwrap();
    processes_of(&folder).into_iter().for_each(|pid| send(pid, Signal::SIGKILL));
    wait_for("the guardian's death", PATIENCE, || processes_of(&folder).is_empty());
    assert!(!field.is_as_before());
    let elsewhere = tempfile::tempdir().unwrap();
    let refused = field.chaos().arg("run").arg(&field.file).arg("--reports").arg(elsewhere.path()).output().unwrap();
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    let reverts = field.chaos().arg("revert").output().unwrap();
    assert!(reverts.status.success(), "{reverts:?}");
    assert!(String::from_utf8_lossy(&reverts.stdout).contains("put back: "), "{reverts:?}");
    field.is_back_in_time(Instant::now(), || "put back by hand".to_owned());
    let again = field.chaos().arg("revert").arg(&folder).output().unwrap();
    assert!(String::from_utf8_lossy(&again.stdout).contains("nothing is left to put back"), "{again:?}");
}

#[test]
fn a_guardian_that_dies_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.yaml");
    let marker = folder.path().join("marker");
    let text = format!(
        "version: 1\nname: x\ntarget: {{ url: embedded }}\nload: [{{ users: 1 }}]\nfaults: [{{ exec: {{ at: 100ms, for: 60s, command: [touch, {0}], revert: [rm, -f, {0}], proof: [test, -e, {0}] }} }}]\nchecks: [{{ no_crash: {{}} }}]\n",
        marker.display()
    );
    std::fs::write(&file, text).unwrap();
    let (mut child, reports) = start(chaos(), &file, 1);
    wait_for("the fault", PATIENCE, || marker.exists());
    let first = guardian_of(&journal(reports.path()));
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    wait_for("another guardian", PATIENCE, || journal(reports.path()).contains("another one is started"));
    let folder = only_folder(reports.path());
    wait_for("its process", PATIENCE, || guardians_of(&folder).iter().any(|pid| *pid != u64::from(first.cast_unsigned())));
    end(&child, Signal::SIGKILL);
    child.wait().unwrap();
    // It may still be starting: it takes over as soon as it reads the end of its socket.
    wait_for("the revert", BACK_WITHIN, || !marker.exists());
    wait_for("the guardian's end", PATIENCE, || processes_of(&folder).is_empty());
}

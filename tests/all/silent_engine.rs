//! A Docker engine that takes every request and answers none: nobody waits for it for ever, and what was broken is put back when it
//! answers again.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::docker::{Backend, engine};
use crate::common::machine::{journal, said};
use crate::common::{chaos, only_folder, processes_with, stretched, wait_for};

/// A second Ctrl-C ends every wait; that is promised, of a machine that is not overloaded.
const ENDED_WITHIN: Duration = Duration::from_secs(15);
/// The engine's own socket.
const ENGINE: &str = "/var/run/docker.sock";

/// Between chaos and the engine: passes everything on, or nothing.
struct Between {
    folder: tempfile::TempDir,
    is_silent: Arc<AtomicBool>,
}

impl Between {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("engine.sock")).unwrap();
        let is_silent = Arc::new(AtomicBool::new(false));
        let silent = is_silent.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let engine = UnixStream::connect(ENGINE).unwrap();
                for (from, to) in [(&client, &engine), (&engine, &client)] {
                    let (from, to, silent) = (from.try_clone().unwrap(), to.try_clone().unwrap(), silent.clone());
                    std::thread::spawn(move || pass_on(from, to, &silent));
                }
            }
        });
        Self { folder, is_silent }
    }

    fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("engine.sock").display())
    }

    fn is_silent(&self, silent: bool) {
        self.is_silent.store(silent, Ordering::SeqCst);
    }
}

fn pass_on(mut from: UnixStream, mut to: UnixStream, silent: &AtomicBool) {
    let mut piece = [0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        while silent.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
        if to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

/// A run that holds its container paused.
struct Paused {
    backend: Backend,
    between: Between,
    folder: tempfile::TempDir,
}

impl Paused {
    fn new() -> Self {
        let (backend, between) = (Backend::allowed(&["--speed", "400"]), Between::start());
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "version: 1\nname: silent\ntarget: {{ url: \"{}\", runtime: {{ docker: {{ container: {}, host: \"{}\" }} }} }}\nload: [{{ users: 1 }}]\nfaults: [{{ pause: {{ at: 100ms, for: 60s }} }}]\nchecks: [{{ no_crash: {{}} }}]\n",
            backend.url(),
            backend.name,
            between.host()
        );
        std::fs::write(folder.path().join("x.yaml"), text).unwrap();
        std::fs::create_dir(folder.path().join("reports")).unwrap();
        Self { backend, between, folder }
    }

    fn chaos(&self) -> Command {
        let mut command = chaos();
        command.env("CHAOS_STATE_DIR", self.folder.path().join("state"));
        command
    }

    fn run(&self) -> Command {
        let mut run = self.chaos();
        run.args(["run", "--reports"]).arg(self.reports()).arg(self.folder.path().join("x.yaml"));
        run.stdout(Stdio::piped()).stderr(Stdio::piped());
        run
    }

    fn reports(&self) -> PathBuf {
        self.folder.path().join("reports")
    }

    fn journal(&self) -> String {
        journal(&only_folder(&self.reports()))
    }

    /// ... and from then on the engine is silent.
    fn broken(&self) -> Child {
        let child = self.run().spawn().unwrap();
        wait_for("the fault", Duration::from_secs(60), || self.journal().contains("\"fault_injected\""));
        assert_eq!(self.status(), "paused");
        self.between.is_silent(true);
        child
    }

    fn status(&self) -> String {
        self.backend.inspect("{{.State.Status}}")
    }
}

fn interrupt(child: &Child) {
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
}

#[test]
fn a_run_is_not_begun_on_an_engine_that_never_answers() {
    if !engine("an engine that never answers") {
        return;
    }
    let paused = Paused::new();
    paused.between.is_silent(true);
    let began = Instant::now();
    let refused = paused.run().output().unwrap();
    assert_eq!(refused.status.code(), Some(4), "{}", said(&refused));
    assert!(began.elapsed() < stretched(Duration::from_secs(60)), "{:?}", began.elapsed());
    assert_eq!(paused.status(), "running");
}

/// The first Ctrl-C puts back, which cannot be done; that is told. The second ends the wait, and says what is left and how to go on.
#[test]
fn the_wait_for_an_engine_that_never_answers_is_told_and_can_be_ended() {
    if !engine("an engine that falls silent") {
        return;
    }
    let paused = Paused::new();
    let child = paused.broken();
    interrupt(&child);
    wait_for("that it waits", Duration::from_secs(120), || paused.journal().contains("cannot be put back yet"));
    let asked = Instant::now();
    interrupt(&child);
    let ended = child.wait_with_output().unwrap();
    assert!(asked.elapsed() < stretched(ENDED_WITHIN), "{:?}: {}", asked.elapsed(), paused.journal());
    assert_eq!(ended.status.code(), Some(5), "{}", said(&ended));
    assert!(said(&ended).contains("chaos revert"), "{}", said(&ended));
    assert_eq!(paused.status(), "paused");
    paused.between.is_silent(false);
    let reverted = paused.chaos().arg("revert").output().unwrap();
    assert!(reverted.status.success() && said(&reverted).contains("put back"), "{}", said(&reverted));
    assert_eq!(paused.status(), "running");
}

/// chaos is killed while the engine is silent: its guardian goes on trying, and puts back when the engine answers again.
#[test]
fn a_guardian_waits_for_an_engine_that_is_silent() {
    if !engine("a guardian before a silent engine") {
        return;
    }
    let paused = Paused::new();
    let mut child = paused.broken();
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("the guardian's beginning", Duration::from_secs(60), || paused.journal().contains("\"fault_reverting\""));
    wait_for("a first try that fails", Duration::from_secs(120), || paused.journal().contains("cannot be put back yet"));
    assert_eq!(paused.status(), "paused");
    paused.between.is_silent(false);
    wait_for("the revert", Duration::from_secs(60), || paused.status() == "running");
    let folder = paused.reports().display().to_string();
    wait_for("the guardian's end", Duration::from_secs(60), || processes_with(&folder).is_empty());
    let after = paused.chaos().arg("revert").output().unwrap();
    assert!(said(&after).contains("nothing is left to put back"), "{}", said(&after));
}

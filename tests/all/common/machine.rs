//! A machine of its own, as far as chaos can see: its state, an experiment with an `exec`, and what that breaks.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{chaos, free_port, only_folder, process_exists, processes_with, wait_for};

pub struct Machine {
    pub folder: tempfile::TempDir,
    /// Where its target listens, if that has a port of its own.
    port: Option<u16>,
}

impl Machine {
    /// One whose `exec` lasts: it makes a file, which its undo removes.
    pub fn new() -> Self {
        Self::with("for: 60s, command: [touch, MARKER], revert: [rm, -f, MARKER], proof: [test, -e, MARKER]")
    }

    /// `MARKER` in the settings of its `exec` stands for the file.
    pub fn with(exec: &str) -> Self {
        let machine = Self { folder: tempfile::tempdir().unwrap(), port: None };
        let text = format!(
            "version: 1\nname: x\ntarget: {{ url: embedded, backend: {{ speed: 400 }} }}\nload: [{{ users: 1 }}]\n\
             faults: [{{ exec: {{ at: 100ms, {} }} }}]\n\
             checks: [{{ no_crash: {{}} }}]\n",
            exec.replace("MARKER", &machine.marker().display().to_string())
        );
        std::fs::write(machine.file(), text).unwrap();
        machine
    }

    /// As above, with a target that has a port of its own, which is what it claims; its fault lasts for so long.
    pub fn on_a_port(lasts: &str) -> Self {
        let mut machine =
            Self::with(&format!("for: {lasts}, command: [touch, MARKER], revert: [rm, -f, MARKER], proof: [test, -e, MARKER]"));
        let text = std::fs::read_to_string(machine.file()).unwrap();
        let port = free_port();
        let command = format!("[{}, backend, --speed, \"400\", --listen, \"127.0.0.1:{port}\"]", env!("CARGO_BIN_EXE_chaos"));
        let target = format!("target: {{ url: \"http://127.0.0.1:{port}\", runtime: {{ process: {{ command: {command} }} }} }}");
        std::fs::write(machine.file(), text.replace("target: { url: embedded, backend: { speed: 400 } }", &target)).unwrap();
        machine.port = Some(port);
        machine
    }

    pub fn marker(&self) -> PathBuf {
        self.folder.path().join("marker")
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("x.yaml")
    }

    pub fn reports(&self) -> PathBuf {
        self.folder.path().join("reports")
    }

    pub fn chaos(&self) -> Command {
        let mut command = chaos();
        command.env("CHAOS_STATE_DIR", self.folder.path().join("state"));
        command
    }

    /// Its experiment, with the words of the run left out.
    pub fn run(&self) -> Command {
        std::fs::create_dir_all(self.reports()).unwrap();
        let mut run = self.chaos();
        run.args(["run", "--quiet", "--reports"]).arg(self.reports()).arg(self.file());
        run.stdout(Stdio::null()).stderr(Stdio::null());
        run
    }

    /// A run whose fault is at work, its folder, and its guardian.
    pub fn broken(&self) -> (Child, PathBuf, i32) {
        self.at_work("\"fault_injected\"")
    }

    /// A run whose journal has this word, its folder, and its guardian.
    pub fn at_work(&self, word: &str) -> (Child, PathBuf, i32) {
        let child = self.run().spawn().unwrap();
        wait_for(word, Duration::from_secs(60), || journal(&only_folder(&self.reports())).contains(word));
        let folder = only_folder(&self.reports());
        let guardian = guardian_of(&journal(&folder));
        (child, folder, guardian)
    }

    /// ... and both are dead, as after a power cut.
    pub fn left(&self) -> PathBuf {
        let (child, folder, guardian) = self.broken();
        cut_power(child, guardian);
        assert!(self.marker().exists(), "it is broken");
        folder
    }

    pub fn run_again(&self) -> Output {
        let elsewhere = tempfile::tempdir().unwrap();
        self.chaos()
            .args(["run", "experiments/gpu-oom.yaml", "--quiet", "--set", "load.0.users=1", "--reports"])
            .arg(elsewhere.path())
            .output()
            .unwrap()
    }

    /// Its own experiment once more, with reports elsewhere.
    pub fn run_afresh(&self) -> Output {
        let elsewhere = tempfile::tempdir().unwrap();
        self.chaos().args(["run", "--quiet", "--reports"]).arg(elsewhere.path()).arg(self.file()).output().unwrap()
    }

    /// Waits until neither its run nor a guardian of it is there any more, nor the target, which dies a moment after its run: the
    /// next run may not begin beside it.
    pub fn wait_for_the_end(&self) {
        let folder = self.reports().display().to_string();
        wait_for("the end of all processes", Duration::from_secs(60), || processes_with(&folder).is_empty());
        let is_listening = |port: u16| TcpStream::connect(("127.0.0.1", port)).is_ok();
        wait_for("the target's end", Duration::from_secs(60), || !self.port.is_some_and(is_listening));
    }

    pub fn revert(&self, run: Option<&Path>) -> Output {
        self.chaos().arg("revert").args(run).output().unwrap()
    }
}

pub fn journal(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("events.jsonl")).unwrap_or_default()
}

/// The first guardian's process, which the journal names.
pub fn guardian_of(journal: &str) -> i32 {
    let pid = journal.split("\"guardian\",\"level\":\"ok\",\"detail\":\"process ").nth(1);
    pid.and_then(|rest| rest.split(' ').next()?.parse().ok()).expect("the journal names the guardian")
}

pub fn end(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Ends a run and its guardian at once: the guardian first, so that it can do nothing.
pub fn cut_power(mut child: Child, guardian: i32) {
    kill(Pid::from_raw(guardian), Signal::SIGSTOP).unwrap();
    end(&mut child);
    kill(Pid::from_raw(guardian), Signal::SIGKILL).unwrap();
    wait_for("the guardian's death", Duration::from_secs(30), || !process_exists(guardian.cast_unsigned().into()));
}

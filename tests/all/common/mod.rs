//! What the tests share. Each test binary uses a part of it.
#![allow(dead_code)]

pub mod backend;
pub mod docker;
pub mod machine;
pub mod port;
pub mod script;
pub mod secrets;
pub mod server;
pub mod sim;
pub mod underway;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

/// The binary under test.
pub fn chaos() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("RUST_LOG").stdin(Stdio::null());
    // What tests break is nobody else's concern.
    command.env("CHAOS_STATE_DIR", std::env::temp_dir().join(format!("chaos-test-state-{}", std::process::id())));
    command
}

/// A finished run: its exit code, its folder, its result.
pub struct Run {
    pub code: Option<i32>,
    pub stderr: String,
    pub folder: PathBuf,
    pub result: Json,
    _reports: tempfile::TempDir,
}

/// Runs an experiment in a folder of its own.
pub fn run(arguments: &[&str]) -> Run {
    let reports = tempfile::tempdir().expect("a temporary folder");
    let output = chaos()
        .arg("run")
        .args(arguments)
        .arg("--reports")
        .arg(reports.path())
        .args(["--format", "json"])
        .output()
        .expect("chaos starts");
    finished(output, reports)
}

pub fn finished(output: Output, reports: tempfile::TempDir) -> Run {
    let folder = only_folder(reports.path());
    let result =
        std::fs::read(folder.join("result.json")).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or(Json::Null);
    Run {
        code: output.status.code(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        folder,
        result,
        _reports: reports,
    }
}

/// The one run in a folder of reports; the folder itself if there is none.
pub fn only_folder(reports: &Path) -> PathBuf {
    let mut inside = std::fs::read_dir(reports).expect("the folder is there").flatten().map(|e| e.path());
    inside.next().unwrap_or_else(|| reports.to_owned())
}

impl Run {
    /// The verdict of a check.
    pub fn verdict(&self, name: &str) -> &str {
        let checks = self.result["checks"].as_array().map(Vec::as_slice).unwrap_or_default();
        checks.iter().find(|c| c["name"] == name).and_then(|c| c["verdict"].as_str()).unwrap_or("absent")
    }

    /// Everything that did not pass, for the message of an assertion.
    pub fn trouble(&self) -> String {
        let checks = self.result["checks"].as_array().cloned().unwrap_or_default();
        let bad: Vec<String> = checks
            .iter()
            .filter(|c| c["verdict"] != "passed")
            .map(|c| format!("{}: {} ({}) {}", c["name"], c["verdict"], c["observed"], c["evidence"]))
            .collect();
        format!("exit {:?}, {}\n{}\n{}", self.code, self.result["reason"], bad.join("\n"), self.stderr)
    }
}

/// Waits until something holds, and fails if it never does.
pub fn wait_for(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < within, "{what} did not happen within {within:?}");
        std::thread::yield_now();
    }
}

/// The body of what a server answers; `None` while there is none. The old version of the protocol is never sent in pieces.
pub fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

/// A port of this machine that nobody has.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Resident memory of this process, bytes.
pub fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

pub fn process_exists(pid: u64) -> bool {
    Path::new(&format!("/proc/{pid}/stat")).exists()
        && chaos::runtime::proc_stat(pid as u32).is_some_and(|(state, _)| state != 'Z')
}

/// The processes that live and have this in their command line.
pub fn processes_with(text: &str) -> Vec<u32> {
    let has = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text) && process_exists(u64::from(*pid))
    };
    chaos::observe::procfs::pids().filter(has).collect()
}

/// Tests of real parts run where `CHAOS_TEST_REAL` is set, and then a missing part is a failure. Elsewhere the test says
/// what it left out.
pub fn real(program: &str, why: &str) -> bool {
    let found =
        std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()));
    let wanted = std::env::var_os("CHAOS_TEST_REAL").is_some_and(|v| v == "1");
    assert!(found || !wanted, "CHAOS_TEST_REAL=1, and there is no {program}");
    if !found {
        left_out(&format!("{why} (there is no {program})"));
    }
    found
}

/// Says what was not tested. Written past the test runner, which shows nothing of what a passing test prints.
pub fn left_out(what: &str) {
    let _ = writeln!(std::io::stderr(), "left out: {what}");
}

//! What the tests share.

pub mod backend;
mod chance;
pub mod docker;
pub mod machine;
pub mod port;
pub mod script;
pub mod secrets;
pub mod server;
pub mod sim;
pub mod underway;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use chance::change;
use chaos::check::noise::TOO_NOISY;
use serde_json::Value as Json;

/// What a verdict says that fell for noise of the machine, or for load that could not be sent (benches/verdicts.py has the same).
const NOISE: [&str; 4] = [TOO_NOISY, "chaos itself was", "chaos itself stood still", "could be sent"];

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
    _reports: Kept,
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
        _reports: Kept(reports),
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

    /// A planted defect was found. A machine that was too noisy to tell may leave it open, which is said; that it passed, or
    /// is open for any other reason, may not be.
    pub fn finds(&self, name: &str) -> bool {
        let by_the_machine = |check: &Json| NOISE.iter().any(|reason| told(check, reason));
        let noisy = self.open().iter().any(|check| check["name"] == name && by_the_machine(check));
        if noisy {
            left_out(&format!("whether {name} finds its defect (the machine was too noisy)"));
        }
        noisy || self.verdict(name) == "failed"
    }

    /// Nothing failed, and what is open is so for one of these reasons, or for the noise of the machine.
    pub fn is_healthy_but_for(&self, reasons: &[&str]) -> bool {
        let named = |check: &&Json| NOISE.iter().chain(reasons).any(|reason| told(check, reason));
        matches!(self.code, Some(0 | 6)) && self.open().iter().all(named)
    }

    fn open(&self) -> Vec<&Json> {
        let checks = self.result["checks"].as_array().map(Vec::as_slice).unwrap_or_default();
        checks.iter().filter(|check| check["verdict"] == "inconclusive").collect()
    }

    /// Everything that did not pass, for the message of an assertion.
    pub fn trouble(&self) -> String {
        let mut bad = self.result["checks"].as_array().cloned().unwrap_or_default();
        bad.retain(|check| check["verdict"] != "passed");
        // What decides stands first: the gate shows the beginning.
        bad.sort_by_key(|check| check["verdict"] != "failed");
        let observed: Vec<String> = bad.iter().map(|c| format!("{}: {} ({})", c["name"], c["verdict"], c["observed"])).collect();
        let evidence: Vec<String> = bad.iter().map(|c| format!("{}: {}", c["name"], c["evidence"])).collect();
        let (observed, evidence) = (observed.join("; "), evidence.join("\n"));
        format!("exit {:?}, {} {observed}\n{evidence}\n{}", self.code, self.result["reason"], self.stderr)
    }
}

/// What a failed test ran is kept, for whoever looks for the reason; the gate removes it with everything else.
struct Kept(tempfile::TempDir);

impl Drop for Kept {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.disable_cleanup(true);
            println!("its reports are kept: {}", self.0.path().display());
        }
    }
}

/// Whether a check's observation or evidence says so.
fn told(check: &Json, reason: &str) -> bool {
    check["observed"].to_string().contains(reason) || check["evidence"].to_string().contains(reason)
}

/// Waits until something holds, and fails if it never does: on a busy machine later.
pub fn wait_for(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        let waited = began.elapsed();
        assert!(waited < stretched(within), "{what} did not happen within {waited:.1?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A bound that suits an idle machine, longer by as many times as this one has more to do than cores to do it with.
pub fn stretched(bound: Duration) -> Duration {
    let cores = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
    let load = std::fs::read_to_string("/proc/loadavg").ok().and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    bound.mul_f64((load.unwrap_or(cores) / cores).clamp(1.0, 10.0))
}

/// How often something is tried: in `.ci/full` (`CHAOS_TEST_FULL=1`) as often as it takes to be sure, else as often as a gate
/// of minutes allows.
pub fn often<N>(in_the_gate: N, in_full: N) -> N {
    if std::env::var_os("CHAOS_TEST_FULL").is_some_and(|v| v == "1") { in_full } else { in_the_gate }
}

/// The same where the count may be given by hand too.
pub fn often_by<N: std::str::FromStr>(name: &str, in_the_gate: N, in_full: N) -> N {
    let given = std::env::var(name).ok().map(|text| text.parse().ok().unwrap_or_else(|| panic!("{name}={text}: a number")));
    given.unwrap_or_else(|| often(in_the_gate, in_full))
}

/// What computes gives way to what runs in real time beside it: this thread, and those that it starts.
pub fn gives_way() {
    // Safety: it takes numbers alone. 0 is the calling thread.
    let refused = unsafe { nix::libc::setpriority(nix::libc::PRIO_PROCESS, 0, 5) };
    assert_eq!(refused, 0, "anybody may be nicer than before");
}

/// A port of this machine that nobody has, below those that the system gives to connections and to whoever asks for any:
/// between this answer and its use nobody else gets it.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(101);
    loop {
        let number = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let port = 10_000 + u16::try_from(number).expect("it is below 20,000");
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

/// Runs a test in a process of its own, where it measures the whole process: `true` is said there, and it goes on.
pub fn alone(test: &str) -> bool {
    if std::env::var_os("CHAOS_TEST_ALONE").is_some() {
        return true;
    }
    let program = std::env::current_exe().expect("the program has a path");
    let output =
        Command::new(program).args(["--exact", test, "--include-ignored", "--nocapture"]).env("CHAOS_TEST_ALONE", "1").output();
    let output = output.expect("the program starts once more");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("test result: ok. 1 passed") && output.status.success(), "{test} alone: {said}");
    println!("{said}");
    false
}

/// The body of what a server answers; `None` while there is none. The old version of the protocol is never sent in pieces.
pub fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

/// A process that is ended with the test, however the test ends.
pub struct Ending(pub Child);

impl Drop for Ending {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has seen then.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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
    real_part(program, found, why)
}

/// Says which real part a test needs: the gate tries such a test once more when it failed, and no other.
pub fn real_part(part: &str, found: bool, why: &str) -> bool {
    println!("real part: {part}");
    let wanted = std::env::var_os("CHAOS_TEST_REAL").is_some_and(|v| v == "1");
    assert!(found || !wanted, "CHAOS_TEST_REAL=1, and there is no {part}");
    if !found {
        left_out(&format!("{why} (there is no {part})"));
    }
    found
}

/// Says what was not tested. Written past the test runner, which shows nothing of what a passing test prints.
pub fn left_out(what: &str) {
    // In one piece: other tests write their lines beside it.
    let _ = std::io::stderr().write_all(format!("left out: {what}\n").as_bytes());
}

//! The holder: a small process of our own between `chaos` and the target, so that the target never outlives the run.
//!
//! ```text
//! chaos run ── socket (stdin) ──▶ chaos hold ──▶ the target and whatever it starts
//! ```
//!
//! When the socket closes, whatever the reason, the holder kills the target's process group and every process that was
//! left behind by it. It writes `pid N` and `exit …` into the same socket.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::prctl;
use nix::sys::signal::{self, Signal};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

/// Between two sweeps over processes that are being killed.
const SWEEP: Duration = Duration::from_millis(10);

/// Runs a command and holds it. Returns when it and all that it started are gone.
///
/// # Errors
/// When standard input is no socket or the command cannot be started.
pub fn run(command: &[String]) -> std::io::Result<()> {
    let mut socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    // Orphans of the target become our children, so that they can be found and ended.
    prctl::set_child_subreaper(true)?;
    chaos_children::ignore_signals()?;
    let mut child = match spawn(command) {
        Ok(child) => child,
        Err(error) => {
            writeln!(socket, "error {error}")?;
            return Err(error);
        }
    };
    let group = Pid::from_raw(child.id().cast_signed());
    writeln!(socket, "pid {}", child.id())?;
    let mut watched = socket.try_clone()?;
    std::thread::spawn(move || {
        let mut byte = [0];
        // Nothing is ever sent to us: whatever ends the read, the other end is gone.
        while watched.read(&mut byte).is_ok_and(|n| n > 0) {}
        kill_everything(group);
    });
    let status = child.wait()?;
    // The run may be gone already; then there is nobody to tell.
    let _ = writeln!(socket, "exit {}", describe(status));
    kill_everything(group);
    Ok(())
}

fn spawn(command: &[String]) -> std::io::Result<std::process::Child> {
    let (program, arguments) = command.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
    let mut child = Command::new(program);
    child.args(arguments).stdin(Stdio::null()).process_group(0);
    // Should the holder itself be killed, the target goes with it.
    chaos_children::dies_with_parent(&mut child).spawn()
}

/// Kills the group, then every child and orphan, until there is none.
fn kill_everything(group: Pid) {
    // An error here means that there is nobody left in the group.
    let _ = signal::killpg(group, Signal::SIGKILL);
    loop {
        let children = children();
        if children.is_empty() {
            std::process::exit(0);
        }
        for pid in children {
            let _ = signal::kill(pid, Signal::SIGKILL);
            if pid != group {
                let _ = waitpid(pid, Some(nix::sys::wait::WaitPidFlag::WNOHANG));
            }
        }
        std::thread::sleep(SWEEP);
        let _ = waitpid(group, Some(nix::sys::wait::WaitPidFlag::WNOHANG));
    }
}

fn children() -> Vec<Pid> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    let lists = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect::<Vec<_>>())
        .collect()
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("code {code}"),
        (None, Some(number)) => Signal::try_from(number).map_or_else(|_| format!("signal {number}"), |s| s.as_str().to_owned()),
        (None, None) => "unknown".to_owned(),
    }
}

//! What the target runs in, and so what may end, start and pause it.

pub mod docker;
pub mod hold;
pub mod output;
pub mod process;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

/// How a process is made to end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ending {
    /// SIGTERM, and SIGKILL after this time.
    Graceful(Duration),
    Kill,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Stop,
    Continue,
}

/// What is said by a runtime that has no process to start, stop or look at.
const NO_PROCESS: &str = "this target has no process of ours";

/// A runtime. Everything that it sees happen to the process goes into the journal by itself.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// Before the run: finds the target, or starts it. Nothing that was there before is touched.
    async fn open(&self) -> Result<(), String> {
        if self.has_process() { self.start().await } else { Ok(()) }
    }
    /// After the run: a target that was started for it is ended.
    async fn close(&self, grace: Duration) -> Result<(), String> {
        if self.has_process() { self.end(Ending::Graceful(grace)).await } else { Ok(()) }
    }
    /// Starts the target; returns when its process exists (and, where it announces its address, has done so).
    async fn start(&self) -> Result<(), String> {
        Err(NO_PROCESS.to_owned())
    }
    /// Ends the target; returns when its process is gone.
    async fn end(&self, _ending: Ending) -> Result<(), String> {
        Err(NO_PROCESS.to_owned())
    }
    /// The process that runs now, by its number on this machine.
    fn pid(&self) -> Option<u32> {
        None
    }
    /// When a process was started, in ticks of the kernel's: tells apart processes with the same number.
    fn start_ticks(&self, _pid: u32) -> Option<u64> {
        None
    }
    /// Whether a process is stopped by a signal.
    fn is_stopped(&self, _pid: u32) -> Option<bool> {
        None
    }
    fn signal(&self, _pid: u32, _signal: Signal) -> Result<(), String> {
        Err(NO_PROCESS.to_owned())
    }
    /// Whether this runtime has a process of ours at all.
    fn has_process(&self) -> bool {
        false
    }
    /// The target does not run, and nobody will start it again.
    fn is_gone(&self) -> bool {
        self.has_process() && self.pid().is_none()
    }
    /// The containers that the target runs in.
    fn docker(&self) -> Option<&docker::DockerRuntime> {
        None
    }
    /// The latest figures that the runtime itself has of the target.
    fn figures(&self) -> BTreeMap<String, f64> {
        BTreeMap::new()
    }
}

/// A target that nobody here may start or stop.
pub struct NoRuntime;

impl Runtime for NoRuntime {}

/// What the kernel says of a process: its state letter and its start time.
pub fn proc_stat(pid: u32) -> Option<(char, u64)> {
    let fields = stat_fields(pid)?;
    Some((fields.first()?.chars().next()?, fields.get(19)?.parse().ok()?))
}

/// The process that a process was started by, or was given to.
pub fn parent(pid: u32) -> Option<u32> {
    stat_fields(pid)?.get(1)?.parse().ok()
}

/// What stands behind the name of a process, from its state on.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything, more parentheses too.
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

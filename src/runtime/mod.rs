//! What the target runs in, and so what may end, start and pause it.

pub mod hold;
pub mod process;

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

/// A runtime. Everything that it sees happen to the process goes into the journal by itself.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// Starts the target; returns when its process exists (and, where it announces its address, has done so).
    async fn start(&self) -> Result<(), String>;
    /// Ends the target; returns when its process is gone.
    async fn end(&self, ending: Ending) -> Result<(), String>;
    /// The process that runs now.
    fn pid(&self) -> Option<u32>;
    /// When a process was started, in ticks of the kernel's: tells apart processes with the same number.
    fn start_ticks(&self, pid: u32) -> Option<u64>;
    /// Whether a process is stopped by a signal.
    fn is_stopped(&self, pid: u32) -> Option<bool>;
    fn signal(&self, pid: u32, signal: Signal) -> Result<(), String>;
    /// Whether this runtime has a process at all.
    fn has_process(&self) -> bool;
}

/// A target that nobody here may start or stop.
pub struct NoRuntime;

#[async_trait]
impl Runtime for NoRuntime {
    async fn start(&self) -> Result<(), String> {
        Err("this target has no runtime".to_owned())
    }
    async fn end(&self, _ending: Ending) -> Result<(), String> {
        Err("this target has no runtime".to_owned())
    }
    fn pid(&self) -> Option<u32> {
        None
    }
    fn start_ticks(&self, _pid: u32) -> Option<u64> {
        None
    }
    fn is_stopped(&self, _pid: u32) -> Option<bool> {
        None
    }
    fn signal(&self, _pid: u32, _signal: Signal) -> Result<(), String> {
        Err("this target has no runtime".to_owned())
    }
    fn has_process(&self) -> bool {
        false
    }
}

/// What the kernel says of a process: its state letter and its start time.
pub fn proc_stat(pid: u32) -> Option<(char, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything, more parentheses too.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let state = fields.first()?.chars().next()?;
    let started = fields.get(19)?.parse().ok()?;
    Some((state, started))
}

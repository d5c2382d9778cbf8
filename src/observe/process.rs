//! Memory and CPU of one process.

use std::sync::{Mutex, OnceLock};

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    pub rss_bytes: u64,
    /// Of one core, since the last reading.
    pub cpu_percent: f64,
}

/// Reads one process again and again; only that one, since reading all of them is a hundred times dearer.
pub struct Meter {
    /// `None` where the system cannot be asked.
    system: Option<System>,
}

impl Default for Meter {
    fn default() -> Self {
        Self { system: System::new().ok() }
    }
}

impl Meter {
    /// `None` when there is no such process.
    pub fn read(&mut self, pid: u32) -> Option<Usage> {
        let pid = Pid::from_u32(pid);
        let what = ProcessRefreshKind::nothing().with_memory().with_cpu();
        let system = self.system.as_mut()?;
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, what);
        let process = system.process(pid)?;
        Some(Usage { rss_bytes: process.memory(), cpu_percent: f64::from(process.cpu_usage()) })
    }

    /// This process.
    pub fn of_self() -> Usage {
        static METER: OnceLock<Mutex<Meter>> = OnceLock::new();
        let mut meter = METER.get_or_init(Mutex::default).lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        meter.read(std::process::id()).unwrap_or_default()
    }
}

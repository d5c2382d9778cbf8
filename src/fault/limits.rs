//! What the faults that lower a limit share: how a limit is read, set, and taken away again.

use bollard::models::{ContainerUpdateBody, HostConfig};
use serde::{Deserialize, Serialize};

use super::containers::{Container, Seen};
use crate::runtime::docker::engine::Engine;

/// The limits of a container before a fault; 0 where there was none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    pub memory: i64,
    pub memory_and_swap: i64,
    pub nano_cpus: i64,
    pub cpu_period: i64,
    pub cpu_quota: i64,
    pub pids: i64,
}

/// The engine's word for no limit where 0 means "leave it".
const NONE: i64 = -1;
/// The kernel's own word for no limit of memory; Docker cannot take one away, only raise it.
const NO_MEMORY_LIMIT: i64 = i64::MAX - 4095;

impl Limits {
    pub fn of(container: &Container) -> Self {
        let host: HostConfig = container.host_config.clone().unwrap_or_default();
        Self {
            memory: host.memory.filter(|bytes| (1..NO_MEMORY_LIMIT).contains(bytes)).unwrap_or(0),
            memory_and_swap: host.memory_swap.unwrap_or(0),
            nano_cpus: host.nano_cpus.unwrap_or(0),
            cpu_period: host.cpu_period.unwrap_or(0),
            cpu_quota: host.cpu_quota.unwrap_or(0).max(0),
            pids: host.pids_limit.unwrap_or(0).max(0),
        }
    }

    pub fn memory_back(&self) -> ContainerUpdateBody {
        let limit = |bytes: i64| Some(if bytes > 0 { bytes } else { NO_MEMORY_LIMIT });
        ContainerUpdateBody { memory: limit(self.memory), memory_swap: limit(self.memory_and_swap), ..Default::default() }
    }

    pub fn pids_back(&self) -> ContainerUpdateBody {
        ContainerUpdateBody { pids_limit: Some(if self.pids == 0 { NONE } else { self.pids }), ..Default::default() }
    }

    /// As many CPUs, in the same of the engine's two ways as before: one cannot be changed into the other.
    pub fn cpu(&self, cpus: f64) -> ContainerUpdateBody {
        if self.nano_cpus > 0 {
            return ContainerUpdateBody { nano_cpus: Some((cpus * 1e9) as i64), ..Default::default() };
        }
        let period = if self.cpu_period > 0 { self.cpu_period } else { DEFAULT_PERIOD };
        ContainerUpdateBody { cpu_period: Some(period), cpu_quota: Some((cpus * period as f64) as i64), ..Default::default() }
    }

    pub fn cpu_back(&self) -> ContainerUpdateBody {
        if self.nano_cpus > 0 {
            return ContainerUpdateBody { nano_cpus: Some(self.nano_cpus), ..Default::default() };
        }
        let quota = if self.cpu_quota > 0 { self.cpu_quota } else { NONE };
        let period = if self.cpu_period > 0 { self.cpu_period } else { DEFAULT_PERIOD };
        ContainerUpdateBody { cpu_period: Some(period), cpu_quota: Some(quota), ..Default::default() }
    }

    /// How many CPUs a container may use; `None` for all.
    pub fn cpus(&self) -> Option<f64> {
        match (self.nano_cpus, self.cpu_quota) {
            (0, 0) => None,
            (0, quota) => Some(quota as f64 / if self.cpu_period > 0 { self.cpu_period } else { DEFAULT_PERIOD } as f64),
            (nano, _) => Some(nano as f64 / 1e9),
        }
    }
}

/// What the engine says at once of a limit that is held; the kernel's own figures take a second.
pub fn still(text: String, is_lowered: bool) -> Seen {
    if is_lowered { Seen::Broken(text) } else { Seen::Whole(text) }
}

/// Microseconds, the kernel's own.
const DEFAULT_PERIOD: i64 = 100_000;

/// The limits that the kernel really has, from the container's cgroup: memory and processes; the periods of the CPU quota.
pub async fn in_the_kernel(engine: &Engine, id: &str) -> Result<(Option<u64>, Option<u64>, u64), String> {
    let stats = engine.stats(id).await?;
    let memory = stats.memory_stats.and_then(|m| m.limit);
    let pids = stats.pids_stats.and_then(|p| p.limit);
    let periods = stats.cpu_stats.and_then(|c| c.throttling_data).and_then(|t| t.periods).unwrap_or(0);
    Ok((memory, pids, periods))
}

//! What a container uses, from the engine's own account (cgroup v1 and v2).

use std::collections::BTreeMap;

use bollard::models::{
    ContainerBlkioStats, ContainerCpuStats, ContainerInspectResponse, ContainerStatsResponse, HealthStatusEnum,
};

/// The figures of one container; CPU is a share of time since the reading before.
#[derive(Default)]
pub struct Meter {
    last: Option<ContainerCpuStats>,
}

impl Meter {
    /// Names as in the record's series, without the leading `container.`.
    pub fn read(&mut self, stats: &ContainerStatsResponse) -> BTreeMap<&'static str, f64> {
        let mut figures = BTreeMap::new();
        let mut put = |name, value: Option<u64>| value.map(|v| figures.insert(name, v as f64));
        if let Some(memory) = &stats.memory_stats {
            put("memory_bytes", memory.usage.map(|usage| usage.saturating_sub(page_cache(memory.stats.as_ref()))));
            put("memory_limit_bytes", memory.limit);
        }
        if let Some(pids) = &stats.pids_stats {
            put("pids", pids.current);
        }
        if let Some(networks) = &stats.networks {
            put("network_received_bytes", Some(networks.values().filter_map(|n| n.rx_bytes).sum()));
            put("network_sent_bytes", Some(networks.values().filter_map(|n| n.tx_bytes).sum()));
        }
        if let Some(block) = &stats.blkio_stats {
            put("disk_read_bytes", moved(block, "read"));
            put("disk_written_bytes", moved(block, "write"));
        }
        if let Some(cpu) = &stats.cpu_stats {
            put("cpu_throttled_periods", cpu.throttling_data.as_ref().and_then(|t| t.throttled_periods));
            if let Some(percent) = self.last.as_ref().and_then(|last| cpu_percent(last, cpu)) {
                figures.insert("cpu_percent", percent);
            }
            self.last = Some(cpu.clone());
        }
        figures
    }
}

/// How often the engine has started it again by itself, and whether its health check fails.
pub fn state(container: &ContainerInspectResponse) -> [(&'static str, f64); 2] {
    let health = container.state.as_ref().and_then(|s| s.health.as_ref()).and_then(|h| h.status);
    let unhealthy = health == Some(HealthStatusEnum::UNHEALTHY);
    [("restarts", container.restart_count.unwrap_or(0) as f64), ("unhealthy", f64::from(u8::from(unhealthy)))]
}

/// Page cache that the kernel would give back at once is no use of memory, as `docker stats` has it.
fn page_cache(stats: Option<&std::collections::HashMap<String, u64>>) -> u64 {
    let of = |key: &str| stats.and_then(|s| s.get(key)).copied();
    of("total_inactive_file").or_else(|| of("inactive_file")).unwrap_or(0)
}

fn moved(block: &ContainerBlkioStats, direction: &str) -> Option<u64> {
    let entries = block.io_service_bytes_recursive.as_ref()?;
    Some(
        entries
            .iter()
            .filter(|e| e.op.as_deref().is_some_and(|op| op.eq_ignore_ascii_case(direction)))
            .filter_map(|e| e.value)
            .sum(),
    )
}

/// Of one core, between two readings.
fn cpu_percent(from: &ContainerCpuStats, to: &ContainerCpuStats) -> Option<f64> {
    let used = |s: &ContainerCpuStats| s.cpu_usage.as_ref()?.total_usage;
    let worked = used(to)?.checked_sub(used(from)?)? as f64;
    // All cores together, so one core had a share of it.
    let passed = to.system_cpu_usage?.checked_sub(from.system_cpu_usage?)? as f64 / f64::from(to.online_cpus.filter(|n| *n > 0)?);
    (passed > 0.0).then(|| worked / passed * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(json: serde_json::Value) -> ContainerStatsResponse {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn memory_leaves_the_page_cache_out_on_both_kinds_of_cgroup() {
        for key in ["total_inactive_file", "inactive_file"] {
            let seen = Meter::default()
                .read(&stats(serde_json::json!({ "memory_stats": { "usage": 100, "limit": 400, "stats": { key: 30 } } })));
            assert_eq!((seen["memory_bytes"], seen["memory_limit_bytes"]), (70.0, 400.0), "{key}");
        }
    }

    #[test]
    fn restarts_are_counted_and_a_failing_health_check_is_one() {
        let of = |json: serde_json::Value| state(&serde_json::from_value(json).unwrap());
        let failing = serde_json::json!({ "RestartCount": 3, "State": { "Health": { "Status": "unhealthy" } } });
        assert_eq!(of(failing), [("restarts", 3.0), ("unhealthy", 1.0)]);
        assert_eq!(of(serde_json::json!({ "State": {} })), [("restarts", 0.0), ("unhealthy", 0.0)]);
    }

    #[test]
    fn the_cpu_is_told_of_one_core_and_only_between_two_readings() {
        let at = |used: u64, system: u64| {
            stats(
                serde_json::json!({ "cpu_stats": { "cpu_usage": { "total_usage": used }, "system_cpu_usage": system, "online_cpus": 4 } }),
            )
        };
        let mut meter = Meter::default();
        assert!(!meter.read(&at(1_000, 40_000)).contains_key("cpu_percent"));
        assert_eq!(meter.read(&at(6_000, 80_000))["cpu_percent"], 50.0);
        // The counter begins again after a restart.
        assert!(!meter.read(&at(10, 90_000)).contains_key("cpu_percent"));
    }
}

//! The whole engine for hours (a week in `.ci/full`) in simulated time: healthy, and with defects that take hours to show.

use std::time::Instant;

use crate::common::often;
use crate::common::sim::{Sabotage, Simulated, run};

/// Three users, a job each minute or two, everything that can be asked of such a run.
async fn soak(hours: u32, faults: &str, defects: &str, seed: u64) -> Simulated {
    let yaml = format!(
        "version: 1
name: soak
target: {{ url: embedded, backend: {{ speed: 10, defects: [{defects}] }} }}
sample_every: 10s
duration: {hours}h
load: [{{ name: users, users: 3, think: 60s..120s, job: {{ width: 512, height: 512 }} }}]
faults: [{faults}]
guards: [{{ error_rate: {{ above: 50% }} }}, {{ queue_depth: {{ above: 1000 }} }}]
checks:
  - no_crash: {{}}
  - all_jobs_complete: {{ within: 300s }}
  - uptime: {{ at_least: 99.9% }}
  - health_is_honest: {{}}
  - error_rate: {{ below: 1% }}
  - latency: {{ percentile: 95, below: 60s }}
  - latency_stable: {{ drift: 10% }}
  - memory_growth: {{ name: vram_growth, series: gpu.memory_used_bytes, per_hour: 5% }}
  - queue_depth: {{ below: 10 }}
  - throughput: {{ at_least: 1/min }}
  - no_oom: {{}}
  - no_duplicate_work: {{}}
  - listeners_stable: {{}}
"
    );
    let begun = Instant::now();
    let done = run(&yaml, seed, Sabotage::default(), None).await;
    let took = begun.elapsed().as_secs_f64();
    eprintln!(
        "{hours} h, [{defects}{faults}]: {} jobs in {took:.0} s of CPU, exit {}",
        done.record.jobs.len(),
        done.result.exit_code
    );
    done
}

#[tokio::test(start_paused = true)]
async fn hours_of_health_pass() {
    let hours = often(4, 168);
    let done = soak(hours, "", "", 1).await;
    assert_eq!(done.result.exit_code, 0, "{}", done.trouble());
    let jobs = done.record.jobs.len() as f64 / f64::from(hours);
    assert!((80.0..140.0).contains(&jobs), "{jobs} jobs an hour");
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_twenty_seconds_is_twenty_seconds() {
    let hours = often(6, 168);
    let done = soak(hours, "{ pause: { at: 3h, for: 20s } }", "", 2).await;
    let uptime = done.result.checks.iter().find(|c| c.name == "uptime").unwrap();
    let told: f64 = uptime.measured.as_ref().unwrap().trim_end_matches(" %").parse().unwrap();
    let share = 100.0 * (1.0 - 20.0 / (f64::from(hours) * 3600.0));
    assert!((told - share).abs() < 0.01, "{told} against {share}");
    assert_eq!(done.result.exit_code, 0, "{}", done.trouble());
}

#[tokio::test(start_paused = true)]
async fn what_takes_hours_to_show_is_found() {
    let done = soak(often(8, 168), "", "slow-decay", 3).await;
    assert_eq!(done.verdict("latency_stable"), "failed", "{}", done.trouble());
    // 64 MiB a job, and a hundred jobs an hour: two hours before it is full.
    let done = soak(2, "", "vram-leak", 4).await;
    assert_eq!(done.verdict("vram_growth"), "failed", "{}", done.trouble());
}

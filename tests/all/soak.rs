//! Life size: journals of an hour, four hours, a day and a week, made by hand. What is true of the first hour is as true at the
//! end of the week.

use std::time::Instant;

use crate::common::script::{Script, view};
use crate::common::{alone, often};
use chaos::check::Ruling::{self, Failed, Passed};
use chaos::journal::event::{Event, JobState};
use chaos::journal::values::Values;
use chaos::report::result::{self, CheckResult};

const HOUR: f64 = 3600.0;
const GIB: f64 = (1u64 << 30) as f64;

/// What a target is like, at a moment.
struct Target {
    hours: f64,
    /// From when to when its health endpoint does not answer.
    silent: Vec<(f64, f64)>,
    /// Its memory, in bytes.
    memory: fn(f64) -> f64,
    /// What a job takes, in seconds.
    takes: fn(f64) -> f64,
    /// Between two jobs.
    every_s: f64,
}

impl Default for Target {
    fn default() -> Self {
        Self { hours: 1.0, silent: vec![], memory: |_| 3.0 * GIB, takes: |_| 80.0, every_s: 30.0 }
    }
}

/// Noise without a generator: the same for the same place, between -0.5 and 0.5.
fn noise(at: u64, of: u64) -> f64 {
    let mixed = (at ^ of.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed ^ (mixed >> 32)) >> 11) as f64 / (1u64 << 53) as f64 - 0.5
}

const CHECKS: &str = "
  - uptime: { at_least: 99.9% }
  - health_is_honest: {}
  - memory_growth: { per_hour: 2% }
  - memory_growth: { name: slow_growth, per_hour: 0.02% }
  - memory_growth: { name: vram_growth, series: gpu.memory_used_bytes, per_hour: 5% }
  - gpu_memory: { below: 90% }
  - gpu_utilization: { within: 40%..80%, failure: 95%, sustained: 60s }
  - gpu_temperature: { below: 80 }
  - queue_depth: { below: 10 }
  - error_rate: { below: 1% }
  - latency: { percentile: 95, below: 120s }
  - latency_stable: { drift: 10% }
  - throughput: { at_least: 1/min }
  - no_duplicate_work: {}
  - all_jobs_complete: {}
";

impl Target {
    /// The record of a run against it: sampled once a second, probed twenty times.
    fn run(&self) -> Script {
        let end = self.hours * HOUR;
        let mut script = Script::from(&format!(
            "version: 1\nname: soak\ntarget: {{ url: embedded }}\nsample_every: 1s\nduration: {}s\nload: [{{ name: users, users: 3 }}]\nchecks:{CHECKS}",
            end + 1.0
        ));
        script.keep_lines = false;
        let (mut next_job, mut silent) = (1.0, self.silent.iter().peekable());
        let mut open: Vec<(f64, u32)> = Vec::new();
        for second in 1..end as u64 {
            let t = second as f64;
            self.sample(&mut script, second);
            while let Some((from, to)) = silent.next_if(|(from, _)| *from < t + 1.0) {
                script.at(*from, Event::Sample { values: [("health.up", 0.0)].into() });
                script.at(*to, Event::Sample { values: [("health.up", 1.0)].into() });
            }
            while t >= next_job && t < end - 200.0 {
                next_job += self.every_s;
                let job = script.accepted(t);
                open.push((t + (self.takes)(t) * (1.0 + 0.1 * noise(second, 9)), job));
            }
            let due = |(end, _): &(f64, u32)| *end <= t;
            for (end, job) in open.extract_if(.., |job| due(job)).collect::<Vec<_>>() {
                script.ends(job, end, view(JobState::Completed));
                script.result(job, end, 10_000, Some(job));
            }
        }
        script.end(end);
        script
    }

    fn sample(&self, script: &mut Script, second: u64) {
        let t = second as f64;
        let wave = |of: u64, period: f64| (t / period).sin() / 2.0 + noise(second, of) / 2.0;
        let values: Values = [
            ("health.up", 1.0),
            ("health.port_open", 1.0),
            ("health.answer_s", 0.02 + 0.02 * noise(second, 1).max(0.0)),
            ("process.rss_bytes", (self.memory)(t) * (1.0 + 0.004 * noise(second, 2))),
            ("process.cpu_percent", 50.0 + 30.0 * wave(3, 600.0)),
            ("gpu.memory_used_bytes", (12.0 + 2.0 * wave(4, 30.0)) * GIB),
            ("gpu.memory_total_bytes", 24.0 * GIB),
            ("gpu.utilization_percent", (60.0 + 30.0 * wave(5, 700.0)).round()),
            ("gpu.temperature_c", (65.0 + 10.0 * wave(6, 800.0)).round()),
            ("queue.depth", (2.0 + 3.0 * wave(7, 500.0)).round().max(0.0)),
            ("queue.running", (2.0 + 2.0 * wave(8, 500.0)).round()),
        ]
        .into();
        // While the endpoint is silent the probe says so, not the sample.
        let during = self.silent.iter().any(|(from, to)| (*from..*to).contains(&t));
        let values = if during { values.iter().filter(|(name, _)| *name != "health.up").collect() } else { values };
        script.at(t, Event::Sample { values });
    }
}

fn verdict<'a>(checks: &'a [CheckResult], name: &str) -> &'a CheckResult {
    checks.iter().find(|c| c.name == name).unwrap()
}

/// What does not pass.
fn trouble(checks: &[CheckResult]) -> Vec<String> {
    let bad = checks.iter().filter(|c| c.verdict != Passed);
    bad.map(|c| format!("{} {:?}: {} {:?}", c.name, c.verdict, c.observed, c.evidence)).collect()
}

/// The lengths that are tried; in `.ci/full` a week too.
fn lengths() -> Vec<f64> {
    [1.0, 4.0, 24.0].into_iter().chain(often(None, Some(168.0))).collect()
}

#[test]
fn a_healthy_target_passes_whatever_the_length() {
    for hours in lengths() {
        let begun = Instant::now();
        let run = Target { hours, ..Target::default() }.run();
        let result = result::of(&run.record);
        // In noise of four tenths of a per cent, an hour does not show a fiftieth of that.
        let decided = |c: &&CheckResult| c.name != "slow_growth" || hours >= 4.0;
        let checks: Vec<CheckResult> = result.checks.iter().filter(decided).cloned().collect();
        assert_eq!(trouble(&checks), [""; 0], "{hours} h");
        assert_ne!(verdict(&result.checks, "slow_growth").verdict, Failed);
        eprintln!("{hours} h: {} samples, made and judged in {:.1} s", run.record.samples, begun.elapsed().as_secs_f64());
    }
}

#[test]
fn one_missed_answer_is_one_missed_answer_and_an_outage_is_told_to_the_probe() {
    for hours in lengths() {
        for (from, lasts) in [(630.0, 0.12), (630.0, 20.0), (hours * HOUR * 0.6, 20.0)] {
            let run = Target { hours, silent: vec![(from, from + lasts)], ..Target::default() }.run();
            let checks = result::of(&run.record).checks;
            let uptime = verdict(&checks, "uptime");
            let share = 100.0 * (1.0 - lasts / (hours * HOUR));
            let told: f64 = uptime.measured.as_ref().unwrap().trim_end_matches(" %").parse().unwrap();
            assert!((told - share).abs() <= 0.01, "{hours} h, {lasts} s: {told} against {share}");
            let outage = format!("no answer from {from:.1} s to {:.1} s", from + lasts);
            assert!(uptime.evidence.contains(&outage), "{outage}: {:?}", uptime.evidence);
            if lasts < 0.3 {
                assert_eq!(verdict(&checks, "health_is_honest").verdict, Passed, "{hours} h: {checks:#?}");
            }
        }
    }
}

/// From its start on, a silence while jobs are done is a finding, and its times are its own.
#[test]
fn a_silence_is_found_where_it_was() {
    for hours in lengths() {
        let from = hours * HOUR * 0.3;
        let run = Target { hours, silent: vec![(from, from + 95.0)], ..Target::default() }.run();
        let checks = result::of(&run.record).checks;
        let honest = verdict(&checks, "health_is_honest");
        assert_eq!(honest.verdict, Failed, "{honest:?}");
        assert!(honest.observed.contains(&format!("from {from:.1} s to {:.1} s", from + 95.0)), "{honest:?}");
    }
}

/// One per cent a day, in noise of four tenths of a per cent.
#[test]
fn a_slow_leak_is_found_within_a_day_and_a_warm_up_is_none() {
    let judge = |memory: fn(f64) -> f64| -> Ruling {
        let run = Target { hours: 24.0, memory, ..Target::default() }.run();
        verdict(&result::of(&run.record).checks, "slow_growth").verdict
    };
    assert_eq!(judge(|t| 3.0 * GIB * (1.0 + 0.01 * t / (24.0 * HOUR))), Failed, "a leak of 1 % a day");
    assert_eq!(judge(|t| 3.0 * GIB * (1.0 - 0.3 * (-t / HOUR).exp())), Passed, "caches that fill within hours");
}

#[test]
fn jobs_that_become_slower_over_a_day_are_found() {
    let run = Target { hours: 24.0, takes: |t| 80.0 * (1.0 + 0.2 * t / (24.0 * HOUR)), ..Target::default() }.run();
    assert_eq!(verdict(&result::of(&run.record).checks, "latency_stable").verdict, Failed);
}

/// What this process holds, in bytes.
fn resident() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok().and_then(|s| s.split(' ').nth(1)?.parse::<f64>().ok());
    pages.unwrap_or(0.0) * 4096.0
}

/// Five jobs a second for hours (for a week in `.ci/full`): what they cost, and that the verdict is still right.
#[test]
fn memory_grows_with_the_jobs_and_no_faster() {
    if !alone("soak::memory_grows_with_the_jobs_and_no_faster") {
        return;
    }
    let before = resident();
    let run = Target { hours: often(8.0, 168.0), every_s: 0.2, ..Target::default() }.run();
    let (jobs, held) = (run.record.jobs.len() as f64, resident() - before);
    let begun = Instant::now();
    let result = result::of(&run.record);
    let took = begun.elapsed().as_secs_f64();
    eprintln!("{jobs} jobs: {:.0} MiB, {:.0} B a job; judged in {took:.1} s", held / 1e6, held / jobs);
    assert_eq!(
        trouble(&result.checks).iter().filter(|t| !t.starts_with("slow_growth")).count(),
        0,
        "{:?}",
        trouble(&result.checks)
    );
    assert!(held / jobs < 700.0, "{:.0} B a job", held / jobs);
}

/// What a check reads is there to the last change, and what none reads in an outline: memory is bounded by what is judged.
#[test]
fn what_is_judged_is_kept_whole_and_the_rest_is_an_outline() {
    let run = Target { hours: 24.0, ..Target::default() }.run();
    let kept = |name: &str| run.record.series.get(name).map_or(0, |series| series.len());
    assert!(kept("process.rss_bytes") > 80_000, "{}", kept("process.rss_bytes"));
    assert!(kept("process.cpu_percent") < 20_000, "{}", kept("process.cpu_percent"));
}

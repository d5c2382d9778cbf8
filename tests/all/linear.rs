//! What a verdict costs: ten times the jobs are about ten times the work, whatever became of them.

use std::time::Duration;

use chaos::check::{CheckSpec, View, judge_all};
use chaos::experiment::JobShape;
use chaos::journal::event::{Answer, Event, JobState, JobView, ProcessEvent};
use nix::time::{ClockId, clock_gettime};

use crate::common::script::{Script, view};

/// All that look at jobs or at series, with what they need.
const CHECKS: [&str; 34] = [
    "no_crash: {}",
    "oom_seen: {}",
    "retried_smaller: {}",
    "all_jobs_complete: { within: 30s }",
    "queue_drains: { within: 600s }",
    "latency_recovers: { percentile: 90, within: 100s }",
    "latency: { percentile: 95, below: 2s }",
    "error_rate: { below: 1% }",
    "no_oom: {}",
    "mean_latency: { within: 1s..2s }",
    "latency_stable: {}",
    "uptime: { at_least: 99% }",
    "queue_depth: { below: 10 }",
    "throughput: { at_least: 1/min }",
    "gpu_utilization: { within: 0%..90% }",
    "gpu_memory: { below: 90% }",
    "gpu_temperature: { below: 80 }",
    "memory_growth: { per_hour: 2% }",
    "cold_warm: {}",
    "oom_outcome: {}",
    "no_abandoned_work: {}",
    "no_duplicate_work: {}",
    "time_to_recover: { within: 100s, hold: 20s }",
    "time_to_recover: { name: rate_back, indicator: throughput, within: 100s, hold: 20s }",
    "restarts_cleanly: {}",
    "health_is_honest: {}",
    "backpressure_is_honest: {}",
    "metrics_live: { names: [process.rss_bytes] }",
    "canary: { within: 100s }",
    "capacity: { latency: 5s, at_least: 1 }",
    "listeners_stable: {}",
    "reconnects: {}",
    "reconnects_spread: {}",
    "logs: { matching: fatal, at_most: 3 }",
];

/// What becomes of the jobs after the fault.
#[derive(Debug, Clone, Copy)]
enum Story {
    Well,
    /// Each gets the result of the one before.
    Mismatched,
    Slow,
    Failed,
    Refused,
    Lost,
    /// The target's log and errors speak of an out-of-memory.
    OutOfMemory,
    /// Nobody can tell what became of them.
    Unknown,
}

const STORIES: [Story; 8] =
    [Story::Well, Story::Mismatched, Story::Slow, Story::Failed, Story::Refused, Story::Lost, Story::OutOfMemory, Story::Unknown];

/// A fifth of the jobs before the fault, and one a second; each tenth is a canary.
fn script(story: Story, jobs: u32) -> Script {
    let checks = CHECKS.map(|check| format!("{{ {check} }}")).join(", ");
    let mut script = Script::from(&format!(
        "version: 1\nname: script\ntarget: {{ url: embedded }}\nload: [{{ name: users, stages: [{{ users: 1, for: {jobs}s }}, {{ users: 2, for: 10s }}] }}]\ncanary: {{ every: 10s }}\nfaults: [{{ flood: {{ at: 20s, jobs: 1 }} }}]\nchecks: [{checks}]\n"
    ));
    script.keep_lines = false;
    let begins = jobs / 5;
    for i in 0..jobs {
        let t = 1.0 + f64::from(i);
        if i == begins {
            script.at(t, Event::FaultInjecting { fault: "flood".into(), planned_t: t });
            script.at(t + 0.1, Event::FaultInjected { fault: "flood".into(), error: None });
            script.at(t + 0.2, Event::FaultOver { fault: "flood".into() });
        }
        let values = [
            ("queue.depth", 1.0),
            ("health.up", 1.0),
            ("process.rss_bytes", 1e9 + f64::from(i % 7)),
            ("gpu.memory_used_bytes", 1e9),
            ("gpu.memory_total_bytes", 2e9),
            ("gpu.utilization_percent", f64::from(i % 80)),
            ("gpu.temperature_c", 60.0),
        ];
        script.at(
            t,
            Event::Sample {
                values: values
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect::<std::collections::BTreeMap<_, _>>()
                    .into(),
            },
        );
        let story = if i < begins { Story::Well } else { story };
        one(&mut script, story, t, if i % 10 == 0 { "canary" } else { "users" });
    }
    let end = 20.0 + f64::from(jobs);
    script.at(
        end - 1.0,
        Event::Process { event: ProcessEvent::Exited { generation: 1, status: "code 0".into(), asked: true, elsewhere: false } },
    );
    script.end(end);
    script
}

fn one(script: &mut Script, story: Story, t: f64, load: &str) {
    let job = script.submitting(t, load, JobShape::default());
    let answer = match story {
        Story::Refused => Answer::Error { status: 500, proxy: false, reason: "no".into() },
        Story::Unknown => Answer::Taken { reason: "it says that the job is `queued`".into() },
        _ => Answer::Accepted { id: format!("job-{job}") },
    };
    script.at(t, Event::Answered { job, answer });
    let mut ended = |state: JobState, takes: f64, error: Option<&str>, result_of: Option<u32>| {
        script.ends(job, t + takes, JobView { error: error.map(str::to_owned), ..view(state) });
        if let Some(of) = result_of {
            script.result(job, t + takes, 10_000, Some(of));
        }
    };
    match story {
        Story::Well => ended(JobState::Completed, 0.5, None, Some(job)),
        Story::Slow => ended(JobState::Completed, 9.0, None, Some(job)),
        Story::Mismatched => ended(JobState::Completed, 0.5, None, Some(job - 1)),
        Story::Failed => ended(JobState::Failed, 0.5, Some("boom"), None),
        Story::OutOfMemory => ended(JobState::Failed, 0.5, Some("CUDA out of memory"), None),
        Story::Lost => _ = script.at(t + 3.0, Event::Vanished { job }),
        Story::Refused | Story::Unknown => {}
    }
}

#[test]
fn every_check_is_measured() {
    let missing: Vec<_> =
        CheckSpec::NAMES.iter().filter(|name| !CHECKS.iter().any(|check| check.starts_with(&format!("{name}:")))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The time of the processor that the account, each check, and all of them with what weighs them take, in this thread.
fn costs(story: Story, jobs: u32) -> Vec<(String, Duration)> {
    let now = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let script = script(story, jobs);
    let began = now();
    let view = View::of(&script.record);
    let mut costs = vec![("the ledger".to_owned(), now() - began)];
    for check in &script.record.plan().checks {
        let began = now();
        let verdict = check.spec.judge(&view);
        costs.push((check.name.clone(), now() - began));
        assert!(!verdict.expected.is_empty());
    }
    let began = now();
    assert!(judge_all(&view).len() > CHECKS.len());
    costs.push(("all of them".to_owned(), now() - began));
    costs
}

/// What is too short to be measured counts as this.
const LEAST: Duration = Duration::from_millis(2);

#[test]
fn ten_times_the_jobs_are_not_a_hundred_times_the_work() {
    for story in STORIES {
        for ((what, few), (_, many)) in costs(story, 1_000).into_iter().zip(costs(story, 10_000)) {
            assert!(many < 25 * few.max(LEAST), "{what} of {story:?}: {few:?} for a thousand jobs, {many:?} for ten thousand");
        }
    }
}

/// What a verdict costs at life size: `cargo test --release linear:: -- --ignored --nocapture`.
#[test]
#[ignore = "it takes minutes: it prints the table"]
fn table_of_what_a_verdict_costs() {
    let sizes = [10_000, 100_000, 1_000_000].map(|jobs| STORIES.map(|story| costs(story, jobs)));
    let names: Vec<String> = sizes[0][0].iter().map(|(what, _)| what.clone()).collect();
    for (at, what) in names.iter().enumerate() {
        let worst = |stories: &[Vec<(String, Duration)>; STORIES.len()]| stories.iter().map(|costs| costs[at].1).max().unwrap();
        let [small, middle, large] = [0, 1, 2].map(|size| worst(&sizes[size]));
        println!("| `{what}` | {small:.2?} | {middle:.2?} | {large:.2?} |");
    }
}

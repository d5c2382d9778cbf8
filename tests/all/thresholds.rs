//! The thresholds of the load-testing plan: each in all of its verdicts and grades, over records made by hand.

use crate::common::script::{Script, view};
use chaos::check::Ruling::{self, Failed, Inconclusive, Passed, Pending};
use chaos::check::Verdict;
use chaos::check::grade::Grade;
use chaos::journal::event::{Answer, Event, JobState, ProcessEvent};

fn sample(script: &mut Script, t: f64, name: &str, value: f64) {
    script.at(t, Event::Sample { values: [(name.to_owned(), value)].into() });
}

/// A script with a series given as points, ended at a moment.
fn series(check: &str, name: &str, points: &[(f64, f64)], end: f64) -> Verdict {
    let mut script = Script::new(check);
    points.iter().for_each(|(t, value)| sample(&mut script, *t, name, *value));
    script.end(end);
    script.verdict()
}

fn graded(verdict: &Verdict) -> (Ruling, Option<Grade>) {
    (verdict.ruling, verdict.grade)
}

#[test]
fn what_needs_the_whole_run_is_pending_before_its_end() {
    for check in [
        "uptime: { at_least: 99% }",
        "queue_depth: { below: 5 }",
        "throughput: { at_least: 1/s }",
        "gpu_memory: { below: 90% }",
        "gpu_temperature: { below: 85 }",
        "gpu_utilization: { within: 70%..85% }",
        "memory_growth: { per_hour: 5% }",
        "mean_latency: { within: 1s..2s }",
        "latency_stable: {}",
        "metrics_live: {}",
        "no_oom: {}",
    ] {
        assert_eq!(Script::new(check).verdict().ruling, Pending, "{check}");
    }
}

#[test]
fn uptime() {
    let check = "uptime: { at_least: 99.9%, acceptable: 99%, failure: 99% }";
    let up = |down: f64| series(check, "health.up", &[(0.0, 1.0), (50.0, 0.0), (50.0 + down, 1.0)], 100.0);
    assert_eq!(graded(&series(check, "health.up", &[(0.0, 1.0)], 100.0)), (Passed, Some(Grade::Target)));
    assert_eq!(graded(&up(0.5)), (Passed, Some(Grade::Acceptable)));
    assert_eq!(graded(&up(5.0)), (Failed, Some(Grade::Failure)));
    assert_eq!(series(check, "other", &[(0.0, 1.0)], 100.0).ruling, Inconclusive);
}

#[test]
fn queue_depth() {
    let check = "queue_depth: { below: 5, acceptable: 10 }";
    let deep = |peak: f64| series(check, "queue.depth", &[(0.0, 0.0), (50.0, peak), (60.0, 0.0)], 100.0);
    assert_eq!(graded(&deep(4.0)), (Passed, Some(Grade::Target)));
    assert_eq!(graded(&deep(9.0)), (Passed, Some(Grade::Acceptable)));
    assert_eq!(graded(&deep(10.0)), (Failed, Some(Grade::Failure)));
    // The gauge stands still while more wait than the limit allows for.
    let mut frozen = Script::new(check);
    sample(&mut frozen, 0.0, "queue.depth", 0.0);
    (0..8).for_each(|_| {
        frozen.accepted(1.0);
    });
    frozen.end(100.0);
    assert_eq!(frozen.verdict().ruling, Inconclusive);
}

#[test]
fn throughput() {
    let with = |jobs: usize, end: f64| {
        let mut script = Script::new("throughput: { at_least: 1/s, acceptable: 0.5/s }");
        (0..jobs).for_each(|i| {
            script.completed(i as f64 * end / jobs as f64, 0.1);
        });
        script.end(end);
        script.verdict()
    };
    assert_eq!(graded(&with(120, 100.0)), (Passed, Some(Grade::Target)));
    assert_eq!(graded(&with(60, 100.0)), (Passed, Some(Grade::Acceptable)));
    assert_eq!(graded(&with(20, 100.0)), (Failed, Some(Grade::Failure)));
    assert_eq!(with(1, 2.0).ruling, Inconclusive, "two seconds make no rate");
}

#[test]
fn the_times_and_the_number_of_tokens() {
    let with = |check: &str, first_s: f64, gap_s: f64| {
        let mut script = Script::new(check);
        (0..200).for_each(|i| {
            script.streamed(f64::from(i) * 0.5, 20, first_s, gap_s);
        });
        script.end(110.0);
        script.verdict()
    };
    let first = "latency: { of: first_token, percentile: 95, below: 500ms }";
    assert_eq!(with(first, 0.4, 1.0).ruling, Passed, "the rest of the answer does not count");
    assert_eq!(with(first, 0.6, 0.001).ruling, Failed);
    let between = "latency: { of: between_tokens, percentile: 95, below: 50ms }";
    assert_eq!(with(between, 5.0, 0.04).ruling, Passed);
    assert_eq!(with(between, 0.1, 0.06).ruling, Failed);
    let rate = |tokens: u32| format!("throughput: {{ of: tokens, at_least: {tokens}/s }}");
    assert_eq!(with(&rate(30), 0.1, 0.01).ruling, Passed);
    assert_eq!(with(&rate(50), 0.1, 0.01).ruling, Failed);
    // Jobs whose answers were not streamed say nothing about tokens.
    for check in [first, between, &rate(30)] {
        let mut whole = Script::new(check);
        (0..200).for_each(|i| {
            whole.completed(f64::from(i) * 0.5, 0.1);
        });
        whole.end(110.0);
        assert_eq!(whole.verdict().ruling, Inconclusive, "{check}");
    }
}

#[test]
fn gpu_figures() {
    let utilization = |percent: f64| {
        let mut script = Script::new("gpu_utilization: { within: 70%..85%, acceptable: 60%..90%, failure: 95%, sustained: 30s }");
        (0..60).for_each(|i| sample(&mut script, f64::from(i), "gpu.utilization_percent", percent));
        script.end(60.0);
        script.verdict()
    };
    assert_eq!(graded(&utilization(75.0)), (Passed, Some(Grade::Target)));
    assert_eq!(graded(&utilization(88.0)), (Passed, Some(Grade::Acceptable)));
    assert_eq!(utilization(40.0).ruling, Failed);
    assert_eq!(graded(&utilization(97.0)), (Failed, Some(Grade::Failure)), "saturated for longer than it may be");
    assert_eq!(series("gpu_utilization: { within: 70%..85% }", "other", &[(1.0, 1.0)], 60.0).ruling, Inconclusive);

    let memory = |gib: f64| {
        let mut script = Script::new("gpu_memory: { below: 90% }");
        sample(&mut script, 1.0, "gpu.memory_total_bytes", 100.0);
        sample(&mut script, 1.0, "gpu.memory_used_bytes", gib);
        script.end(60.0);
        script.verdict().ruling
    };
    assert_eq!((memory(80.0), memory(95.0)), (Passed, Failed));
    assert_eq!(series("gpu_memory: { below: 90% }", "other", &[(1.0, 1.0)], 60.0).ruling, Inconclusive);

    let heat = |c: f64| series("gpu_temperature: { below: 85 }", "gpu.temperature_c", &[(1.0, 40.0), (30.0, c)], 60.0).ruling;
    assert_eq!((heat(80.0), heat(90.0)), (Passed, Failed));
    assert_eq!(series("gpu_temperature: { below: 85 }", "other", &[(1.0, 1.0)], 60.0).ruling, Inconclusive);
}

#[test]
fn mean_latency() {
    let with = |latencies: &[f64]| {
        let mut script = Script::new("mean_latency: { within: 75s..90s }");
        latencies.iter().enumerate().for_each(|(i, s)| {
            script.completed(i as f64 * 100.0, *s);
        });
        script.end(1000.0);
        script.verdict().ruling
    };
    assert_eq!(with(&[82.0, 82.5, 81.5, 82.2, 81.9]), Passed);
    assert_eq!(with(&[120.0, 121.0, 119.0, 120.5, 119.5]), Failed);
    assert_eq!(with(&[60.0, 110.0, 82.0, 70.0, 95.0]), Inconclusive, "the mean is not known well enough");
    assert_eq!(with(&[82.0, 82.0]), Inconclusive);
}

/// An hour of samples, ten seconds apart, with a noise that is the same each time.
fn memory(check: &str, mib: impl Fn(f64) -> f64) -> Verdict {
    let mut script = Script::new(check);
    for i in 0..360 {
        let noise = f64::from(i * 7919 % 13) / 13.0 - 0.5;
        sample(&mut script, f64::from(i) * 10.0, "process.rss_bytes", (mib(f64::from(i) / 360.0) + noise) * 1_048_576.0);
    }
    script.end(3600.0);
    script.verdict()
}

#[test]
fn memory_growth() {
    let check = "memory_growth: { per_hour: 2%, acceptable: 5%, failure: 10% }";
    assert_eq!(graded(&memory(check, |_| 100.0)), (Passed, Some(Grade::Target)));
    assert_eq!(graded(&memory(check, |hour| 100.0 + 20.0 * hour)), (Failed, Some(Grade::Failure)));
    let warm_up = memory(check, |hour| 60.0 + 40.0 * (hour * 4.0).min(1.0));
    assert_eq!(warm_up.ruling, Passed, "a warm-up and then a plateau: {warm_up:?}");
    let sawtooth = memory(check, |hour| 100.0 + 15.0 * (hour * 12.0).fract());
    assert_ne!(sawtooth.ruling, Failed, "a sawtooth is no leak: {sawtooth:?}");
    let short = series(check, "process.rss_bytes", &[(1.0, 100.0), (2.0, 101.0), (3.0, 102.0)], 4.0);
    assert_eq!(short.ruling, Inconclusive, "{short:?}");
    assert_eq!(series(check, "other", &[(1.0, 1.0)], 60.0).ruling, Inconclusive);
    let per_job = memory("memory_growth: { bytes_per_hour: 5MiB }", |hour| 100.0 + 20.0 * hour);
    assert_eq!(per_job.ruling, Failed);
}

#[test]
fn a_restart_does_not_hide_a_leak() {
    let mut script = Script::new("memory_growth: { per_hour: 5% }");
    for i in 0..720 {
        // Half an hour of growth, a restart, and half an hour of the same growth from the bottom.
        let life = f64::from(i % 360) / 360.0;
        let noise = f64::from(i * 7919 % 13) / 13.0 - 0.5;
        sample(&mut script, f64::from(i) * 5.0, "process.rss_bytes", (100.0 + 20.0 * life + noise) * 1_048_576.0);
        if i == 359 {
            script.at(
                1797.0,
                Event::Process {
                    event: ProcessEvent::Exited { generation: 1, status: "code 0".into(), asked: true, elsewhere: false },
                },
            );
            script.at(1798.0, Event::Process { event: ProcessEvent::Started { pid: 8, generation: 2 } });
            script.at(1799.0, Event::Process { event: ProcessEvent::Ready { generation: 2, after_s: 1.0 } });
        }
    }
    script.end(3600.0);
    assert_eq!(script.verdict().ruling, Failed, "{:?}", script.verdict());
}

#[test]
fn replicas_that_nobody_sees_from_here_leak_together_in_the_engines_account() {
    let with = |per_hour: f64| {
        let mut script = Script::new("memory_growth: { per_hour: 5% }");
        // Two processes at the same time.
        script.at(0.5, Event::Process { event: ProcessEvent::Started { pid: 8, generation: 2 } });
        for i in 0..360 {
            let noise = f64::from(i * 7919 % 13) / 13.0 - 0.5;
            let mib = 100.0 + per_hour * f64::from(i) / 360.0 + noise;
            sample(&mut script, f64::from(i) * 10.0, "container.memory_bytes", mib * 1_048_576.0);
        }
        script.end(3600.0);
        script.verdict()
    };
    assert_eq!(with(20.0).ruling, Failed, "{:?}", with(20.0));
    assert_eq!(with(0.0).ruling, Passed, "{:?}", with(0.0));
    assert!(with(20.0).expected.contains("container.memory_bytes") && with(20.0).evidence.iter().any(|e| e.contains("the run")));
}

#[test]
fn latency_stable() {
    let with = |jobs: u32, last: f64, noise: f64| {
        let mut script = Script::new("latency_stable: { drift: 10% }");
        for i in 0..jobs {
            let share = f64::from(i) / f64::from(jobs);
            let odd = f64::from(i * 7919 % 101) / 101.0 - 0.5;
            script.completed(f64::from(i) * 10.0, 1.0 + (last - 1.0) * share + noise * odd);
        }
        script.end(f64::from(jobs) * 10.0 + 10.0);
        script.verdict()
    };
    assert_eq!(with(100, 1.0, 0.1).ruling, Passed, "{:?}", with(100, 1.0, 0.1));
    assert_eq!(with(100, 1.5, 0.1).ruling, Failed);
    assert_eq!(with(100, 1.0, 3.0).ruling, Inconclusive, "too noisy to tell");
    assert_eq!(with(10, 1.5, 0.0).ruling, Inconclusive, "too few jobs");
}

#[test]
fn no_oom() {
    let mut seen = Script::new("no_oom: {}");
    seen.at(5.0, Event::LogLine { pattern: "oom".into(), line: "CUDA out of memory".into(), generation: 1 });
    assert_eq!(seen.verdict().ruling, Failed);
    let mut calm = Script::new("no_oom: {}");
    calm.completed(1.0, 1.0);
    calm.end(9.0);
    assert_eq!(calm.verdict().ruling, Passed);
    let mut blind = Script::new("no_oom: {}");
    let plan = std::sync::Arc::make_mut(blind.record.plan.as_mut().unwrap());
    (plan.driver.patterns.oom, plan.driver.counters.out_of_memory) = (None, None);
    blind.end(9.0);
    assert_eq!(blind.verdict().ruling, Inconclusive);
}

#[test]
fn graded_error_rate() {
    let with = |good: u32, bad: u32| {
        let mut script = Script::new("error_rate: { below: 1%, acceptable: 3%, failure: 5% }");
        (0..good).for_each(|i| {
            script.completed(f64::from(i), 1.0);
        });
        (0..bad).for_each(|i| {
            let job = script.accepted(f64::from(i));
            script.ends(job, f64::from(i) + 1.0, view(JobState::Failed));
        });
        script.end(1000.0);
        graded(&script.verdict())
    };
    assert_eq!(with(200, 1), (Passed, Some(Grade::Target)));
    assert_eq!(with(196, 4), (Passed, Some(Grade::Acceptable)));
    assert_eq!(with(192, 8), (Failed, Some(Grade::Poor)));
    assert_eq!(with(180, 20), (Failed, Some(Grade::Failure)));
}

const NAMED: &str = "metrics_live: { names: [generation_success_total], jobs: 5 }";

#[test]
fn metrics_live() {
    let with = |name: &str, moves: bool, jobs: u32| {
        let mut script = Script::new(NAMED);
        for i in 0..jobs {
            let t = f64::from(i) * 10.0 + 1.0;
            script.completed(t, 1.0);
            sample(&mut script, t + 2.0, name, if moves { f64::from(i) } else { 7.0 });
        }
        script.end(500.0);
        script.verdict()
    };
    assert_eq!(with("metric:generation_success_total", true, 20).ruling, Passed);
    let frozen = with("metric:generation_success_total", false, 20);
    assert_eq!(frozen.ruling, Failed);
    assert!(frozen.evidence[0].contains("never moved"), "{frozen:?}");
    let missing = with("metric:generation_sucess_total", true, 20);
    assert_eq!(missing.ruling, Failed);
    assert!(missing.evidence[0].contains("did you mean"), "{missing:?}");
    assert_eq!(with("metric:generation_success_total", true, 2).ruling, Inconclusive);
    assert_eq!(series(NAMED, "other", &[(1.0, 1.0)], 60.0).ruling, Inconclusive, "no metrics at all");
}

/// Another backend has other metrics: those that its driver names.
#[test]
fn metrics_of_another_backend_are_those_that_its_driver_names() {
    let with = |more: &str, told: &str| {
        let mut script = Script::from(&format!(
            "version: 1\nname: script\ntarget: {{ url: \"http://127.0.0.1:9\", driver: openai, with: {{ model: m{more} }} }}\nload: [{{ name: users, users: 1 }}]\nchecks: [metrics_live: {{}}]\n"
        ));
        for i in 0..20 {
            let t = f64::from(i) * 10.0 + 1.0;
            script.completed(t, 1.0);
            sample(&mut script, t + 2.0, told, 3.0);
        }
        script.end(500.0);
        script.verdict()
    };
    let queue = ", metrics: { path: /metrics }, queue: { path: /metrics, depth: \"metric vllm:num_requests_waiting\" }";
    let own = "metric:vllm:num_requests_waiting{engine=\"0\"}";
    assert_eq!(with(queue, own).ruling, Passed, "{:?}", with(queue, own));
    let missing = with(queue, "metric:vllm:num_requests_running");
    assert!(missing.ruling == Failed && missing.evidence[0].contains("no sample"), "{missing:?}");
    let unnamed = with("", own);
    assert!(unnamed.ruling == Inconclusive && unnamed.observed.contains("give `names`"), "{unnamed:?}");
}

/// A series, and its value after each job.
type Sampled = (&'static str, fn(u32) -> f64);

/// A driver of our own that names those; so many jobs, and what is sampled after each.
fn of_a_driver(named: &str, jobs: u32, samples: &[Sampled]) -> Verdict {
    let folder = tempfile::tempdir().unwrap();
    let driver = folder.path().join("own.yaml");
    let text = "version: 1\nname: own\nsubmit: { steps: [{ path: /jobs, accepted: [202] }], id: /id }\nstatus: { path: \"/jobs/{{id}}\", state: /status, states: { done: completed } }\nmetrics: { path: /metrics }\n";
    std::fs::write(&driver, format!("{text}{named}\n")).unwrap();
    let mut script = Script::from(&format!(
        "version: 1\nname: script\ntarget: {{ url: \"http://127.0.0.1:9\", driver: {} }}\nload: [{{ name: users, users: 1 }}]\nchecks: [metrics_live: {{}}]\n",
        driver.display()
    ));
    sample(&mut script, 0.5, "metric:process_open_fds", 9.0);
    for i in 0..jobs {
        let t = f64::from(i) * 10.0 + 1.0;
        script.completed(t, 1.0);
        samples.iter().for_each(|(name, value)| sample(&mut script, t + 2.0, name, value(i)));
    }
    script.end(500.0);
    script.verdict()
}

#[test]
fn a_drivers_counter_of_completed_jobs_counts_them() {
    let counter = "counters: { completed: done_total, failed: failed_total }";
    let alive = of_a_driver(counter, 20, &[("metric:done_total{model=\"m\"}", |i| f64::from(i))]);
    assert_eq!(alive.ruling, Passed, "nothing failed, so nothing is counted: {alive:?}");
    let frozen = of_a_driver(counter, 20, &[("metric:done_total{model=\"m\"}", |_| 4.0)]);
    assert!(frozen.ruling == Failed && frozen.evidence[0].contains("done_total: it never moved"), "{frozen:?}");
    let absent = of_a_driver(counter, 20, &[]);
    assert!(absent.ruling == Failed && absent.evidence[0].contains("done_total: no sample"), "{absent:?}");
    let before_the_first = of_a_driver(counter, 0, &[]);
    assert_eq!(before_the_first.ruling, Inconclusive, "{before_the_first:?}");
}

/// An allocator keeps what it has, and what of that is free again may be as constant.
#[test]
fn gauges_are_judged_together_and_one_source_is_no_group() {
    let (used, busy) = ("memory_used: used_bytes, memory_reusable: free_bytes", "utilization: busy_percent");
    let still: [Sampled; 3] =
        [("metric:used_bytes", |_| 7e9), ("metric:free_bytes", |_| 1e9), ("metric:busy_percent", |_| 100.0)];
    let memory = of_a_driver(&format!("gpu: {{ {used} }}"), 20, &still[..2]);
    assert_eq!(memory.ruling, Passed, "{memory:?}");
    let all = of_a_driver(&format!("gpu: {{ {used}, {busy} }}"), 20, &still);
    assert!(all.ruling == Failed && all.evidence.len() == 3, "{all:?}");
    let moving: [Sampled; 3] = [still[0], still[1], ("metric:busy_percent", |i| f64::from(i))];
    let one_moves = of_a_driver(&format!("gpu: {{ {used}, {busy} }}"), 20, &moving);
    assert_eq!(one_moves.ruling, Passed, "{one_moves:?}");
}

#[test]
fn a_metric_of_the_wrong_type_is_not_alive() {
    let mut script = Script::new("metrics_live: {}");
    script.at(1.0, Event::MetricTypes { types: [("http_requests".to_owned(), "gauge".to_owned())].into() });
    sample(&mut script, 1.0, "metric:http_requests_total", 1.0);
    script.end(60.0);
    let verdict = script.verdict();
    assert_eq!(verdict.ruling, Failed);
    assert!(verdict.evidence.iter().any(|e| e.contains("it is a gauge, expected a counter")), "{verdict:?}");
}

#[test]
fn backpressure_is_honest() {
    let with = |answers: &[Answer]| {
        let mut script = Script::new("backpressure_is_honest: {}");
        script.completed(1.0, 1.0);
        answers.iter().for_each(|answer| {
            script.submitted(2.0, answer.clone());
        });
        script.end(60.0);
        script.verdict().ruling
    };
    let refused = |retry_after_s| Answer::Refused { status: 429, retry_after_s, reason: String::new() };
    assert_eq!(with(&[refused(Some(5.0))]), Passed);
    assert_eq!(with(&[refused(None)]), Failed, "it does not say when to come back");
    assert_eq!(with(&[Answer::Error { status: 500, proxy: false, reason: "full".into() }]), Failed);
    let mut calm = Script::new("backpressure_is_honest: {}");
    let job = calm.accepted(1.0);
    calm.at(1.0, Event::Progress { job, view: view(JobState::Running) });
    calm.ends(job, 2.0, view(JobState::Completed)).end(60.0);
    assert_eq!(calm.verdict().ruling, Inconclusive, "nothing was under pressure: {:?}", calm.verdict());
}

//! From which moment recovery counts: scripts of restarts whose target comes back late.

use crate::common::often;
use crate::common::script::{Script, view};
use crate::common::sim::{Sabotage, run};
use chaos::check::Ruling::{Failed, Inconclusive, Passed};
use chaos::check::Verdict;
use chaos::experiment::JobShape;
use chaos::journal::event::{Answer, Event, JobState, ProcessEvent};

fn script(fault: &str, check: &str) -> Script {
    Script::from(&format!(
        "version: 1\nname: script\ntarget: {{ url: embedded }}\nload: [{{ name: users, users: 1 }}]\ncanary: {{ every: 5s }}\nfaults: [{{ {fault} }}]\nchecks: [{check}]\n"
    ))
}

const RESTART: &str = "restart: { at: 20s, how: kill }";

fn process(script: &mut Script, t: f64, event: ProcessEvent) {
    script.at(t, Event::Process { event });
}

/// The first start took `first_s` until it was ready; the process ends at 21 s, and its successor is ready at `ready_t`.
fn restart(script: &mut Script, first_s: f64, ready_t: f64) {
    process(script, first_s, ProcessEvent::Ready { generation: 1, after_s: first_s });
    script.at(20.0, Event::FaultInjecting { fault: "restart".into(), planned_t: 20.0 });
    script.sample(21.0, "health.port_open", 0.0);
    process(script, 21.0, ProcessEvent::Exited { generation: 1, status: "signal: 9".into(), asked: true, elsewhere: false });
    process(script, 22.0, ProcessEvent::Started { pid: 8, generation: 2 });
    script.sample(22.1, "health.port_open", 1.0);
    process(script, ready_t, ProcessEvent::Ready { generation: 2, after_s: ready_t - 22.0 });
    script.at(ready_t, Event::FaultInjected { fault: "restart".into(), error: None });
    script.at(ready_t, Event::FaultOver { fault: "restart".into() });
}

/// A baseline of good jobs, the restart, and good jobs from the moment that the target is ready again.
fn back_at(fault: &str, check: &str, first_s: f64, ready_t: f64) -> Verdict {
    let mut s = script(fault, check);
    s.sample(0.0, "health.port_open", 1.0);
    s.sample(0.5, "queue.depth", 0.0);
    (0..100).for_each(|i| {
        s.completed(0.1 + f64::from(i) * 0.19, 0.1);
    });
    restart(&mut s, first_s, ready_t);
    s.sample(ready_t, "queue.depth", 3.0);
    s.sample(ready_t + 1.0, "queue.depth", 0.0);
    let cold = s.accepted(ready_t + 0.1);
    let mut done = view(JobState::Completed);
    done.cold = Some(true);
    s.ends(cold, ready_t + 0.4, done).result(cold, ready_t + 0.4, 10_000, Some(cold));
    (0..300).for_each(|i| {
        s.completed(ready_t + 0.5 + f64::from(i) * 0.2, 0.1);
    });
    (0..8).for_each(|i| canary(&mut s, ready_t + 1.0 + f64::from(i) * 5.0));
    s.end(ready_t + 120.0);
    s.verdict()
}

fn canary(s: &mut Script, t: f64) {
    let job = s.submitting(t, "canary", JobShape::default());
    s.at(t, Event::Answered { job, answer: Answer::Accepted { id: format!("c-{job}") } });
    s.ends(job, t + 1.0, view(JobState::Completed)).result(job, t + 1.0, 10_000, Some(job));
}

/// Every one of them allows 30 s. The target is back 5 s after its process ended, or 62 s.
const WITHIN_30_S: [&str; 6] = [
    "time_to_recover: { within: 30s, hold: 10s }",
    "canary: { within: 30s }",
    "cold_warm: { within: 30s, jobs: 5 }",
    "latency_recovers: { within: 30s, percentile: 95 }",
    "queue_drains: { within: 30s }",
    "restarts_cleanly: {  }",
];

#[test]
fn a_target_that_comes_back_late_has_not_recovered_in_time() {
    for check in WITHIN_30_S {
        let soon = back_at(RESTART, check, 4.0, 26.0);
        assert_eq!(soon.ruling, Passed, "{check}: {soon:?}");
        let late = back_at(RESTART, check, 4.0, 83.0);
        assert_eq!(late.ruling, Failed, "{check}: {late:?}");
        let counted = late.evidence.iter().any(|e| e.contains("the end of process 7 at 21.0 s"));
        assert!(counted || check.starts_with("restarts"), "{check}: {late:?}");
    }
}

/// A length that the file gives is the fault's own time, not the target's.
#[test]
fn a_planned_length_is_not_held_against_the_target() {
    for check in &WITHIN_30_S[..5] {
        let planned = back_at("restart: { at: 20s, how: kill, down: 60s }", check, 4.0, 84.0);
        assert_eq!(planned.ruling, Passed, "{check}: {planned:?}");
        let late = back_at("restart: { at: 20s, how: kill, down: 30s }", check, 4.0, 84.0);
        assert_eq!(late.ruling, Failed, "{check}: {late:?}");
    }
}

/// A burst comes 39 s after the target's process has ended. A target that is not back by then is as late as without it.
#[test]
fn a_later_fault_hides_no_late_return() {
    let both = |ready_t: f64| {
        let mut s = script(&format!("{RESTART} }}, {{ burst: {{ at: 60s, jobs: 3 }}"), "canary: { within: 30s }");
        s.sample(0.0, "health.port_open", 1.0);
        process(&mut s, 4.0, ProcessEvent::Ready { generation: 1, after_s: 4.0 });
        let burst = |s: &mut Script| {
            s.at(60.0, Event::FaultInjecting { fault: "burst".into(), planned_t: 60.0 });
            (0..3).for_each(|_| _ = s.submitting(60.0, "burst", JobShape::default()));
            s.at(60.1, Event::FaultInjected { fault: "burst".into(), error: None });
            s.at(60.2, Event::FaultOver { fault: "burst".into() });
        };
        s.at(20.0, Event::FaultInjecting { fault: "restart".into(), planned_t: 20.0 });
        process(&mut s, 21.0, ProcessEvent::Exited { generation: 1, status: "signal: 9".into(), asked: true, elsewhere: false });
        s.sample(21.03, "health.port_open", 0.0);
        process(&mut s, 22.0, ProcessEvent::Started { pid: 8, generation: 2 });
        if ready_t > 60.0 {
            burst(&mut s);
        }
        process(&mut s, ready_t, ProcessEvent::Ready { generation: 2, after_s: ready_t - 22.0 });
        s.sample(ready_t, "health.port_open", 1.0);
        s.at(ready_t, Event::FaultInjected { fault: "restart".into(), error: None });
        s.at(ready_t, Event::FaultOver { fault: "restart".into() });
        if ready_t < 60.0 {
            burst(&mut s);
        }
        (0..16).map(|i| ready_t.max(60.5) + 1.0 + f64::from(i) * 5.0).for_each(|t| canary(&mut s, t));
        s.end(200.0);
        s.verdict()
    };
    let (soon, late) = (both(26.0), both(83.0));
    assert_eq!(soon.ruling, Passed, "{soon:?}");
    assert!(soon.evidence.iter().any(|e| e.contains("the moment that `burst` had been sent")), "{soon:?}");
    assert_eq!(late.ruling, Failed, "23 s after the burst, and 62 s after the end of the process: {late:?}");
    assert!(late.evidence.iter().any(|e| e.contains("the end of process 7 at 21.0 s")), "{late:?}");
}

#[test]
fn throughput_after_a_fault_counts_from_the_outage() {
    let check = "throughput: { at_least: 80/min, over: after }";
    assert_eq!(back_at(RESTART, check, 4.0, 26.0).ruling, Passed, "{:?}", back_at(RESTART, check, 4.0, 26.0));
    let late = back_at(RESTART, check, 4.0, 183.0);
    assert_eq!(late.ruling, Failed, "{late:?}");
}

#[test]
fn a_restart_is_compared_with_the_first_start() {
    let check = "restarts_cleanly: {  }";
    assert_eq!(back_at(RESTART, check, 8.0, 40.0).ruling, Passed, "every start is slow");
    assert_eq!(back_at(RESTART, check, 0.05, 22.6).ruling, Passed, "milliseconds are noise");
    let slow = back_at(RESTART, check, 4.0, 42.0);
    assert_eq!(slow.ruling, Failed, "{slow:?}");
    assert!(slow.observed.contains("ready 20.00 s after its start, the first start took 4.00 s"), "{slow:?}");
}

/// The bound is the fault's own `ready_within`, 60 s, where the check gives none.
#[test]
fn a_bound_holds_where_the_first_start_was_not_seen() {
    let unseen = |ready_t: f64| {
        let mut s = script(RESTART, "restarts_cleanly: {}");
        restart(&mut s, 1.0, ready_t);
        s.record.generations[0].ready_after_s = None;
        s.end(200.0);
        s.verdict()
    };
    assert_eq!(unseen(60.0).ruling, Passed, "{:?}", unseen(60.0));
    let late = unseen(105.0);
    assert_eq!(late.ruling, Failed);
    assert!(late.observed.contains("was not ready within 60 s; ready after 83.00 s"), "{late:?}");
    let mut never = script(RESTART, "restarts_cleanly: {}");
    never.at(20.0, Event::FaultInjecting { fault: "restart".into(), planned_t: 20.0 });
    process(&mut never, 21.0, ProcessEvent::Exited { generation: 1, status: "signal: 9".into(), asked: true, elsewhere: false });
    process(&mut never, 22.0, ProcessEvent::Started { pid: 8, generation: 2 });
    never.at(82.0, Event::FaultInjected { fault: "restart".into(), error: Some("not ready within 60 s".into()) });
    never.at(142.0, Event::FaultOver { fault: "restart".into() });
    let mut soon = never.record.clone();
    never.end(160.0);
    let verdict = never.verdict();
    assert_eq!(verdict.ruling, Failed);
    assert!(verdict.observed.contains("had not become ready when the run ended"), "{verdict:?}");
    // A run that was stopped 8 s after the start has not waited for it.
    soon.faults[0].over_t = Some(29.0);
    for (t, event) in
        [(30.0, Event::Interrupted { signal: "SIGINT".into() }), (30.0, Event::LoadStopped {}), (30.5, Event::RunEnded {})]
    {
        soon.apply(&chaos::journal::event::Line { t, event });
    }
    soon.now = 30.5;
    let view = chaos::check::View::of(&soon);
    let verdict = chaos::check::judge_all(&view).into_iter().find(|(_, kind, _)| kind == "restarts_cleanly").unwrap().2;
    assert_eq!(verdict.ruling, Inconclusive, "{verdict:?}");
}

/// The plan's own times at ten times the speed: a warm job takes 8.2 s, a slow start 50 s, a first one 10 s.
fn experiment(fault: &str, backend: &str) -> String {
    format!(
        "version: 1\nname: simulated\ntarget:\n  url: embedded\n  backend: {{ speed: 10{backend} }}\nsample_every: 1s\nrecover_at_most: 20m\nload:\n  - {{ name: users, users: 3, think: 1s..3s }}\ncanary: {{ every: 10s }}\nfaults: [{{ {fault} }}]\nchecks:\n  - restarts_cleanly: {{}}\n  - cold_warm: {{ within: 90s, jobs: 5 }}\n  - canary: {{ within: 90s }}\n  - all_jobs_complete: {{ within: 300s }}\n  - no_duplicate_work: {{}}\n"
    )
}

#[tokio::test(start_paused = true)]
async fn a_slow_restart_is_found_at_every_seed() {
    for how in ["how: graceful", "how: kill"] {
        for seed in 0..4 {
            let fault = format!("restart: {{ at: 300s, {how} }}");
            let done = run(&experiment(&fault, ", defects: [slow-restart]"), seed, Sabotage::default(), None).await;
            assert_eq!(done.verdict("restarts_cleanly"), "failed", "{how}, seed {seed}: {}", done.trouble());
            let why = &done.result.checks.iter().find(|c| c.name == "restarts_cleanly").unwrap().observed;
            assert!(why.contains("5.0 times as long"), "{how}, seed {seed}: {why}");
            assert_eq!(done.verdict("all_jobs_complete"), "passed", "{how}, seed {seed}: {}", done.trouble());
        }
    }
}

/// What looks like it and is healthy: a start that is as slow each time, and an outage that the file asks for.
#[tokio::test(start_paused = true)]
async fn a_healthy_restart_is_not_accused() {
    let faults = ["at: 300s, how: graceful", "at: 300s, how: kill", "at: 300s, how: kill, down: 30s"];
    for fault in faults {
        for mode in ["", ", modes: [slow-start]"] {
            for seed in 0..often(1, 3) {
                let fault = format!("restart: {{ {fault} }}");
                let done = run(&experiment(&fault, mode), seed, Sabotage::default(), None).await;
                assert_eq!(done.result.exit_code, 0, "{fault}{mode}, seed {seed}: {}", done.trouble());
            }
        }
    }
}

/// It does become ready, after the fault had stopped waiting for it: that is what is said.
#[tokio::test(start_paused = true)]
async fn a_target_that_is_ready_too_late_is_not_called_never_ready() {
    let yaml = experiment("restart: { at: 300s, how: kill, ready_within: 20s }", ", defects: [slow-restart]");
    let done = run(&yaml, 1, Sabotage::default(), None).await;
    let check = done.result.checks.iter().find(|c| c.name == "restarts_cleanly").unwrap();
    assert!(check.observed.contains("was not ready within 20 s; ready after 50."), "{}", done.trouble());
    // What was not ready in time was not put back in time either: the fault is not proven, the check is decided all the same.
    assert_eq!(done.verdict("restarts_cleanly"), "failed");
}

/// A port that was closed for less than the prober's interval was not down until the next thing that it wrote down.
#[test]
fn a_port_that_was_not_seen_closed_was_not_down() {
    let mut s = script(RESTART, "restarts_cleanly: { down_at_most: 10s }");
    s.sample(0.0, "health.port_open", 1.0);
    process(&mut s, 8.0, ProcessEvent::Ready { generation: 1, after_s: 8.0 });
    s.at(20.0, Event::FaultInjecting { fault: "restart".into(), planned_t: 20.0 });
    process(&mut s, 21.0, ProcessEvent::Exited { generation: 1, status: "signal: 9".into(), asked: true, elsewhere: false });
    process(&mut s, 21.01, ProcessEvent::Started { pid: 8, generation: 2 });
    process(&mut s, 29.0, ProcessEvent::Ready { generation: 2, after_s: 7.99 });
    s.at(29.0, Event::FaultOver { fault: "restart".into() });
    s.sample(50.0, "health.port_open", 1.0);
    s.end(60.0);
    assert_eq!(s.verdict().ruling, Passed, "{:?}", s.verdict());
    assert_eq!(s.verdict().measured.as_deref(), Some("no downtime was seen"));
}

//! The checks of recovery: each in all of its verdicts, over records made by hand.

use crate::common::script::{Script, view};
use chaos::check::Ruling::{Failed, Inconclusive, Passed, Pending};
use chaos::check::Verdict;
use chaos::journal::event::{Answer, Event, JobState, ProcessEvent, Via};

fn sample(script: &mut Script, t: f64, name: &str, value: f64) {
    script.at(t, Event::Sample { values: [(name.to_owned(), value)].into() });
}

const RESTART: &str = "restart: { at: 20s, how: graceful }";

fn script(fault: &str, check: &str) -> Script {
    Script::from(&format!(
        "version: 1\nname: script\ntarget: {{ url: embedded }}\nload: [{{ name: users, users: 1 }}]\nfaults: [{{ {fault} }}]\nchecks: [{check}]\n"
    ))
}

fn fault(script: &mut Script, name: &str) {
    script.at(20.0, Event::FaultInjecting { fault: name.into(), planned_t: 20.0 });
    script.at(25.0, Event::FaultInjected { fault: name.into(), error: None });
    script.at(25.0, Event::FaultOver { fault: name.into() });
}

/// The process ends at 20 s and its successor is ready at 25 s.
fn restart(script: &mut Script, status: &str) {
    script.at(20.0, Event::FaultInjecting { fault: "restart".into(), planned_t: 20.0 });
    script.at(
        21.0,
        Event::Process { event: ProcessEvent::Exited { generation: 1, status: status.into(), asked: true, elsewhere: false } },
    );
    script.at(22.0, Event::Process { event: ProcessEvent::Started { pid: 8, generation: 2 } });
    script.at(25.0, Event::Process { event: ProcessEvent::Ready { generation: 2, after_s: 3.0 } });
    script.at(25.0, Event::FaultInjected { fault: "restart".into(), error: None });
    script.at(25.0, Event::FaultOver { fault: "restart".into() });
}

fn cold(script: &mut Script, t: f64, seconds: f64, flagged: bool) {
    let job = script.accepted(t);
    let mut done = view(JobState::Completed);
    done.cold = Some(flagged);
    script.ends(job, t + seconds, done).result(job, t + seconds, 10_000, Some(job));
}

#[test]
fn cold_warm() {
    let after = |first: f64, flagged: bool, later: f64| {
        let mut s = script(RESTART, "cold_warm: { within: 60s, jobs: 5 }");
        (0..15).for_each(|i| {
            s.completed(f64::from(i), 0.8);
        });
        restart(&mut s, "code 0");
        cold(&mut s, 26.0, first, flagged);
        (0..40).for_each(|i| {
            s.completed(30.0 + f64::from(i) * 2.0, later);
        });
        s.end(150.0);
        s.verdict()
    };
    let good = after(1.7, true, 0.8);
    assert_eq!(good.ruling, Passed, "{good:?}");
    assert!(good.measured.as_deref().is_some_and(|m| m.contains("cold 1.70 s") && m.contains("warm 800 ms")), "{good:?}");
    assert_eq!(after(1.7, false, 0.8).ruling, Passed, "known from its time alone");
    assert_eq!(after(1.7, true, 1.7).ruling, Failed, "never warm again");
    assert_eq!(after(0.8, false, 0.8).ruling, Inconclusive, "what should be cold was not");
    // Jobs that take as different times as they please: a row of slow ones at the end is chance, as far as anybody can tell.
    let mut chance = script(RESTART, "cold_warm: { within: 90s, jobs: 5 }");
    (0..15).for_each(|i| {
        chance.completed(f64::from(i), 0.8);
    });
    restart(&mut chance, "code 0");
    cold(&mut chance, 26.0, 1.7, true);
    (0..40).for_each(|i| {
        chance.completed(30.0 + f64::from(i) * 2.0, if i < 32 { 0.8 } else { 1.1 });
    });
    chance.end(150.0);
    let chance = chance.verdict();
    assert_eq!(chance.ruling, Inconclusive, "{chance:?}");
    assert!(chance.observed.contains("may be chance"), "{chance:?}");
    let mut few = script(RESTART, "cold_warm: {}");
    few.completed(1.0, 0.8);
    restart(&mut few, "code 0");
    few.end(150.0);
    assert_eq!(few.verdict().ruling, Inconclusive, "no warm baseline");
    assert_eq!(script(RESTART, "cold_warm: {}").verdict().ruling, Pending);
}

#[test]
fn cold_warm_against_given_figures() {
    let with = |cold_s: f64| {
        let mut s = script(RESTART, "cold_warm: { within: 60s, jobs: 5, cold: 1670ms, warm: 820ms }");
        (0..15).for_each(|i| {
            s.completed(f64::from(i), 0.82);
        });
        restart(&mut s, "code 0");
        cold(&mut s, 26.0, cold_s, true);
        (0..20).for_each(|i| {
            s.completed(30.0 + f64::from(i) * 2.0, 0.82);
        });
        s.end(150.0);
        s.verdict().ruling
    };
    assert_eq!((with(1.7), with(4.0)), (Passed, Failed));
}

#[test]
fn time_to_recover() {
    let with = |slow_until: f64, end: f64| {
        let mut s = Script::new("time_to_recover: { within: 60s, hold: 20s }");
        (0..19).for_each(|i| {
            s.completed(f64::from(i), 0.8 + 0.02 * f64::from(i % 3));
        });
        s.fault();
        let mut t = 25.0;
        while t < end - 4.0 {
            s.completed(t, if t < slow_until { 3.0 } else { 0.82 });
            t += 1.0;
        }
        s.end(end);
        s.verdict()
    };
    let soon = with(40.0, 150.0);
    assert_eq!(soon.ruling, Passed, "{soon:?}");
    assert!(soon.observed.contains("recovered 14"), "{soon:?}");
    assert_eq!(with(110.0, 200.0).ruling, Failed, "too late");
    let never = with(500.0, 200.0);
    assert_eq!(never.ruling, Failed);
    assert!(never.observed.contains("not within the run"), "{never:?}");
    let mut few = Script::new("time_to_recover: { within: 60s, hold: 20s }");
    few.completed(1.0, 0.8);
    few.fault();
    few.end(100.0);
    assert_eq!(few.verdict().ruling, Inconclusive, "nothing to compare with");
}

/// A difference that is certain but small is no failure, and a large one that may be chance is none either.
#[test]
fn recovery_takes_significance_and_size() {
    let with = |later: f64, jobs: u32| {
        let mut s = Script::new("time_to_recover: { within: 60s, hold: 20s }");
        (0..19).for_each(|i| {
            s.completed(f64::from(i), 0.80 + 0.001 * f64::from(i % 3));
        });
        s.fault();
        (0..jobs).for_each(|i| {
            s.completed(25.0 + f64::from(i) * 100.0 / f64::from(jobs), later + 0.001 * f64::from(i % 3));
        });
        s.end(130.0);
        s.verdict().ruling
    };
    assert_eq!(with(0.88, 100), Passed, "a tenth more, surely: within the band");
    assert_eq!(with(1.4, 100), Failed);
}

fn canaries(fine: impl Fn(u32) -> bool, count: u32) -> Verdict {
    let mut s = Script::from(
        "version: 1\nname: script\ntarget: { url: embedded }\nload: [{ name: users, users: 1 }]\ncanary: { every: 5s }\nfaults: [{ flood: { at: 20s, jobs: 1 } }]\nchecks: [canary: { within: 60s }]\n",
    );
    s.fault();
    for i in 0..count {
        let t = 26.0 + f64::from(i) * 5.0;
        let job = s.submitting(t, "canary", chaos::experiment::JobShape::default());
        s.at(t, Event::Answered { job, answer: Answer::Accepted { id: format!("c-{job}") } });
        if fine(i) {
            s.ends(job, t + 1.0, view(JobState::Completed)).result(job, t + 1.0, 10_000, Some(job));
        } else {
            s.ends(job, t + 1.0, view(JobState::Failed));
        }
    }
    s.end(26.0 + f64::from(count) * 5.0 + 70.0);
    s.verdict()
}

#[test]
fn canary() {
    assert_eq!(canaries(|_| true, 10).ruling, Passed);
    assert_eq!(canaries(|i| i > 2, 10).ruling, Passed, "ready after some failures, in time");
    assert_eq!(canaries(|_| false, 10).ruling, Failed);
    assert_eq!(canaries(|i| i < 8, 10).ruling, Failed, "one that fails later is not ready");
    assert_eq!(canaries(|_| true, 2).ruling, Inconclusive, "too few were sent");
    let mut none = Script::new("canary: {}");
    none.fault();
    none.end(50.0);
    assert_eq!(none.verdict().ruling, Inconclusive, "the experiment sends none");
}

/// A listener loses its connection at 21 s, is let go at 22 s, comes back, and hears of its job or does not.
fn lost(back_t: Option<f64>, heard: &[(f64, JobState)], ends: Option<(f64, JobState)>) -> Verdict {
    let mut s = script("websocket_drop: { at: 20s, away: 1s }", "reconnects: { within: 5s, update_within: 5s, end_within: 5s }");
    s.at(1.0, Event::ListenerBack { listener: "users/0".into(), after_s: None });
    let job = s.accepted(18.0);
    let id = s.record.jobs[job as usize].id().unwrap().to_owned();
    s.at(20.0, Event::FaultInjecting { fault: "websocket_drop".into(), planned_t: 20.0 });
    let fault = Some("websocket_drop".to_owned());
    s.at(21.0, Event::ListenerLost { listener: "users/0".into(), why: "dropped".into(), fault, open: vec![id.clone()] });
    s.at(22.0, Event::FaultInjected { fault: "websocket_drop".into(), error: None });
    s.at(22.0, Event::FaultOver { fault: "websocket_drop".into() });
    s.at(22.0, Event::ListenerFreed { listener: "users/0".into() });
    if let Some(t) = back_t {
        s.at(t, Event::ListenerBack { listener: "users/0".into(), after_s: Some(t - 21.0) });
    }
    heard.iter().for_each(|(t, state)| {
        s.at(*t, Event::ListenerHeard { listener: "users/0".into(), id: id.clone(), state: *state });
    });
    if let Some((t, state)) = ends {
        s.ends(job, t, view(state));
    }
    s.end(60.0);
    s.verdict()
}

#[test]
fn reconnects() {
    let done = Some((30.0, JobState::Completed));
    let both = [(23.0, JobState::Running), (30.0, JobState::Completed)];
    assert_eq!(lost(Some(22.5), &both, done).ruling, Passed, "{:?}", lost(Some(22.5), &both, done));
    let wrong = [
        ("never came back", lost(None, &[], done)),
        ("came back only after", lost(Some(31.0), &both, done)),
        ("heard nothing", lost(Some(22.5), &[], Some((22.0, JobState::Completed)))),
        ("never told that", lost(Some(22.5), &[], done)),
        ("never told that", lost(Some(22.5), &both[..1], done)),
        ("did not go on without it", lost(Some(22.5), &both[..1], Some((30.0, JobState::Cancelled)))),
    ];
    for (what, verdict) in wrong {
        assert_eq!(verdict.ruling, Failed, "{what}");
        assert!(verdict.evidence.iter().any(|e| e.contains(what)), "{what}: {verdict:?}");
    }
    // Of a job that only waits there is nothing to tell; it is not decided, as its end is not.
    let waits = lost(Some(22.5), &[], None);
    assert!(waits.ruling != Failed || waits.evidence.iter().all(|e| !e.contains("heard nothing")), "{waits:?}");
    assert_eq!(
        lost(Some(22.5), &[(50.0, JobState::Completed)], Some((50.0, JobState::Completed))).ruling,
        Passed,
        "it waited for long"
    );
    let mut nobody = script("websocket_drop: { at: 20s }", "reconnects: {}");
    fault(&mut nobody, "websocket_drop");
    nobody.end(60.0);
    assert_eq!(nobody.verdict().ruling, Inconclusive);
}

#[test]
fn reconnects_spread() {
    let storm = |count: u32, apart: f64| {
        let mut s = script("websocket_drop: { at: 20s, away: 1s }", "reconnects_spread: {}");
        s.at(20.0, Event::FaultInjecting { fault: "websocket_drop".into(), planned_t: 20.0 });
        for i in 0..count {
            let listener = format!("users/{i}");
            s.at(1.0, Event::ListenerBack { listener: listener.clone(), after_s: None });
            s.at(21.0, Event::ListenerLost { listener: listener.clone(), why: "gone".into(), fault: None, open: vec![] });
            s.at(21.1, Event::ListenerFreed { listener });
        }
        s.at(22.0, Event::FaultOver { fault: "websocket_drop".into() });
        for i in 0..count {
            let t = 22.0 + f64::from(i) * apart;
            s.at(t, Event::ListenerBack { listener: format!("users/{i}"), after_s: Some(t - 21.0) });
        }
        s.end(60.0);
        s.verdict()
    };
    assert_eq!(storm(8, 0.001).ruling, Failed);
    assert_eq!(storm(8, 0.030).ruling, Passed, "{:?}", storm(8, 0.030));
    assert_eq!(storm(3, 0.001).ruling, Inconclusive, "three may meet by chance");
}

#[test]
fn listeners_stable() {
    let with = |why: Option<Option<&str>>| {
        let mut s = Script::new("listeners_stable: {}");
        s.at(1.0, Event::ListenerBack { listener: "users/0".into(), after_s: None });
        if let Some(fault) = why {
            let fault = fault.map(str::to_owned);
            s.at(5.0, Event::ListenerLost { listener: "users/0".into(), why: "reset".into(), fault, open: vec![] });
        }
        s.end(60.0);
        s.verdict().ruling
    };
    assert_eq!((with(None), with(Some(None)), with(Some(Some("flood")))), (Passed, Failed, Passed));
    // Jobs of script are those of `users/0`.
    let ended = |connected_t: f64, via: Via| {
        let mut s = Script::new("listeners_stable: {}");
        s.at(connected_t, Event::ListenerBack { listener: "users/0".into(), after_s: None });
        let job = s.accepted(5.0);
        s.at(8.0, Event::Ended { job, view: view(JobState::Completed), via });
        s.end(60.0);
        s.verdict()
    };
    let told = ended(1.0, Via::SafetyNet);
    assert_eq!(told.ruling, Failed, "an end that the target tells only when asked");
    assert!(told.observed.contains("of 1 of 1 jobs"), "{told:?}");
    assert_eq!(ended(1.0, Via::Socket).ruling, Passed);
    assert_eq!(ended(6.0, Via::SafetyNet).ruling, Passed, "it connected after the submission");
    let mut none = Script::new("listeners_stable: {}");
    none.end(60.0);
    assert_eq!(none.verdict().ruling, Inconclusive);
}

/// GPU memory in use with one job at work, before and after the restart.
fn restarted(status: &str, before: f64, after: f64) -> Verdict {
    let mut s = script(RESTART, "restarts_cleanly: { down_at_most: 10s }");
    sample(&mut s, 0.5, "gpu.memory_total_bytes", 24e9);
    sample(&mut s, 0.5, "queue.running", 1.0);
    sample(&mut s, 0.5, "gpu.memory_used_bytes", before);
    s.completed(1.0, 1.0);
    restart(&mut s, status);
    sample(&mut s, 26.0, "gpu.memory_used_bytes", after);
    s.completed(27.0, 1.0);
    s.end(60.0);
    s.verdict()
}

#[test]
fn restarts_cleanly() {
    assert_eq!(restarted("code 0", 7e9, 7.5e9).ruling, Passed, "{:?}", restarted("code 0", 7e9, 7.5e9));
    assert_eq!(restarted("SIGKILL", 7e9, 7e9).ruling, Failed, "it had to be killed");
    let orphan = restarted("code 0", 7e9, 14e9);
    assert_eq!(orphan.ruling, Failed);
    assert!(orphan.observed.contains("still holds memory"), "{orphan:?}");
    let mut none = script(RESTART, "restarts_cleanly: {}");
    none.end(60.0);
    assert_eq!(none.verdict().ruling, Inconclusive);
}

#[test]
fn no_duplicate_work() {
    let with = |completions: Option<u32>| {
        let mut s = Script::new("no_duplicate_work: {}");
        let job = s.accepted(1.0);
        let mut done = view(JobState::Completed);
        done.completions = completions;
        s.ends(job, 2.0, done).result(job, 2.0, 10_000, Some(job));
        s.end(60.0);
        s.verdict().ruling
    };
    assert_eq!((with(Some(1)), with(Some(2))), (Passed, Failed));
    let mut none = Script::new("no_duplicate_work: {}");
    none.end(60.0);
    assert_eq!(none.verdict().ruling, Inconclusive);
}

#[test]
fn no_abandoned_work() {
    let with = |error: Option<&str>, worked_on_until: f64| {
        let mut s = Script::new("no_abandoned_work: { within: 5s }");
        let job = s.accepted(1.0);
        s.at(10.0, Event::GivingUp { job });
        s.at(10.0, Event::Cancelled { job, error: error.map(str::to_owned) });
        let mut t = 10.5;
        while t < worked_on_until {
            s.at(t, Event::Progress { job, view: view(JobState::Running) });
            t += 0.5;
        }
        s.ends(job, worked_on_until, view(JobState::Cancelled)).end(60.0);
        s.verdict().ruling
    };
    assert_eq!(with(None, 11.0), Passed);
    assert_eq!(with(None, 30.0), Failed);
    assert_eq!(with(Some("status 404"), 11.0), Inconclusive, "the target was never told");
    let mut none = Script::new("no_abandoned_work: {}");
    none.completed(1.0, 1.0);
    none.end(60.0);
    assert_eq!(none.verdict().ruling, Inconclusive, "nobody gave up");
}

#[test]
fn health_is_honest() {
    let stuck = |up: f64, ends: bool| {
        let mut s = Script::new("health_is_honest: { stall: 30s }");
        sample(&mut s, 0.5, "health.up", 1.0);
        sample(&mut s, 0.5, "health.port_open", 1.0);
        s.completed(1.0, 1.0);
        s.fault();
        sample(&mut s, 26.0, "health.up", up);
        let job = s.accepted(30.0);
        if ends {
            s.ends(job, 32.0, view(JobState::Completed)).result(job, 32.0, 10_000, Some(job));
        }
        s.end(100.0);
        s.verdict()
    };
    assert_eq!(stuck(1.0, true).ruling, Passed, "{:?}", stuck(1.0, true));
    let lie = stuck(1.0, false);
    assert_eq!(lie.ruling, Failed);
    assert!(lie.observed.contains("said \"well\""), "{lie:?}");
    assert_ne!(stuck(0.0, false).ruling, Failed, "it said that it was not well");
    assert_eq!(stuck(0.0, true).ruling, Failed, "it never answered again, and did its work");
    let mut silent = Script::new("health_is_honest: { stall: 30s }");
    sample(&mut silent, 0.5, "health.port_open", 1.0);
    sample(&mut silent, 0.5, "health.up", 1.0);
    sample(&mut silent, 5.0, "health.up", 0.0);
    (0..5).for_each(|i| {
        silent.completed(4.0 + f64::from(i), 0.9);
    });
    sample(&mut silent, 9.0, "health.up", 1.0);
    silent.end(100.0);
    assert_eq!(silent.verdict().ruling, Failed, "silent, and yet at work: {:?}", silent.verdict());
    let mut unknown = Script::new("health_is_honest: {}");
    unknown.end(60.0);
    assert_eq!(unknown.verdict().ruling, Inconclusive);
}

/// Three steps of 100 s; from the one with `broken` on jobs take 10 s instead of one.
fn stepped(broken: u32, at_least: u32) -> Verdict {
    let mut s = Script::from(&format!(
        "version: 1\nname: script\ntarget: {{ url: embedded }}\nload: [{{ name: users, stages: [{{ users: 1, for: 100s }}, {{ users: 2, for: 100s }}, {{ users: 4, for: 100s }}] }}]\nchecks: [capacity: {{ latency: 5s, at_least: {at_least} }}]\n"
    ));
    for (at, users) in [1, 2, 4].into_iter().enumerate() {
        let slow = users >= broken;
        for i in 0..20 {
            s.completed(at as f64 * 100.0 + f64::from(i) * 4.0, if slow { 10.0 } else { 1.0 });
        }
    }
    s.end(330.0);
    s.verdict()
}

#[test]
fn capacity() {
    let limit = stepped(4, 2);
    assert_eq!(limit.ruling, Passed, "{limit:?}");
    assert!(limit.observed.starts_with("limit: 2 users"), "{limit:?}");
    assert_eq!(stepped(2, 2).ruling, Failed, "one user is all it can take");
    assert_eq!(stepped(1, 1).ruling, Failed, "not even one");
    assert_eq!(stepped(99, 8).ruling, Inconclusive, "the limit lies beyond what was tried, and below what is asked for");
    // Half of what is accepted is forgotten: the others are quick, and it is too much all the same.
    let mut forgets = Script::from(
        "version: 1\nname: script\ntarget: { url: embedded }\nload: [{ name: users, stages: [{ users: 1, for: 100s }, { users: 2, for: 100s }] }]\nchecks: [capacity: { latency: 5s, at_least: 1 }]\n",
    );
    for i in 0..40 {
        let t = f64::from(i) * 4.0;
        forgets.completed(t, 1.0);
        let job = forgets.accepted(t + 1.5);
        forgets.at(t + 3.0, Event::Vanished { job });
    }
    forgets.end(230.0);
    assert_eq!(forgets.verdict().ruling, Failed, "{:?}", forgets.verdict());
    let mut flat = Script::new("capacity: { latency: 5s }");
    flat.end(60.0);
    assert_eq!(flat.verdict().ruling, Inconclusive, "no steps");
}

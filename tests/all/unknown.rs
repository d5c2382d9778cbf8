//! Jobs of which nobody can tell what became of them: no check passes over their heads, and none accuses anybody of them.

use std::sync::Arc;

use chaos::check::Ruling::{self, Failed, Inconclusive, Passed};
use chaos::driver::AnswerIs;
use chaos::experiment::JobShape;
use chaos::journal::event::{Answer, Event, JobState, JobView, ProcessEvent};
use chaos::load::ledger::{self, Class};

use crate::common::script::{Script, view};

const COMPLETE: &str = "all_jobs_complete: { within: 30s }";

/// One such job, of that load, that begins at that moment.
type Happens = fn(&mut Script, &str, f64);

fn taken(script: &mut Script, load: &str, t: f64) {
    let job = script.submitting(t, load, JobShape::default());
    let answer = Answer::Taken { reason: "it says that the job is `queued`".to_owned() };
    script.at(t + 0.1, Event::Answered { job, answer });
}

/// A gateway's answer, after so many seconds.
fn gateway(script: &mut Script, load: &str, t: f64, status: u16, after_s: f64) -> u32 {
    let plan = Arc::make_mut(script.record.plan.as_mut().unwrap());
    plan.driver.submit.answer = AnswerIs::Result;
    let job = script.submitting(t, load, JobShape::default());
    script.at(t + after_s, Event::Answered { job, answer: Answer::Error { status, proxy: true, reason: "<html>".to_owned() } });
    job
}

fn gave_up(script: &mut Script, load: &str, t: f64) {
    gateway(script, load, t, 504, 0.2);
}

fn in_a_state_that_nobody_knows(script: &mut Script, load: &str, t: f64) {
    let job = script.submitting(t, load, JobShape::default());
    script.at(t, Event::Answered { job, answer: Answer::Accepted { id: format!("odd-{t}") } });
    let view = JobView { word: "expired".to_owned(), ..view(JobState::Unknown) };
    script.at(t + 0.1, Event::Progress { job, view });
}

fn its_result_not_seen(script: &mut Script, load: &str, t: f64) {
    let job = script.submitting(t, load, JobShape::default());
    script.at(t, Event::Answered { job, answer: Answer::Accepted { id: format!("seen-{t}") } });
    script.ends(job, t + 0.2, view(JobState::Completed));
    script.at(t + 0.3, Event::GaveUp { job, why: "it was asked for only 0.1 s: a gateway answered 502".to_owned() });
}

/// Fifty good jobs before, ten of these from second 60 on, fifty good ones after.
fn judged(check: &str, happens: Happens) -> Script {
    let mut script = Script::new(check);
    (0..50).for_each(|t| _ = script.completed(f64::from(t), 0.5));
    (60..70).for_each(|t| happens(&mut script, "users", f64::from(t)));
    (100..150).for_each(|t| _ = script.completed(f64::from(t), 0.5));
    script.end(190.0);
    script
}

fn ruling(script: &Script) -> Ruling {
    script.verdict().ruling
}

const KINDS: [(&str, Happens); 5] = [
    ("only taken", taken),
    ("a gateway that gave up", gave_up),
    ("a gateway that lost it at work", |script, load, t| _ = gateway(script, load, t, 502, 3.0)),
    ("an unknown state", in_a_state_that_nobody_knows),
    ("a result that was not seen", its_result_not_seen),
];

#[test]
fn each_kind_is_a_class_of_its_own_and_proves_nothing() {
    for (kind, happens) in KINDS {
        let script = judged(COMPLETE, happens);
        let ledger = ledger::of(&script.record);
        let unknown = script.record.jobs.iter().filter(|job| ledger.class(job) == Class::Unknown);
        assert_eq!((unknown.count(), ledger.counts.unknown, ledger.counts.completed), (10, 10, 100), "{kind}");
        // What its client saw of a gateway is an error all the same.
        assert_eq!(ledger.counts.errors, if kind.starts_with("a gateway") { 10 } else { 0 }, "{kind}");
        let verdict = script.verdict();
        assert!(
            verdict.ruling == Inconclusive && verdict.observed.starts_with("nobody can tell what became of 10 jobs (taken"),
            "{kind}: {verdict:?}"
        );
        assert_eq!(verdict.evidence.len(), 8, "{kind}: {verdict:?}");
        let findings = chaos::report::findings::of(&chaos::check::View::of(&script.record)).join("\n");
        assert!(findings.contains("nobody can tell what became of 10 jobs"), "{kind}: {findings}");
        // One that was lost besides decides.
        let mut lost = judged(COMPLETE, happens);
        lost.record.ended = false;
        let job = lost.accepted(189.0);
        lost.at(189.5, Event::Vanished { job }).end(240.0);
        assert_eq!(ruling(&lost), Failed, "{kind}: {:?}", lost.verdict());
    }
}

/// A gateway that answers at once has reached nobody, unless the process ended under its hands; and an acceptance that did not come
/// is no acceptance.
#[test]
fn a_gateway_that_was_quick_has_reached_nobody() {
    let class = |script: &Script, job: u32| ledger::of(&script.record).class(&script.record.jobs[job as usize]);
    let mut script = Script::new(COMPLETE);
    let quick = gateway(&mut script, "users", 1.0, 502, 0.05);
    assert_eq!(class(&script, quick), Class::Rejected);
    let at_work = gateway(&mut script, "users", 2.5, 502, 0.9);
    let status = "signal: 9".to_owned();
    script.at(3.9, Event::Process { event: ProcessEvent::Exited { generation: 1, status, asked: true, elsewhere: false } });
    assert_eq!((class(&script, quick), class(&script, at_work)), (Class::Rejected, Class::Unknown));
    Arc::make_mut(script.record.plan.as_mut().unwrap()).driver.submit.answer = AnswerIs::Acceptance;
    let slow = script.submitting(5.0, "users", JobShape::default());
    script.at(9.0, Event::Answered { job: slow, answer: Answer::Error { status: 504, proxy: true, reason: String::new() } });
    assert_eq!(class(&script, slow), Class::Rejected);
}

/// Nobody is left who has the result: that is the target's.
#[test]
fn a_result_that_nobody_has_any_more_is_none() {
    let mut script = Script::new(COMPLETE);
    script.completed(1.0, 0.5);
    let job = script.accepted(9.0);
    script.ends(job, 9.5, view(JobState::Completed));
    let status = "signal: 9".to_owned();
    script.at(9.6, Event::Process { event: ProcessEvent::Exited { generation: 1, status, asked: true, elsewhere: false } });
    script.at(12.0, Event::GaveUp { job, why: "it was asked for only 2.4 s: connection refused".to_owned() }).end(12.0);
    let ledger = ledger::of(&script.record);
    assert_eq!(ledger.class(&script.record.jobs[job as usize]), Class::Mismatched);
    assert_eq!(ruling(&script), Failed);
}

/// In a state that nobody knows it may have ended at once, however long it is followed.
#[test]
fn who_may_have_ended_has_not_waited() {
    let mut script = Script::new("latency: { percentile: 95, below: 2s }");
    (0..100).for_each(|t| _ = script.completed(f64::from(t), 0.5));
    (0..60).for_each(|t| in_a_state_that_nobody_knows(&mut script, "users", 100.0 + f64::from(t)));
    script.end(400.0);
    assert_eq!(ruling(&script), Inconclusive, "{:?}", script.verdict());
    // One a minute comes into such a state: nothing shows that all of them waited.
    let mut health = Script::new("health_is_honest: { stall: 600s }");
    health.sample(0.5, "health.up", 1.0);
    let jobs: Vec<u32> = (0..20).map(|_| health.accepted(1.0)).collect();
    for (at, job) in jobs.iter().take(11).enumerate() {
        let odd = JobView { word: "archived".to_owned(), ..view(JobState::Unknown) };
        health.at(60.0 * (at as f64 + 1.0) - 20.0, Event::Progress { job: *job, view: odd });
    }
    health.completed(645.0, 0.5);
    health.sample(650.0, "health.up", 1.0);
    health.end(650.0);
    assert_ne!(ruling(&health), Failed, "{:?}", health.verdict());
}

#[test]
fn ten_of_a_hundred_and_ten_decide_no_percentile_and_no_rate() {
    for (kind, happens) in KINDS {
        let is_seen = kind == "a result that was not seen";
        // Those have ended, and when is known.
        let latency = judged("latency: { percentile: 95, below: 2s }", happens);
        assert_eq!(ruling(&latency), if is_seen { Passed } else { Inconclusive }, "{kind}: {:?}", latency.verdict());
        let wide = judged("latency: { percentile: 60, below: 2s }", happens);
        assert_eq!(ruling(&wide), Passed, "{kind}: {:?}", wide.verdict());
        let slow = judged("latency: { percentile: 95, below: 200ms }", happens);
        assert_eq!(ruling(&slow), Failed, "{kind}: {:?}", slow.verdict());
        // What a gateway answers is an error to whoever asked.
        let is_error = kind.starts_with("a gateway");
        let rate = judged("error_rate: { below: 5% }", happens);
        assert_eq!(ruling(&rate), if is_error { Failed } else { Inconclusive }, "{kind}: {:?}", rate.verdict());
        let rate = judged("error_rate: { below: 20% }", happens);
        assert_eq!(ruling(&rate), Passed, "{kind}: {:?}", rate.verdict());
    }
}

/// Canaries at these moments: `c` completes, `?` is of this kind, `x` is refused with an error.
fn canaries(row: &str, happens: Happens) -> Ruling {
    let mut script = Script::from(
        "version: 1\nname: s\ntarget: { url: embedded }\nload: [{ name: users, users: 1 }]\ncanary: { every: 5s }\nfaults: [{ flood: { at: 20s, jobs: 1 } }]\nchecks: [canary: { within: 60s }]\n",
    );
    script.fault();
    for (at, what) in row.chars().enumerate() {
        let t = 26.0 + 5.0 * at as f64;
        if what == '?' {
            happens(&mut script, "canary", t);
            continue;
        }
        let job = script.submitting(t, "canary", JobShape::default());
        if what == 'x' {
            script.at(t, Event::Answered { job, answer: Answer::Error { status: 500, proxy: false, reason: String::new() } });
            continue;
        }
        script.at(t, Event::Answered { job, answer: Answer::Accepted { id: format!("c-{at}") } });
        script.ends(job, t + 1.0, view(JobState::Completed));
        script.result(job, t + 1.0, 10_000, Some(job));
    }
    script.end(200.0);
    ruling(&script)
}

#[test]
fn a_canary_of_which_nobody_can_tell_is_neither_alive_nor_dead() {
    for (row, expected) in [
        ("cccccccccccccccc", Passed),
        ("??cccccccccccccc", Passed),
        ("cccc?ccccccccccc", Inconclusive),
        ("????????????????", Inconclusive),
        ("c?c?c?c?c?c?c?c?", Inconclusive),
        ("xxxxxxxxxxxxxxxx", Failed),
        ("xcxcxcxc?xcxcxcx", Failed),
        ("cccx?ccccccccccc", Failed),
        ("??????????????ccc", Inconclusive),
        ("xxxxxxxxxxxxxxccc", Failed),
        ("xxxxx?xxxxxxxxccc", Failed),
        ("c?cxxxxxxxxxxxxx", Failed),
        ("xxxxcc?cccccccccc", Passed),
        ("?ccxcccccccccccc", Inconclusive),
        ("?ccx?ccxxxxxxxcccc", Failed),
        ("?ccx?cc", Inconclusive),
    ] {
        assert_eq!(canaries(row, taken), expected, "{row}");
        assert_eq!(canaries(row, in_a_state_that_nobody_knows), expected, "{row}");
    }
    // What a gateway answers is no sign of life.
    for row in ["????????????????", "cccc?ccccccccccc"] {
        assert_eq!(canaries(row, gave_up), Failed, "{row}");
    }
}

#[test]
fn the_latency_of_whom_nobody_knows_is_not_back() {
    let of = |every: usize, indicator: &str, slow_s: f64| {
        let mut script = Script::new(&format!("time_to_recover: {{ indicator: {indicator}, within: 30s, hold: 10s }}"));
        (0..19).for_each(|t| _ = script.completed(f64::from(t), 0.5));
        script.fault();
        for t in 26..120 {
            match t % every {
                0 => taken(&mut script, "users", t as f64),
                _ => _ = script.completed(t as f64, 0.5 + slow_s),
            }
        }
        script.end(121.0);
        script.verdict()
    };
    assert_eq!(of(1000, "latency", 0.0).ruling, Passed, "{:?}", of(1000, "latency", 0.0));
    assert_eq!(of(40, "latency", 0.0).ruling, Passed, "{:?}", of(40, "latency", 0.0));
    let untold = of(4, "latency", 0.0);
    assert!(untold.ruling == Inconclusive && untold.observed.contains("nobody can tell"), "{untold:?}");
    assert_eq!(of(4, "latency", 9.0).ruling, Failed, "{:?}", of(4, "latency", 9.0));
    // One of four waited for a minute, and got an error.
    let mut errors = Script::new("time_to_recover: { indicator: latency, within: 30s, hold: 10s }");
    (0..19).for_each(|t| _ = errors.completed(f64::from(t), 0.5));
    errors.fault();
    for t in 26..120 {
        if t % 4 == 0 {
            _ = gateway(&mut errors, "users", f64::from(t), 504, 60.0)
        } else {
            _ = errors.completed(f64::from(t), 0.5)
        }
    }
    errors.end(181.0);
    assert_ne!(ruling(&errors), Passed, "{:?}", errors.verdict());
    // Three of four may have completed.
    let of_three = |others: Option<Happens>| {
        let mut script = Script::new("time_to_recover: { indicator: throughput, within: 30s, hold: 10s }");
        (0..19).for_each(|t| _ = script.completed(f64::from(t), 0.5));
        script.fault();
        for t in 26..120 {
            match others {
                _ if t % 4 == 0 => _ = script.completed(f64::from(t), 0.5),
                Some(happens) => happens(&mut script, "users", f64::from(t)),
                None => {}
            }
        }
        script.end(121.0);
        script.verdict()
    };
    assert_eq!(of_three(None).ruling, Failed, "{:?}", of_three(None));
    assert_eq!(of_three(Some(taken)).ruling, Inconclusive, "{:?}", of_three(Some(taken)));
    assert_eq!(of_three(Some(gave_up)).ruling, Failed, "{:?}", of_three(Some(gave_up)));
}

/// Two steps of 100 s; in the second every other job is of which nobody can tell.
#[test]
fn a_step_that_those_decide_is_not_measured() {
    let of = |at_least: u32, happens: Option<Happens>| {
        let mut script = Script::from(&format!(
            "version: 1\nname: s\ntarget: {{ url: embedded }}\nload: [{{ name: users, stages: [{{ users: 1, for: 100s }}, {{ users: 2, for: 100s }}] }}]\nchecks: [capacity: {{ latency: 5s, at_least: {at_least} }}]\n"
        ));
        for i in 0..40 {
            let t = f64::from(i) * 5.0;
            script.completed(t, 1.0);
            match happens {
                Some(happens) if t > 100.0 => happens(&mut script, "users", t + 2.0),
                _ => _ = script.completed(t + 2.0, 1.0),
            }
        }
        script.end(230.0);
        script.verdict()
    };
    assert_eq!(of(2, None).ruling, Passed, "{:?}", of(2, None));
    for happens in [taken as Happens, in_a_state_that_nobody_knows] {
        let verdict = of(2, Some(happens));
        assert!(verdict.ruling == Inconclusive && verdict.observed.contains("nobody can tell"), "{verdict:?}");
        assert_eq!(of(1, Some(happens)).ruling, Passed, "{:?}", of(1, Some(happens)));
    }
    let refused = of(2, Some(gave_up));
    assert_eq!(refused.ruling, Failed, "half of the second step: {refused:?}");
}

/// Whoever forbids refusals forbids what a gateway answers in place of an acceptance.
#[test]
fn a_gateways_error_is_no_acceptance() {
    let check = "all_jobs_complete: { within: 30s, rejected: forbidden }";
    assert_eq!(ruling(&judged(check, gave_up)), Failed);
    assert_eq!(ruling(&judged(check, taken)), Inconclusive);
}

/// An hour in which the latency doubles, or stays; some of the jobs are such ones.
fn soak(check: &str, grows: bool, is_one: impl Fn(u32) -> bool) -> Script {
    let mut script = Script::new(check);
    script.fault();
    for i in 0..360 {
        let t = 30.0 + 10.0 * f64::from(i);
        match is_one(i) {
            true => _ = gateway(&mut script, "users", t, 502, 2.0),
            false => _ = script.completed(t, if grows { 1.0 + f64::from(i) / 360.0 } else { 1.0 + f64::from(i % 3) / 100.0 }),
        }
    }
    script.end(3700.0);
    script
}

#[test]
fn one_of_them_ends_no_trend_and_many_are_no_stable_one() {
    let check = "latency_stable: {}";
    let of = |grows: bool, is_one: &dyn Fn(u32) -> bool| soak(check, grows, is_one).verdict();
    assert_eq!(of(false, &|_| false).ruling, Passed);
    assert_eq!(of(true, &|i| i == 40).ruling, Failed, "one at the beginning cuts nothing off: {:?}", of(true, &|i| i == 40));
    assert_eq!(of(false, &|i| i == 40).ruling, Passed, "{:?}", of(false, &|i| i == 40));
    let many = of(false, &|i| i % 5 == 0);
    assert!(many.ruling == Inconclusive && many.observed.contains("nobody can tell"), "{many:?}");
    assert_eq!(of(true, &|i| i % 5 == 0).ruling, Failed, "{:?}", of(true, &|i| i % 5 == 0));
}

#[test]
fn one_of_them_ends_no_recovery_and_many_are_none() {
    let of = |percentile: u32, is_one: &dyn Fn(u32) -> bool, happens: Happens| {
        let mut script = Script::new(&format!("latency_recovers: {{ percentile: {percentile}, within: 600s }}"));
        (0..600).for_each(|i| _ = script.completed(f64::from(i) / 32.0, 0.5));
        script.fault();
        for i in 0..700 {
            let t = 30.0 + f64::from(i);
            match is_one(i) {
                true => happens(&mut script, "users", t),
                false => _ = script.completed(t, 0.5),
            }
        }
        script.end(800.0);
        script.verdict()
    };
    assert_eq!(of(90, &|_| false, taken).ruling, Passed, "{:?}", of(90, &|_| false, taken));
    assert_eq!(of(90, &|i| i == 0, taken).ruling, Passed, "{:?}", of(90, &|i| i == 0, taken));
    let many = of(90, &|i| i % 3 == 0, taken);
    assert!(many.ruling == Inconclusive && many.observed.contains("nobody can tell"), "{many:?}");
    // One of 25, all of which had waited for a minute: too slow for the 99th percentile, and not for the 90th.
    let slow: Happens = |script, load, t| _ = gateway(script, load, t, 504, 60.0);
    assert_ne!(of(99, &|i| i % 25 == 7, slow).ruling, Passed, "{:?}", of(99, &|i| i % 25 == 7, slow));
    assert_eq!(of(90, &|i| i % 25 == 7, slow).ruling, Passed, "{:?}", of(90, &|i| i % 25 == 7, slow));
    assert_eq!(of(90, &|_| true, slow).ruling, Failed, "{:?}", of(90, &|_| true, slow));
}

/// Ten a minute are asked for; what is missing may be among those of which nobody can tell, and is not among errors.
#[test]
fn what_they_completed_may_be_missing_in_a_throughput() {
    let of = |completed: u32, happens: Happens| {
        let mut script = Script::new("throughput: { at_least: 10/min }");
        for i in 0..120 {
            let t = f64::from(i) * 5.0;
            if i % 12 < completed { _ = script.completed(t, 0.5) } else { happens(&mut script, "users", t) }
        }
        script.end(601.0);
        script.verdict()
    };
    assert_eq!(of(12, taken).ruling, Passed, "{:?}", of(12, taken));
    let some = of(8, taken);
    assert!(some.ruling == Inconclusive && some.observed.contains("nobody can tell"), "{some:?}");
    assert_eq!(of(8, gave_up).ruling, Failed, "{:?}", of(8, gave_up));
    assert_eq!(of(8, its_result_not_seen).ruling, Inconclusive, "{:?}", of(8, its_result_not_seen));
}

/// Before it came into that state it waited, and its end may have come then.
#[test]
fn who_waited_before_an_odd_state_has_waited() {
    let mut script = Script::new("queue_depth: { below: 10 }");
    script.completed(0.5, 0.1);
    let jobs: Vec<u32> = (0..20).map(|_| script.accepted(2.0)).collect();
    for job in &jobs {
        script.at(2.1, Event::Progress { job: *job, view: view(JobState::Queued) });
    }
    for job in &jobs {
        script.at(50.0, Event::Progress { job: *job, view: view(JobState::Running) });
        let odd = JobView { word: "archived".to_owned(), ..view(JobState::Unknown) };
        script.at(60.0, Event::Progress { job: *job, view: odd });
    }
    script.end(190.0);
    assert_eq!(ruling(&script), Failed, "{:?}", script.verdict());
}

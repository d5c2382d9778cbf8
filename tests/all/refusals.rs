//! Whose fault a refusal as invalid is.

use std::sync::Arc;

use chaos::check::Ruling::{Failed, Inconclusive, Passed};
use chaos::journal::event::{Answer, Event, JobState, ProcessEvent};
use chaos::load::ledger::{self, Class};

use crate::common::script::{Script, view};

const CHECK: &str = "error_rate: { below: 5% }";

fn invalid(script: &mut Script, t: f64, reason: &str) {
    script.submitted(t, Answer::Invalid { status: 400, reason: reason.to_owned() });
}

fn restart(script: &mut Script, t: f64) {
    let status = "signal: 9".into();
    script.at(t, Event::Process { event: ProcessEvent::Exited { generation: 1, status, asked: true, elsewhere: false } });
    script.at(t + 1.0, Event::Process { event: ProcessEvent::Started { pid: 8, generation: 2 } });
}

/// A hundred good jobs, and whatever else happens from second 60 on.
fn judged(check: &str, happens: impl Fn(&mut Script)) -> Script {
    let mut script = Script::new(check);
    (0..50).for_each(|t| _ = script.completed(f64::from(t), 0.5));
    happens(&mut script);
    (100..150).for_each(|t| _ = script.completed(f64::from(t), 0.5));
    script.end(160.0);
    script
}

fn classes(script: &Script) -> Vec<Class> {
    let ledger = ledger::of(&script.record);
    let invalid = script.record.jobs.iter().filter(|job| matches!(job.answer, Some((_, Answer::Invalid { .. }))));
    invalid.map(|job| ledger.class(job)).collect()
}

#[test]
fn a_server_that_is_not_ready_refuses_what_it_takes_at_other_times() {
    let not_ready = |script: &mut Script| {
        restart(script, 60.0);
        (62..82).for_each(|t| invalid(script, f64::from(t), "model is not ready yet"));
    };
    let script = judged(CHECK, not_ready);
    assert_eq!(classes(&script), [Class::Rejected; 20]);
    let verdict = script.verdict();
    assert_eq!(verdict.ruling, Failed, "{verdict:?}");
    let findings = chaos::report::findings::of(&chaos::check::View::of(&script.record)).join("\n");
    assert!(findings.contains("though it takes such requests at other times: model is not ready yet"), "{findings}");
    assert!(!findings.contains("the load's own fault"), "{findings}");
    assert_eq!(judged("backpressure_is_honest: {}", not_ready).verdict().ruling, Failed);
    // Before the first that is taken.
    let mut early = Script::new(CHECK);
    (0..20).for_each(|t| invalid(&mut early, f64::from(t), "loading"));
    (20..120).for_each(|t| _ = early.completed(f64::from(t), 0.5));
    early.end(130.0);
    assert_eq!((classes(&early), early.verdict().ruling), (vec![Class::Rejected; 20], Failed));
}

#[test]
fn a_request_that_is_wrong_is_the_loads_own_fault() {
    // Never taken: a size that is too large, and nothing else of that size.
    let mut large = Script::new(CHECK);
    (0..100).for_each(|t| _ = large.completed(f64::from(t), 0.5));
    for t in 100..120 {
        let shape = chaos::experiment::JobShape { width: 4096, ..Default::default() };
        let job = large.submitting(f64::from(t), "users", shape);
        large.at(f64::from(t), Event::Answered { job, answer: Answer::Invalid { status: 422, reason: "too wide".into() } });
    }
    large.end(130.0);
    assert_eq!((classes(&large), large.verdict().ruling), (vec![Class::Invalid; 20], Passed), "{:?}", large.verdict());
    // Some of many different prompts, with nothing that changed in between.
    let some = judged(CHECK, |script| (60..70).for_each(|t| invalid(script, f64::from(t), "the prompt is not allowed")));
    assert_eq!((classes(&some), some.verdict().ruling), (vec![Class::Invalid; 10], Passed), "{:?}", some.verdict());
}

#[test]
fn the_very_same_input_is_not_wrong_now_and_right_then() {
    let mut script = Script::new(CHECK);
    let driver = &mut Arc::make_mut(script.record.plan.as_mut().unwrap()).driver;
    driver.result.as_mut().unwrap().carries_mark = false;
    driver.submit.steps.iter_mut().for_each(|step| {
        (step.multipart, step.form) = Default::default();
        step.json = Some(serde_json::json!({ "prompt": "a cat" }));
    });
    (0..50).for_each(|t| _ = script.completed(f64::from(t), 0.5));
    (60..70).for_each(|t| invalid(&mut script, f64::from(t), "bad request"));
    script.end(80.0);
    assert_eq!((classes(&script), script.verdict().ruling), (vec![Class::Rejected; 10], Failed), "{:?}", script.verdict());
}

/// The first try of a newcomer, whose driver names a path that the server does not have: nobody is told that the server is broken.
#[test]
fn a_path_that_never_took_a_job_is_the_drivers_fault() {
    let by = |check: &str, status: u16, taken: bool, proxy: bool| {
        let mut script = Script::new(check);
        if taken {
            script.completed(1.0, 0.5);
        }
        for t in 10..60 {
            let reason = "POST /generate: not found".to_owned();
            script.submitted(f64::from(t), Answer::Error { status, proxy, reason });
        }
        script.end(90.0);
        script
    };
    let answered = |check: &str, status: u16, taken: bool| by(check, status, taken, false);
    for check in [CHECK, "backpressure_is_honest: {}", "all_jobs_complete: { within: 30s }"] {
        for status in [401, 404, 405] {
            let verdict = answered(check, status, false).verdict();
            assert_eq!(verdict.ruling, Inconclusive, "{check} {status}: {verdict:?}");
        }
    }
    let never = answered(CHECK, 404, false);
    let findings = chaos::report::findings::of(&chaos::check::View::of(&never.record)).join("\n");
    assert!(
        findings.contains("50 jobs came to nothing by the driver's own fault") && findings.contains("are the path"),
        "{findings}"
    );
    // A gateway that knows no such route.
    assert_eq!(by(CHECK, 404, false, true).verdict().ruling, Inconclusive);
    // One that took jobs and does no more, and errors of another kind, are the server's.
    assert_eq!(answered(CHECK, 404, true).verdict().ruling, Failed);
    assert_eq!(answered(CHECK, 500, false).verdict().ruling, Failed);
}

/// `expired` may be an end, and may be none: whoever does not know the word cannot say that the job is lost.
#[test]
fn a_state_that_the_driver_does_not_know_is_no_loss() {
    let check = "all_jobs_complete: { within: 30s }";
    let with = |state: JobState, word: &str| {
        judged(check, |script| {
            let job = script.accepted(60.0);
            let view = chaos::journal::event::JobView { word: word.to_owned(), ..view(state) };
            script.at(61.0, Event::Progress { job, view });
        })
    };
    let unknown = with(JobState::Unknown, "expired");
    let verdict = unknown.verdict();
    assert_eq!(verdict.ruling, Inconclusive, "{verdict:?}");
    assert!(verdict.evidence.iter().any(|line| line.contains("`expired`") || line.contains("expired")), "{verdict:?}");
    assert_eq!(with(JobState::Running, "running").verdict().ruling, Failed);
    // Others passed through it, and ended.
    let passed = judged(check, |script| {
        let through = |script: &mut Script, t: f64| {
            let job = script.accepted(t);
            let view = chaos::journal::event::JobView { word: "upscaling".to_owned(), ..view(JobState::Unknown) };
            script.at(t + 0.1, Event::Progress { job, view });
            job
        };
        let job = through(script, 60.0);
        script.ends(job, 60.5, view(JobState::Completed)).result(job, 60.5, 10_000, Some(job));
        through(script, 61.0);
    });
    assert_eq!(passed.verdict().ruling, Failed, "{:?}", passed.verdict());
}

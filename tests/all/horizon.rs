//! What chaos did not look for has not happened: a deadline that had not run out when it hung up decides nothing.

use std::time::Duration;

use crate::common::often;
use crate::common::script::{Script, view};
use crate::common::sim::{Sabotage, run};
use chaos::check::Ruling::{Failed, Inconclusive, Passed};
use chaos::check::Verdict;
use chaos::journal::event::{Answer, Event, JobState, Phase};

const DROP: &str = "websocket_drop: { at: 20s, away: 1s }";
const LISTENER: &str = "users/0";

fn script(fault: &str, check: &str) -> Script {
    Script::from(&format!(
        "version: 1\nname: script\ntarget: {{ url: embedded }}\nload: [{{ name: users, users: 1 }}]\ncanary: {{ every: 5s }}\nfaults: [{{ {fault} }}]\nchecks: [{check}]\n"
    ))
}

/// A listener is taken away at 21 s, free at 22 s and back at `back_t`; its job ends at 25 s, and it is told nothing. The
/// load ends at `stopped_t`, chaos closes the listener at `closed_t`, and the run goes on to 60 s.
fn hung_up(back_t: Option<f64>, stopped_t: f64, closed_t: Option<f64>) -> Verdict {
    let mut s = script(DROP, "reconnects: { within: 5s, update_within: 5s, end_within: 5s }");
    s.at(1.0, Event::ListenerBack { listener: LISTENER.into(), after_s: None });
    let job = s.accepted(18.0);
    let id = s.record.jobs[job as usize].id().unwrap().to_owned();
    s.at(20.0, Event::FaultInjecting { fault: "websocket_drop".into(), planned_t: 20.0 });
    let fault = Some("websocket_drop".to_owned());
    s.at(21.0, Event::ListenerLost { listener: LISTENER.into(), why: "dropped".into(), fault, open: vec![id] });
    s.at(22.0, Event::FaultInjected { fault: "websocket_drop".into(), error: None });
    s.at(22.0, Event::FaultOver { fault: "websocket_drop".into() });
    s.at(22.0, Event::ListenerFreed { listener: LISTENER.into() });
    let mut events = vec![(25.0, None), (stopped_t, Some(Event::LoadStopped {}))];
    events.extend(back_t.map(|t| (t, Some(Event::ListenerBack { listener: LISTENER.into(), after_s: Some(t - 21.0) }))));
    events.extend(closed_t.map(|t| (t, Some(Event::ListenerClosed { listener: LISTENER.into() }))));
    events.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (t, event) in events {
        match event {
            Some(event) => s.at(t, event),
            None => s.ends(job, t, view(JobState::Completed)),
        };
    }
    s.at(60.0, Event::RunEnded {});
    s.verdict()
}

#[test]
fn a_listener_that_we_closed_is_not_silent() {
    let soon = hung_up(Some(26.0), 26.09, Some(26.09));
    assert_eq!(soon.ruling, Inconclusive, "{soon:?}");
    let told = soon.evidence.iter().any(|e| e.contains("chaos closed it 0.09 s later; 5.00 s are allowed"));
    assert!(told, "{soon:?}");
    // A journal that does not tell when listeners were closed: at the end of the load, for all that is known.
    assert_eq!(hung_up(Some(26.0), 26.09, None).ruling, Inconclusive);
    assert_eq!(hung_up(None, 26.0, Some(26.5)).ruling, Inconclusive, "it might have come back at 27 s");
    assert_eq!(hung_up(None, 40.0, Some(41.0)).ruling, Failed, "it had 19 s to come back");
    assert_eq!(hung_up(Some(26.0), 40.0, Some(41.0)).ruling, Failed, "it was told nothing for 15 s");
    // The listener stays after the end of the load where its job goes on.
    assert_eq!(hung_up(Some(26.0), 26.09, Some(35.0)).ruling, Failed);
}

/// A job whose client stops to follow it, one second after the load's end.
fn given_up(check: &str, longest_s: f64) -> Script {
    let mut s = Script::new(check);
    (0..10).for_each(|i| {
        s.completed(f64::from(i), longest_s);
    });
    s.fault();
    let job = s.accepted(90.0);
    s.at(100.0, Event::LoadStopped {});
    s.at(101.0, Event::GaveUp { job, why: "the run's patience ended".into() });
    s.at(101.0, Event::Phase { phase: Phase::Revert });
    s.at(140.0, Event::RunEnded {});
    s
}

#[test]
fn a_job_that_chaos_stopped_following_is_not_lost() {
    let class = |s: &Script| chaos::load::ledger::of(&s.record).classes[10].word();
    // Its patience of half a minute is the run's, not the file's.
    let short = given_up("error_rate: { below: 1%, min_jobs: 5 }", 8.0);
    assert_eq!((class(&short), short.verdict().ruling), ("open", Inconclusive), "{:?}", short.verdict());
    let long = given_up("error_rate: { below: 1%, min_jobs: 5 }", 1.0);
    assert_eq!((class(&long), long.verdict().ruling), ("lost", Failed), "followed for 11 s, where others take one");
    let lenient = given_up("error_rate: { below: 20%, min_jobs: 5 }", 8.0);
    assert_eq!(lenient.verdict().ruling, Passed, "one of 11 does not decide");
    let stated = given_up("all_jobs_complete: { within: 1s }", 8.0);
    assert_eq!((class(&stated), stated.verdict().ruling), ("lost", Failed), "the file gives it a second");
    let unseen = given_up("all_jobs_complete: { within: 20s }", 8.0);
    assert_eq!((class(&unseen), unseen.verdict().ruling), ("open", Inconclusive), "{:?}", unseen.verdict());
}

#[test]
fn a_queue_that_was_not_watched_for_its_time_is_not_decided() {
    let with = |end: f64| {
        let mut s = Script::new("queue_drains: { within: 60s }");
        s.sample(1.0, "queue.depth", 0.0);
        s.fault();
        s.sample(22.0, "queue.depth", 9.0);
        s.at(end, Event::LoadStopped {});
        s.at(150.0, Event::Phase { phase: Phase::Revert });
        s.at(200.0, Event::RunEnded {});
        s.verdict()
    };
    assert_eq!(with(40.0).ruling, Inconclusive, "{:?}", with(40.0));
    assert_eq!(with(90.0).ruling, Failed);
}

#[test]
fn canaries_that_were_not_sent_decide_nothing() {
    let with = |stopped_t: f64, fine_from: f64| {
        let mut s = script("flood: { at: 20s, jobs: 1 }", "canary: { within: 60s }");
        s.fault();
        let mut t = 26.0;
        while t < stopped_t {
            let job = s.submitting(t, "canary", chaos::experiment::JobShape::default());
            s.at(t, Event::Answered { job, answer: Answer::Accepted { id: format!("c-{job}") } });
            let state = if t >= fine_from { JobState::Completed } else { JobState::Failed };
            s.ends(job, t + 1.0, view(state));
            if state == JobState::Completed {
                s.result(job, t + 1.0, 10_000, Some(job));
            }
            t += 5.0;
        }
        s.at(stopped_t, Event::LoadStopped {});
        s.at(200.0, Event::RunEnded {});
        s.verdict()
    };
    assert_eq!(with(50.0, 999.0).ruling, Inconclusive, "{:?}", with(50.0, 999.0));
    assert_eq!(with(120.0, 999.0).ruling, Failed);
    assert_eq!(with(90.0, 80.0).ruling, Inconclusive, "two of a row of three, begun in time: {:?}", with(90.0, 80.0));
}

#[test]
fn recoveries_that_were_not_watched_for_their_time_are_not_decided() {
    for check in ["time_to_recover: { within: 60s, hold: 20s }", "latency_recovers: { within: 60s, percentile: 90 }"] {
        let with = |end: f64| {
            let mut s = Script::new(check);
            (0..90).for_each(|i| {
                s.completed(f64::from(i) * 0.2, 0.8 + 0.02 * f64::from(i % 3));
            });
            s.fault();
            (0..400).map(|i| 25.0 + f64::from(i) * 0.5).filter(|t| *t < end - 3.0).for_each(|t| {
                s.completed(t, 3.0);
            });
            s.at(end, Event::LoadStopped {});
            s.at(300.0, Event::RunEnded {});
            s.verdict()
        };
        assert_eq!(with(60.0).ruling, Inconclusive, "{check}: {:?}", with(60.0));
        assert_eq!(with(200.0).ruling, Failed, "{check}: {:?}", with(200.0));
    }
}

#[test]
fn abandoned_work_that_was_not_watched_is_not_decided() {
    let with = |gave_up_t: f64, another: bool| {
        let mut s = Script::new("no_abandoned_work: { within: 5s }");
        if another {
            let job = s.accepted(1.0);
            s.at(10.0, Event::GivingUp { job }).at(10.0, Event::Cancelled { job, error: None });
            s.ends(job, 11.0, view(JobState::Cancelled));
        }
        let job = s.accepted(90.0);
        s.at(99.0, Event::GivingUp { job }).at(99.0, Event::Cancelled { job, error: None });
        s.at(99.5, Event::Progress { job, view: view(JobState::Running) });
        s.at(100.0, Event::LoadStopped {});
        s.at(gave_up_t, Event::GaveUp { job, why: "the run's patience ended".into() });
        s.at(120.0, Event::RunEnded {});
        s.verdict().ruling
    };
    assert_eq!(with(100.0, false), Inconclusive);
    assert_eq!(with(100.0, true), Passed, "the other one decides");
    assert_eq!(with(110.0, false), Passed);
}

/// Listeners that come back shortly before the end of the load, at every distance from it.
#[tokio::test(start_paused = true)]
async fn listeners_back_just_before_the_end_are_not_accused() {
    for step in (0..60).step_by(often(4, 1)) {
        let duration = 11_500 + 50 * step;
        let yaml = format!(
            "version: 1\nname: end\ntarget: {{ url: embedded, backend: {{ speed: 40 }} }}\nload: [{{ name: users, users: 6, think: 100ms..2s }}]\nfaults: [{{ websocket_drop: {{ at: 10s, away: 2s, listeners: all }} }}]\nduration: {duration}ms\nchecks: [reconnects: {{}}, reconnects_spread: {{}}, all_jobs_complete: {{ within: 60s }}]\n"
        );
        // A healthy server may take a moment until it tells a client that is back of its jobs.
        let slow = Sabotage { slow_news: Duration::from_millis(400), ..Sabotage::default() };
        let done = run(&yaml, step, slow, None).await;
        assert_ne!(done.verdict("reconnects"), "failed", "{duration} ms: {}", done.trouble());
        assert_eq!(done.verdict("all_jobs_complete"), "passed", "{duration} ms: {}", done.trouble());
    }
}

/// The same when a signal ends the run in the middle of the return.
#[tokio::test(start_paused = true)]
async fn a_run_that_is_interrupted_accuses_no_listener() {
    let yaml = "version: 1\nname: end\ntarget: { url: embedded, backend: { speed: 40 } }\nload: [{ name: users, users: 6, think: 100ms..2s }]\nfaults: [{ websocket_drop: { at: 20s, away: 2s, listeners: all } }]\nduration: 60s\nchecks: [reconnects: {}, listeners_stable: {}]\n";
    for step in (0..40).step_by(often(4, 1)) {
        let after = Duration::from_millis(21_000 + 100 * step);
        let done = run(yaml, 1, Sabotage::default(), Some(after)).await;
        for check in ["reconnects", "listeners_stable"] {
            assert_ne!(done.verdict(check), "failed", "{check}, {after:?}: {}", done.trouble());
        }
    }
}

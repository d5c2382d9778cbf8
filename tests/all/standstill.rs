//! Chaos itself stood still: what that covers is not the target's fault, and everything else still is.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::Run;
use crate::common::script::{Script, view};
use crate::common::underway::Underway;
use chaos::check::Ruling::{Failed, Inconclusive};
use chaos::check::Verdict;
use chaos::journal::event::{Answer, Event, JobState, ProcessEvent};
use chaos::journal::reader;
use chaos::observe::machine::{LATE, SUSPENDED};

/// From second 40 to second 46 chaos stood still, by one of the two clocks.
fn stands_still(script: &mut Script, by: &str) {
    let (series, value) = if by == "suspended" { (SUSPENDED, 6.0) } else { (LATE, 6_000.0) };
    script.at(46.0, Event::Sample { values: [(series, value)].into_iter().collect() });
    script.at(46.3, Event::Sample { values: [(LATE, 0.0)].into_iter().collect() });
}

/// Good jobs from second 1 on, what goes wrong, and the gap.
fn judged(check: &str, by: Option<&str>, goes_wrong: impl Fn(&mut Script)) -> Verdict {
    let mut script = Script::new(check);
    script.at(0.0, Event::Sample { values: [(LATE, 0.0), ("health.up", 1.0)].into_iter().collect() });
    (1..39).for_each(|t| _ = script.completed(f64::from(t), 0.5));
    goes_wrong(&mut script);
    if let Some(by) = by {
        stands_still(&mut script, by);
    }
    (50..89).for_each(|t| _ = script.completed(f64::from(t), 0.5));
    script.end(90.0);
    script.verdict()
}

fn no_answer(t: f64) -> impl Fn(&mut Script) {
    move |script: &mut Script| _ = script.submitted(t, Answer::NoAnswer { reason: "timeout".into() })
}

const ERRORS: &str = "error_rate: { below: 1% }";
const COMPLETE: &str = "all_jobs_complete: { within: 20s }";

#[test]
fn what_went_wrong_in_the_gap_is_not_the_targets_fault() {
    for by in ["stopped", "suspended"] {
        let at = if by == "suspended" { 46.5 } else { 42.0 };
        let verdict = judged(ERRORS, Some(by), no_answer(at));
        assert_eq!(verdict.ruling, Inconclusive, "{by}: {verdict:?}");
        let says = if by == "suspended" { "the machine was suspended for 6" } else { "stood still from 40.0 s to 46.0 s" };
        assert!(verdict.observed.contains(says), "{verdict:?}");
        assert!(verdict.evidence.iter().any(|line| line.contains("run it again")), "{verdict:?}");
    }
    assert_eq!(judged(ERRORS, None, no_answer(42.0)).ruling, Failed, "nobody stood still");
}

#[test]
fn what_went_wrong_elsewhere_is() {
    assert_eq!(judged(ERRORS, Some("stopped"), no_answer(30.0)).ruling, Failed, "long before");
    let lost = |script: &mut Script| _ = script.accepted(10.0);
    assert_eq!(judged(COMPLETE, Some("stopped"), lost).ruling, Failed, "a job that was lost before, and never ended");
    let failed = |script: &mut Script| {
        let job = script.accepted(20.0);
        script.ends(job, 21.0, view(JobState::Failed));
    };
    assert_eq!(judged(ERRORS, Some("stopped"), failed).ruling, Failed);
    let crash = |script: &mut Script| {
        let event = ProcessEvent::Exited { generation: 1, status: "signal: 11".into(), asked: false, elsewhere: false };
        script.at(43.0, Event::Process { event });
    };
    assert_eq!(judged("no_crash: {}", Some("stopped"), crash).ruling, Failed, "a crash is one, whoever looked");
}

/// Every kind of check that time, connections or answers decide, on a healthy target.
fn experiment(fault: &str) -> String {
    // A pause is an outage, whatever else happens, and on a busy machine one of more than its second.
    let (uptime, below) = if fault.contains("pause") { ("", "5s") } else { ("- uptime: { at_least: 99% }\n", "2s") };
    format!(
        "version: 1\nname: stands\ntarget: {{ url: embedded, backend: {{ speed: 400 }} }}\n\
         duration: 6s\nload: [{{ name: users, users: 4, think: 20ms..60ms, listen: websocket }}]\n\
         canary: {{ every: 500ms }}\nfaults: [{fault}]\nchecks:\n\
         - all_jobs_complete: {{ within: 5s }}\n- error_rate: {{ below: 1% }}\n{uptime}\
         - health_is_honest: {{}}\n- latency: {{ percentile: 95, below: {below} }}\n- queue_drains: {{ within: 5s }}\n\
         - listeners_stable: {{}}\n- canary: {{ within: 5s }}\n- throughput: {{ at_least: 1/s }}\n- no_crash: {{}}\n"
    )
}

/// A run that is stopped for so long once its journal has the word.
fn stopped(experiment: &str, word: &str, later: Duration, stands: Duration) -> Run {
    let run = Underway::start(experiment, word);
    std::thread::sleep(later);
    let process = Pid::from_raw(run.pid().cast_signed());
    kill(process, Signal::SIGSTOP).unwrap();
    std::thread::sleep(stands);
    kill(process, Signal::SIGCONT).unwrap();
    run.finish()
}

#[test]
fn a_healthy_target_is_never_failed_because_chaos_was_stopped() {
    let pause = "{ pause: { at: 1s, for: 1s } }";
    let drop = "{ websocket_drop: { at: 1s, how: reset, listeners: all, away: 500ms } }";
    let cases = [
        ("baseline", "", "\"baseline\"", 500, 3),
        ("a pause that lasts longer by it", pause, "\"when\":\"during\"", 300, 4),
        ("just after a pause", pause, "\"fault_over\"", 50, 3),
        ("listeners that are away", drop, "\"fault_injecting\"", 100, 3),
        ("longer than a request may take", "", "\"baseline\"", 700, 7),
        ("the end", "", "\"load_stopped\"", 0, 3),
    ];
    for (what, fault, word, later_ms, stands_s) in cases {
        let run = stopped(&experiment(fault), word, Duration::from_millis(later_ms), Duration::from_secs(stands_s));
        // What was not seen may leave anything open; nothing of it is a failure.
        assert!(matches!(run.code, Some(0 | 6)), "{what}: {}", run.trouble());
        // The last one may come when everything has been written down.
        let record = reader::read(&run.folder).unwrap();
        let late_ms = record.series.get(LATE).map_or(0.0, |late| late.iter().map(|point| point.value).fold(0.0, f64::max));
        let is_seen = late_ms > stands_s as f64 * 1e3 - 500.0;
        assert!(is_seen || what == "the end", "{what}: at most {late_ms} ms late: {}", run.trouble());
    }
}

#[test]
fn a_fault_that_was_held_longer_is_told() {
    // It is stopped within the two seconds, however late this test hears of their beginning.
    let fault = "{ pause: { at: 1s, for: 2s } }";
    let run = stopped(&experiment(fault), "\"when\":\"during\"", Duration::ZERO, Duration::from_secs(3));
    let proof = run.result["checks"][0].to_string();
    assert!(proof.contains("instead of 2.00 s"), "{proof}");
}

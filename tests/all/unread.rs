//! Figures that cannot be read any more are no evidence: neither that a limit was kept, nor that something stayed as it was.

use std::time::Duration;

use crate::common::script::Script;
use crate::common::sim::{Sabotage, Simulated, run};
use chaos::check::Ruling::{self, Failed, Inconclusive, Passed};
use chaos::journal::event::{Event, ProcessEvent};
use chaos::observe::unread::mark;

/// The run ends at second 120; its fault is over at 25.
const END: f64 = 120.0;
const GIB: f64 = (1 << 30) as f64;

fn sample(script: &mut Script, t: f64, name: &str, value: f64) {
    script.at(t, Event::Sample { values: [(name.to_owned(), value)].into() });
}

/// A check, the series by which it is judged, and what it is before and from second 22 on: in health it passes.
struct Case {
    check: &'static str,
    series: &'static str,
    unread: &'static str,
    values: [f64; 2],
    /// It is another one at each second.
    moves: bool,
}

const CASES: [Case; 7] = [
    Case {
        check: "gpu_temperature: { below: 85 }",
        series: "gpu.temperature_c",
        unread: "gpu.temperature_c",
        values: [60.0, 61.0],
        moves: false,
    },
    Case {
        check: "gpu_memory: { below: 90% }",
        series: "gpu.memory_used_bytes",
        unread: "gpu.memory_used_bytes",
        values: [9.0 * GIB, 10.0 * GIB],
        moves: false,
    },
    Case {
        check: "gpu_utilization: { within: 50%..95% }",
        series: "gpu.utilization_percent",
        unread: "gpu.utilization_percent",
        values: [80.0, 81.0],
        moves: true,
    },
    Case { check: "queue_depth: { below: 5 }", series: "queue.depth", unread: "queue.depth", values: [1.0, 2.0], moves: false },
    Case {
        check: "time_to_recover: { indicator: gpu.temperature_c, within: 30s, hold: 5s }",
        series: "gpu.temperature_c",
        unread: "gpu.temperature_c",
        values: [60.0, 60.5],
        moves: false,
    },
    Case {
        check: "queue_drains: { within: 60s }",
        series: "queue.depth",
        unread: "queue.depth",
        values: [4.0, 0.0],
        moves: false,
    },
    Case {
        check: "metrics_live: { names: [done_total] }",
        series: "metric:done_total",
        unread: "metrics",
        values: [1.0, 2.0],
        moves: true,
    },
];

/// A healthy run in which the series changes at seconds 1, 21 and 27, and cannot be read in these stretches.
fn script(case: &Case, unread: &[(f64, f64)]) -> Script {
    let mut events: Vec<(f64, String, f64)> = vec![
        (0.5, "gpu.memory_total_bytes".to_owned(), 24.0 * GIB),
        (1.0, case.series.to_owned(), case.values[0]),
        (21.0, case.series.to_owned(), case.values[0] + 0.1),
        (27.0, case.series.to_owned(), case.values[1]),
    ];
    if case.moves {
        events.extend((3..=120).map(|t| (f64::from(t), case.series.to_owned(), case.values[1] + f64::from(t) / 100.0)));
        events.retain(|(t, name, _)| name != case.series || !unread.iter().any(|(from, to)| (from..to).contains(&t)));
    }
    for (from, to) in unread {
        events.extend([(*from, mark(case.unread), 1.0), (*to, mark(case.unread), 0.0)]);
    }
    events.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut script = Script::new(case.check);
    let mut events = events.into_iter().peekable();
    for second in 1..120 {
        if second == 20 {
            script.fault();
        }
        if !(20..=25).contains(&second) {
            script.completed(f64::from(second), 0.5);
        }
        while let Some((t, name, value)) = events.next_if(|(t, ..)| *t < f64::from(second + 1)) {
            sample(&mut script, t, &name, value);
        }
    }
    script.end(END);
    script
}

fn ruling(script: &Script) -> Ruling {
    script.verdict().ruling
}

#[test]
fn what_nobody_could_read_is_no_evidence() {
    for case in &CASES {
        let whole = script(case, &[]);
        assert_eq!(ruling(&whole), Passed, "{}: {:?}", case.check, whole.verdict());
        for unread in [(30.0, END), (60.0, 100.0)] {
            let dark = script(case, &[unread]).verdict();
            assert_eq!(dark.ruling, Inconclusive, "{}, {unread:?}: {dark:?}", case.check);
            let name = format!("`{}` could not be read", case.unread);
            assert!(dark.observed.starts_with(&name) && dark.evidence.iter().any(|e| e.contains("can be read")), "{dark:?}");
        }
    }
}

#[test]
fn a_scrape_that_is_missed_now_and_then_is_no_reason() {
    for case in &CASES {
        // Half a second in ten, and every third sample.
        for (every, lasts, times) in [(10.0, 0.5, 9), (1.5, 0.5, 60)] {
            let missed = (0..times).map(|n| (30.3 + f64::from(n) * every, 30.3 + f64::from(n) * every + lasts));
            let flaky = script(case, &missed.collect::<Vec<_>>());
            assert_eq!(ruling(&flaky), Passed, "{}: {:?}", case.check, flaky.verdict());
        }
    }
}

/// The depth that was read last says that it had not drained; what it is now nobody knows.
#[test]
fn a_queue_that_was_last_seen_full_may_be_empty() {
    let full = |unread: bool| {
        let mut script = Script::new("queue_drains: { within: 60s }");
        sample(&mut script, 1.0, "queue.depth", 0.0);
        sample(&mut script, 19.0, "queue.depth", 7.0);
        script.fault();
        if unread {
            sample(&mut script, 27.0, &mark("queue.depth"), 1.0);
        }
        script.end(END);
        ruling(&script)
    };
    assert_eq!((full(false), full(true)), (Failed, Inconclusive));
}

/// A limit that was seen to be broken stays broken, whatever could not be read later.
#[test]
fn what_was_seen_is_seen() {
    let mut script = Script::new("gpu_temperature: { below: 85 }");
    sample(&mut script, 1.0, "gpu.temperature_c", 60.0);
    sample(&mut script, 30.0, "gpu.temperature_c", 99.0);
    sample(&mut script, 31.0, &mark("gpu.temperature_c"), 1.0);
    script.completed(2.0, 0.5);
    script.end(END);
    assert_eq!(ruling(&script), Failed, "{:?}", script.verdict());
}

/// While it is restarted, and until it is ready again, nobody expects figures of it; nor of one that is known to be unhealthy.
#[test]
fn a_target_that_is_away_has_nothing_to_tell() {
    for health in [false, true] {
        let mut script = Script::new("gpu_temperature: { below: 85 }");
        sample(&mut script, 1.0, "gpu.temperature_c", 60.0);
        sample(&mut script, 1.0, "health.up", 1.0);
        script.completed(2.0, 0.5);
        script.fault();
        if health {
            sample(&mut script, 26.0, "health.up", 0.0);
        } else {
            let status = "SIGTERM".to_owned();
            script.at(
                26.0,
                Event::Process { event: ProcessEvent::Exited { generation: 1, status, asked: true, elsewhere: false } },
            );
            script.at(27.0, Event::Process { event: ProcessEvent::Started { pid: 8, generation: 2 } });
        }
        sample(&mut script, 28.0, &mark("gpu.temperature_c"), 1.0);
        if health {
            sample(&mut script, 66.0, "health.up", 1.0);
        } else {
            script.at(66.0, Event::Process { event: ProcessEvent::Ready { generation: 2, after_s: 39.0 } });
        }
        // The question that was under way times out first.
        sample(&mut script, 71.0, &mark("gpu.temperature_c"), 0.0);
        script.end(END);
        assert_eq!(ruling(&script), Passed, "health {health}: {:?}", script.verdict());
    }
}

const SIMULATED: &str = "version: 1\nname: dark\ntarget: { url: embedded, backend: { speed: 400, slots: 8 } }\nduration: 120s\nsample_every: 1s\nload: [{ name: open, rate: 5/s, job: { width: 256, height: 256 } }]\nguards: [{ gpu_temperature: { above: 95 } }]\nfaults: [{ burst: { at: 20s, jobs: 3 } }]\nchecks:\n  - gpu_temperature: { below: 95 }\n  - gpu_memory: { below: 95% }\n  - metrics_live: { names: [generation_success_total] }\n  - no_crash: {}\n";

/// The whole engine: the target works on, and its metrics stop answering.
#[tokio::test(start_paused = true)]
async fn a_target_whose_metrics_stop_answering_passes_nothing_that_rests_on_them() {
    let resting = ["gpu_temperature", "gpu_memory", "metrics_live"];
    let healthy = run(SIMULATED, 1, Sabotage::default(), None).await;
    for check in resting {
        assert_eq!(healthy.verdict(check), "passed", "{check}: {}", healthy.trouble());
    }
    let silent = Sabotage { no_metrics_after: Some(Duration::from_secs(40)), ..Sabotage::default() };
    let silent = run(SIMULATED, 1, silent, None).await;
    for check in resting {
        assert_eq!(silent.verdict(check), "inconclusive", "{check}: {}", silent.trouble());
    }
    assert_eq!(silent.verdict("no_crash"), "passed", "{}", silent.trouble());
    // A guard that saw nothing is told.
    let blind =
        |run: &Simulated| run.result.findings.iter().any(|finding| finding.contains("the guard gpu_temperature would not"));
    assert_eq!((blind(&healthy), blind(&silent)), (false, true), "{:?}", silent.result.findings);
}

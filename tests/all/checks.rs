//! Every check in each of its verdicts, over records made by hand.

use crate::common::script::{Script, view};
use chaos::check::Ruling::{self, Failed, Inconclusive, Passed, Pending};
use chaos::fault::Observation;
use chaos::journal::event::{Answer, Event, JobState, ProcessEvent, When};

fn ruling(script: &Script) -> Ruling {
    script.verdict().ruling
}

fn log(script: &mut Script, t: f64, pattern: &str, line: &str) {
    script.at(t, Event::LogLine { pattern: pattern.into(), line: line.into(), generation: 1 });
}

fn failed_with(error: &str) -> chaos::journal::event::JobView {
    let mut failed = view(JobState::Failed);
    failed.error = Some(error.into());
    failed
}

#[test]
fn no_crash() {
    let exited = |asked| {
        let (generation, status) = (1, "SIGSEGV".into());
        Event::Process { event: ProcessEvent::Exited { generation, status, asked, elsewhere: false } }
    };
    let mut crashed = Script::new("no_crash: {}");
    crashed.at(5.0, exited(false)).end(9.0);
    assert_eq!(ruling(&crashed), Failed);
    assert!(crashed.verdict().observed.contains("SIGSEGV"));
    let mut asked = Script::new("no_crash: {}");
    asked.at(5.0, exited(true)).end(9.0);
    assert_eq!(ruling(&asked), Passed);
    let mut unseen = Script::new("no_crash: {}");
    unseen.record.generations.clear();
    unseen.end(9.0);
    assert_eq!(ruling(&unseen), Inconclusive);
    assert_eq!(ruling(&Script::new("no_crash: {}")), Pending);
    // An operator who stops the container in the middle of a run shows nothing about the backend.
    let mut stopped = Script::new("no_crash: {}");
    let (generation, status) = (1, "SIGTERM".into());
    stopped.at(5.0, Event::Process { event: ProcessEvent::Exited { generation, status, asked: false, elsewhere: true } });
    stopped.end(9.0);
    assert_eq!(ruling(&stopped), Inconclusive);
    assert!(stopped.verdict().observed.contains("somebody else"));
}

#[test]
fn no_crash_without_a_runtime_sees_another_process_by_its_start_time() {
    let began = "2026-01-01T00:00:00Z".parse::<jiff::Timestamp>().unwrap().as_second() as f64;
    let with = |values: &[f64], down: Option<f64>| {
        let mut script = Script::new("no_crash: {}");
        script.record.generations.clear();
        script.sample(0.5, "health.port_open", 1.0);
        for (at, value) in values.iter().enumerate() {
            let t = 10.0 * (at + 1) as f64;
            if let Some(down) = down.filter(|down| (t - 10.0..t).contains(down)) {
                script.sample(down, "health.port_open", 0.0);
                script.sample(down + 1.0, "health.port_open", 1.0);
            }
            script.sample(t, "metric:process_start_time_seconds", *value);
        }
        script.end(90.0);
        ruling(&script)
    };
    let (old, fresh) = (began - 86_400.0, began - 3.0);
    assert_eq!(with(&[old, old, old], None), Passed);
    // It began in this run, a day after the one before it.
    assert_eq!(with(&[old, began + 18.5], None), Failed);
    // Nobody was there in between, whatever the clocks of two machines say.
    assert_eq!(with(&[old, began + 18.5], Some(18.0)), Failed);
    assert_eq!(with(&[fresh, fresh + 400.0], Some(18.0)), Failed);
    assert_eq!(with(&[fresh, fresh - 7200.0], Some(18.0)), Failed);
    // Two processes that answer in turn: one that has ended never answers again.
    assert_eq!(with(&[old, began + 18.5, old], None), Inconclusive);
    assert_eq!(with(&[old, old + 4000.0, began + 28.5, old + 4000.0], Some(18.0)), Inconclusive);
    // Rounding that wavers, and clocks that are set.
    assert_eq!(with(&[old, old + 1.0, old, old + 1.0], None), Passed);
    assert_eq!(with(&[fresh, fresh + 1.0, fresh], None), Passed);
    for by in [10.0, 420.0, -420.0, 86_400.0, 1e9] {
        assert_eq!(with(&[fresh, fresh + by], None), Inconclusive, "{by}");
    }
}

#[test]
fn oom_seen() {
    let mut seen = Script::new("oom_seen: {}");
    log(&mut seen, 5.0, "oom", "CUDA out of memory");
    assert_eq!(ruling(&seen), Passed);
    let mut counted = Script::new("oom_seen: { at_least: 2 }");
    counted.sample(1.0, "metric:gpu_out_of_memory_total", 3.0);
    counted.sample(2.0, "metric:gpu_out_of_memory_total", 5.0);
    assert_eq!(ruling(&counted), Passed);
    let mut none = Script::new("oom_seen: {}");
    none.completed(1.0, 1.0);
    none.end(9.0);
    assert_eq!(ruling(&none), Failed);
    let mut blind = Script::new("oom_seen: {}");
    let plan = std::sync::Arc::make_mut(blind.record.plan.as_mut().unwrap());
    (plan.driver.patterns.oom, plan.driver.counters.out_of_memory) = (None, None);
    blind.end(9.0);
    assert_eq!(ruling(&blind), Inconclusive);
}

/// Refused with those words, or answered with them in place of a job.
#[test]
fn an_out_of_memory_may_be_told_in_a_refusal() {
    let words = || "CUDA out of memory. Tried to allocate 2.00 GiB".to_owned();
    let refused = |reason| Answer::Refused { status: 503, retry_after_s: None, reason };
    let error = |reason| Answer::Error { status: 200, proxy: false, reason };
    let invalid = |reason| Answer::Invalid { status: 400, reason };
    for answer in [refused(words()), error(words()), invalid(words()), Answer::NoAnswer { reason: words() }] {
        for (check, right) in [("no_oom: {}", Failed), ("oom_seen: {}", Passed)] {
            let mut script = Script::new(check);
            script.completed(1.0, 1.0);
            script.submitted(2.0, answer.clone());
            script.end(9.0);
            assert_eq!(ruling(&script), right, "{check} {answer:?}: {:?}", script.verdict());
        }
    }
    let would = refused("the request would run out of memory: queue it later".into());
    for other in [refused("the queue is full".into()), would, Answer::Unreachable { reason: "connection refused".into() }] {
        let mut script = Script::new("no_oom: {}");
        script.completed(1.0, 1.0);
        script.submitted(2.0, other);
        assert_eq!(ruling(script.end(9.0)), Passed);
    }
}

#[test]
fn retried_smaller() {
    let mut retried = Script::new("retried_smaller: {}");
    let job = retried.accepted(1.0);
    let mut done = view(JobState::Completed);
    (done.attempts, done.batch) = (Some(2), Some(2));
    retried.ends(job, 5.0, done).end(9.0);
    assert_eq!(ruling(&retried), Passed, "{:?}", retried.verdict());
    let mut given_up = Script::new("retried_smaller: {}");
    let job = given_up.accepted(1.0);
    given_up.ends(job, 5.0, failed_with("CUDA out of memory. Tried")).end(9.0);
    assert_eq!(ruling(&given_up), Failed);
    // Tried again, but as large as before.
    let mut same = Script::new("retried_smaller: {}");
    let job = same.accepted(1.0);
    let mut failed = failed_with("CUDA out of memory");
    failed.attempts = Some(3);
    same.ends(job, 5.0, failed).end(9.0);
    assert_eq!(ruling(&same), Failed);
    let mut none = Script::new("retried_smaller: {}");
    none.completed(1.0, 1.0);
    none.end(9.0);
    assert_eq!(ruling(&none), Inconclusive);
}

#[test]
fn all_jobs_complete() {
    let check = "all_jobs_complete: { within: 30s }";
    let mut good = Script::new(check);
    good.completed(1.0, 2.0);
    assert_eq!(ruling(&good), Pending);
    good.end(9.0);
    assert_eq!(ruling(&good), Passed);
    let mut nothing = Script::new(check);
    nothing.submitted(1.0, Answer::Refused { status: 429, retry_after_s: Some(1.0), reason: String::new() });
    nothing.end(9.0);
    assert_eq!(ruling(&nothing), Inconclusive, "not one job was accepted");
    let mut late = Script::new(check);
    let job = late.accepted(1.0);
    late.at(2.0, Event::LoadStopped {});
    late.ends(job, 40.0, view(JobState::Completed)).result(job, 40.0, 10_000, Some(job));
    late.at(41.0, Event::RunEnded {});
    assert_eq!(ruling(&late), Failed);
    let mut forbidden = Script::new("all_jobs_complete: { rejected: forbidden }");
    forbidden.completed(1.0, 1.0);
    forbidden.submitted(1.0, Answer::Refused { status: 429, retry_after_s: Some(1.0), reason: String::new() });
    forbidden.end(9.0);
    assert_eq!(ruling(&forbidden), Failed);
}

/// The classes of the ledger, each with what leads to it, and that `all_jobs_complete` fails on it.
#[test]
fn every_bad_class_fails_all_jobs_complete() {
    type Story = fn(&mut Script, u32);
    let stories: [(&str, Story); 9] = [
        ("failed", |s, job| {
            s.ends(job, 3.0, failed_with("boom"));
        }),
        ("shed", |s, job| {
            s.ends(job, 3.0, failed_with("Cannot allocate job: insufficient resources"));
        }),
        ("lost", |s, job| {
            s.at(5.0, Event::Vanished { job });
        }),
        ("lost", |s, job| {
            s.at(5.0, Event::GaveUp { job, why: "patience".into() });
        }),
        ("mismatched", |s, job| {
            s.ends(job, 3.0, view(JobState::Completed)).result(job, 3.0, 10_000, Some(0));
        }),
        ("mismatched", |s, job| {
            s.ends(job, 3.0, view(JobState::Completed)).result(job, 3.0, 272, None);
        }),
        ("mismatched", |s, job| {
            s.ends(job, 3.0, view(JobState::Completed)).result(job, 3.0, 0, None);
        }),
        ("duplicated", |s, job| {
            let mut twice = view(JobState::Completed);
            twice.completions = Some(2);
            s.ends(job, 3.0, twice);
        }),
        ("duplicated", |s, job| {
            s.ends(job, 3.0, view(JobState::Completed)).ends(job, 4.0, view(JobState::Running));
        }),
    ];
    for (class, story) in stories {
        let mut script = Script::new("all_jobs_complete: {}");
        script.completed(0.5, 0.5);
        script.completed(0.6, 0.5);
        let job = script.accepted(1.0);
        story(&mut script, job);
        script.end(9.0);
        let ledger = chaos::load::ledger::of(&script.record);
        let job = &script.record.jobs[job as usize];
        assert_eq!(ledger.class(job).word(), class, "{}", ledger.why(job));
        assert!(!ledger.why(job).to_string().is_empty());
        assert_eq!(ruling(&script), Failed, "{class}");
    }
}

#[test]
fn refusals_and_invalid_input_are_classes_of_their_own() {
    let mut script = Script::new("error_rate: { below: 1% }");
    let refused = script.submitted(1.0, Answer::Refused { status: 429, retry_after_s: None, reason: String::new() });
    let invalid = script.submitted(1.0, Answer::Invalid { status: 422, reason: "too large".into() });
    let proxy = script.submitted(1.0, Answer::Error { status: 502, proxy: true, reason: "<html>".into() });
    script.end(9.0);
    let ledger = chaos::load::ledger::of(&script.record);
    let class = |job: u32| ledger.class(&script.record.jobs[job as usize]).word();
    assert_eq!((class(refused), class(invalid), class(proxy)), ("rejected", "invalid", "rejected"));
    assert!(
        ledger
            .why(&script.record.jobs[proxy as usize])
            .to_string()
            .contains("a gateway answered 502: the backend was not reached")
    );
    assert_eq!(ledger.counts.errors, 1, "an honest refusal is no error, a proxy's answer is");
}

#[test]
fn latency() {
    let with = |good: usize, slow: usize| {
        let mut script = Script::new("latency: { percentile: 90, below: 2s }");
        (0..good).for_each(|i| {
            script.completed(i as f64, 1.0);
        });
        (0..slow).for_each(|i| {
            script.completed(i as f64, 3.0);
        });
        script.end(500.0);
        script
    };
    assert_eq!(ruling(&with(44, 0)), Passed);
    assert_eq!(ruling(&with(43, 0)), Inconclusive, "one sample is missing");
    assert!(with(43, 0).verdict().evidence[0].contains("1 samples are missing"));
    assert_eq!(ruling(&with(50, 30)), Failed);
    assert_eq!(ruling(&with(0, 0)), Inconclusive);
    // A job that never ends is slower than any limit.
    let mut lost = with(20, 0);
    (0..20).for_each(|_| {
        lost.accepted(5.0);
    });
    assert_eq!(ruling(&lost), Failed);
}

/// Jobs that had not ended when the run did are the slow ones: what they had waited belongs to it.
#[test]
fn latency_counts_jobs_that_never_came_to_an_end() {
    let with = |check: &str, ended: u32, open: u32, waited: f64| {
        let mut script = Script::new(check);
        (0..ended).for_each(|i| {
            script.completed(f64::from(i), 1.0);
        });
        // The longest, so that none of the others is given up as lost.
        script.completed(1.0, 10.0);
        (0..open).for_each(|_| {
            script.accepted(500.0 - waited);
        });
        script.end(500.0);
        script
    };
    let p90 = "latency: { percentile: 90, below: 2s }";
    assert_eq!(ruling(&with(p90, 100, 0, 0.0)), Passed);
    assert_eq!(
        ruling(&with(p90, 100, 100, 20.0)),
        Failed,
        "half of them waited for 20 s: {:?}",
        with(p90, 100, 100, 20.0).verdict()
    );
    let young = with(p90, 100, 100, 1.5);
    assert_eq!(ruling(&young), Inconclusive, "half of them may have been in time: {:?}", young.verdict());
    assert!(young.verdict().evidence.iter().any(|e| e.contains("100 jobs had not ended")), "{:?}", young.verdict());
    assert_eq!(ruling(&with(p90, 500, 3, 1.5)), Passed, "three of 500 change nothing");
    let mean = "mean_latency: { within: 500ms..2s }";
    assert_eq!(ruling(&with(mean, 100, 0, 0.0)), Passed);
    assert_eq!(ruling(&with(mean, 100, 100, 20.0)), Failed);
    assert_eq!(ruling(&with(mean, 100, 3, 0.5)), Passed, "a hundred took as long as they had waited");
    assert_eq!(ruling(&with(mean, 100, 3, 1.5)), Inconclusive, "one took as long");
    assert_eq!(ruling(&with(p90, 100, 12, 0.5)), Passed, "closed loops have jobs under way when they end");
}

#[test]
fn latency_says_nothing_when_chaos_itself_was_late() {
    let mut script = Script::new("latency: { percentile: 90, below: 2s }");
    for i in 0..60 {
        let job = script.completed(f64::from(i), 1.0);
        script.record.jobs[job as usize].submitting_t += 0.3;
    }
    script.end(500.0);
    assert_eq!(ruling(&script), Inconclusive, "{:?}", script.verdict());
}

#[test]
fn latency_recovers() {
    // 100 jobs before the fault, `slow` slow ones after it, then fast ones.
    let with = |before: usize, slow: usize, fast: usize, slow_s: f64| {
        let mut script = Script::new("latency_recovers: { percentile: 95, within: 30s, to_within: 20% }");
        (0..before).for_each(|i| {
            script.completed(i as f64 * 0.19, 0.1);
        });
        script.fault();
        (0..slow).for_each(|i| {
            script.completed(25.0 + i as f64 * 0.2, slow_s);
        });
        (0..fast).for_each(|i| {
            script.completed(25.0 + (slow + i) as f64 * 0.2, 0.105);
        });
        script.end(500.0);
        script
    };
    assert_eq!(ruling(&with(100, 10, 100, 1.0)), Passed, "{:?}", with(100, 10, 100, 1.0).verdict());
    assert_eq!(ruling(&with(100, 500, 0, 0.15)), Failed, "half as slow again, for ever");
    assert_eq!(ruling(&with(100, 200, 100, 1.0)), Failed, "recovered, but after 40 s");
    assert_eq!(ruling(&with(80, 10, 100, 1.0)), Inconclusive, "too small a baseline");
    assert_eq!(ruling(&with(100, 0, 50, 1.0)), Inconclusive, "too few jobs afterwards");
    assert_eq!(ruling(&with(100, 0, 0, 1.0)), Inconclusive, "no job was due afterwards");
    // The jobs since the deadline are under way, and have waited for longer than the limit.
    let mut waits = with(100, 10, 0, 30.0);
    waits.record.ended = false;
    (0..100).for_each(|i| {
        waits.accepted(60.0 + f64::from(i) * 0.2);
    });
    waits.end(110.0);
    assert_eq!(ruling(&waits), Failed, "{:?}", waits.verdict());
    for sent in [19.5, 25.5] {
        let mut hangs = Script::new("latency_recovers: { percentile: 95, within: 30s, to_within: 20% }");
        (0..100).for_each(|i| {
            hangs.completed(f64::from(i) * 0.19, 0.1);
        });
        if sent < 20.0 {
            hangs.accepted(sent);
        }
        hangs.fault();
        if sent > 20.0 {
            hangs.accepted(sent);
        }
        hangs.end(500.0);
        assert_eq!(ruling(&hangs), Failed, "who sent at {sent} waited for ever: {:?}", hangs.verdict());
    }
}

#[test]
fn error_rate() {
    let with = |good: usize, bad: usize| {
        let mut script = Script::new("error_rate: { below: 5% }");
        (0..good).for_each(|i| {
            script.completed(i as f64, 1.0);
        });
        for i in 0..bad {
            let job = script.accepted(i as f64);
            script.ends(job, i as f64 + 1.0, failed_with("boom"));
        }
        script.end(500.0);
        script
    };
    assert_eq!(ruling(&with(100, 0)), Passed);
    assert_eq!(ruling(&with(90, 10)), Failed);
    assert_eq!(ruling(&with(5, 0)), Inconclusive);
}

#[test]
fn logs() {
    let pattern = "check:boom";
    let with = |check: &str, lines: usize| {
        let mut script = Script::new(check);
        (0..lines).for_each(|_| log(&mut script, 5.0, pattern, "boom"));
        script.end(9.0);
        script
    };
    assert_eq!(ruling(&with("logs: { matching: boom, at_most: 1 }", 1)), Passed);
    assert_eq!(ruling(&with("logs: { matching: boom, at_most: 1 }", 2)), Failed);
    assert_eq!(ruling(&with("logs: { matching: boom, at_least: 1 }", 1)), Passed);
    assert_eq!(ruling(&with("logs: { matching: boom, at_least: 1 }", 0)), Failed);
    let mut unread = Script::new("logs: { matching: boom, at_most: 1 }");
    unread.record.generations.clear();
    unread.end(9.0);
    assert_eq!(ruling(&unread), Inconclusive);
}

#[test]
fn fault_proven() {
    let prove = |seen: &[(When, Observation)]| {
        let mut script = Script::new("no_crash: {}");
        script.fault();
        for (when, observation) in seen {
            script.at(26.0, Event::FaultObserved { fault: "flood".into(), when: *when, observation: observation.clone() });
        }
        script.end(30.0);
        let view = chaos::check::View::of(&script.record);
        chaos::check::judge_all(&view)[0].2.clone()
    };
    let (before, after) = ((When::Before, Observation::intact("i")), (When::After, Observation::intact("i")));
    let during = |strength| (When::During, Observation::broken(strength, "b"));
    assert_eq!(prove(&[before.clone(), during(1.0), after.clone()]).ruling, Passed);
    assert_eq!(prove(&[before.clone(), during(0.5), after.clone()]).ruling, Inconclusive, "too weak");
    assert_eq!(prove(&[before.clone(), after.clone()]).ruling, Inconclusive, "nobody saw it broken");
    assert_eq!(prove(&[before.clone(), during(1.0)]).ruling, Inconclusive, "nobody saw it put back");
    assert_eq!(
        prove(&[(When::Before, Observation::broken(1.0, "x")), during(1.0), after]).ruling,
        Inconclusive,
        "broken already"
    );
    let missing = prove(&[before, (When::During, Observation::unknown("dark"))]);
    assert!(missing.observed.contains("dark"), "{}", missing.observed);
}

/// A run that was stopped accuses nobody of what it did not wait for.
#[test]
fn a_run_that_was_stopped_blames_nobody_for_what_was_under_way() {
    for check in [
        "all_jobs_complete: {}",
        "oom_seen: {}",
        "logs: { matching: boom, at_least: 1 }",
        "error_rate: { below: 1%, min_jobs: 1 }",
    ] {
        let mut script = Script::new(check);
        script.completed(0.5, 0.5);
        let job = script.accepted(1.0);
        script.at(2.0, Event::Interrupted { signal: "SIGINT".into() });
        script.at(2.1, Event::GaveUp { job, why: "stopped".into() });
        script.end(2.2);
        assert_ne!(ruling(&script), Failed, "{check}: {:?}", script.verdict());
        let ledger = chaos::load::ledger::of(&script.record);
        assert_eq!(ledger.class(&script.record.jobs[job as usize]).word(), "open");
    }
}

/// A verdict depends on the record alone, and a run that was cut off is never passed.
#[test]
fn a_record_that_breaks_off_is_no_pass() {
    let mut script = Script::new("no_crash: {}");
    script.completed(1.0, 1.0);
    let result = chaos::report::result::of(&script.record);
    assert_eq!(result.exit_code, 4);
}

/// A container whose last lines could not be read may have said anything there.
#[test]
fn a_log_without_its_end_shows_only_what_it_shows() {
    let of = |check: &str, hits: u32, missing: bool| {
        let mut script = Script::new(check);
        (0..hits).for_each(|i| log(&mut script, f64::from(i), "check:x", "x"));
        if missing {
            script.at(9.0, Event::Gap { source: chaos::journal::record::LOG_END.into(), error: "not told within 5 s".into() });
        }
        script.end(9.0);
        ruling(&script)
    };
    let (most, least) = ("logs: { matching: x, at_most: 1 }", "logs: { matching: x, at_least: 2 }");
    assert_eq!((of(most, 1, false), of(most, 1, true), of(most, 2, true)), (Passed, Inconclusive, Failed));
    assert_eq!((of(least, 2, true), of(least, 1, true), of(least, 1, false)), (Passed, Inconclusive, Failed));
    let driver = "version: 1\nname: script\ntarget: { url: embedded }\nload: [{ name: users, users: 1 }]\nchecks: [no_oom: {}]\n";
    let oom = |check: &str, counts: bool, missing: bool| {
        let mut script = Script::from(&driver.replace("no_oom", check));
        let plan = std::sync::Arc::make_mut(script.record.plan.as_mut().unwrap());
        plan.driver.counters.out_of_memory = counts.then(|| "ooms".to_owned());
        script.sample(1.0, "metric:ooms", 0.0);
        if missing {
            script.at(9.0, Event::Gap { source: chaos::journal::record::LOG_END.into(), error: "not told within 5 s".into() });
        }
        script.end(9.0);
        ruling(&script)
    };
    // With labels a counter is there from its first count on, and there may be several.
    let labelled = |from: f64| {
        let mut script = Script::from(driver);
        std::sync::Arc::make_mut(script.record.plan.as_mut().unwrap()).driver.counters.out_of_memory = Some("ooms".to_owned());
        script.sample(1.0, "metric:requests", 7.0);
        script.sample(from, "metric:ooms{kind=\"cuda\"}", 1.0);
        script.sample(from, "metric:ooms{kind=\"host\"}", 2.0);
        script.sample(6.0, "metric:ooms{kind=\"host\"}", 3.0);
        script.end(9.0);
        script.verdict().observed
    };
    assert_eq!((labelled(5.0).as_str(), labelled(1.0).as_str()), ("4 seen", "1 seen"));
    // Of a target that was there before the first value of a new label may be another replica's old one.
    let of_another_in = |check: &str, to: f64, is_logged: bool| {
        let target = "{ url: \"http://127.0.0.1:9\", driver: openai, with: { model: m } }";
        let mut script = Script::from(&driver.replace("{ url: embedded }", target).replace("no_oom: {}", check));
        std::sync::Arc::make_mut(script.record.plan.as_mut().unwrap()).driver.counters.out_of_memory = Some("ooms".to_owned());
        if !is_logged {
            script.record.generations.clear();
        }
        script.sample(1.0, "metric:requests", 7.0);
        script.sample(5.0, "metric:ooms{kind=\"cuda\"}", 1.0);
        script.sample(6.0, "metric:ooms{kind=\"cuda\"}", to);
        script.end(9.0);
        script.verdict()
    };
    let of_another = |check: &str, to: f64| of_another_in(check, to, false);
    assert_eq!(of_another_in("no_oom: {}", 1.0, true).ruling, Inconclusive, "its log was read, and has other words");
    assert_eq!(of_another("no_oom: {}", 1.0).ruling, Inconclusive, "{:?}", of_another("no_oom: {}", 1.0));
    assert_eq!(of_another("no_oom: {}", 2.0).ruling, Failed);
    let seen = |at_least: u32, to: f64| of_another(&format!("oom_seen: {{ at_least: {at_least} }}"), to).ruling;
    assert_eq!((seen(1, 1.0), seen(1, 2.0), seen(3, 2.0)), (Inconclusive, Passed, Failed));
    let of = |check: &str| (oom(check, false, false), oom(check, false, true), oom(check, true, true));
    assert_eq!(of("no_oom"), (Passed, Inconclusive, Passed));
    assert_eq!(of("oom_seen"), (Failed, Inconclusive, Failed));
}

/// The one who listens is a child of what was started: a new one, where the same process went on starting it, is a crash.
#[test]
fn another_listener_is_another_server() {
    let listens = "health.listener_pid";
    let base = |pids: &[(f64, f64)], change: fn(&mut Script)| {
        let mut script = Script::new("no_crash: {}");
        change(&mut script);
        for (t, pid) in pids {
            // From second 30 on it is closed for a moment.
            if *t > 30.0 {
                script.sample(30.0, "health.port_open", 0.0);
            }
            script.sample(*t, "health.port_open", 1.0);
            script.sample(*t, listens, *pid);
        }
        script.end(60.0);
        script.verdict()
    };
    let nothing = |_: &mut Script| {};
    let crashed = base(&[(1.0, 12.0), (31.0, 15.0)], nothing);
    assert!(crashed.ruling == Failed && crashed.observed.contains("process 12, which listened for process 7"), "{crashed:?}");
    assert_eq!(base(&[(1.0, 12.0), (31.0, 12.0)], nothing).ruling, Passed, "the port was closed, and the same came back");
    assert_eq!(base(&[(1.0, 12.0)], nothing).ruling, Passed);
    assert_eq!(base(&[(1.0, 12.0), (20.0, 15.0)], nothing).ruling, Passed, "the port was open all the time");
    let restarted = base(&[(1.0, 12.0), (31.0, 15.0)], |script| {
        script.at(
            25.0,
            Event::Process { event: ProcessEvent::Exited { generation: 1, status: "0".into(), asked: true, elsewhere: false } },
        );
        script.at(26.0, Event::Process { event: ProcessEvent::Started { pid: 14, generation: 2 } });
    });
    assert_eq!(restarted.ruling, Passed, "{restarted:?}");
    let by_command = base(&[(1.0, 12.0), (31.0, 15.0)], |script| {
        let undo = serde_json::json!({});
        script.at(24.0, Event::FaultPrepared { fault: "exec".into(), kind: "exec".into(), undo, sum: 0 });
        script.at(25.0, Event::FaultInjecting { fault: "exec".into(), planned_t: 25.0 });
    });
    assert_eq!(by_command.ruling, Inconclusive, "{by_command:?}");
}

//! Verdicts that must not depend on how long a run is: records of an hour to a week, made by hand.

use std::sync::Arc;

use chaos::check::Ruling::{Failed, Passed};
use chaos::check::Verdict;
use chaos::journal::event::{Event, JobState, Phase};
use chaos::journal::series::Series;

use crate::common::script::{Script, view};

const HOUR: f64 = 3600.0;

/// Between -0.5 and 0.5, the same for the same place.
fn noise(at: u64) -> f64 {
    let mixed = at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed ^ (mixed >> 32)) >> 11) as f64 / (1u64 << 53) as f64 - 0.5
}

/// A flood at minute 10, and what follows it until the end.
fn flooded(check: &str, hours: f64, each_second: impl Fn(&mut Script, f64)) -> Verdict {
    flooded_by("[{ name: users, users: 1 }]", check, hours, each_second)
}

fn flooded_by(load: &str, check: &str, hours: f64, each_second: impl Fn(&mut Script, f64)) -> Verdict {
    let mut script = Script::from(&format!(
        "version: 1\nname: script\ntarget: {{ url: embedded }}\nsample_every: 1s\nload: {load}\nfaults: [{{ flood: {{ at: 600s, jobs: 1 }} }}]\nchecks: [{check}]\n"
    ));
    script.keep_lines = false;
    for second in 1..(hours * HOUR) as u32 {
        let t = f64::from(second);
        if second == 600 {
            script.at(t, Event::FaultInjecting { fault: "flood".into(), planned_t: t });
            script.at(t, Event::FaultInjected { fault: "flood".into(), error: None });
            script.at(t, Event::FaultOver { fault: "flood".into() });
        }
        each_second(&mut script, t);
    }
    script.end(hours * HOUR);
    script.verdict()
}

const QUEUE: &str = "time_to_recover: { indicator: queue.depth, within: 300s, hold: 60s }";

/// A queue of two or three; of nine or ten while `is_off`, counted from the fault.
fn queue(hours: f64, is_off: impl Fn(f64) -> bool) -> Verdict {
    flooded(QUEUE, hours, |script, t| {
        let usual = if noise(t as u64) > 0.0 { 3.0 } else { 2.0 };
        script.sample(t, "queue.depth", if t > 600.0 && is_off(t - 600.0) { usual + 7.0 } else { usual });
    })
}

#[test]
fn a_short_recovery_is_as_short_in_a_week() {
    for hours in [1.0, 24.0, 168.0] {
        let verdict = queue(hours, |t| t < 20.0);
        assert_eq!(verdict.ruling, Passed, "{hours} h: {verdict:?}");
        let took = verdict.took_s.unwrap();
        assert!((15.0..=30.0).contains(&took), "{hours} h: {took} s: {verdict:?}");
    }
}

#[test]
fn a_late_recovery_is_late_and_not_never() {
    for hours in [2.0, 24.0] {
        let verdict = queue(hours, |t| t < 45.0 * 60.0);
        assert_eq!(verdict.ruling, Failed, "{hours} h: {verdict:?}");
        let took = verdict.took_s.unwrap_or_else(|| panic!("{hours} h: {verdict:?}"));
        assert!((44.0 * 60.0..=53.0 * 60.0).contains(&took), "{hours} h: {took} s: {verdict:?}");
    }
}

/// However long it was well before.
#[test]
fn who_leaves_the_band_again_has_not_recovered() {
    let last = |hours: f64, part: f64| queue(hours, move |t| t < 20.0 || t > (hours * HOUR - 600.0) * (1.0 - part));
    for (hours, part) in [(1.0, 0.2), (1.0, 0.1), (24.0, 0.2), (24.0, 0.1)] {
        let verdict = last(hours, part);
        assert_eq!(verdict.ruling, Failed, "the last {part} of {hours} h: {verdict:?}");
        let told = verdict.observed.contains("it was back") && verdict.observed.contains("off again since");
        assert!(told, "{verdict:?}");
    }
    // For a part in the middle: it is back after that, and too late.
    let between = queue(3.0, |t| t < 20.0 || (HOUR..1.4 * HOUR).contains(&t));
    assert_eq!(between.ruling, Failed, "{between:?}");
    assert!(between.took_s.is_some_and(|took| took > HOUR), "{between:?}");
    let told = ["recovered for good", "it was back after 1", "off again from"].iter().all(|part| between.observed.contains(part));
    assert!(told, "{between:?}");
    // More users make it longer: of that the baseline knows nothing.
    let stages = "[{ name: users, stages: [{ users: 1, for: 3000s }, { users: 9, for: 2h }] }]";
    let busier = flooded_by(stages, QUEUE, 1.0, |script, t| {
        script.sample(t, "queue.depth", if (600.0..620.0).contains(&t) || t > 3000.0 { 9.0 } else { 2.0 });
    });
    assert_eq!(busier.ruling, Passed, "{busier:?}");
}

/// A peak of two minutes each hour, the last of them at the very end, is what queues do.
#[test]
fn a_peak_now_and_then_is_no_relapse() {
    for hours in [2.0, 24.0] {
        let end = hours * HOUR - 600.0;
        let verdict = queue(hours, move |t| t < 20.0 || t % HOUR < 120.0 && t > HOUR || t > end - 120.0);
        assert_eq!(verdict.ruling, Passed, "{hours} h: {verdict:?}");
    }
}

/// The same for what jobs take: a job each five seconds, of a second or of ten.
#[test]
fn latency_that_is_off_again_has_not_recovered() {
    let jobs = |is_slow: fn(f64) -> bool| {
        flooded("time_to_recover: { within: 300s, hold: 60s }", 1.0, |script, t| {
            if t % 5.0 == 0.0 && t < HOUR - 20.0 {
                let takes = if t > 600.0 && is_slow(t - 600.0) { 4.5 } else { 1.0 };
                script.completed(t, takes + 0.1 * noise(t as u64));
            }
        })
    };
    let (soon, again) = (jobs(|t| t < 40.0), jobs(|t| !(40.0..=2400.0).contains(&t)));
    assert_eq!((soon.ruling, again.ruling), (Passed, Failed), "{soon:?}\n{again:?}");
}

/// More changes than are kept one by one: its mean is that of all of them.
#[test]
fn a_mean_is_exact_however_many_values_there_were() {
    let mut script = Script::from(
        "version: 1\nname: script\ntarget: { url: embedded }\nsample_every: 250ms\nload: [{ name: users, users: 1 }]\nchecks: [gpu_utilization: { within: 93%..95% }, uptime: { at_least: 94% }]\n",
    );
    let (mut gpu, mut up, mut exact) = (Series::default(), Series::default(), 0.0);
    // A week of four a second: mostly busy, and a quarter of a second of rest now and then.
    let count = 4 * 604_800_u64;
    for at in 0..count {
        let value = if noise(at) > 0.43 { 20.0 } else { 99.0 + noise(at) };
        gpu.push(at as f64 / 4.0, value);
        up.push(at as f64 / 4.0, if value < 50.0 { 0.0 } else { 1.0 });
        exact += value / count as f64;
    }
    assert!(gpu.len() < 1 << 18, "no longer every one: {}", gpu.len());
    let series = Arc::make_mut(&mut script.record.series);
    series.insert("gpu.utilization_percent".into(), gpu);
    series.insert("health.up".into(), up);
    script.record.samples = count;
    script.end(count as f64 / 4.0);
    let verdicts = chaos::check::judge_all(&chaos::check::View::of(&script.record));
    let measured = |kind: &str| {
        let figure = verdicts.iter().find(|v| v.1 == kind).unwrap().2.measured.clone().unwrap();
        figure.trim_end_matches(" %").parse::<f64>().unwrap()
    };
    assert!((measured("gpu_utilization") - exact).abs() < 0.06, "{} against {exact}", measured("gpu_utilization"));
    assert!((measured("uptime") - 93.0).abs() < 0.2, "{}", measured("uptime"));
}

/// A job each fifth of a second; the health endpoint is silent in these stretches.
fn silent(check: &str, hours: f64, stretches: &[(f64, f64)]) -> Verdict {
    let mut script = Script::new(check);
    script.keep_lines = false;
    script.sample(0.5, "health.port_open", 1.0);
    script.sample(0.5, "health.up", 1.0);
    let mut stretches = stretches.iter().peekable();
    for fifth in 5..(5.0 * hours * HOUR) as u32 {
        let t = f64::from(fifth) / 5.0;
        if fifth == 100 {
            script.fault();
        }
        while let Some((from, lasts)) = stretches.next_if(|(from, _)| *from < t) {
            script.sample(*from, "health.up", 0.0);
            script.sample(from + lasts, "health.up", 1.0);
        }
        let job = script.accepted(t);
        script.ends(job, t + 0.15, view(JobState::Completed));
        script.result(job, t + 0.15, 10_000, Some(job));
    }
    script.at(hours * HOUR, Event::LoadStopped {});
    script.at(hours * HOUR, Event::Phase { phase: Phase::Revert });
    script.at(hours * HOUR, Event::RunEnded {});
    script.verdict()
}

#[test]
fn one_short_silence_in_an_hour_is_no_lie() {
    let check = "health_is_honest: {}";
    let once = silent(check, 1.0, &[(1800.0, 0.35)]);
    assert_eq!(once.ruling, Passed, "{once:?}");
    let ten: Vec<(f64, f64)> = (1..10).map(|i| (f64::from(i) * 360.0, 0.35)).collect();
    assert_eq!(silent(check, 1.0, &ten).ruling, Passed, "{:?}", silent(check, 1.0, &ten));
    let long = silent(check, 1.0, &[(1800.0, 1.1)]);
    assert_eq!(long.ruling, Failed, "an orchestrator gives up after a second: {long:?}");
    // Again and again, as of a server that answers nobody while it works.
    let often: Vec<(f64, f64)> = (1..120).map(|i| (f64::from(i) * 30.0, 0.35)).collect();
    let often = silent(check, 1.0, &often);
    assert_eq!(often.ruling, Failed, "{often:?}");
    assert!(often.observed.contains("one of 119 silences"), "{often:?}");
    // Who asks for it by its length means each.
    let asked = silent("health_is_honest: { silence: 300ms }", 1.0, &[(1800.0, 0.35)]);
    assert_eq!(asked.ruling, Failed, "{asked:?}");
}

//! Who asks until the answer suits has decided by chance: how often a load that goes on until a check is decided leads to a wrong
//! verdict, on simulated targets whose truth is known.
//!
//! `cargo test --release --test all sequential:: -- --ignored --nocapture` prints the tables that stand in docs/verdicts.md.

use crate::common::often;
use crate::common::script::Script;
use chaos::check::Ruling::{self, Failed, Passed};
use chaos::check::{self, View};
use chaos::journal::event::{Event, Phase};
use chaos::plan::looks;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use std::f64::consts::TAU;

/// A job a second; so many until `duration`, and as many again within `longer`.
const JOBS: usize = 100;
/// What a job usually takes, in seconds.
const USUAL_S: f64 = 0.2;

/// How the latencies of a target vary.
#[derive(Clone, Copy)]
enum Noise {
    /// Each job for itself.
    White,
    /// Each as the one before, by this much: AR(1).
    Alike(f64),
    /// A wave of one and a half periods within `duration`: a day and a half.
    Daily,
    /// Slow phases of about twelve jobs.
    Bursts,
}

const NOISES: [(&str, Noise); 5] = [
    ("independent", Noise::White),
    ("neighbours alike (AR(1), 0.5)", Noise::Alike(0.5)),
    ("very alike (AR(1), 0.9)", Noise::Alike(0.9)),
    ("daily wave", Noise::Daily),
    ("bursts", Noise::Bursts),
];

impl Noise {
    /// The latencies of so many jobs, of a standard deviation of about a fifth; by `drift` slower at the end of `duration`.
    fn latencies(self, jobs: usize, drift: f64, rng: &mut ChaCha8Rng) -> Vec<f64> {
        let (phase, mut is_slow) = (rng.random_range(0.0..TAU), rng.random_bool(0.5));
        let mut normal = || -> f64 { StandardNormal.sample(rng) };
        let mut last = normal();
        let mut one = |at: usize| {
            let share = at as f64 / JOBS as f64;
            let new = normal();
            let off = match self {
                Self::White => new,
                Self::Alike(by) => {
                    last = by * last + (1.0 - by * by).sqrt() * new;
                    last
                }
                Self::Daily => 1.2 * (TAU * 1.5 * share + phase).sin() + 0.5 * new,
                Self::Bursts => {
                    last = normal();
                    is_slow ^= last > 1.38;
                    if is_slow { 1.0 } else { -1.0 }
                }
            };
            USUAL_S * (0.2 * off).exp() * (1.0 + drift * share)
        };
        (0..jobs).map(&mut one).collect()
    }
}

/// When the checks are asked whether they would like more.
#[derive(Clone, Copy, PartialEq)]
enum Asked {
    /// At `duration` only: there is no `longer`.
    Once,
    /// After every tenth job, each time at 99 %: as it was before there were looks.
    AllTheTime,
    /// When the plan says.
    AtLooks,
}

/// One soak, and what is said of it at its end.
fn soak(check: &str, asked: Asked, latencies: &[f64]) -> Ruling {
    soak_with_memory(check, asked, latencies, &[])
}

/// The same, with a sample of the memory at each job.
fn soak_with_memory(check: &str, asked: Asked, latencies: &[f64], memory: &[f64]) -> Ruling {
    let longer = if asked == Asked::AtLooks { format!("longer: {JOBS}s\n") } else { String::new() };
    let mut script = Script::from(&format!(
        "version: 1\nname: soak\ntarget: {{ url: embedded }}\nduration: {JOBS}s\n{longer}sample_every: 1s\nload: [{{ name: users, users: 1 }}]\nchecks: [{check}]\n"
    ));
    let looks: Vec<f64> = match asked {
        Asked::Once => Vec::new(),
        Asked::AllTheTime => (JOBS..2 * JOBS).step_by(10).map(|t| t as f64).collect(),
        Asked::AtLooks => looks::of(script.record.plan()).iter().map(|look| look.at_s).collect(),
    };
    let mut looks = looks.into_iter().peekable();
    for (at, latency) in latencies.iter().enumerate() {
        let t = at as f64;
        let due = looks.next_if(|look| *look <= t).is_some();
        if (due && !check::wants_samples(&View::of(&script.record))) || (asked == Asked::Once && at == JOBS) {
            break;
        }
        script.completed(t, latency.min(0.9));
        if let Some(bytes) = memory.get(at) {
            script.at(t, Event::Sample { values: [("process.rss_bytes", *bytes)].into() });
        }
    }
    let end = script.record.now;
    script.end(end).verdict().ruling
}

/// In how many per cent of so many soaks this is said.
fn share(said: Ruling, soaks: u64, mut of: impl FnMut(&mut ChaCha8Rng) -> Ruling) -> f64 {
    let hits = (0..soaks).filter(|seed| of(&mut ChaCha8Rng::seed_from_u64(*seed)) == said).count();
    hits as f64 * 100.0 / soaks as f64
}

const STABLE: &str = "latency_stable: { drift: 10% }";

fn called(said: Ruling, asked: Asked, noise: Noise, drift: f64, soaks: u64) -> f64 {
    share(said, soaks, |rng| soak(STABLE, asked, &noise.latencies(2 * JOBS, drift, rng)))
}

#[test]
fn the_looks_of_a_plan() {
    let looks = |yaml: &str| {
        let yaml = format!(
            "version: 1\nname: l\ntarget: {{ url: embedded }}\nload: [{{ name: users, users: 1 }}]\n{yaml}checks: [no_crash: {{}}]\n"
        );
        let looks = looks::of(&crate::common::sim::plan(&yaml, 1));
        looks.iter().map(|look| (look.at_s, look.confidence.to_string())).collect::<Vec<_>>()
    };
    let told = |looks: &[(f64, &str)]| looks.iter().map(|(at, told)| (*at, (*told).to_owned())).collect::<Vec<_>>();
    assert_eq!(looks(""), told(&[]));
    assert_eq!(looks("duration: 60s\n"), told(&[(60.0, "99 %")]));
    let five = [(60.0, "99.4 %"), (90.0, "99.9 %"), (120.0, "99.9 %"), (150.0, "99.9 %"), (180.0, "99.9 %")];
    assert_eq!(looks("duration: 60s\nlonger: 2m\n"), told(&five));
    assert_eq!(looks("duration: 60s\nlonger: 5s\n"), told(&[(60.0, "99.4 %"), (62.5, "99.8 %"), (65.0, "99.8 %")]));
    assert_eq!(looks("duration: 60s\nlonger: 1s\n"), told(&[(60.0, "99.4 %"), (61.0, "99.6 %")]));
}

#[test]
fn asking_all_the_time_cries_wolf_and_looking_at_stated_times_does_not() {
    let over_and_over = called(Failed, Asked::AllTheTime, Noise::Alike(0.9), 0.0, 100);
    assert!(over_and_over >= 3.0, "asked all the time: {over_and_over} %");
    for (name, noise) in NOISES {
        let drifting = called(Failed, Asked::AtLooks, noise, 0.0, often(50, 100));
        assert!(drifting <= 2.0, "{name}: {drifting} % of healthy soaks");
    }
    let found = called(Failed, Asked::AtLooks, Noise::White, 0.3, often(20, 60));
    assert!(found >= 80.0, "{found} % of drifts of 30 %");
}

#[test]
fn a_live_verdict_is_the_final_one() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut script = Script::from(&format!(
        "version: 1\nname: soak\ntarget: {{ url: embedded }}\nduration: {JOBS}s\nlonger: {JOBS}s\nload: [{{ name: users, users: 1 }}]\nchecks: [{STABLE}]\n"
    ));
    let latencies = Noise::White.latencies(2 * JOBS, 0.0, &mut rng);
    let told = |script: &Script| View::of(&script.record).confidence().to_string();
    let mut seen = Vec::new();
    for (at, latency) in latencies.iter().enumerate() {
        if at % 25 == 3 {
            let (live, mut ended) = (told(&script), Script { record: script.record.clone(), lines: vec![], keep_lines: false });
            ended.end(script.record.now);
            assert_eq!(live, told(&ended), "at {at} s");
            let text = ended.verdict().observed;
            assert!(at < 40 || text.contains(&format!("({live}: ")), "{text}");
            seen.push(live);
        }
        script.completed(at as f64, *latency);
    }
    assert_eq!(seen, ["99.4 %", "99.4 %", "99.4 %", "99.4 %", "99.4 %", "99.9 %", "99.9 %", "99.9 %"]);
}

/// The table of docs/verdicts.md.
#[test]
#[ignore = "minutes; prints a table"]
fn table_of_soaks() {
    const SOAKS: u64 = 500;
    println!(
        "| latencies | drift | at `duration` alone | `longer`, asked all the time | `longer`, five looks |\n| --- | --- | --- | --- | --- |"
    );
    for (drift, told) in [(0.0, "none"), (0.3, "30 % in `duration`")] {
        for (name, noise) in NOISES {
            let cells = [Asked::Once, Asked::AllTheTime, Asked::AtLooks].map(|asked| {
                let one = |seed| soak(STABLE, asked, &noise.latencies(2 * JOBS, drift, &mut ChaCha8Rng::seed_from_u64(seed)));
                let all: Vec<Ruling> = (0..SOAKS).map(one).collect();
                let of = |said| all.iter().filter(|r| **r == said).count() as f64 * 100.0 / SOAKS as f64;
                format!("{:.1} % ({:.0} %)", of(Failed), of(Passed))
            });
            println!("| {name} | {told} | {} |", cells.join(" | "));
        }
    }
}

/// A target that has a fault from 100 to 105 s, and what its jobs take afterwards.
struct Fault {
    fault: &'static str,
    check: &'static str,
    /// By how much slower, at so many jobs after the fault.
    slower: Slower,
}

impl Fault {
    /// Asked after every fifth job whether the load may end, or only once, when all of it has been sent.
    fn run(&self, asked: Asked, rng: &mut ChaCha8Rng) -> Ruling {
        let (name, check) = (self.fault.split(':').next().unwrap_or_default(), self.check);
        let mut script = Script::from(&format!(
            "version: 1\nname: fault\ntarget: {{ url: embedded }}\nload: [{{ name: users, users: 1 }}]\nfaults: [{}]\nchecks: [{check}]\n",
            self.fault
        ));
        let latencies = Noise::White.latencies(600, 0.0, rng);
        for (at, usual) in latencies.iter().enumerate() {
            let t = at as f64;
            if at == 100 {
                script.at(t, Event::FaultInjecting { fault: name.into(), planned_t: t });
                script.at(t, Event::FaultInjected { fault: name.into(), error: None });
                script.at(t + 0.5, Event::FaultOver { fault: name.into() });
                script.at(t + 0.5, Event::Phase { phase: Phase::Recover });
            }
            let is_asked = asked == Asked::AllTheTime && at > 101 && at % 5 == 0;
            if (is_asked && !check::load_is_needed(&View::of(&script.record))) || t > 500.0 {
                break;
            }
            let slower = if at >= 100 { (self.slower)(at - 100) } else { 1.0 };
            script.completed(t, (usual * slower).min(0.95));
        }
        let end = script.record.now;
        script.end(end).verdict().ruling
    }
}

const RECOVERIES: [(&str, &str); 3] = [
    ("flood: { at: 100s, jobs: 1 }", "latency_recovers: { percentile: 90, to_within: 20%, within: 200s }"),
    ("flood: { at: 100s, jobs: 1 }", "time_to_recover: { within: 200s, hold: 20s }"),
    ("evict: { at: 100s }", "cold_warm: { within: 200s }"),
];

/// How many times its usual time the job with this number after the fault takes.
type Slower = fn(usize) -> f64;

const AFTERWARDS: [(&str, Slower); 7] = [
    ("as before", |at| if at == 0 { 4.0 } else { 1.0 }),
    ("10 % slower", |at| if at == 0 { 4.0 } else { 1.1 }),
    ("25 % slower", |at| if at == 0 { 4.0 } else { 1.25 }),
    ("40 % slower", |at| if at == 0 { 4.0 } else { 1.4 }),
    ("twice as slow", |at| if at == 0 { 4.0 } else { 2.0 }),
    ("40 jobs as before, 40 twice as slow", |at| if at == 0 || (at / 40) % 2 == 1 { 2.0 } else { 1.0 }),
    ("as before after 60 jobs", |at| if at < 60 { 3.0 } else { 1.0 }),
];

#[test]
fn a_target_that_stays_slow_has_not_recovered_however_often_it_is_asked() {
    let slower: Slower = |at| if at == 0 { 4.0 } else { 1.4 };
    let back: Slower = |at| if at == 0 { 4.0 } else { 1.0 };
    for (fault, check) in RECOVERIES {
        let passed = |slower| {
            let target = Fault { fault, check, slower };
            let runs = (0..often(10, 20)).map(|seed| target.run(Asked::AllTheTime, &mut ChaCha8Rng::seed_from_u64(seed)));
            runs.filter(|ruling| *ruling == Passed).count()
        };
        assert!(passed(slower) <= 1, "{check}: {} of the targets that stay 40 % slower passed", passed(slower));
        assert!(passed(back) >= often(9, 18), "{check}: {} of the healthy targets passed", passed(back));
    }
}

/// The study of docs/verdicts.md: can asking over and over flip a verdict?
#[test]
#[ignore = "minutes; prints a table"]
fn table_of_recoveries() {
    const RUNS: u64 = 100;
    println!(
        "| check | after the fault | asked once: passed, failed | asked all the time: passed, failed |\n| --- | --- | --- | --- |"
    );
    for (fault, check) in RECOVERIES {
        for (name, slower) in AFTERWARDS {
            let target = Fault { fault, check, slower };
            let cells = [Asked::Once, Asked::AllTheTime].map(|asked| {
                let all: Vec<Ruling> = (0..RUNS).map(|seed| target.run(asked, &mut ChaCha8Rng::seed_from_u64(seed))).collect();
                let of = |said| all.iter().filter(|r| **r == said).count() as f64 * 100.0 / RUNS as f64;
                format!("{:.1} %, {:.1} %", of(Passed), of(Failed))
            });
            println!("| `{}` | {name} | {} |", check.split(':').next().unwrap_or_default(), cells.join(" | "));
        }
    }
}

/// Passed and failed, in per cent, of targets that lie exactly at the bound (either is a mistake) or are flat.
#[test]
#[ignore = "a minute; prints a table"]
fn table_of_bounds() {
    const SOAKS: u64 = 1000;
    let at_bound = |rng: &mut ChaCha8Rng| -> (Vec<f64>, Vec<f64>) {
        ((0..2 * JOBS).map(|_| if rng.random_bool(0.05) { 0.6 } else { 0.2 }).collect(), Vec::new())
    };
    // 1 % of noise; the bound of 100 % an hour is 2.8 % within `duration`.
    let memory = |growth: f64, rng: &mut ChaCha8Rng| -> (Vec<f64>, Vec<f64>) {
        let mut last = 0.0;
        let noisy = (0..2 * JOBS).map(|at| {
            let new: f64 = StandardNormal.sample(rng);
            last = 0.6 * last + 0.8 * new;
            1e9 * (1.0 + growth * at as f64 / 3600.0 + 0.01 * last)
        });
        (vec![USUAL_S; 2 * JOBS], noisy.collect())
    };
    type Make<'a> = Box<dyn Fn(&mut ChaCha8Rng) -> (Vec<f64>, Vec<f64>) + 'a>;
    let cases: [(&str, &str, Make<'_>); 4] = [
        ("`latency`, the percentile is the limit", "latency: { percentile: 95, below: 500ms }", Box::new(at_bound)),
        ("`memory_growth`, flat", "memory_growth: { per_hour: 100% }", Box::new(|rng| memory(0.0, rng))),
        ("`memory_growth`, exactly the bound", "memory_growth: { per_hour: 100% }", Box::new(|rng| memory(1.0, rng))),
        ("`memory_growth`, three times the bound", "memory_growth: { per_hour: 100% }", Box::new(|rng| memory(3.0, rng))),
    ];
    println!("| check | at `duration` alone: passed, failed | asked all the time | five looks |\n| --- | --- | --- | --- |");
    for (name, check, make) in cases {
        let cells = [Asked::Once, Asked::AllTheTime, Asked::AtLooks].map(|asked| {
            let one = |seed| {
                let (latencies, memory) = make(&mut ChaCha8Rng::seed_from_u64(seed));
                soak_with_memory(check, asked, &latencies, &memory)
            };
            let all: Vec<Ruling> = (0..SOAKS).map(one).collect();
            let of = |said| all.iter().filter(|r| **r == said).count() as f64 * 100.0 / SOAKS as f64;
            format!("{:.1} %, {:.1} %", of(Passed), of(Failed))
        });
        println!("| {name} | {} |", cells.join(" | "));
    }
}

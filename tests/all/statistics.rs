//! Statistics on series whose truth is known: how often they cry wolf, and how often they miss one.
//!
//! `cargo test --test all statistics:: -- --nocapture` prints the rates that stand in docs/verdicts.md.

use chaos::stats::compare::compare;
use chaos::stats::confidence::Confidence;
use chaos::stats::growth::{Judgement, Sample, growth};
use chaos::stats::trend::trend;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, LogNormal, Normal};

const SERIES: u64 = 300;
/// An hour at one sample in ten seconds.
const POINTS: usize = 360;
const STEP_S: f64 = 10.0;

/// How many of the series are said to grow, to be flat, and neither, against a bound of 5 % an hour of 100 MiB.
fn rates(what: &str, make: impl Fn(&mut ChaCha8Rng) -> Vec<Sample>) -> (f64, f64, f64) {
    let mut counts = [0.0; 3];
    for seed in 0..SERIES {
        let samples = make(&mut ChaCha8Rng::seed_from_u64(seed));
        let judged = growth(&samples, Confidence::USUAL).map(|g| g.against(0.05 * 100.0 / 3600.0));
        let at = match judged {
            Some(Judgement::Grows) => 0,
            Some(Judgement::Flat) => 1,
            Some(Judgement::Undecided { .. }) | None => 2,
        };
        counts[at] += 1.0 / SERIES as f64;
    }
    let [grows, flat, undecided] = counts;
    println!("| {what} | {:.1} % | {:.1} % | {:.1} % |", grows * 100.0, flat * 100.0, undecided * 100.0);
    (grows, flat, undecided)
}

/// Noise of 1 MiB whose neighbours depend on each other (AR(1), 0.6), around a shape over the share of the hour.
fn noisy(rng: &mut ChaCha8Rng, shape: impl Fn(f64) -> f64) -> Vec<Sample> {
    let normal = Normal::new(0.0, 0.8).unwrap();
    let mut noise = 0.0;
    (0..POINTS)
        .map(|i| {
            noise = 0.6 * noise + normal.sample(rng);
            let share = i as f64 / POINTS as f64;
            Sample { t: i as f64 * STEP_S, value: 100.0 + shape(share) + noise, load: 0.0 }
        })
        .collect()
}

#[test]
fn growth_is_told_from_what_only_looks_like_it() {
    crate::common::gives_way();
    println!("| series (an hour, 100 MiB, bound 5 %/h) | grows | flat | undecided |\n| --- | --- | --- | --- |");
    let never_wrong = |what: &str, (grows, flat, _): (f64, f64, f64)| {
        assert!(grows <= 0.01, "{what}: cried wolf in {grows}");
        flat
    };
    let mut passed = Vec::new();
    passed.push(never_wrong("flat", rates("flat", |rng| noisy(rng, |_| 0.0))));
    passed.push(never_wrong(
        "plateau",
        rates("warm-up of 33 % over the first third, then flat", |rng| noisy(rng, |s| 33.0 * (s * 3.0).min(1.0))),
    ));
    passed.push(never_wrong(
        "saturation",
        rates("warm-up that saturates (time constant 6 min)", |rng| noisy(rng, |s| 30.0 * (1.0 - (-s * 10.0).exp()))),
    ));
    passed.push(never_wrong("sawtooth", rates("sawtooth of 12 MiB, 9 teeth", |rng| noisy(rng, |s| 12.0 * (s * 9.0).fract()))));
    passed.push(never_wrong("shrinks", rates("memory that shrinks by 10 %/h", |rng| noisy(rng, |s| -10.0 * s))));
    passed.push(never_wrong("slow growth", rates("growth of 2 %/h, below the bound", |rng| noisy(rng, |s| 2.0 * s))));
    passed.push(never_wrong(
        "outliers",
        rates("flat with 5 % outliers of +50 MiB", |rng| {
            let mut samples = noisy(rng, |_| 0.0);
            samples.iter_mut().filter(|_| rng.random_bool(0.05)).for_each(|s| s.value += 50.0);
            samples
        }),
    ));
    passed.push(never_wrong(
        "jobs",
        rates("4 MiB for each job at work, 0 to 5 of them", |rng| {
            let mut load: f64 = 2.0;
            let mut samples = noisy(rng, |_| 0.0);
            samples.iter_mut().for_each(|s| {
                load = (load + f64::from(rng.random_range(-1i32..=1))).clamp(0.0, 5.0);
                (s.load, s.value) = (load, s.value + 4.0 * load);
            });
            samples
        }),
    ));
    assert!(passed.iter().sum::<f64>() / passed.len() as f64 > 0.85, "a healthy series is usually passed: {passed:?}");
    let found = |what: &str, (grows, flat, _): (f64, f64, f64), at_least: f64| {
        assert!(flat <= 0.01, "{what}: called flat in {flat}");
        assert!(grows >= at_least, "{what}: found in {grows} only");
    };
    found("leak", rates("leak of 20 %/h", |rng| noisy(rng, |s| 20.0 * s)), 0.95);
    found("small leak", rates("leak of 10 %/h", |rng| noisy(rng, |s| 10.0 * s)), 0.5);
    found(
        "leak after warm-up",
        rates("warm-up of 30 %, then a leak of 20 %/h", |rng| noisy(rng, |s| 30.0 * (s * 5.0).min(1.0) + 20.0 * s)),
        0.9,
    );
    found(
        "leak under a sawtooth",
        rates("sawtooth of 12 MiB and a leak of 25 %/h", |rng| noisy(rng, |s| 12.0 * (s * 9.0).fract() + 25.0 * s)),
        0.8,
    );
    let (grows, flat, _) = rates("growth of 5 %/h, exactly the bound", |rng| noisy(rng, |s| 5.0 * s));
    assert!(grows <= 0.05 && flat <= 0.08, "at the bound nothing is certain: {grows} {flat}");
}

#[test]
fn a_series_with_gaps_or_too_short_is_no_reason_to_accuse() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let samples = noisy(&mut rng, |_| 0.0);
    let gaps: Vec<Sample> = samples.iter().copied().filter(|s| !(900.0..2400.0).contains(&s.t)).collect();
    assert_eq!(growth(&gaps, Confidence::USUAL).unwrap().against(0.05 * 100.0 / 3600.0), Judgement::Flat);
    assert_eq!(growth(&samples[..12], Confidence::USUAL), None);
    let Judgement::Undecided { needed_s } = growth(&samples[..40], Confidence::USUAL).unwrap().against(0.05 * 100.0 / 3600.0)
    else {
        panic!("six minutes cannot show 5 % an hour")
    };
    assert!((400.0..36_000.0).contains(&needed_s), "it says how long it would take: {needed_s}");
}

/// Latencies of a stationary system, however heavy their tail, have no trend; a decay of half a percent a job has one.
#[test]
fn trends_of_latencies() {
    crate::common::gives_way();
    let tail = LogNormal::new(0.0, 0.5).unwrap();
    let drift = |decay: f64, heavy: bool| {
        let mut counts = (0.0, 0.0);
        for seed in 0..SERIES {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let points: Vec<(f64, f64)> = (0..105)
                .map(|i| {
                    let usual = if heavy { tail.sample(&mut rng) } else { rng.random_range(0.96..1.04) };
                    (f64::from(i), usual * (1.0 + decay * f64::from(i)))
                })
                .collect();
            let found = trend(&points, Confidence::USUAL).unwrap();
            counts.0 += f64::from(u8::from(found.low > 0.0)) / SERIES as f64;
            counts.1 += f64::from(u8::from(found.low * 104.0 > 0.1)) / SERIES as f64;
        }
        counts
    };
    let (false_alarms, over_bound) = drift(0.0, true);
    println!("stationary, log-normal 0.5, 105 jobs: trend {:.1} %, over 10 % {:.1} %", false_alarms * 100.0, over_bound * 100.0);
    assert!(false_alarms <= 0.03, "{false_alarms}");
    let (hidden, _) = drift(0.005, true);
    let (plain, over_bound) = drift(0.005, false);
    println!(
        "0.5 % slower with each job: found in {:.1} % under that tail, in {:.1} % of even jobs",
        hidden * 100.0,
        plain * 100.0
    );
    assert!(hidden > 0.3 && plain > 0.99 && over_bound > 0.99, "{hidden} {plain} {over_bound}");
}

#[test]
fn comparisons_rarely_see_a_difference_that_is_not_there() {
    crate::common::gives_way();
    let tail = LogNormal::new(0.0, 0.5).unwrap();
    let larger = |factor: f64| {
        let found = (0..SERIES).filter(|seed| {
            let mut rng = ChaCha8Rng::seed_from_u64(*seed);
            let first: Vec<f64> = (0..40).map(|_| tail.sample(&mut rng)).collect();
            let second: Vec<f64> = (0..20).map(|_| factor * tail.sample(&mut rng)).collect();
            compare(&first, &second).unwrap().is_larger(0.2)
        });
        found.count() as f64 / SERIES as f64
    };
    let (same, double) = (larger(1.0), larger(2.0));
    println!("20 jobs against 40: same {:.1} %, double {:.1} %", same * 100.0, double * 100.0);
    assert!(same <= 0.02 && double >= 0.95, "{same} {double}");
}

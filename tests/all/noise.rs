//! Noise as evidence: what the machine and chaos itself did to the measurement is inconclusive, and what the target did is failed.

use std::process::{Command, Stdio};

use crate::common::Ending;
use crate::common::script::Script;
use chaos::check::Ruling::{self, Failed, Inconclusive, Passed};
use chaos::check::{Verdict, noise::TOO_NOISY};
use chaos::journal::event::Event;
use chaos::observe::machine::{DELAYED, LATE, OTHERS_CPU, OWN_CPU, PRESSURE, STEAL, TARGET_CPU};
use chaos::plan::RuntimePlan;

/// A minute of load.
const END: f64 = 60.0;

fn sample(script: &mut Script, t: f64, values: &[(&str, f64)]) {
    script.at(t, Event::Sample { values: values.iter().map(|(name, value)| (*name, *value)).collect() });
}

/// A machine at ease, as it is told at the beginning of each run.
const QUIET: [(&str, f64); 5] = [(LATE, 0.0), (DELAYED, 0.0), (OTHERS_CPU, 0.0), (OWN_CPU, 0.0), (STEAL, 0.0)];

/// From second 20 to second 40 other work takes the CPUs.
const STARVED: [(&str, f64); 3] = [(DELAYED, 80.0), (OTHERS_CPU, 190.0), (PRESSURE[0].0, 95.0)];

/// A run with one check and a load, whose jobs take so long, and whose machine is noisy for a third of the time.
struct Case<'a> {
    check: &'a str,
    load: &'a str,
    noise: &'a [(&'a str, f64)],
    /// What a job takes that is due at a moment.
    takes: fn(f64) -> f64,
    /// How late a job is sent.
    late: fn(f64) -> f64,
    silent: Option<(f64, f64)>,
    elsewhere: bool,
    /// Between two jobs.
    every: f64,
}

impl Default for Case<'_> {
    fn default() -> Self {
        let load = "{ name: users, users: 1 }";
        Self { check: "", load, noise: &[], takes: |_| 0.5, late: |_| 0.0, silent: None, elsewhere: false, every: 0.25 }
    }
}

fn within(t: f64) -> bool {
    (20.0..40.0).contains(&t)
}

impl Case<'_> {
    fn verdict(&self) -> Verdict {
        let yaml = format!(
            "version: 1\nname: noise\ntarget: {{ url: embedded }}\nduration: 60s\nload: [{}]\nchecks: [{}]\n",
            self.load, self.check
        );
        let mut script = Script::from(&yaml);
        if self.elsewhere {
            let plan = std::sync::Arc::make_mut(script.record.plan.as_mut().unwrap());
            (plan.runtime, plan.url) = (RuntimePlan::None, "http://10.1.2.3:8000".to_owned());
        }
        sample(&mut script, 0.0, &QUIET);
        sample(&mut script, 0.0, &[("health.up", 1.0), ("health.port_open", 1.0)]);
        let mut events: Vec<(f64, Vec<(&str, f64)>)> = Vec::new();
        if !self.noise.is_empty() {
            let quiet = QUIET.into_iter().chain([(PRESSURE[0].0, 0.0)]).collect();
            events.extend([(20.0, self.noise.to_vec()), (40.0, quiet)]);
        }
        if let Some((from, to)) = self.silent {
            events.extend([(from, vec![("health.up", 0.0)]), (to, vec![("health.up", 1.0)])]);
        }
        events.sort_by(|a, b| a.0.total_cmp(&b.0));
        events.iter().for_each(|(t, values)| sample(&mut script, *t, values));
        let jobs = (1..).map(|at| f64::from(at) * self.every).take_while(|due| *due < END - 1.0);
        jobs.for_each(|due| self.job(&mut script, due));
        script.end(END);
        script.verdict()
    }

    fn job(&self, script: &mut Script, due: f64) {
        let sent = due + (self.late)(due);
        let job = script.completed(sent, (self.takes)(due));
        script.record.jobs[job as usize].intended_t = due;
    }

    fn ruling(&self) -> Ruling {
        self.verdict().ruling
    }
}

const HONEST: &str = "health_is_honest: {}";
/// Of jobs that take half a second.
const FAST: &str = "latency: { percentile: 75, below: 800ms }";

#[test]
fn a_health_answer_that_is_missed_on_a_starved_machine_is_not_the_targets() {
    let missed = Case { check: HONEST, silent: Some((30.1, 30.55)), ..Case::default() };
    assert_eq!(missed.ruling(), Failed, "nothing else happened on the machine");
    let verdict = Case { noise: &STARVED, ..missed }.verdict();
    assert_eq!(verdict.ruling, Inconclusive, "{verdict:?}");
    for said in [
        TOO_NOISY,
        "from 19.8 s to 39.8 s",
        "the target waited for a CPU for 80 % of the time",
        "190 % of one CPU",
        "cpu 95 %",
        "from 30.1 s to 30.6 s",
    ] {
        assert!(verdict.observed.contains(said), "{said}: {}", verdict.observed);
    }
    assert!(verdict.evidence.iter().any(|line| line.contains("run it again")), "{verdict:?}");
}

#[test]
fn noise_at_another_time_excuses_nothing() {
    let early = Case { check: HONEST, silent: Some((10.1, 10.55)), noise: &STARVED, ..Case::default() };
    assert_eq!(early.ruling(), Failed);
    let slow_before_and_after =
        Case { check: FAST, noise: &STARVED, takes: |t| if within(t) { 0.5 } else { 2.0 }, ..Case::default() };
    assert_eq!(slow_before_and_after.ruling(), Failed);
}

#[test]
fn a_little_noise_excuses_nothing() {
    let little: &[(&str, f64)] = &[(DELAYED, 6.0), (OTHERS_CPU, 30.0), (PRESSURE[0].0, 4.0), (LATE, 8.0)];
    let some: &[(&str, f64)] = &[(DELAYED, 12.0), (OTHERS_CPU, 30.0), (PRESSURE[0].0, 20.0), (LATE, 25.0)];
    for noise in [little, some] {
        // An endpoint that starves behind the jobs, and jobs that are three times as slow as they may be.
        assert_eq!(Case { check: HONEST, silent: Some((30.1, 30.9)), noise, ..Case::default() }.ruling(), Failed, "{noise:?}");
        assert_eq!(Case { check: FAST, takes: |_| 2.4, noise, ..Case::default() }.ruling(), Failed, "{noise:?}");
        let uptime = Case { check: "uptime: { at_least: 99% }", silent: Some((22.0, 32.0)), noise, ..Case::default() };
        assert_eq!(uptime.ruling(), Failed, "{noise:?}");
    }
}

#[test]
fn a_long_silence_is_not_explained_by_noise() {
    let noise: &[(&str, f64)] = &[(DELAYED, 30.0), (OTHERS_CPU, 190.0)];
    assert_eq!(Case { check: HONEST, silent: Some((22.0, 38.0)), noise, ..Case::default() }.ruling(), Failed);
}

#[test]
fn jobs_that_were_slow_while_others_took_the_cpu_are_not_the_targets() {
    let slow = Case {
        check: "latency: { percentile: 75, below: 800ms }",
        takes: |t| if within(t) { 1.5 } else { 0.5 },
        ..Case::default()
    };
    assert_eq!(slow.ruling(), Failed);
    let verdict = Case { noise: &STARVED, ..slow }.verdict();
    assert_eq!(verdict.ruling, Inconclusive, "{verdict:?}");
    assert!(verdict.observed.contains("without the noise it would not have failed"), "{verdict:?}");
    // The noise took 1.6 s of 2 s, and not 29 of 30.
    let endless = Case { check: FAST, takes: |t| if within(t) { 30.0 } else { 20.0 }, noise: &STARVED, ..Case::default() };
    assert_eq!(endless.ruling(), Failed);
}

/// Threads of the target that wait for each other's CPU are no noise, whatever the pressure.
#[test]
fn a_target_that_uses_up_the_cpu_itself_has_failed() {
    let own: &[(&str, f64)] = &[(DELAYED, 900.0), (OTHERS_CPU, 0.0), (OWN_CPU, 10.0), (PRESSURE[0].0, 100.0)];
    let slow = Case { check: FAST, noise: own, takes: |t| if within(t) { 1.5 } else { 0.5 }, ..Case::default() };
    assert_eq!(slow.ruling(), Failed);
    assert_eq!(Case { check: HONEST, silent: Some((30.1, 30.9)), noise: own, ..Case::default() }.ruling(), Failed);
    // Chaos that was late meanwhile, for whatever reason, cannot tell.
    let late: Vec<(&str, f64)> = own.iter().copied().chain([(LATE, 900.0)]).collect();
    assert_eq!(Case { noise: &late, ..slow }.ruling(), Inconclusive);
}

/// Others take a part of the CPUs, and the target is slow by far more than that part.
#[test]
fn a_target_that_had_most_of_the_cpu_is_not_excused_by_who_had_the_rest() {
    let rest: &[(&str, f64)] =
        &[(DELAYED, 400.0), (OTHERS_CPU, 40.0), (TARGET_CPU, 150.0), (OWN_CPU, 10.0), (PRESSURE[0].0, 100.0)];
    let slow = Case { check: FAST, noise: rest, takes: |t| if within(t) { 2.5 } else { 0.5 }, ..Case::default() };
    assert_eq!(slow.ruling(), Failed);
    assert_eq!(Case { takes: |t| if within(t) { 1.0 } else { 0.5 }, ..slow }.ruling(), Inconclusive);
}

#[test]
fn what_the_hypervisor_took_is_not_the_targets() {
    let stolen: &[(&str, f64)] = &[(STEAL, 60.0)];
    let slow = Case { check: FAST, noise: stolen, takes: |t| if within(t) { 1.2 } else { 0.5 }, ..Case::default() };
    assert_eq!(slow.ruling(), Inconclusive);
}

#[test]
fn a_closed_loop_whose_generator_was_late_is_not_the_targets() {
    let late: &[(&str, f64)] = &[(LATE, 400.0)];
    for check in [FAST, "mean_latency: { within: 300ms..600ms }"] {
        let slow = Case { check, takes: |t| if within(t) { 1.3 } else { 0.5 }, ..Case::default() };
        assert_eq!(slow.ruling(), Failed, "{check}");
        let verdict = Case { noise: late, ..slow }.verdict();
        assert_eq!(verdict.ruling, Inconclusive, "{verdict:?}");
        assert!(verdict.observed.contains("chaos was up to 400 ms late"), "{verdict:?}");
    }
    // Known from the jobs alone: they were due, and not sent.
    let unsent = Case { check: "mean_latency: { within: 300ms..600ms }", late: |_| 0.3, ..Case::default() }.verdict();
    assert_eq!(unsent.ruling, Inconclusive, "{unsent:?}");
    assert!(unsent.observed.contains("up to 300 ms late"), "{unsent:?}");
}

/// Late by more than a twentieth of the limit, and the target too slow by far more than that.
#[test]
fn a_little_lateness_hides_no_slow_target() {
    assert_eq!(Case { check: FAST, takes: |_| 1.5, late: |_| 0.05, ..Case::default() }.ruling(), Failed);
    assert_eq!(Case { check: FAST, takes: |_| 0.77, late: |_| 0.05, ..Case::default() }.ruling(), Inconclusive);
}

/// 50 ms at each of a job's few meetings with chaos are not the ten seconds that it took too long.
#[test]
fn lateness_counts_once_for_each_time_that_chaos_had_something_to_do() {
    let late: &[(&str, f64)] = &[(LATE, 50.0)];
    let slow = Case { check: "latency: { percentile: 75, below: 8s }", noise: late, takes: |_| 10.0, ..Case::default() };
    assert_eq!(slow.ruling(), Failed);
}

#[test]
fn a_target_on_another_machine_has_its_own_latency() {
    let slow =
        Case { check: FAST, noise: &STARVED, takes: |t| if within(t) { 1.5 } else { 0.5 }, elsewhere: true, ..Case::default() };
    assert_eq!(slow.ruling(), Failed, "what is busy here does not slow it down");
    let late: &[(&str, f64)] = &[(LATE, 900.0)];
    assert_eq!(Case { noise: late, ..slow }.ruling(), Inconclusive, "but chaos that is late measures itself");
}

#[test]
fn a_pass_falls_only_where_it_would_have_failed() {
    // Slow enough for the range only because of the noise.
    let check = "mean_latency: { within: 1200ms..2s }";
    let lucky = Case { check, noise: &STARVED, takes: |t| if within(t) { 3.2 } else { 0.6 }, ..Case::default() };
    let quiet = Case { noise: &[], ..lucky };
    assert_eq!((quiet.ruling(), lucky.ruling()), (Passed, Inconclusive));
    for check in [FAST, HONEST, "uptime: { at_least: 99% }", "throughput: { at_least: 30/min }", "latency_stable: { drift: 50% }"]
    {
        assert_eq!(Case { check, noise: &STARVED, ..Case::default() }.ruling(), Passed, "{check}");
    }
}

#[test]
fn what_is_undecided_by_noise_says_so() {
    let check = "mean_latency: { within: 10ms..900ms }";
    let undecided = Case { check, noise: &STARVED, takes: |t| if within(t) { 1.5 } else { 0.5 }, every: 9.0, ..Case::default() };
    let verdict = undecided.verdict();
    assert_eq!(verdict.ruling, Inconclusive, "{verdict:?}");
    assert!(verdict.evidence[0].contains(TOO_NOISY) && verdict.evidence[0].contains("it would have passed"), "{verdict:?}");
    let quiet = Case { noise: &[], ..undecided }.verdict();
    assert!(quiet.ruling == Inconclusive && quiet.evidence.is_empty(), "{quiet:?}");
}

#[test]
fn without_noise_nothing_changes() {
    for check in [FAST, HONEST, "uptime: { at_least: 99% }", "throughput: { at_least: 30/min }"] {
        let quiet = Case { check, noise: &QUIET, ..Case::default() }.verdict();
        assert_eq!(quiet.ruling, Passed, "{quiet:?}");
        assert!(!quiet.observed.contains("nois") && !quiet.evidence.iter().any(|e| e.contains("nois")));
    }
    let slow = |noise| Case { check: FAST, takes: |_| 1.5, noise, ..Case::default() }.verdict();
    assert_eq!(slow(&QUIET), slow(&[]));
    assert_eq!(slow(&[]).ruling, Failed);
}

/// A load of eight jobs a second, of which every second one is missing.
#[test]
fn a_load_that_was_sent_by_half_proves_nothing() {
    let open = Case { load: "{ name: users, rate: 8/s, arrivals: constant }", ..Case::default() };
    for check in [FAST, "throughput: { at_least: 30/min }", "error_rate: { below: 10% }", "queue_depth: { below: 10 }"] {
        let verdict = Case { check, ..open }.verdict();
        assert_eq!(verdict.ruling, Inconclusive, "{check}: {verdict:?}");
        assert!(verdict.observed.contains("only ") && verdict.observed.contains("could be sent in time"), "{verdict:?}");
    }
    // That it is too slow for even half of it is certain; that it does not complete what it was not sent is not.
    assert_eq!(Case { check: FAST, takes: |_| 1.5, ..open }.ruling(), Failed);
    assert_eq!(Case { check: "throughput: { at_least: 400/min }", ..open }.ruling(), Inconclusive);
    let enough = Case { load: "{ name: users, rate: 4/s, arrivals: constant }", ..Case::default() };
    assert_eq!(Case { check: "throughput: { at_least: 30/min }", ..enough }.ruling(), Passed);
    let late = Case { load: "{ name: users, rate: 4/s, arrivals: constant }", late: |_| 3.0, ..Case::default() };
    assert_eq!(Case { check: "throughput: { at_least: 30/min }", ..late }.ruling(), Inconclusive);
}

#[test]
fn users_that_could_not_send_are_a_smaller_load() {
    let idle = Case { check: "throughput: { at_least: 30/min }", late: |_| 0.3, every: 1.0, ..Case::default() }.verdict();
    assert_eq!(idle.ruling, Inconclusive, "{idle:?}");
    assert!(idle.observed.contains("its users were late for"), "{idle:?}");
}

/// Processes that do nothing but use the CPUs; ended one by one.
fn busy(many: usize) -> Vec<Ending> {
    let spin = || Command::new("sh").args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn().expect("a shell");
    (0..many).map(|_| Ending(spin())).collect()
}

const HEALTHY: &str = "version: 1
name: noisy
target: { url: embedded }
duration: 5s
sample_every: 100ms
load: [{ users: 3, think: 20ms..60ms, job: { width: 512, height: 512 } }]
checks:
  - no_crash: {}
  - all_jobs_complete: { within: 120s }
  - health_is_honest: {}
  - uptime: { at_least: 99.9% }
  - latency: { percentile: 50, below: 60s }
  - error_rate: { below: 5% }
";

#[test]
fn a_healthy_target_on_a_machine_that_is_overrun_has_not_failed() {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("noisy.yaml");
    std::fs::write(&file, HEALTHY).expect("it can be written");
    let busy = busy(2 * cores);
    let run = crate::common::run(&[&file.to_string_lossy()]);
    drop(busy);
    let checks = run.result["checks"].as_array().expect("there are checks");
    assert!(checks.iter().all(|check| check["verdict"] != "failed"), "{}", run.trouble());
    let journal = std::fs::read_to_string(run.folder.join("events.jsonl")).expect("there is a journal");
    assert!(journal.contains(LATE));
    if std::path::Path::new("/proc/self/schedstat").exists() {
        assert!(journal.contains(OTHERS_CPU), "the target's own CPU time is told from that of others");
        let record = chaos::journal::reader::read(&run.folder).expect("it can be read");
        let series = |name: &str| record.series.get(name).map_or(0.0, |s| s.max);
        println!("delayed {}, others {}, late {}", series(DELAYED), series(OTHERS_CPU), series(LATE));
        assert!(series(OTHERS_CPU) > 50.0, "the busy loops were seen");
    }
}

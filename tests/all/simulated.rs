//! The whole engine in simulated time: minutes of a run in milliseconds, at every seed and every point of interruption.

use std::time::Duration;

use crate::common::often;
use crate::common::sim::{Sabotage, run};
use chaos::check::Ruling;

/// The plan's own times: 82 s for a warm job, on a virtual clock.
fn experiment(faults: &str, backend: &str, checks: &str) -> String {
    format!(
        "version: 1\nname: simulated\ntarget:\n  url: embedded\n  backend: {{ speed: 10{backend} }}\nsample_every: 1s\nrecover_at_most: 20m\nload:\n  - name: users\n    users: 3\n    think: 1s..3s\nfaults:\n{faults}\nchecks:\n{checks}\n"
    )
}

const OOM_CHECKS: &str = "  - no_crash: {}\n  - all_jobs_complete: { within: 300s }\n  - queue_drains: { within: 300s, hold: 2s }\n  - latency_recovers: { within: 300s }\n  - retried_smaller: {}";
const FLOOD: &str = "  - flood: { at: 500s, jobs: 12 }";

#[tokio::test(start_paused = true)]
async fn a_healthy_backend_is_never_accused() {
    for seed in 0..often(2, 20) {
        let done = run(&experiment(FLOOD, "", OOM_CHECKS), seed, Sabotage::default(), None).await;
        // The out-of-memory is shown by jobs' attempts here: in simulated time there is no log.
        assert_eq!(done.result.exit_code, 0, "seed {seed}: {}", done.trouble());
        assert!(!done.left_broken);
    }
}

/// The target is not taken away while the last results are still on their way.
#[tokio::test(start_paused = true)]
async fn slow_results_are_waited_for() {
    let sabotage = Sabotage { slow_results: Duration::from_secs(20), ..Sabotage::default() };
    for seed in 0..3 {
        let done = run(&experiment(FLOOD, "", "  - all_jobs_complete: { within: 300s }"), seed, sabotage.clone(), None).await;
        assert_eq!(done.result.exit_code, 0, "seed {seed}: {}", done.trouble());
        assert_eq!(done.result.jobs.mismatched, 0, "seed {seed}: {}", done.trouble());
    }
}

async fn is_found(found_by: &[(&str, &str)]) {
    for (defect, check) in found_by {
        for seed in 0..often(1, 3) {
            let yaml = experiment(FLOOD, &format!(", defects: [{defect}]"), OOM_CHECKS);
            let done = run(&yaml, seed, Sabotage::default(), None).await;
            assert_eq!(done.result.exit_code, 1, "{defect}, seed {seed}: {}", done.trouble());
            assert_eq!(done.verdict(check), "failed", "{defect}, seed {seed}: {}", done.trouble());
            assert!(!done.left_broken);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn defects_of_the_jobs_are_found_at_every_seed() {
    let of_jobs = ["oom-no-retry", "oom-kills-queue", "oom-fakes-success", "sheds-after-accept", "accepted-then-dropped"];
    is_found(&of_jobs.map(|defect| (defect, "all_jobs_complete"))).await;
}

#[tokio::test(start_paused = true)]
async fn defects_of_the_queue_are_found_at_every_seed() {
    is_found(&[("healthy-but-dead", "queue_drains"), ("wedged-after-oom", "queue_drains"), ("oom-crashes-server", "no_crash")])
        .await;
}

#[tokio::test(start_paused = true)]
async fn defects_of_results_and_memory_are_found_at_every_seed() {
    is_found(
        &["ui-stuck-after-oom", "vram-kept-after-oom", "swapped-results", "wrong-size"]
            .map(|defect| (defect, "all_jobs_complete")),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_loses_nothing_unless_the_queue_is_in_memory() {
    let checks = "  - no_crash: {}\n  - all_jobs_complete: { within: 300s }";
    for how in ["graceful", "kill"] {
        let fault = format!("  - restart: {{ at: 100s, how: {how} }}");
        let healthy = run(&experiment(&fault, "", checks), 1, Sabotage::default(), None).await;
        assert_eq!(healthy.result.exit_code, 0, "{how}: {}", healthy.trouble());
        assert_eq!(healthy.record.generations.len(), 2);
        let lossy = run(&experiment(&fault, ", defects: [jobs-lost-on-restart]", checks), 1, Sabotage::default(), None).await;
        assert_eq!(lossy.verdict("all_jobs_complete"), "failed", "{how}: {}", lossy.trouble());
        let why = &lossy.result.checks.iter().find(|c| c.name == "all_jobs_complete").unwrap().evidence[0];
        assert!(why.contains("restart"), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_seen_and_put_back() {
    let done = run(&experiment("  - pause: { at: 60s, for: 20s }", "", "  - no_crash: {}"), 1, Sabotage::default(), None).await;
    assert_eq!(done.result.exit_code, 0, "{}", done.trouble());
    let fault = &done.result.faults[0];
    assert!(fault.seen["during"].contains("is stopped and does not answer"), "{fault:?}");
    let held = fault.reverted_at_s.unwrap() - fault.injected_at_s.unwrap();
    assert!((20.0..22.0).contains(&held), "{held}");
}

/// A fault that did not bite: whatever the checks say, the run is not passed.
#[tokio::test(start_paused = true)]
async fn a_sabotaged_fault_is_inconclusive() {
    let pause = "  - pause: { at: 60s, for: 20s }";
    let restart = "  - restart: { at: 60s }";
    let cases: [(&str, &str, Sabotage); 5] = [
        ("an effect only in the call's answer", pause, Sabotage { signals_lie: true, ..Sabotage::default() }),
        ("an effect on the wrong process", pause, Sabotage { wrong_process: true, ..Sabotage::default() }),
        ("a restart that restarts nothing", restart, Sabotage { end_lies: true, ..Sabotage::default() }),
        ("no target", pause, Sabotage { no_process: true, ..Sabotage::default() }),
        ("an effect too weak", "  - flood: { at: 60s, jobs: 12 }", Sabotage { swallow: 4, ..Sabotage::default() }),
    ];
    for (what, fault, sabotage) in cases {
        let done = run(&experiment(fault, "", "  - error_rate: { below: 90% }"), 1, sabotage, None).await;
        assert_eq!(done.result.exit_code, 6, "{what}: {}", done.trouble());
        let proof = done.result.checks.iter().find(|c| c.kind == "fault_proven").unwrap();
        assert_eq!(proof.verdict, Ruling::Inconclusive, "{what}: {proof:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_put_back_is_exit_5_and_what_only_claims_to_be_is_inconclusive() {
    let pause = experiment("  - pause: { at: 60s, for: 20s }", "", "  - error_rate: { below: 90% }") + "duration: 200s\n";
    let stuck = run(&pause, 1, Sabotage { cannot_continue: true, ..Sabotage::default() }, None).await;
    assert_eq!(stuck.result.exit_code, 5, "{}", stuck.trouble());
    let reason = stuck.result.reason.clone().unwrap();
    assert!(reason.contains("could not be put back") && reason.contains("operation not permitted"), "{reason}");
    let claimed = run(&pause, 1, Sabotage { continue_lies: true, ..Sabotage::default() }, None).await;
    assert_eq!(claimed.result.exit_code, 6, "{}", claimed.trouble());
    assert!(claimed.result.checks[0].observed.contains("not seen put back"), "{}", claimed.trouble());
}

#[tokio::test(start_paused = true)]
async fn a_fault_whose_code_panics_is_put_back_and_the_run_goes_on() {
    let pause = experiment("  - pause: { at: 60s, for: 20s }", "", "  - all_jobs_complete: { within: 300s }");
    let done = run(&pause, 1, Sabotage { panics: true, ..Sabotage::default() }, None).await;
    assert_eq!(done.result.exit_code, 6, "{}", done.trouble());
    assert!(done.result.checks[0].observed.contains("its code panicked"), "{}", done.trouble());
    assert_eq!(done.verdict("all_jobs_complete"), "passed", "{}", done.trouble());
    assert!(!done.left_broken && done.record.faults.iter().all(|f| !f.is_open()));
}

#[tokio::test(start_paused = true)]
async fn whenever_it_is_interrupted_everything_is_put_back() {
    let faults =
        "  - pause: { at: 10s, for: 20s }\n  - restart: { after: pause + 5s, down: 3s }\n  - flood: { at: 50s, jobs: 6 }";
    for quarter in (0..320).step_by(often(10, 1)) {
        let after = Duration::from_millis(quarter * 250);
        let done = run(&experiment(faults, "", "  - no_crash: {}"), 3, Sabotage::default(), Some(after)).await;
        assert_eq!(done.result.exit_code, 130, "at {after:?}: {}", done.trouble());
        assert!(!done.left_broken, "at {after:?}: the target is left");
        assert!(done.record.faults.iter().all(|f| !f.is_open()), "at {after:?}: {:?}", done.record.faults);
        assert!(done.record.ended);
    }
}

#[tokio::test(start_paused = true)]
async fn triggers_fire_on_what_happens_and_give_up_as_told() {
    let on_progress = "  - flood: { when: \"job.progress >= 50%\", jobs: 6 }";
    let done = run(&experiment(on_progress, "", "  - all_jobs_complete: { within: 300s }"), 1, Sabotage::default(), None).await;
    assert_eq!(done.result.exit_code, 0, "{}", done.trouble());
    let never =
        |answer: &str| format!("  - flood: {{ when: \"queue_depth > 900\", timeout: 20s, on_timeout: {answer}, jobs: 6 }}");
    let expected = [("skip", 6), ("fail", 4), ("fire", 0)];
    for (answer, code) in expected {
        let done =
            run(&experiment(&never(answer), "", "  - all_jobs_complete: { within: 300s }"), 1, Sabotage::default(), None).await;
        assert_eq!(done.result.exit_code, code, "{answer}: {}", done.trouble());
    }
}

#[tokio::test(start_paused = true)]
async fn repeated_faults_happen_as_often_as_asked() {
    let faults = "  - flood: { at: 10s, every: 30s, times: 3, jobs: 2 }";
    let done = run(&experiment(faults, "", "  - all_jobs_complete: { within: 300s }"), 1, Sabotage::default(), None).await;
    let planned: Vec<f64> = done.result.faults.iter().map(|f| f.planned_at_s.unwrap().round()).collect();
    assert_eq!(planned, [10.0, 40.0, 70.0], "{}", done.trouble());
}

#[tokio::test(start_paused = true)]
async fn a_guard_stops_the_run_within_a_sample_and_puts_everything_back() {
    let yaml = experiment("  - flood: { at: 20s, jobs: 30 }\n  - pause: { at: 900s, for: 10s }", "", "  - no_crash: {}")
        + "guards:\n  - queue_depth: { above: 10 }\n";
    let done = run(&yaml, 1, Sabotage::default(), None).await;
    assert_eq!(done.result.exit_code, 3, "{}", done.trouble());
    let (t, ..) = done.record.guard.clone().unwrap();
    assert!((20.0..21.5).contains(&t), "{t}");
    assert!(!done.left_broken);
    assert!(done.record.now < 60.0, "the last jobs were cancelled, not waited for: {}", done.record.now);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_run() {
    let yaml = experiment(FLOOD, "", OOM_CHECKS);
    let marks = |r: &chaos::journal::record::Record| {
        r.jobs.iter().map(|j| (j.mark.clone(), (j.intended_t * 1e3) as u64)).take(60).collect::<Vec<_>>()
    };
    let (first, second) = (run(&yaml, 5, Sabotage::default(), None).await, run(&yaml, 5, Sabotage::default(), None).await);
    assert_eq!(marks(&first.record), marks(&second.record));
    assert_ne!(marks(&first.record), marks(&run(&yaml, 6, Sabotage::default(), None).await.record));
}

#[tokio::test(start_paused = true)]
async fn open_loop_and_stages_send_what_is_asked() {
    let yaml = "version: 1\nname: loads\ntarget: { url: embedded, backend: { speed: 1000, slots: 16 } }\nload:\n  - { name: steady, rate: 2/s, for: 60s }\n  - { name: random, rate: 2/s, arrivals: poisson, for: 60s }\n  - { name: steps, stages: [{ users: 1, for: 20s }, { users: 5, for: 20s }, { users: 1, for: 20s }], think: 1s }\nchecks:\n  - all_jobs_complete: { within: 60s }\n  - latency: { percentile: 90, below: 10s, load: steady }\n";
    let done = run(yaml, 2, Sabotage::default(), None).await;
    assert_eq!(done.result.exit_code, 0, "{}", done.trouble());
    let count = |load: &str| done.record.jobs_of(Some(load)).count();
    assert_eq!(count("steady"), 120);
    assert!((85..160).contains(&count("random")), "{}", count("random"));
    let in_step =
        |from: f64| done.record.jobs_of(Some("steps")).filter(|j| j.intended_t >= from && j.intended_t < from + 20.0).count();
    let begin = done.record.phase_start(chaos::journal::event::Phase::Baseline).unwrap();
    assert!(in_step(begin + 20.0) > 3 * in_step(begin), "{} {}", in_step(begin + 20.0), in_step(begin));
}

#[tokio::test(start_paused = true)]
async fn a_steady_baseline_ends_by_itself() {
    let yaml = experiment("  - flood: { at: 0s, jobs: 2 }", "", "  - all_jobs_complete: { within: 300s }") + "baseline: steady\n";
    let done = run(&yaml, 1, Sabotage::default(), None).await;
    let at = done.result.faults[0].injected_at_s.unwrap();
    assert!((60.0..400.0).contains(&at), "{at}");
}

#[tokio::test(start_paused = true)]
async fn the_error_guard_wants_a_lasting_rate() {
    let checks = "  - no_crash: {}";
    let guarded = |defect: &str, length: &str| {
        experiment(FLOOD, &format!(", defects: [{defect}]"), checks)
            + &format!("duration: 700s\nguards:\n  - error_rate: {{ above: 50%, for: {length} }}\n")
    };
    let lasting = run(&guarded("vram-kept-after-oom", "60s"), 1, Sabotage::default(), None).await;
    assert_eq!(lasting.result.exit_code, 3, "{}", lasting.trouble());
    let outburst = run(&guarded("oom-no-retry", "60s"), 1, Sabotage::default(), None).await;
    assert_eq!(outburst.result.exit_code, 0, "{}", outburst.trouble());
}

/// Coordinated omission: a stalled target must show in the latencies of every job that was due meanwhile.
#[tokio::test(start_paused = true)]
async fn a_stall_is_not_hidden() {
    let yaml = "version: 1\nname: stall\ntarget: { url: embedded, backend: { speed: 82, slots: 500, queue: 5000, vram: 4TiB } }\nload: [{ name: open, rate: 10/s, for: 200s, listen: poll }]\nfaults: [{ pause: { at: 80s, for: 40s } }]\nchecks: [{ all_jobs_complete: { within: 60s } }]\n";
    let done = run(yaml, 1, Sabotage::default(), None).await;
    assert_eq!(done.result.exit_code, 0, "{}", done.trouble());
    assert_eq!(done.record.jobs.len(), 2000, "every job that was due was sent");
    let mut slow: Vec<f64> = done.record.jobs.iter().filter_map(|j| j.total_s()).collect();
    slow.sort_by(f64::total_cmp);
    // 400 of 2,000 jobs were due during the 40 s: they took 1 s and from 0 to 40 s more, evenly.
    let at = |share: f64| slow[(share * 1999.0) as usize];
    assert!(at(0.5) < 1.5, "{}", at(0.5));
    assert!((19.0..24.0).contains(&at(0.9)), "{}", at(0.9));
    assert!((36.0..44.0).contains(&at(0.99)), "{}", at(0.99));
}

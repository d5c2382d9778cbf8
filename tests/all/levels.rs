//! The engine ends a load that may go on for `longer` at one of the plan's looks, and nowhere between them.

use std::process::Output;

use crate::common::chaos;
use crate::common::sim::{Sabotage, Simulated, run};
use chaos::journal::event::Phase;
use chaos::plan::looks;

/// Ten jobs a second; a p99 takes so many of them that the first looks are too early.
fn yaml(duration: &str, longer: &str, check: &str) -> String {
    format!(
        "version: 1\nname: levels\ntarget: {{ url: embedded, backend: {{ speed: 400, slots: 8 }} }}\nduration: {duration}\nlonger: {longer}\nsample_every: 1s\nload: [{{ name: open, rate: 10/s, job: {{ width: 256, height: 256 }} }}]\nchecks: [{check}]\n"
    )
}

/// How long the load lasted.
fn lasted(run: &Simulated) -> f64 {
    let begin = run.record.phase_start(Phase::Baseline).unwrap();
    run.record.load_stopped_t.unwrap() - begin
}

async fn at_which_look(duration: &str, longer: &str, check: &str) -> (usize, Simulated) {
    let done = run(&yaml(duration, longer, check), 1, Sabotage::default(), None).await;
    let lasted = lasted(&done);
    let looks = looks::of(done.record.plan());
    let at = looks.iter().position(|look| (look.at_s..look.at_s + 1.0).contains(&lasted));
    (at.unwrap_or_else(|| panic!("{lasted} s is none of {looks:?}")), done)
}

#[tokio::test(start_paused = true)]
async fn a_load_ends_at_a_stated_look() {
    const P99: &str = "latency: { percentile: 99, below: 30s }";
    // A p99 takes 510 jobs at the first look and 688 at a later one: 10 a second bring these at 51 and at 69 s.
    let (at, done) = at_which_look("20s", "80s", P99).await;
    assert_eq!((at, done.verdict("latency").as_str()), (3, "passed"), "{}", done.trouble());
    let (at, done) = at_which_look("60s", "80s", P99).await;
    assert_eq!((at, done.verdict("latency").as_str()), (0, "passed"), "{}", done.trouble());
    // What never can be decided lasts to the last look, and is judged as strictly as the plan says.
    let (at, done) = at_which_look("10s", "20s", P99).await;
    assert_eq!((at, done.verdict("latency").as_str()), (4, "inconclusive"), "{}", done.trouble());
    assert!(done.trouble().contains("a p99 takes at least 688"), "{}", done.trouble());
    // Nobody would like more.
    let (at, _) = at_which_look("10s", "20s", "no_crash: {}").await;
    assert_eq!(at, 0);
}

#[tokio::test(start_paused = true)]
async fn without_longer_nothing_is_other_than_before() {
    let check = "latency: { percentile: 99, below: 30s }";
    let done = run(&yaml("46500ms", "0s", check), 1, Sabotage::default(), None).await;
    assert!(lasted(&done) < 47.0, "{}", lasted(&done));
    assert_eq!(done.verdict("latency"), "passed", "a p99 takes 459 jobs at 99 %: {}", done.trouble());
}

#[test]
fn the_plan_tells_the_looks() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("levels.yaml");
    std::fs::write(&file, yaml("60s", "2m", "no_crash: {}")).unwrap();
    let Output { stdout, status, .. } = chaos().arg("plan").arg(&file).output().unwrap();
    let text = String::from_utf8(stdout).unwrap();
    assert!(status.success() && text.contains("60.00 s (99.4 %), 90.00 s (99.9 %)"), "{text}");
}

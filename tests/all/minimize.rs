//! A failed run once more, two runs side by side, and a run made smaller until only what matters is left.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value as Json;

/// Ten faults. What loses jobs is the restart while the flood's jobs wait: neither of them does alone. A job of the flood takes
/// 0.6 s: the restart finds it under way also where it is taken late, and those of the bursts long done.
const TEN: &str = r#"
version: 1
name: ten
seed: 3
target: {url: embedded, backend: {speed: 800, defects: [jobs-lost-on-restart]}}
load: [{users: 1, jobs: 1}]
duration: 2600ms
faults:
  - burst: {name: early, at: 200ms, jobs: 1}
  - pause: {name: short, at: 400ms, for: 50ms}
  - burst: {name: second, at: 500ms, jobs: 2}
  - burst: {name: third, at: 700ms, jobs: 1}
  - flood: {name: the-flood, at: 1200ms, jobs: 8, job: {width: 1280, height: 1280, batch: 1}}
  - restart: {name: the-restart, at: 1500ms, how: kill}
  - burst: {name: late, at: 2000ms, jobs: 1}
  - pause: {name: again, at: 2100ms, for: 50ms}
  - burst: {name: later, at: 2200ms, jobs: 1}
  - burst: {name: last, at: 2300ms, jobs: 1}
checks:
  - all_jobs_complete: {within: 30s}
  - no_duplicate_work: {}
"#;

fn chaos(folder: &Path, args: &[&str]) -> Output {
    crate::common::chaos().current_dir(folder).args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn runs(reports: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(reports).unwrap().flatten().map(|e| e.path()).filter(|p| p.is_dir()).collect();
    all.sort();
    all
}

#[test]
fn ten_faults_come_down_to_the_two_that_matter() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("ten.yaml"), TEN).unwrap();
    let run = chaos(folder, &["run", "ten.yaml", "-q"]);
    assert_eq!(run.status.code(), Some(1), "{}", said(&run));
    let failed = runs(&folder.join("reports")).remove(0);
    let failed = failed.to_str().unwrap();
    // A bound stops it, and the same command goes on.
    let stopped = chaos(folder, &["minimize", failed, "--output", "small", "--confirm", "1", "--prove", "4", "--most-runs", "5"]);
    assert_eq!(stopped.status.code(), Some(6), "{}", said(&stopped));
    assert!(said(&stopped).contains("the same command goes on"));
    let five = runs(&folder.join("small/runs")).len();
    assert_eq!(five, 5);
    let done = chaos(folder, &["minimize", failed, "--output", "small", "--confirm", "1", "--prove", "4"]);
    let text = said(&done);
    assert!(done.status.success(), "{text}");
    for part in [
        "2 of 10 faults",
        "flood the-flood",
        "restart the-restart",
        "the smallest fails in",
        "without it: fails in 0 of 4 runs (95 %: 0 % to 53 %)",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    // Once more: nothing is left to be run, and the same is said.
    let told = chaos(folder, &["minimize", failed, "--output", "small", "--confirm", "1", "--prove", "4", "--format", "json"]);
    let told: Json = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(
        (&told["complete"], &told["classes"][0], &told["faults_before"]),
        (&Json::from(true), &Json::from("lost"), &Json::from(10))
    );
    assert_eq!(told["runs"], runs(&folder.join("small/runs")).len());
    // The flood need not be as large, and the run not as long.
    let smaller = told["amounts"].as_array().unwrap();
    assert!(
        smaller.iter().any(|a| a["path"] == "faults.4.flood.jobs") && smaller.iter().any(|a| a["path"] == "duration"),
        "{told:#}"
    );
    // What cannot be reset is not gone on with.
    let unset = chaos(folder, &["minimize", failed, "--output", "unset", "--before", "exit 3"]);
    assert_eq!(unset.status.code(), Some(4), "{}", said(&unset));
    assert!(said(&unset).contains("`exit 3` ended with"), "{}", said(&unset));
    let small = std::fs::read_to_string(folder.join("small/experiment.yaml")).unwrap();
    assert!(
        small.contains("the-flood") && small.contains("the-restart") && !small.contains("burst:") && !small.contains("pause:"),
        "{small}"
    );
    let again = chaos(folder, &["run", "small/experiment.yaml", "-q"]);
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
    // Healthy, it passes: there is nothing to make smaller.
    let healthy =
        chaos(folder, &["run", "small/experiment.yaml", "-q", "--reports", "well", "--set", "target.backend.defects=[]"]);
    assert_eq!(healthy.status.code(), Some(0), "{}", said(&healthy));
    let well = runs(&folder.join("well")).remove(0);
    let nothing = chaos(folder, &["minimize", well.to_str().unwrap()]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(said(&nothing).contains("no check failed"));
}

#[test]
fn a_run_is_replayed_with_the_same_plan_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let text = "version: 1\nname: twice\ntime_scale: 0.005\ntarget: {url: embedded}\nload: {rate: 2/m, arrivals: poisson, listen: poll}\nduration: 20m\nfaults: [{burst: {between: 2m..15m, jobs: 5}}]\nchecks: [{all_jobs_complete: {within: 3h}}, {error_rate: {below: 1%}}]\n";
    std::fs::write(folder.join("twice.yaml"), text).unwrap();
    assert_eq!(chaos(folder, &["run", "twice.yaml", "-q"]).status.code(), Some(0));
    let first = runs(&folder.join("reports")).remove(0);
    let replayed = chaos(folder, &["replay", first.to_str().unwrap(), "--reports", "again", "-q", "--format", "json"]);
    assert_eq!(replayed.status.code(), Some(0), "{}", said(&replayed));
    let compared: Json = serde_json::from_slice(&replayed.stdout).unwrap();
    assert_eq!(compared["same_plan"], true);
    let jobs = compared["figures"].as_array().unwrap().iter().find(|f| f["name"] == "jobs.completed").unwrap().clone();
    // The load of both is over when its time is: on a busy machine a job or two later.
    let sides = |pair: &Json| (pair["first"].as_f64().unwrap(), pair["second"].as_f64().unwrap());
    let (first_jobs, second_jobs) = sides(&jobs);
    assert!((first_jobs - second_jobs).abs() <= 0.2 * first_jobs, "{jobs}");
    // At the same of thirteen minutes, to within a second and a half of the clock.
    let (first_burst, second_burst) = sides(&compared["faults"][0]);
    assert!((first_burst - second_burst).abs() < 300.0, "{first_burst} {second_burst}");
    // Against a worse target it is worse, and says so.
    let worse =
        chaos(folder, &["replay", first.to_str().unwrap(), "--reports", "worse", "-q", "--defect", "accepted-then-dropped"]);
    assert_eq!(worse.status.code(), Some(1), "{}", said(&worse));
    assert!(said(&worse).contains("* all_jobs_complete"), "{}", said(&worse));
    let second = runs(&folder.join("worse")).remove(0);
    // By the beginning of an id, too.
    let by_id = |run: &Path| run.file_name().unwrap().to_str().unwrap()[..23].to_owned();
    let both = chaos(folder, &["compare", &by_id(&first), second.to_str().unwrap(), "--format", "json"]);
    assert_eq!(
        serde_json::from_slice::<Json>(&both.stdout).unwrap()["outcomes"],
        serde_json::json!(["passed", "failed"]),
        "{}",
        said(&both)
    );
    let none = chaos(folder, &["replay", "1999"]);
    assert!(none.status.code() == Some(2) && said(&none).contains("no run in reports begins with `1999`"), "{}", said(&none));
    let compare = |a: &Path, b: &Path| chaos(folder, &["compare", a.to_str().unwrap(), b.to_str().unwrap()]).status.code();
    assert_eq!((compare(&first, &second), compare(&second, &first)), (Some(1), Some(0)));
    let other = chaos(folder, &["replay", first.to_str().unwrap(), "--reports", "other", "-q", "--seed", "99"]);
    assert!(said(&other).contains("not the same plan"), "{}", said(&other));
}

//! Several experiments in one call: run in order, one report over all of them, the worst exit code.

use crate::common::{chaos, only_folder};
use serde_json::Value as Json;

/// Two short experiments; the second has a check that fails if asked to.
fn files(folder: &std::path::Path, second: &str) -> [String; 2] {
    let yaml = |name: &str, check: &str| {
        format!(
            "version: 1\nname: {name}\ntime_scale: 0.005\ntarget: {{ url: embedded, backend: {{ speed: 1 }} }}\nload: [{{ name: users, users: 2, jobs: 6 }}]\nchecks:\n  - all_jobs_complete: {{ within: 2h }}\n  - {check}\n"
        )
    };
    let write = |name: &str, check: &str| {
        let path = folder.join(format!("{name}.yaml"));
        std::fs::write(&path, yaml(name, check)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    [write("normal", "error_rate: { below: 1%, acceptable: 3%, failure: 5%, min_jobs: 5 }"), write("peak", second)]
}

fn run_suite(second: &str) -> (Option<i32>, std::path::PathBuf, tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let reports = folder.path().join("reports");
    let output = chaos().arg("run").args(files(folder.path(), second)).arg("--reports").arg(&reports).output().unwrap();
    let at = only_folder(&reports);
    (output.status.code(), at, folder, String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_suite_runs_all_and_reports_over_them() {
    let (code, at, _folder, stdout) = run_suite("no_oom: {}");
    assert_eq!(code, Some(0), "{stdout}");
    let suite: Json = serde_json::from_slice(&std::fs::read(at.join("suite.json")).unwrap()).unwrap();
    let names: Vec<&str> = suite["runs"].as_array().unwrap().iter().filter_map(|r| r["experiment"].as_str()).collect();
    assert_eq!(names, ["normal", "peak"]);
    let text = std::fs::read_to_string(at.join("suite.md")).unwrap();
    for section in [
        "Test Summary",
        "Performance Results",
        "Targets",
        "Resource Utilization",
        "Bottlenecks Identified",
        "Recommendations",
        "Capacity Limits",
        "Success Criteria",
    ] {
        assert!(text.contains(&format!("## {section}")), "{section}: {text}");
    }
    // The first run's mean latency in the experiment's own time: some 82 s, not 0.4 s.
    let row = text.lines().find(|l| l.starts_with("| normal | 2 |")).unwrap();
    assert!(row.contains("| 6 | 100.0 % |") && row.contains("passed"), "{row}");
    let graded = text.lines().find(|l| l.starts_with("| Error Rate |")).unwrap();
    assert!(graded.contains("| 3% | 5% | normal | 0.00 % | target |"), "{graded}");
    assert!(text.contains("not run: baseline, spike, sustained"), "what was not run is not called met");
    let html = std::fs::read_to_string(at.join("suite.html")).unwrap();
    assert!(html.contains("Performance Results") && !html.contains("http://") && !html.contains("https://"));
    let run = suite["runs"][0]["run_id"].as_str().unwrap();
    assert!(at.join(run).join("report.html").exists() && html.contains(run));
    assert!(std::fs::read_to_string(at.join("junit.xml")).unwrap().matches("<testsuite ").count() == 2);
    // All of it can be made again from the journals.
    let again = tempfile::tempdir().unwrap();
    let output = chaos().arg("report").arg(&at).arg("--to").arg(again.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["suite.json", "suite.md", "suite.html", "junit.xml"] {
        let (first, second) = (std::fs::read(at.join(name)).unwrap(), std::fs::read(again.path().join(name)).unwrap());
        assert!(first == second, "{name} differs");
    }
}

#[test]
fn the_worst_run_decides() {
    let (code, _, _folder, stdout) = run_suite("oom_seen: {}");
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.contains("SUITE FAILED"), "{stdout}");
}

#[test]
fn a_mistake_in_any_file_stops_it_before_the_first_run() {
    let folder = tempfile::tempdir().unwrap();
    let reports = folder.path().join("reports");
    let output =
        chaos().arg("run").args(files(folder.path(), "no_such_check: {}")).arg("--reports").arg(&reports).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(!reports.exists(), "nothing was run");
}

//! Real parts: a browser opens the report, Prometheus' own linter reads the metrics, a disk is really full.
//! Where one is missing the test says so; with `CHAOS_TEST_REAL=1` that is a failure.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{chaos, get, real, run, wait_for};

#[test]
fn a_browser_opens_the_report_without_an_error() {
    if !real("chromium", "opening the report in a browser") {
        return;
    }
    let done =
        run(&["experiments/gpu-oom.yaml", "--set", "faults.0.flood.at=2s", "--set", "checks.5.latency_recovers.percentile=50"]);
    let page = format!("file://{}", done.folder.join("report.html").display());
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            "--v=0",
            "--virtual-time-budget=3000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(page)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (dom, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let console: Vec<&str> = log.lines().filter(|l| l.contains("CONSOLE")).collect();
    assert!(console.is_empty(), "{console:?}");
    for drawn in ["Timeline", "Latency of every job", "Process memory", "all_jobs_complete", "class=\"band\"", "<circle"] {
        assert!(dom.contains(drawn), "{drawn} was not drawn");
    }
    assert!(std::fs::metadata(done.folder.join("report.html")).unwrap().len() < 2 << 20);
    let tip = hovered(&done.folder.join("report.html"));
    assert!(tip.contains("display: block") && tip.contains("RSS: ") && tip.contains("phase "), "{tip}");
}

/// What the pointer shows over the timeline.
fn hovered(report: &std::path::Path) -> String {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("hover.html");
    let script = "<script>addEventListener('load', function () { var s = document.querySelector('svg'), b = s.getBoundingClientRect(); s.dispatchEvent(new PointerEvent('pointermove', { clientX: b.left + b.width / 2, clientY: b.top + 60 })); });</script>";
    std::fs::write(&page, std::fs::read_to_string(report).unwrap() + script).unwrap();
    let profile = folder.path().join("profile");
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}", page.display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    dom.split("id=\"tip\"").nth(1).unwrap_or_default().chars().take(600).collect()
}

#[test]
fn a_hostile_target_text_stays_text() {
    if !real("chromium", "hostile text in a browser") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.yaml");
    let evil = "</script><img src=x onerror=document.title='owned'>";
    std::fs::write(&file, format!("version: 1\nname: x\ndescription: \"{evil}\"\ntarget: {{ url: embedded, backend: {{ speed: 1000 }} }}\nload: [{{ users: 1, for: 1s }}]\nchecks: [{{ all_jobs_complete: {{}} }}]\n")).unwrap();
    let done = run(&[file.to_str().unwrap()]);
    let profile = tempfile::tempdir().unwrap();
    let page = format!("file://{}", done.folder.join("report.html").display());
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(page)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    assert!(!dom.contains("<title>owned") && !dom.contains("<img src=\"x\""), "the text became markup");
    assert!(dom.contains("&lt;/script&gt;"), "the text is shown as it is");
}

#[test]
fn prometheus_can_read_the_metrics() {
    if !real("promtool", "Prometheus' own linter over /metrics") {
        return;
    }
    let mut backend =
        chaos().args(["backend", "--speed", "1000", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(backend.stdout.take().unwrap()));
    let address = lines.find_map(|l| l.unwrap().split_once("listening on http://").map(|(_, a)| a.trim().to_owned())).unwrap();
    wait_for("metrics", Duration::from_secs(30), || get(&address, "/metrics").is_some_and(|t| t.contains("job_queue_size")));
    let text = get(&address, "/metrics").unwrap();
    backend.kill().unwrap();
    backend.wait().unwrap();
    let mut linter = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut linter.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let output = linter.wait_with_output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(!complaints.contains("error while linting"), "{complaints}\n{text}");
    for family in include_str!("../plan-metrics.txt").lines() {
        assert!(text.contains(&format!("# TYPE {}", family.trim_end_matches("_total"))), "{family} is missing");
    }
}

#[test]
fn a_full_disk_is_noticed_before_anything_is_broken() {
    if !real("unshare", "a full disk") {
        return;
    }
    let (folder, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let script = format!(
        "mount -t tmpfs -o size=2m none {0} && exec {1} run experiments/gpu-oom.yaml --reports {0}",
        folder.path().display(),
        env!("CARGO_BIN_EXE_chaos")
    );
    let output = Command::new("unshare")
        .args(["-r", "-m", "sh", "-c", &script])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CHAOS_STATE_DIR", state.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    if text.contains("unshare failed") || text.contains("mount:") {
        crate::common::left_out(&format!("a full disk: this machine allows no mount namespace ({text})"));
        return;
    }
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains("No space left") && text.contains("nothing was touched"), "{text}");
}

//! What answers at the URL must be what was started: a verdict about somebody else's server is none.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{chaos, finished, free_port, run, wait_for};

const BINARY: &str = env!("CARGO_BIN_EXE_chaos");

/// An experiment whose target is this command.
fn experiment(folder: &Path, url: &str, command: &str) -> String {
    let file = folder.join("x.yaml");
    let yaml = format!(
        "version: 1\nname: x\ntarget:\n  url: \"{url}\"\n  runtime: {{ process: {{ command: [sh, -c, '{command}'], ready_within: 60s }} }}\n\
         load: [{{ name: users, users: 1 }}]\nfaults: [{{ pause: {{ at: 500ms, for: 500ms }} }}]\nchecks: [{{ all_jobs_complete: {{ within: 60s }} }}]\n"
    );
    std::fs::write(&file, yaml).unwrap();
    file.display().to_string()
}

/// Somebody else's server: says yes to everything, and counts what it is asked.
fn stranger(listener: TcpListener) -> Arc<AtomicUsize> {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let count = count.clone();
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                if stream.read(&mut bytes).is_ok_and(|n| n > 0) {
                    count.fetch_add(1, Ordering::SeqCst);
                    // Whoever does not want the answer is no concern of the stranger's.
                    let _ = stream.write_all(
                        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
                    );
                }
            });
        }
    });
    asked
}

#[test]
fn nothing_is_started_where_somebody_listens_already_and_nothing_is_sent_to_them() {
    let folder = tempfile::tempdir().unwrap();
    // One that nobody else has had a moment ago, and still asks.
    let port = free_port();
    let asked = stranger(TcpListener::bind(("127.0.0.1", port)).unwrap());
    let started = folder.path().join("started");
    // The target finds its port taken and ends, as servers do.
    let command = format!("touch {}; exit 4", started.display());
    for host in ["127.0.0.1", "localhost", "LOCALHOST", "127.1"] {
        let done = run(&[&experiment(folder.path(), &format!("http://{host}:{port}"), &command)]);
        assert_eq!(done.code, Some(4), "{host}: {}", done.trouble());
        let reason = done.result["reason"].to_string();
        assert!(reason.contains(&format!("process {}", std::process::id())) && reason.contains("listens"), "{host}: {reason}");
    }
    assert!(!started.exists(), "the target was not started");
    assert_eq!(asked.load(Ordering::SeqCst), 0, "and the stranger was asked nothing");
}

#[test]
fn somebody_who_answers_in_the_targets_place_is_not_taken_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let (started, go) = (folder.path().join("started"), folder.path().join("go"));
    let command = format!("touch {}; while [ ! -e {} ]; do sleep 0.05; done; exit 4", started.display(), go.display());
    let file = experiment(folder.path(), &format!("http://127.0.0.1:{port}"), &command);
    let reports = tempfile::tempdir().unwrap();
    let child = chaos()
        .args(["run", &file, "--format", "json", "--reports"])
        .arg(reports.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the target's start", Duration::from_secs(60), || started.exists());
    let asked = stranger(TcpListener::bind(("127.0.0.1", port)).unwrap());
    wait_for("the question", Duration::from_secs(30), || asked.load(Ordering::SeqCst) > 3);
    std::fs::write(&go, "").unwrap();
    let done = finished(child.wait_with_output().unwrap(), reports);
    assert_eq!(done.code, Some(4), "{}", done.trouble());
    let reason = done.result["reason"].to_string();
    // Its end may be seen before the stranger is looked at again.
    assert!(reason.contains("ended"), "{reason}");
    assert!(
        done.result["faults"].as_array().is_none_or(|faults| faults.iter().all(|f| f["injected_at_s"].is_null())),
        "{}",
        done.result["faults"]
    );
}

#[test]
fn a_target_that_serves_from_a_child_or_from_an_orphan_of_its_own_is_no_stranger() {
    let folder = tempfile::tempdir().unwrap();
    for how in ["BACKEND; true", "(setsid BACKEND &) ; sleep 60"] {
        let port = free_port();
        let command = how.replace("BACKEND", &format!("{BINARY} backend --speed 400 --listen 127.0.0.1:{port}"));
        let file = experiment(folder.path(), &format!("http://127.0.0.1:{port}"), &command);
        let text = std::fs::read_to_string(&file)
            .unwrap()
            .replace("faults: [{ pause: { at: 500ms, for: 500ms } }]", "faults: [{ burst: { at: 500ms, jobs: 5 } }]");
        std::fs::write(&file, text).unwrap();
        let done = run(&[&file]);
        assert_eq!(done.code, Some(0), "{how}: {}", done.trouble());
        let notes = done.result["notes"].to_string();
        assert!(!notes.contains("cannot be told whether the target"), "{notes}");
    }
}

/// The leader ends at SIGTERM, and its child, which nobody has told, keeps the port until it is ended too.
#[test]
fn a_worker_that_outlives_its_leader_does_not_serve_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (port, pids) = (free_port(), folder.path().join("pids"));
    let command = format!(
        "trap \"exit 0\" TERM; {BINARY} backend --speed 400 --listen 127.0.0.1:{port} & echo $! >> {}; wait",
        pids.display()
    );
    let file = experiment(folder.path(), &format!("http://127.0.0.1:{port}"), &command);
    let restart = "faults: [{ restart: { at: 500ms, how: graceful } }]";
    let text = std::fs::read_to_string(&file).unwrap().replace("faults: [{ pause: { at: 500ms, for: 500ms } }]", restart);
    std::fs::write(&file, text).unwrap();
    let done = run(&[&file]);
    assert!(matches!(done.code, Some(0 | 1)), "the queue was in memory: {}", done.trouble());
    let (started, notes) = (std::fs::read_to_string(&pids).unwrap(), done.result["notes"].to_string());
    assert_eq!(started.lines().count(), 2, "{started}");
    assert!(started.lines().all(|pid| !crate::common::process_exists(pid.parse().unwrap())), "{started}");
    assert!(!notes.contains("cannot be told whether the target"), "{notes}");
}

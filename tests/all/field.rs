//! Situations that people reported, rebuilt: each test names the kind that it stands for.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::common::docker::{Backend, engine};
use crate::common::server::{Said, serve};
use crate::common::{chaos, only_folder, run, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A server that answers each job at once, and whose queue gauge is not a number in every third scrape.
fn nan_in_the_queue() -> String {
    serve(|asked| -> Said {
        let json = |text: String| (200, "application/json", text);
        match asked.path.as_str() {
            "/generate" => {
                std::thread::sleep(Duration::from_millis(50));
                json(serde_json::json!({ "image": format!("an image of {}", asked.body) }).to_string())
            }
            "/metrics" => {
                let odd = ["NaN", "+Inf", "-Inf"][asked.count / 3 % 3];
                let depth = if asked.count.is_multiple_of(3) { odd.to_owned() } else { (asked.count % 2).to_string() };
                (
                    200,
                    "text/plain",
                    format!("# TYPE job_queue_size gauge\njob_queue_size {depth}\njobs_total {}\nbroken NaN\n", asked.count),
                )
            }
            _ => json("{}".to_owned()),
        }
    })
}

const DRIVER: &str = "version: 1
name: nanq
submit:
  steps: [{ path: /generate, json: { prompt: \"{{prompt}}\", seed: \"{{seed31}}\" }, accepted: [200] }]
  answer: result
result: { inline: /image, free_form: true }
queue: { path: /metrics, depth: \"metric job_queue_size\" }
metrics: { path: /metrics }
health: { path: /health }
";

/// Writes a driver and an experiment for it, and returns the experiment's path.
fn files(folder: &Path, url: &str, rest: &str) -> PathBuf {
    std::fs::write(folder.join("d.yaml"), DRIVER).unwrap();
    let text = format!("version: 1\nname: nanqueue\nseed: 1\ntarget:\n  driver: ./d.yaml\n  url: \"{url}\"\n{rest}");
    let path = folder.join("nan.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

/// Numbers that are none are gaps: the verdicts of the rest stand, and the journal can be read by every command.
#[test]
fn a_gauge_that_is_not_a_number_is_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let rest = "load: [{ users: 4, think: 20ms..60ms }]\nsample_every: 50ms\nduration: 3s\nfaults: [{ burst: { at: 1s, jobs: 8 } }]\nguards: [{ queue_depth: { above: 50 } }]\nchecks: [{ all_jobs_complete: { within: 60s } }, { queue_depth: { below: 30 } }]\n";
    let done = run(&[files(folder.path(), &nan_in_the_queue(), rest).to_str().unwrap()]);
    assert_eq!(done.verdict("all_jobs_complete"), "passed", "{}", done.trouble());
    assert_eq!(done.verdict("queue_depth"), "passed", "{}", done.trouble());
    let journal = std::fs::read_to_string(done.folder.join("events.jsonl")).unwrap();
    assert!(journal.contains("which is no number"), "the gap is told");
    assert!(!journal.contains("\"queue.depth\":null"));
    let again = chaos().args(["report", "--format", "json"]).arg(&done.folder).output().unwrap();
    let again: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again["checks"], done.result["checks"]);
    let findings = done.result["findings"].to_string();
    assert!(findings.contains("queue") && findings.contains("no number"), "{findings}");
}

/// The same, with a container paused and chaos killed meanwhile: the guardian can read what it has to put back.
#[test]
fn a_guardian_puts_back_whatever_the_target_counts() {
    if !engine("a pause beside a gauge that is not a number") {
        return;
    }
    let backend = Backend::allowed(&[]);
    let folder = tempfile::tempdir().unwrap();
    let rest = format!(
        "  runtime: {{ docker: {{ container: {} }} }}\nload: [{{ users: 4, think: 20ms..60ms }}]\nsample_every: 50ms\nduration: 60s\nfaults: [{{ pause: {{ at: 500ms, for: 50s }} }}]\nchecks: [{{ all_jobs_complete: {{ within: 10s }} }}]\n",
        backend.name
    );
    let file = files(folder.path(), &nan_in_the_queue(), &rest);
    let reports = folder.path().join("reports");
    std::fs::create_dir(&reports).unwrap();
    let mut child = chaos()
        .args(["run", "-q", "--reports"])
        .arg(&reports)
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let paused = || backend.inspect("{{.State.Paused}}") == "true";
    wait_for("the pause", Duration::from_secs(60), paused);
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    // Five seconds are promised.
    wait_for("the container to go on", Duration::from_secs(5), || !paused());
    let run = only_folder(&reports);
    // Its reports come one after the other; it has let go of the journal when it is done with the run.
    let let_go = || std::fs::File::open(run.join("events.jsonl")).is_ok_and(|journal| journal.try_lock().is_ok());
    wait_for("the guardian's end", Duration::from_secs(60), || run.join("result.json").exists() && let_go());
    let said = chaos().arg("revert").arg(&run).output().unwrap();
    assert_eq!(
        (said.status.code(), String::from_utf8_lossy(&said.stdout).contains("nothing is left")),
        (Some(0), true),
        "{said:?}"
    );
}

/// A journal whose undo cannot be read, or whose plan is of another version: it blocks and says so, or is put back; it is
/// never called in order.
#[test]
fn a_damaged_journal_blocks_until_somebody_has_looked() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    std::fs::create_dir(&run).unwrap();
    let marker = folder.path().join("marker");
    std::fs::write(&marker, "broken").unwrap();
    let undo = serde_json::json!({ "revert": ["rm", "-f", marker.to_str().unwrap()], "shell": false, "timeout": "30s" });
    let started = r#"{"t":0.0,"event":{"run_started":{"schema":1,"run_id":"r","version":"0.9","began":"2026-01-01T00:00:00Z","overrides":[],"host":"h","plan":{"of_tomorrow":1}}}}"#;
    let prepared =
        serde_json::json!({ "t": 1.0, "event": { "fault_prepared": { "fault": "exec", "kind": "exec", "undo": undo } } })
            .to_string();
    let injecting = r#"{"t":1.0,"event":{"fault_injecting":{"fault":"exec","planned_t":1.0}}}"#;
    let revert = |more: &[&str]| chaos().arg("revert").arg(&run).args(more).output().unwrap();
    // The undo is damaged.
    std::fs::write(run.join("events.jsonl"), [started, &prepared[..prepared.len() - 9], injecting, ""].join("\n")).unwrap();
    let said = revert(&[]);
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(5), "{text}");
    assert!(text.contains("line 2") && text.contains("--forget"), "{text}");
    assert!(marker.exists());
    let said = revert(&["--forget"]);
    assert_eq!(said.status.code(), Some(0), "{said:?}");
    // The plan is of another version, and the undo is not: it is put back.
    std::fs::write(run.join("events.jsonl"), [started, &prepared, injecting, ""].join("\n")).unwrap();
    let said = revert(&[]);
    let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(!marker.exists(), "{text}");
    assert_eq!(said.status.code(), Some(0), "{text}");
    assert!(text.contains("put back: exec"), "{text}");
    assert_eq!(revert(&[]).status.code(), Some(0), "again, harmless");
    // There is no journal any more.
    std::fs::remove_file(run.join("events.jsonl")).unwrap();
    let said = revert(&[]);
    assert_eq!(said.status.code(), Some(5), "{said:?}");
}

//! What a target may send is bounded, and what is compared later is never cut.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::backend::Backend;
use crate::common::server::{Said, serve};
use crate::common::{chaos, run};

/// A server whose job ids have so many characters, the telling ones at their end, as signed tokens have.
fn with_ids_of(length: usize) -> String {
    serve(move |asked| -> Said {
        let json = |text: String| (200, "application/json", text);
        if asked.path == "/jobs" {
            let number = format!("{:08}", asked.count);
            return json(format!("{{\"id\": \"{}{number}\"}}", "a".repeat(length - number.len())));
        }
        match asked.path.strip_prefix("/jobs/") {
            // One that was cut is not known.
            Some(id) if id.len() != length => (404, "application/json", "{}".to_owned()),
            Some(id) => json(format!("{{\"id\": \"{id}\", \"status\": \"completed\"}}")),
            None => json("{}".to_owned()),
        }
    })
}

const DRIVER: &str = "version: 1
name: tokens
submit:
  steps: [{ path: /jobs, json: { prompt: \"{{prompt}}\" }, accepted: [200] }]
  id: /id
status: { path: \"/jobs/{{id}}\", every: 20ms, state: /status, states: { completed: completed } }
health: { path: /health }
";

fn experiment(folder: &Path, url: &str) -> PathBuf {
    std::fs::write(folder.join("d.yaml"), DRIVER).unwrap();
    let path = folder.join("x.yaml");
    let text = format!(
        "version: 1\nname: tokens\nseed: 1\ntarget: {{ driver: ./d.yaml, url: \"{url}\" }}\nload: [{{ users: 2, think: 20ms..60ms, listen: poll }}]\nduration: 1500ms\nfaults: [{{ burst: {{ at: 500ms, jobs: 4 }} }}]\nchecks: [{{ all_jobs_complete: {{ within: 60s }} }}, {{ error_rate: {{ below: 5% }} }}]\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn ids_are_kept_whole_up_to_their_bound() {
    for length in [700, 5_000, 8_192] {
        let folder = tempfile::tempdir().unwrap();
        let done = run(&[experiment(folder.path(), &with_ids_of(length)).to_str().unwrap()]);
        assert_eq!(done.verdict("all_jobs_complete"), "passed", "{length}: {}", done.trouble());
    }
}

#[test]
fn an_id_beyond_the_bound_is_refused_with_a_word_and_no_job_is_called_lost() {
    let folder = tempfile::tempdir().unwrap();
    let done = run(&[experiment(folder.path(), &with_ids_of(8_193)).to_str().unwrap()]);
    assert_ne!(done.code, Some(0), "{}", done.trouble());
    let journal = std::fs::read_to_string(done.folder.join("events.jsonl")).unwrap();
    assert!(journal.contains("has 8193 bytes, and chaos keeps no more than 8192"), "it is said");
    assert_eq!(done.result["jobs"]["lost"], 0, "{}", done.result["jobs"]);
}

/// A server whose labels hold ids has new series at each scrape. What is judged by comes last in the alphabet, and is read all the
/// same; the report stays small.
#[test]
fn series_without_end_hide_nothing_that_is_judged_by() {
    let folder = tempfile::tempdir().unwrap();
    let (jobs, scrapes) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let url = serve(move |asked| -> Said {
        let json = |text: String| (200, "application/json", text);
        match asked.path.as_str() {
            "/metrics" => {
                let scrape = scrapes.fetch_add(1, Ordering::Relaxed);
                let mut text = String::new();
                (0..2_000).for_each(|n| text.push_str(&format!("aaa_job_seconds{{id=\"{scrape}-{n}\"}} {n}\n")));
                let done = jobs.load(Ordering::Relaxed);
                // Another start, and nothing else says so, after a few jobs: so few are done on any machine.
                let start = if done > 5 { 2_000_000_000 } else { 1_000_000_000 };
                (
                    200,
                    "text/plain",
                    format!("{text}process_start_time_seconds {start}\nzzz_jobs_total{{kind=\"image\"}} {done}\n"),
                )
            }
            "/jobs" => json(format!("{{\"id\": \"job-{}\"}}", jobs.fetch_add(1, Ordering::Relaxed))),
            path => json(format!("{{\"id\": \"{}\", \"status\": \"completed\"}}", path.trim_start_matches("/jobs/"))),
        }
    });
    std::fs::write(folder.path().join("d.yaml"), format!("{DRIVER}metrics: {{ path: /metrics }}\n")).unwrap();
    let file = folder.path().join("x.yaml");
    let text = format!(
        "version: 1\nname: labels\nseed: 1\ntarget: {{ driver: ./d.yaml, url: \"{url}\" }}\nload: [{{ users: 2, think: 20ms..60ms, listen: poll }}]\nduration: 2500ms\nchecks: [{{ no_crash: {{}} }}, {{ metrics_live: {{ names: [zzz_jobs_total], jobs: 3 }} }}]\n"
    );
    std::fs::write(&file, text).unwrap();
    let done = run(&[file.to_str().unwrap()]);
    assert_eq!((done.verdict("no_crash"), done.verdict("metrics_live")), ("inconclusive", "passed"), "{}", done.trouble());
    let journal = std::fs::read_to_string(done.folder.join("events.jsonl")).unwrap();
    assert!(journal.contains("more than 400 series") && journal.len() < 1 << 20, "{} bytes", journal.len());
}

/// The scheme of a URL may be written in capital letters; the WebSocket of the reference backend is reached all the same.
#[test]
fn a_scheme_in_capital_letters_is_the_same_scheme() {
    let backend = Backend::on("127.0.0.1");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.yaml");
    std::fs::write(&file, format!("version: 1\nname: x\ntarget: {{ url: \"HTTP://127.0.0.1:{}\" }}\nload: [{{ users: 2 }}]\nduration: 2s\nfaults: [{{ burst: {{ at: 500ms, jobs: 4 }} }}]\nchecks: [{{ listeners_stable: {{}} }}, {{ all_jobs_complete: {{ within: 60s }} }}]\n", backend.port)).unwrap();
    let done = run(&[file.to_str().unwrap()]);
    assert_eq!(done.code, Some(0), "{}", done.trouble());
    let journal = std::fs::read_to_string(done.folder.join("events.jsonl")).unwrap();
    assert!(journal.contains("\"listener_back\"") && !journal.contains("listener_tried"), "its listeners are connected");
}

/// What a run that died holds in reserve is given back before its reports are made again; times are divided by no zero.
#[test]
fn reports_are_made_of_what_a_dead_run_left() {
    let folder = tempfile::tempdir().unwrap();
    let done = run(&[experiment(folder.path(), &with_ids_of(40)).to_str().unwrap()]);
    std::fs::write(done.folder.join(".reserve"), "x").unwrap();
    let report = |what: &str| {
        let output = chaos().arg("report").arg(&done.folder).output().unwrap();
        assert!(output.status.code().is_some_and(|code| code != 101), "{what}: {output:?}");
        output
    };
    assert!(report("a reserve").status.success());
    assert!(!done.folder.join(".reserve").exists(), "the reserve is for the reports");
    let path = done.folder.join("events.jsonl");
    let journal = std::fs::read_to_string(&path).unwrap();
    assert!(journal.contains("\"time_scale\":1.0"));
    for scale in ["0.0", "-1.0", "1e999"] {
        std::fs::write(&path, journal.replacen("\"time_scale\":1.0", &format!("\"time_scale\":{scale}"), 1)).unwrap();
        let output = report(scale);
        assert_eq!(output.status.code(), Some(2), "{scale}: {output:?}");
    }
}

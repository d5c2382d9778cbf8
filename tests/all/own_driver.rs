//! The driver in docs/drivers.md for a backend that nobody has heard of, run as it stands there; and what `init` and `doctor`
//! make of it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::common::chaos;
use crate::common::server::serve_routes;

const KEY: &str = "atelier-key-of-the-tests";
const AT_ONCE: usize = 3;

#[derive(Default)]
struct Atelier {
    busy: AtomicUsize,
    done: AtomicUsize,
}

async fn paint(State(atelier): State<Arc<Atelier>>, headers: HeaderMap, Json(order): Json<Value>) -> Response {
    if headers.get("x-api-key").is_none_or(|key| key != KEY) {
        return (StatusCode::UNAUTHORIZED, Json(json!({ "warum": "kein Schluessel" }))).into_response();
    }
    if atelier.busy.fetch_add(1, Ordering::SeqCst) >= AT_ONCE {
        atelier.busy.fetch_sub(1, Ordering::SeqCst);
        let status = StatusCode::from_u16(420).unwrap();
        return (status, Json(json!({ "komm_wieder_in": 1 }))).into_response();
    }
    tokio::time::sleep(std::time::Duration::from_millis(120)).await;
    atelier.busy.fetch_sub(1, Ordering::SeqCst);
    let number = atelier.done.fetch_add(1, Ordering::SeqCst);
    let size = [order["breite"].as_u64().unwrap(), order["hoehe"].as_u64().unwrap()].map(|n| n as u32);
    let picture = chaos::backend::image::png(size[0], size[1], order["zufall"].as_u64().unwrap(), "");
    let answer = json!({ "ergebnis": { "bild": chaos::driver::inputs::base64(&picture) } });
    ([("x-auftrag", format!("A-{number}"))], Json(answer)).into_response()
}

async fn crowd(State(atelier): State<Arc<Atelier>>) -> Json<Value> {
    Json(json!({ "wartende": atelier.busy.load(Ordering::SeqCst).saturating_sub(AT_ONCE) }))
}

fn atelier() -> SocketAddr {
    let routes = Router::new()
        .route("/v9/paint", put(paint))
        .route("/andrang", get(crowd))
        .route("/lebst-du", get(|| async { "ja" }))
        .with_state(Arc::default());
    serve_routes(routes)
}

/// The file as the documentation has it.
fn documented() -> String {
    let docs = include_str!("../../docs/drivers.md");
    let block = docs.split("```yaml\n").find(|block| block.starts_with("# atelier.yaml")).unwrap();
    let text = block.split("```").next().unwrap().to_owned();
    assert!(text.lines().count() < 40, "the documentation promises fewer than 40 lines");
    text
}

fn write(folder: &Path, address: SocketAddr, driver: &str) -> std::path::PathBuf {
    std::fs::write(folder.join("atelier.yaml"), driver).unwrap();
    let text = format!(
        "version: 1\nname: x\ntarget: {{ driver: ./atelier.yaml, url: \"http://{address}\" }}\n\
         load: [{{ users: 2, for: 3s, job: {{ width: 64, height: 64 }} }}]\n\
         faults: [{{ burst: {{ at: 1s, jobs: 12, job: {{ width: 64, height: 64 }} }} }}]\n\
         checks: [{{ all_jobs_complete: {{ within: 60s }} }}, {{ backpressure_is_honest: {{}} }}]\n"
    );
    let file = folder.join("x.yaml");
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn the_documented_driver_runs_as_it_stands() {
    let (folder, address) = (tempfile::tempdir().unwrap(), atelier());
    let file = write(folder.path(), address, &documented());
    let reports = tempfile::tempdir().unwrap();
    let mut command = chaos();
    command.env("ATELIER_KEY", KEY).args(["run", "--quiet", "--format", "json", "--reports"]).arg(reports.path()).arg(&file);
    let run = crate::common::finished(command.output().unwrap(), reports);
    assert!(run.is_healthy_but_for(&[]), "{}", run.trouble());
    // How many there is room for depends on how fast they come; of a dozen at once some are refused.
    assert!(run.result["jobs"]["completed"].as_u64() >= Some(5), "{}", run.result["jobs"]);
    assert!(run.result["jobs"]["rejected"].as_u64() >= Some(1), "{}", run.result["jobs"]);
    assert_eq!(run.result["jobs"]["errors"], 0, "{}", run.result["jobs"]);
    assert_eq!(run.result["jobs"]["mismatched"], 0, "{}", run.result["jobs"]);
}

/// What `doctor` prints, and its exit code.
fn doctor(file: &Path, key: &str) -> (Option<i32>, String) {
    let reports = tempfile::tempdir().unwrap();
    let mut command = chaos();
    command.env("ATELIER_KEY", key).args(["doctor", "--patience", "60s", "--reports"]).arg(reports.path()).arg(file);
    let output = command.output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn doctor_tries_each_part_and_shows_the_request_and_the_answer_of_one_that_fails() {
    let (folder, address) = (tempfile::tempdir().unwrap(), atelier());
    let right = documented();
    let (code, text) = doctor(&write(folder.path(), address, &right), KEY);
    assert_eq!(code, Some(0), "{text}");
    for line in [
        "ok      target",
        "absent  runtime",
        "ok      health",
        "ok      queue",
        "ok      submission",
        "ok      end of the job",
        "ok      result",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    let (code, text) = doctor(&write(folder.path(), address, &right), "another-key-of-mine");
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("FAILED  submission") && text.contains("401") && text.contains("kein Schluessel"), "{text}");
    assert!(text.contains("sent: PUT /v9/paint {\"was\":\"chaos-"), "{text}");
    assert!(!text.contains("another-key-of-mine"), "a secret is shown\n{text}");
    let wrong = [
        ("path: /v9/paint", "path: /v8/paint", "FAILED  submission", "404"),
        ("header X-Auftrag", "header X-Nummer", "FAILED  submission", "no job id at `header X-Nummer`"),
        ("/ergebnis/bild", "/ergebnis/foto", "FAILED  result", "nothing at /ergebnis/foto"),
        ("path: /andrang", "path: /gedraenge", "absent  queue", "cannot be read"),
        ("path: /lebst-du", "path: /bist-du-da", "FAILED  target", "/bist-du-da answered 404"),
    ];
    for (from, to, line, reason) in wrong {
        let (code, text) = doctor(&write(folder.path(), address, &right.replace(from, to)), KEY);
        assert!(text.contains(line) && text.contains(reason) && text.contains("→"), "{from} → {to}:\n{text}");
        assert_eq!(code, Some(if line.starts_with("FAILED") { 4 } else { 0 }), "{text}");
    }
}

#[test]
fn a_wrong_driver_file_is_told_before_anything_is_sent() {
    let (folder, address) = (tempfile::tempdir().unwrap(), atelier());
    let wrong = [
        ("{{prompt}}", "{{promt}}", "did you mean `{{prompt}}`"),
        ("  answer: result\n", "", "nothing tells how an accepted job ends"),
        ("header X-Auftrag", "regex A-\\d+", "needs a group"),
        ("headers: {", "effects: writes to a bucket\nheaders: {", "effects: allowed"),
        ("${secret:ATELIER_KEY}", "${secret:NOBODY_SET_THIS}", "is not set in the environment"),
    ];
    for (from, to, reason) in wrong {
        let file = write(folder.path(), address, &documented().replace(from, to));
        let output = chaos().env("ATELIER_KEY", KEY).arg("validate").arg(&file).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{from} → {to}: {text}");
        assert!(text.contains(reason), "{from} → {to}: {text}");
    }
}

#[test]
fn init_writes_what_validate_accepts_and_nothing_over_what_is_there() {
    let (folder, address) = (tempfile::tempdir().unwrap(), atelier());
    let init = |more: &[&str]| {
        chaos().arg("init").arg(format!("http://{address}")).arg("--into").arg(folder.path()).args(more).output().unwrap()
    };
    let first = init(&[]);
    assert!(first.status.success(), "{first:?}");
    let file = folder.path().join("first.yaml");
    let valid = chaos().arg("validate").arg(&file).output().unwrap();
    assert!(valid.status.success(), "{valid:?}");
    std::fs::write(&file, "mine").unwrap();
    let second = init(&[]);
    assert_eq!(second.status.code(), Some(2), "{second:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    assert!(init(&["--force"]).status.success());
    let nobody = chaos().args(["init", "http://127.0.0.1:1"]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(4), "{nobody:?}");
    let nothing = chaos().arg("init").output().unwrap();
    assert_eq!(nothing.status.code(), Some(2), "{nothing:?}");
}

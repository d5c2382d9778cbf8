//! Ways in which servers lead from a job to its result: statuses beside 200, a `Location` for the job, redirects, whole URLs.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::extract::{Path as Segment, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

use crate::common::server::serve_routes;
use crate::common::{Run, run};
use chaos::journal::event::{Event, JobState, Line};

/// How often each job has been asked about; a job is queued, then running, then done.
type Asked = Arc<Mutex<HashMap<u32, u32>>>;

/// A server with one way of saying where the result is.
fn server(way: &'static str) -> String {
    let asked = Asked::default();
    let submit = move |State(asked): State<Asked>| async move {
        let mut asked = asked.lock().unwrap();
        let number = u32::try_from(asked.len()).unwrap();
        asked.insert(number, 0);
        match way {
            "location" => (StatusCode::ACCEPTED, [("location", format!("/jobs/{number}"))]).into_response(),
            "relative location" => (StatusCode::CREATED, [("location", format!("jobs/{number}"))]).into_response(),
            _ => (StatusCode::ACCEPTED, Json(json!({ "id": number }))).into_response(),
        }
    };
    let unreached =
        |status: StatusCode| (status, Html(format!("<h1>{status}</h1><hr><center>nginx/1.25.3</center>"))).into_response();
    let status = move |State(asked): State<Asked>, Segment(number): Segment<u32>, headers: HeaderMap| async move {
        let times = {
            let mut asked = asked.lock().unwrap();
            let Some(times) = asked.get_mut(&number) else { return StatusCode::NOT_FOUND.into_response() };
            *times += 1;
            *times
        };
        let host = headers["host"].to_str().unwrap().to_owned();
        // For a moment nobody is behind the gateway; it knows no route then, or does not reach it.
        let reached = if way == "gateway" && times > 3 { times - 2 } else { times };
        let word = ["queued", "running"].get(reached as usize / 2).copied();
        match (way, word) {
            ("gateway", _) if times == 2 => unreached(StatusCode::NOT_FOUND),
            ("gateway", _) if times == 3 => unreached(StatusCode::BAD_GATEWAY),
            ("gateway", None) => done(&format!("/behind/{number}")),
            // It tells of the end, and a moment later of what came out.
            ("told later", None) if times < 7 => Json(json!({ "status": "completed", "result_url": null })).into_response(),
            ("unreached", None) => done(&format!("/unreached/{number}")),
            ("relative location", None) => {
                (StatusCode::SEE_OTHER, [("location", format!("../results/{number}"))]).into_response()
            }
            ("location" | "pending", Some(word)) => (StatusCode::ACCEPTED, Json(json!({ "status": word }))).into_response(),
            ("location", None) => (StatusCode::SEE_OTHER, [("location", format!("../results/{number}"))]).into_response(),
            ("session over", None) => (StatusCode::SEE_OTHER, [("location", "/login")]).into_response(),
            (_, Some(word)) => Json(json!({ "status": word, "progress": f64::from(times) / 4.0 })).into_response(),
            ("absolute", None) => done(&format!("http://{host}/results/{number}")),
            ("elsewhere", None) => done(&format!("http://inside.invalid:8080/results/{number}")),
            ("moved", None) => done(&format!("/moved/{number}")),
            ("to a login", None) => done("/guarded"),
            (_, None) => done(&format!("/results/{number}")),
        }
    };
    let result = |Segment(number): Segment<u32>| async move { vec![number.to_le_bytes()[0]; 9_000 + number as usize] };
    let fetched: Arc<Mutex<HashMap<u32, u32>>> = Arc::default();
    let behind = move |Segment(number): Segment<u32>| async move {
        let times = {
            let mut fetched = fetched.lock().unwrap();
            let times = fetched.entry(number).or_default();
            *times += 1;
            *times
        };
        match times {
            1 => unreached(StatusCode::BAD_GATEWAY),
            2 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            _ => vec![number.to_le_bytes()[0]; 9_000 + number as usize].into_response(),
        }
    };
    let moved = |Segment(number): Segment<u32>| async move {
        (StatusCode::FOUND, [("location", format!("/results/{number}"))]).into_response()
    };
    let routes = Router::new()
        .route("/jobs", post(submit))
        .route("/jobs/{number}", get(status))
        .route("/results/{number}", get(result))
        .route("/moved/{number}", get(moved))
        .route("/behind/{number}", get(behind))
        .route("/unreached/{number}", get(move || async move { unreached(StatusCode::BAD_GATEWAY) }))
        .route("/guarded", get(|| async { (StatusCode::FOUND, [("location", "/login")]) }))
        .route("/login", get(|| async { Html("<form>".repeat(1000)) }))
        .with_state(asked);
    format!("http://{}", serve_routes(routes))
}

fn done(url: &str) -> Response {
    Json(json!({ "status": "completed", "result_url": url })).into_response()
}

fn tried(folder: &Path, way: &'static str, driver: &str) -> Run {
    tried_with(folder, way, driver, "{ at: 300ms, ", "60s")
}

fn tried_with(folder: &Path, way: &'static str, driver: &str, moment: &str, within: &str) -> Run {
    let states = "states: { queued: queued, running: running, completed: completed }";
    let driver = format!(
        "version: 1\nname: following\nsubmit:\n  steps: [{{ path: /jobs, json: {{ prompt: \"{{{{prompt}}}}\" }}, accepted: [201, 202] }}]\n{}\n",
        driver.replace("STATES", states)
    );
    std::fs::write(folder.join("d.yaml"), driver).unwrap();
    let text = format!(
        "version: 1\nname: following\nseed: 1\ntarget: {{ driver: ./d.yaml, url: \"{}\" }}\nload: [{{ users: 2, think: 20ms..60ms, listen: poll }}]\nduration: 1500ms\nfaults: [{{ burst: {moment}jobs: 3, listen: poll }} }}]\nchecks: [{{ all_jobs_complete: {{ within: {within} }} }}]\n",
        server(way)
    );
    let path = folder.join("x.yaml");
    std::fs::write(&path, text).unwrap();
    run(&[path.to_str().unwrap()])
}

const BY_ID: &str = "  id: /id\nstatus: { path: \"/jobs/{{id}}\", every: 50ms, STATES }\nresult: { path: \"/results/{{id}}\" }";
const BY_URL: &str = "  id: /id\nstatus: { path: \"/jobs/{{id}}\", every: 50ms, STATES, capture: { url: /result_url } }\nresult: { path: \"{{url}}\" }";
const BY_LOCATION: &str =
    "  id: header Location\nstatus: { path: \"{{id}}\", every: 50ms, STATES }\nresult: { path: \"{{id}}\" }";
#[test]
fn a_job_is_followed_to_its_result_in_each_of_these_ways() {
    let ways = [
        ("pending", BY_ID),
        ("location", BY_LOCATION),
        ("relative location", BY_LOCATION),
        ("absolute", BY_URL),
        ("path", BY_URL),
        ("moved", BY_URL),
        ("told later", BY_URL),
        ("gateway", BY_URL),
    ];
    for (way, driver) in ways {
        let folder = tempfile::tempdir().unwrap();
        let done = tried(folder.path(), way, driver);
        assert!(done.code == Some(0) && done.result["jobs"]["completed"].as_u64() > Some(3), "{way}: {}", done.trouble());
        // Between their acceptance and their end jobs were seen to wait, and at work.
        let journal = std::fs::read_to_string(done.folder.join("events.jsonl")).unwrap();
        let lines = journal.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        let seen: Vec<JobState> = lines
            .filter_map(|line| match line.event {
                Event::Progress { view, .. } => Some(view.state),
                _ => None,
            })
            .collect();
        assert!(seen.contains(&JobState::Queued) && seen.contains(&JobState::Running), "{way}: {seen:?}");
    }
}

/// Who would listen, and cannot where nothing is pushed, asks as often as the driver says.
#[test]
fn a_target_that_tells_nothing_is_asked_as_often_as_its_driver_says() {
    let folder = tempfile::tempdir().unwrap();
    tried(folder.path(), "path", BY_ID);
    let path = folder.path().join("x.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let listening = text.replace(", listen: poll", "");
    assert_ne!(listening, text);
    std::fs::write(&path, listening).unwrap();
    let done = run(&[path.to_str().unwrap()]);
    // Four questions at 50 ms, and not one after two seconds.
    let p50 = done.result["latency"]["p50_s"].as_f64().unwrap_or_else(|| panic!("{}", done.result["latency"]));
    assert!(done.code == Some(0) && p50 < 1.5, "{p50} s: {}", done.trouble());
}

/// Progress that runs from 0 to 1 fires no trigger on percent, and that is said; a driver may say what it runs to.
#[test]
fn progress_as_a_fraction_is_told_or_asked_about() {
    for (driver, code) in [(BY_ID.to_owned() + "\n", 4), (BY_ID.replace("every: 50ms", "every: 50ms, progress_of: 1"), 0)] {
        let driver = driver.replace("every: 50ms", "every: 50ms, progress: /progress");
        let folder = tempfile::tempdir().unwrap();
        let done = tried_with(folder.path(), "path", &driver, "{ when: \"job.progress >= 50%\", timeout: 1500ms, ", "60s");
        assert_eq!(done.code, Some(code), "{driver}: {}", done.trouble());
        assert!(code == 0 || done.trouble().contains("the driver says `progress_of: 1`"), "{}", done.trouble());
    }
}

/// What is somewhere else is not fetched, and the sentence says how the driver can do without.
#[test]
fn a_result_at_another_host_is_told_and_not_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let done = tried(folder.path(), "elsewhere", BY_URL);
    let told = done.trouble();
    assert!(done.finds("all_jobs_complete"), "{told}");
    assert!(
        told.contains("the target names http://inside.invalid:8080/results/") && told.contains("its path alone is /results/"),
        "{told}"
    );
    // As the sentence says it.
    let by_path = BY_URL.replace("url: /result_url", "url: 'regex https?://[^/\"]+([^\"]+)'");
    let done = tried(folder.path(), "elsewhere", &by_path);
    assert!(done.is_healthy_but_for(&[]), "{}", done.trouble());
}

/// A result that a gateway keeps back for as long as the file allows is none; so is one of which the backend itself says that there is none.
#[test]
fn a_result_that_is_asked_for_in_vain_to_the_end_cannot_be_had() {
    let nowhere = BY_ID.replace("/results/", "/none/");
    for (driver, says) in [(BY_URL, "cannot be had: not had within"), (nowhere.as_str(), "cannot be had: status 404")] {
        let folder = tempfile::tempdir().unwrap();
        let done = tried_with(folder.path(), "unreached", driver, "{ at: 300ms, ", "2s");
        assert!(done.finds("all_jobs_complete") && done.trouble().contains(says), "{}", done.trouble());
    }
}

/// What leads to a login leads to no result, and ends no job.
#[test]
fn a_login_is_no_result() {
    for (way, driver, says) in
        [("session over", BY_ID, "accepted, and never ended"), ("to a login", BY_URL, "redirects to a page of HTML (/login)")]
    {
        let folder = tempfile::tempdir().unwrap();
        let done = tried_with(folder.path(), way, driver, "{ at: 300ms, ", "3s");
        let told = done.trouble();
        assert!(done.finds("all_jobs_complete") && told.contains(says), "{way}: {told}");
    }
}

//! What servers of the field answer with: ends that are no ends, packed bodies, redirects, labels, and what belongs to somebody else.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::Path as Segment;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::common::server::{serve, serve_routes};
use crate::common::{Run, run};

/// A run of a second against it; `target` are the driver and its parameters.
fn tried(url: &str, target: &str, rest: &str) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.yaml");
    let text = format!(
        "version: 1\nname: answers\nseed: 1\ntarget: {{ url: \"{url}\", {target} }}\nload: [{{ users: 2, think: 20ms..40ms, job: {{ tokens: 8 }} }}]\nduration: 1200ms\n{rest}"
    );
    std::fs::write(&path, text).unwrap();
    run(&[path.to_str().unwrap()])
}

const COMPLETE: &str = "checks: [{ all_jobs_complete: { within: 10s } }]\n";
const HTTP: &str = "driver: http, with: { path: /generate, inline: /image, free_form: true }";

/// Every fourth job is given up by the engine, which says so in the reason for the end, with 200 and a last word.
#[test]
fn a_stream_that_the_engine_gave_up_is_no_completed_job() {
    let url = serve(|asked| {
        let piece = |text: &str, reason: &str| {
            format!("data: {{\"choices\": [{{\"delta\": {{\"content\": \"{text}\"}}, \"finish_reason\": {reason}}}]}}\n\n")
        };
        let reason = if asked.count.is_multiple_of(4) { "\"abort\"" } else { "\"stop\"" };
        let words =
            |count: usize| (0..count).map(|at| piece(&format!("word{at} of {} ", asked.count), "null")).collect::<String>();
        match asked.path.as_str() {
            "/v1/chat/completions" => (200, "text/event-stream", words(4) + &piece("", reason) + "data: [DONE]\n\n"),
            _ => (200, "application/json", "{}".to_owned()),
        }
    });
    let done = tried(&url, "driver: openai, with: { model: m }", COMPLETE);
    assert!(done.finds("all_jobs_complete"), "{}", done.trouble());
    assert!(done.trouble().contains("with `abort`, which is no good end"), "{}", done.trouble());
}

/// The routes of a server with one place for jobs.
fn routes(generate: axum::routing::MethodRouter) -> String {
    format!("http://{}", serve_routes(Router::new().route("/generate", generate).route("/health", get(|| async { "well" }))))
}

fn image(asked: &Value) -> String {
    json!({ "image": format!("a picture of {}", asked["prompt"]) }).to_string()
}

#[test]
fn a_packed_answer_that_nobody_asked_for_is_read_or_named() {
    let packed = routes(post(|Json(asked): Json<Value>| async move {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(image(&asked).as_bytes()).unwrap();
        ([("content-encoding", "gzip"), ("content-type", "application/json")], out.finish().unwrap())
    }));
    let done = tried(&packed, HTTP, COMPLETE);
    assert!(done.is_healthy_but_for(&[]), "{}", done.trouble());
    assert!(done.result["jobs"]["completed"].as_u64() > Some(5), "{}", done.result["jobs"]);
    // What only sounds like it.
    let named = routes(post(|Json(asked): Json<Value>| async move { ([("content-encoding", "UTF-8")], image(&asked)) }));
    let done = tried(&named, HTTP, COMPLETE);
    assert!(done.is_healthy_but_for(&[]), "{}", done.trouble());
    let other = routes(post(|| async { ([("content-encoding", "br")], vec![0x8b_u8, 2, 0x80, 1, 2, 3]) }));
    let done = tried(&other, HTTP, COMPLETE);
    assert!(done.trouble().contains("encoded as `br`, for which nobody asked"), "{}", done.trouble());
}

#[test]
fn where_a_submission_is_redirected_to_is_said() {
    let moved = routes(post(|| async { (StatusCode::TEMPORARY_REDIRECT, [("location", "/generate/")]).into_response() }));
    let done = tried(&moved, HTTP, COMPLETE);
    assert_ne!(done.code, Some(0));
    let told = format!("{}{}", done.trouble(), done.result);
    assert!(told.contains("it is redirected to /generate/: use that path"), "{told}");
}

/// A job from a cache is over before its submission is answered: its end is pushed first.
#[test]
fn an_end_that_is_pushed_before_the_answer_was_told() {
    let (ends, _) = tokio::sync::broadcast::channel::<String>(64);
    let (pushed, count) = (ends.clone(), Arc::new(AtomicUsize::new(0)));
    let submit = move || async move {
        let id = count.fetch_add(1, Ordering::SeqCst);
        let told = json!({ "id": id, "status": "done" }).to_string();
        if id < 2 {
            // The first of each user, who listens from then on.
            tokio::spawn(async move {
                while ends.receiver_count() < 2 {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
                let _ = ends.send(told);
            });
        } else {
            let _ = ends.send(told);
            tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        }
        (StatusCode::ACCEPTED, Json(json!({ "id": id })))
    };
    let listen = move |upgrade: WebSocketUpgrade| async move {
        upgrade.on_upgrade(move |mut socket| async move {
            let mut told = pushed.subscribe();
            while let Ok(end) = told.recv().await {
                if socket.send(Message::Text(end.into())).await.is_err() {
                    return;
                }
            }
        })
    };
    let status = |Segment(id): Segment<u32>| async move { Json(json!({ "id": id, "status": "done" })) };
    let result = |Segment(id): Segment<u32>| async move { format!("a picture of job {id}") };
    let routes = Router::new().route("/jobs", post(submit)).route("/jobs/{id}", get(status));
    let routes = routes.route("/jobs/{id}/result", get(result)).route("/ws", get(listen));
    let folder = tempfile::tempdir().unwrap();
    let driver = folder.path().join("d.yaml");
    std::fs::write(&driver, "version: 1\nname: early\nsubmit: { steps: [{ path: /jobs, json: { prompt: \"{{prompt}}\" }, accepted: [202] }], id: /id }\nstatus: { path: \"/jobs/{{id}}\", every: 5s, state: /status, states: { done: completed } }\nresult: { path: \"/jobs/{{id}}/result\", free_form: true }\nwebsocket: { path: /ws, id: /id }\n").unwrap();
    let checks = "checks: [{ all_jobs_complete: { within: 10s } }, { listeners_stable: {} }]\n";
    let url = format!("http://{}", serve_routes(routes));
    let done = tried(&url, &format!("driver: {}", driver.display()), checks);
    assert!(done.is_healthy_but_for(&[]), "{}", done.trouble());
    assert!(done.result["jobs"]["completed"].as_u64() > Some(5), "{}", done.trouble());
    let p50 = done.result["latency"]["p50_s"].as_f64().unwrap();
    assert!(p50 < 4.0, "{p50} s, where the driver asks every 5 s: {}", done.trouble());
}

/// Each sample has the number of an engine: a trigger is on their sum, as the depth of a queue is.
#[test]
fn a_trigger_is_on_a_metric_over_its_labels() {
    let url = serve(|asked| match asked.path.as_str() {
        "/metrics" => {
            let name = "vllm:num_requests_waiting";
            (
                200,
                "text/plain",
                format!("# TYPE {name} gauge\n{name}{{engine=\"0\"}} 2\n{name}{{engine=\"1\"}} {}\n", asked.count.min(3)),
            )
        }
        _ => (200, "application/json", image(&serde_json::from_str(&asked.body).unwrap_or_default())),
    });
    let target = "driver: http, with: { path: /generate, inline: /image, free_form: true, metrics: { path: /metrics } }";
    let fault = "faults: [{ burst: { jobs: 3, when: \"metric vllm:num_requests_waiting > 4\", timeout: 20s } }]\n";
    let done = tried(&url, target, &format!("{fault}{COMPLETE}"));
    assert!(done.is_healthy_but_for(&[]), "{}", done.trouble());
    assert_eq!(done.verdict("fault burst"), "passed", "{}", done.trouble());
}

/// Two answers of a batch in one text: the job's own stands first.
#[test]
fn what_holds_somebody_elses_answer_too_is_not_the_jobs() {
    let (last, count) = (Arc::new(Mutex::new(String::new())), AtomicUsize::new(0));
    let url = serve(move |asked| {
        let body: Value = serde_json::from_str(&asked.body).unwrap_or_default();
        let prompt = body["prompt"].as_str().unwrap_or_default().to_owned();
        let before = std::mem::replace(&mut *last.lock().unwrap(), prompt.clone());
        let text = if count.fetch_add(1, Ordering::SeqCst) % 5 == 4 { format!("{prompt}\n{before}") } else { prompt };
        (200, "application/json", json!({ "image": text }).to_string())
    });
    let done = tried(&url, HTTP, COMPLETE);
    assert!(done.finds("all_jobs_complete"), "{}", done.trouble());
    assert!(done.trouble().contains("beside its own it holds the result of job"), "{}", done.trouble());
}

/// A health endpoint that does a job for its answer, as LiteLLM's does, is no load of its own.
#[test]
fn a_health_that_is_a_job_is_told_and_seldom_asked() {
    let asked_for = |takes_ms: u64| {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        let url = serve(move |asked| match asked.path.as_str() {
            "/health" => {
                counted.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(std::time::Duration::from_millis(takes_ms));
                (200, "application/json", "{}".to_owned())
            }
            _ => (200, "application/json", json!({ "image": format!("picture {}", asked.count) }).to_string()),
        });
        let target = "driver: http, with: { path: /generate, inline: /image, free_form: true, health: { path: /health } }";
        let done = tried(&url, target, COMPLETE);
        let told = done.result["preflight"].as_array().unwrap().iter().find(|item| item["what"] == "health").unwrap().clone();
        (count.load(Ordering::SeqCst), told["level"].clone(), told["detail"].as_str().unwrap().to_owned(), done)
    };
    let (dear, level, told, done) = asked_for(400);
    assert!(level == "warning" && told.contains("as if it were a job of its own: it is asked every 4."), "{level} {told}");
    assert_eq!(done.verdict("all_jobs_complete"), "passed", "{}", done.trouble());
    let (cheap, level, told, _) = asked_for(0);
    assert!(level == "ok" && cheap > dear, "{level} {told}, asked {cheap} times, and {dear} times where it is dear");
    let (_, level, told, _) = asked_for(1200);
    assert!(level == "warning" && told.contains("for more than 1.00 s, so it counts as down"), "{level} {told}");
}

//! The reference backend over its real sockets: what it promises, and that it keeps it over a restart.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::common::{Ending, chaos, stretched};
use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::StatusCode;
use serde_json::{Value as Json, json};
use tokio_tungstenite::tungstenite::Message;

/// Between two looks at what is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits for what comes in any case, on a busy machine later.
async fn in_time<T>(what: &str, comes: impl Future<Output = T>) -> T {
    let within = stretched(Duration::from_secs(60));
    tokio::time::timeout(within, comes).await.unwrap_or_else(|_| panic!("{what} did not come within {within:?}"))
}

/// A running backend; ended when dropped.
struct Backend {
    child: Ending,
    url: String,
    client: reqwest::Client,
}

impl Backend {
    fn start(arguments: &[&str]) -> Self {
        let mut child =
            chaos().args(["backend", "--listen", "127.0.0.1:0"]).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines.find_map(|l| l.unwrap().split_once("listening on ").map(|(_, url)| url.trim().to_owned())).unwrap();
        // Its log goes on; somebody must read it.
        std::thread::spawn(move || lines.for_each(drop));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { child: Ending(child), url, client }
    }

    fn with_data(data: &Path, speed: &str) -> Self {
        Self::start(&["--speed", speed, "--data", data.to_str().unwrap()])
    }

    fn signal(&mut self, signal: Signal) -> Option<i32> {
        kill(Pid::from_raw(self.child.0.id() as i32), signal).unwrap();
        self.child.0.wait().unwrap().code()
    }

    async fn submit(&self, body: Json) -> reqwest::Response {
        self.client.post(format!("{}/jobs", self.url)).json(&body).send().await.unwrap()
    }

    async fn accepted(&self, body: Json) -> String {
        let response = self.submit(body).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        response.json::<Json>().await.unwrap()["id"].as_str().unwrap().to_owned()
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    async fn view(&self, id: &str) -> Json {
        self.get(&format!("/jobs/{id}")).await.json().await.unwrap()
    }

    async fn ended(&self, id: &str) -> Json {
        let ended = async {
            loop {
                let view = self.view(id).await;
                if !matches!(view["status"].as_str(), Some("queued" | "running")) {
                    return view;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        in_time("the end of the job", ended).await
    }
}

fn job(side: u32) -> Json {
    json!({ "width": side, "height": side, "batch": 4, "mark": "chaos-00000000000000aa", "seed": 7 })
}

#[tokio::test]
async fn a_job_from_its_submission_to_its_result() {
    let backend = Backend::start(&["--speed", "1000"]);
    let id = backend.accepted(job(512)).await;
    let view = backend.ended(&id).await;
    assert_eq!(
        (view["status"].as_str(), view["progress"].as_f64(), view["cold"].as_bool()),
        (Some("completed"), Some(100.0), Some(true))
    );
    let result = backend.get(view["result"].as_str().unwrap()).await;
    assert_eq!(result.headers()["content-type"], "image/png");
    let bytes = result.bytes().await.unwrap();
    assert_eq!(chaos::driver::results::look(&bytes, 200).mark.as_deref(), Some("chaos-00000000000000aa"));
    let warm = backend.accepted(job(512)).await;
    assert_eq!(backend.ended(&warm).await["cold"], false, "the model stays");
    assert_eq!(backend.get("/jobs/job-999999").await.status(), StatusCode::NOT_FOUND);
    let health: Json = backend.get("/health").await.json().await.unwrap();
    assert_eq!(health["simulated"], true);
}

#[tokio::test]
async fn bad_input_is_refused_with_a_reason() {
    let backend = Backend::start(&["--speed", "1000"]);
    for body in [
        json!({ "width": 8, "height": 512 }),
        json!({ "width": 512 }),
        json!({ "width": 512, "height": 512, "batch": 0 }),
        json!("text"),
    ] {
        let response = backend.submit(body.clone()).await;
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert!(!response.json::<Json>().await.unwrap()["error"].as_str().unwrap().is_empty());
    }
    let part = reqwest::multipart::Part::bytes(b"MZ not an image".to_vec()).file_name("x.png");
    let form = reqwest::multipart::Form::new().part("image", part).text("width", "512").text("height", "512");
    let response = backend.client.post(format!("{}/jobs", backend.url)).multipart(form).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back_and_a_cancelled_job_makes_room() {
    let backend = Backend::start(&["--speed", "1", "--slots", "1", "--queue", "1"]);
    let running = backend.accepted(job(512)).await;
    let runs = async {
        while backend.get("/queue").await.json::<Json>().await.unwrap()["running"] != 1 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    in_time("the start of the job", runs).await;
    let waiting = backend.accepted(job(512)).await;
    let refused = backend.submit(job(512)).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let seconds: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(seconds >= 1);
    let cancelled = backend.client.delete(format!("{}/jobs/{waiting}", backend.url)).send().await.unwrap();
    assert_eq!(cancelled.status(), StatusCode::NO_CONTENT);
    assert_eq!(backend.view(&waiting).await["status"], "cancelled");
    backend.accepted(job(512)).await;
    assert_eq!(backend.view(&running).await["status"], "running");
}

#[tokio::test]
async fn an_out_of_memory_is_retried_in_a_smaller_batch() {
    let backend = Backend::start(&["--speed", "400"]);
    // All at once: sent one by one on a busy machine, too few would run side by side.
    let ids = join_all((0..8).map(|_| backend.accepted(job(1024)))).await;
    let mut retried = 0;
    for id in &ids {
        let view = backend.ended(id).await;
        assert_eq!(view["status"], "completed", "{view}");
        retried += usize::from(view["attempts"].as_u64() >= Some(2) && view["batch_size"].as_u64() < Some(4));
    }
    assert!(retried > 0);
    let metrics = backend.get("/metrics").await.text().await.unwrap();
    assert!(!metrics.contains("gpu_out_of_memory_total 0"), "{metrics}");
}

#[tokio::test]
async fn a_socket_tells_a_snapshot_at_every_subscription() {
    let backend = Backend::start(&["--speed", "200"]);
    let id = backend.accepted(job(512)).await;
    let subscribe = || Message::text(json!({ "subscribe": id }).to_string());
    let connect = || tokio_tungstenite::connect_async(backend.url.replacen("http", "ws", 1) + "/ws");
    let (mut first, _) = connect().await.unwrap();
    let greeting: Json = serde_json::from_str(first.next().await.unwrap().unwrap().to_text().unwrap()).unwrap();
    assert_eq!(greeting["hello"]["reconnect"], "backoff");
    first.send(subscribe()).await.unwrap();
    let snapshot: Json = serde_json::from_str(first.next().await.unwrap().unwrap().to_text().unwrap()).unwrap();
    assert_eq!(snapshot["id"], id.as_str());
    drop(first);
    backend.ended(&id).await;
    // Whoever comes back after the end is told of it.
    let (mut second, _) = connect().await.unwrap();
    second.next().await.unwrap().unwrap();
    second.send(subscribe()).await.unwrap();
    let snapshot: Json = serde_json::from_str(second.next().await.unwrap().unwrap().to_text().unwrap()).unwrap();
    assert_eq!(snapshot["status"], "completed");
}

#[tokio::test]
async fn no_accepted_job_is_lost_or_done_twice_over_kills() {
    let data = tempfile::tempdir().unwrap();
    let mut backend = Backend::with_data(data.path(), "300");
    let mut ids = Vec::new();
    for round in 0..4 {
        for _ in 0..6 {
            ids.push(backend.accepted(job(512)).await);
        }
        // Somewhere in the middle of the work, another place each time.
        backend.ended(&ids[ids.len() - 6 + round]).await;
        backend.signal(Signal::SIGKILL);
        backend = Backend::with_data(data.path(), "300");
    }
    for id in &ids {
        let view = backend.ended(id).await;
        assert_eq!((view["status"].as_str(), view["completions"].as_u64()), (Some("completed"), Some(1)), "{view}");
    }
    let log = std::fs::read_to_string(data.path().join("queue.jsonl")).unwrap();
    assert_eq!(log.lines().filter(|l| l.contains("\"ended\"")).count(), ids.len(), "each job ended once");
}

#[tokio::test]
async fn sigterm_ends_it_in_good_order_unless_it_is_planted_not_to() {
    let mut backend = Backend::start(&["--speed", "1000"]);
    backend.accepted(job(512)).await;
    assert_eq!(backend.signal(Signal::SIGTERM), Some(0));
    let mut deaf = Backend::start(&["--speed", "1000", "--defect", "ignores-sigterm"]);
    kill(Pid::from_raw(deaf.child.0.id() as i32), Signal::SIGTERM).unwrap();
    for _ in 0..20 {
        assert!(deaf.get("/health").await.status().is_success());
    }
    assert!(deaf.child.0.try_wait().unwrap().is_none());
}

#[tokio::test]
async fn every_metric_of_the_plan_is_there() {
    let backend = Backend::start(&["--speed", "1000"]);
    let id = backend.accepted(job(512)).await;
    backend.ended(&id).await;
    let text = backend.get("/metrics").await.text().await.unwrap();
    let scrape = chaos::observe::prometheus::parse(&text);
    assert_eq!(scrape.malformed, None);
    for family in include_str!("../plan-metrics.txt").lines() {
        assert!(scrape.values.keys().any(|name| name.starts_with(family)), "{family} has no sample in:\n{text}");
    }
}

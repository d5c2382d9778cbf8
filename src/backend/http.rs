//! The HTTP face of the reference backend.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequest, MatchedPath, Multipart, Path, Request as HttpRequest, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::core::Core;
use super::defect::Defect;
use super::job::{Refusal, Request};
use super::metrics::Now;
use super::socket;
use crate::observe::process::Meter;

/// The largest upload, as in the real backend.
const MAX_UPLOAD: usize = 50 * 1024 * 1024;
const STARTING: &str = "starting: the weights are being read";

/// Serves until the backend stops or crashes.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(core: Core, listener: TcpListener) -> std::io::Result<()> {
    let stop = core.stop.clone();
    let crashed = core.crashed.clone();
    let app = router(core);
    let served = axum::serve(listener, app).with_graceful_shutdown(async move { stop.cancelled().await });
    tokio::select! {
        done = served => done,
        () = crashed.cancelled() => Ok(()),
    }
}

/// Binds a socket that a restarted backend can take over at once.
///
/// # Errors
/// When the address is taken or not ours.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

pub fn router(core: Core) -> Router {
    Router::new()
        .route("/jobs", post(submit))
        .route("/jobs/{id}", get(status).delete(cancel))
        .route("/jobs/{id}/result", get(result))
        .route("/queue", get(queue))
        .route("/evict", post(evict))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/ws", get(websocket))
        .layer(axum::extract::DefaultBodyLimit::max(MAX_UPLOAD))
        .route_layer(middleware::from_fn_with_state(core.clone(), measure))
        .with_state(core)
}

async fn measure(Shared(core): Shared<Core>, request: HttpRequest, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().to_string();
    let path = request.extensions().get::<MatchedPath>().map_or("other", |p| p.as_str()).to_owned();
    let response = next.run(request).await;
    core.metrics.http(&method, &path, response.status().as_u16(), started.elapsed().as_secs_f64());
    response
}

async fn submit(Shared(core): Shared<Core>, request: HttpRequest) -> Response {
    let asked = match read_submission(request).await {
        Ok(asked) => asked,
        Err(reason) => return refuse(StatusCode::UNPROCESSABLE_ENTITY, &reason),
    };
    let asked_for = (asked.width, asked.height, asked.batch);
    let answer = match core.submit(asked) {
        Ok(id) => {
            let location = [(header::LOCATION, format!("/jobs/{id}"))];
            (StatusCode::ACCEPTED, location, Json(json!({ "id": id, "status": "queued" }))).into_response()
        }
        Err(Refusal::Invalid(reason)) => refuse(StatusCode::UNPROCESSABLE_ENTITY, &reason),
        Err(Refusal::QueueFull { retry_after_s }) => busy(StatusCode::TOO_MANY_REQUESTS, "the queue is full", retry_after_s),
        Err(Refusal::Broken) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
        Err(Refusal::Starting) => busy(StatusCode::SERVICE_UNAVAILABLE, STARTING, 1),
        Err(Refusal::ShuttingDown) => busy(StatusCode::SERVICE_UNAVAILABLE, "shutting down", 1),
    };
    let (width, height, batch) = asked_for;
    tracing::info!(method = "POST", path = "/jobs", status = answer.status().as_u16(), width, height, batch, "request");
    answer
}

/// JSON, or multipart with an `image` and the other parameters as text fields.
async fn read_submission(request: HttpRequest) -> Result<Request, String> {
    let multipart = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.starts_with("multipart/form-data"));
    if !multipart {
        let Json(asked) = Json::<Request>::from_request(request, &()).await.map_err(|e| e.body_text())?;
        return Ok(asked);
    }
    let mut form = Multipart::from_request(request, &()).await.map_err(|e| e.body_text())?;
    let mut fields = serde_json::Map::new();
    while let Some(field) = form.next_field().await.map_err(|e| e.body_text())? {
        let name = field.name().unwrap_or_default().to_owned();
        let bytes = field.bytes().await.map_err(|e| e.body_text())?;
        if name == "image" {
            check_image(&bytes)?;
        } else {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            fields.insert(name, text.parse::<u64>().map_or(Value::String(text), Value::from));
        }
    }
    serde_json::from_value(Value::Object(fields)).map_err(|e| e.to_string())
}

fn check_image(bytes: &[u8]) -> Result<(), String> {
    let decoder = png::Decoder::new(std::io::Cursor::new(bytes));
    let reader = decoder.read_info().map_err(|e| format!("image: {e}"))?;
    let info = reader.info();
    if info.width < 32 || info.height < 32 {
        return Err("image: smaller than 32x32".to_owned());
    }
    if super::image::looks_executable(bytes) {
        return Err("image: looks like an executable".to_owned());
    }
    Ok(())
}

fn refuse(status: StatusCode, reason: &str) -> Response {
    (status, Json(json!({ "error": reason }))).into_response()
}

fn busy(status: StatusCode, reason: &str, retry_after_s: u64) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::RETRY_AFTER, retry_after_s.into());
    (status, headers, Json(json!({ "error": reason, "retry_after": retry_after_s }))).into_response()
}

async fn status(Shared(core): Shared<Core>, Path(id): Path<String>) -> Response {
    match core.find(&id) {
        Some(job) => Json(job.view.borrow().clone()).into_response(),
        None => refuse(StatusCode::NOT_FOUND, "unknown job"),
    }
}

async fn cancel(Shared(core): Shared<Core>, Path(id): Path<String>) -> Response {
    if core.cancel(&id) { StatusCode::NO_CONTENT.into_response() } else { refuse(StatusCode::NOT_FOUND, "unknown job") }
}

async fn result(Shared(core): Shared<Core>, Path(id): Path<String>) -> Response {
    match core.result(&id) {
        Some(bytes) if bytes.starts_with(b"\x89PNG") => ([(header::CONTENT_TYPE, "image/png")], bytes).into_response(),
        Some(bytes) => ([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response(),
        None => refuse(StatusCode::NOT_FOUND, "no result"),
    }
}

async fn queue(Shared(core): Shared<Core>) -> Json<Value> {
    let inner = core.lock();
    Json(json!({ "waiting": inner.queue.len(), "running": inner.running.len(), "limit": core.config.queue }))
}

/// As ComfyUI's `/free`: the model leaves memory, and the next job is cold.
async fn evict(Shared(core): Shared<Core>) -> StatusCode {
    core.evict();
    StatusCode::NO_CONTENT
}

async fn health(Shared(core): Shared<Core>) -> Response {
    if core.is_starting() {
        return busy(StatusCode::SERVICE_UNAVAILABLE, STARTING, 1);
    }
    if core.config.has(Defect::HealthStarves) {
        starve(&core).await;
    }
    Json(json!({ "status": "ok", "simulated": true, "pid": std::process::id() })).into_response()
}

/// Under `health-starves`: no answer while every slot is busy.
async fn starve(core: &Core) {
    while core.lock().running.len() >= core.config.slots() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Ready means that a job sent now would be worked on: the worker lives and nothing is being shut down.
async fn ready(Shared(core): Shared<Core>) -> Response {
    if core.stop.is_cancelled() {
        busy(StatusCode::SERVICE_UNAVAILABLE, "shutting down", 1)
    } else if core.is_starting() {
        busy(StatusCode::SERVICE_UNAVAILABLE, STARTING, 1)
    } else {
        Json(json!({ "ready": true })).into_response()
    }
}

async fn metrics(Shared(core): Shared<Core>) -> Response {
    let usage = Meter::of_self();
    let now = {
        let inner = core.lock();
        Now {
            queue: inner.queue.len(),
            running: inner.running.len(),
            gpu_lost: core.gpu_is_lost(),
            vram_used: core.config.taken(inner.vram_used, inner.vram_peak),
            vram_allocated: inner.vram_used,
            vram_total: core.config.vram.0,
            rss_bytes: usage.rss_bytes,
            cpu_percent: usage.cpu_percent,
        }
    };
    let kind = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    let frozen = core.config.has(Defect::FrozenMetrics) && core.boots > 1;
    let text =
        if frozen { core.metrics.frozen.get_or_init(|| core.metrics.render(&now)).clone() } else { core.metrics.render(&now) };
    (kind, text).into_response()
}

async fn websocket(Shared(core): Shared<Core>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(|socket| socket::serve(core, socket))
}

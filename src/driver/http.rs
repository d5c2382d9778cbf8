//! Speaks a driver's protocol over HTTP.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use reqwest::multipart::{Form, Part};
use reqwest::{Client, RequestBuilder, Response, StatusCode, header};
use serde_json::Value as Json;

use super::template::{self, bounded};
use super::{Ask, Channel, Depth, Driver, Method, Port, Probe, ResultRoute, Route, Seen, socket};
use crate::backend::image;
use crate::journal::event::{Answer, ResultLook};
use crate::seed::fnv;

/// The largest JSON or text answer that is read.
const MOST_TEXT: usize = 4 << 20;
/// How long a small question (status, queue, health, metrics) may take.
const SMALL_TIMEOUT: Duration = Duration::from_secs(5);
/// A health endpoint that takes longer does not answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const RESULT_TIMEOUT: Duration = Duration::from_secs(30);
/// What every mark of ours begins with; 16 hexadecimal digits follow.
pub const MARK_PREFIX: &str = "chaos-";

pub struct HttpPort {
    driver: Driver,
    /// The target's URL; that of an embedded backend is known once it has started.
    base: Arc<OnceLock<String>>,
    client: Client,
}

impl HttpPort {
    /// # Errors
    /// When the client cannot be set up.
    pub fn new(driver: Driver, url: Arc<OnceLock<String>>) -> Result<Self, String> {
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|e| format!("the HTTP client cannot be set up: {e}"))?;
        Ok(Self { driver, base: url, client })
    }

    fn base(&self) -> &str {
        self.base.get().map_or("http://127.0.0.1:0", |url| url.trim_end_matches('/'))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.base());
        let request = match method {
            Method::Get => self.client.get(url),
            Method::Post => self.client.post(url),
            Method::Put => self.client.put(url),
            Method::Delete => self.client.delete(url),
        };
        self.driver.submit.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }

    async fn small(&self, route: &Route, id: &str) -> Result<(StatusCode, Vec<u8>), String> {
        let path = template::path(&route.path, &template::of_id(id));
        let response = self.request(route.method, &path).timeout(SMALL_TIMEOUT).send().await.map_err(|e| sentence(&e))?;
        let status = response.status();
        let (body, _) = read_bounded(response, MOST_TEXT).await?;
        Ok((status, body))
    }

    async fn expect_ok(&self, route: Option<&Route>) -> Result<Vec<u8>, String> {
        let Some(route) = route else { return Err("the driver names no such route".to_owned()) };
        let (status, body) = self.small(route, "").await?;
        if status.is_success() { Ok(body) } else { Err(format!("{} answered {status}", route.path)) }
    }

    fn submission(&self, ask: &Ask) -> Result<RequestBuilder, String> {
        let submit = &self.driver.submit;
        let body = template::json(&submit.json, &template::of_ask(ask));
        let path = template::path(&submit.path, &template::of_ask(ask));
        let request = self.request(Method::Post, &path).timeout(submit.timeout.0);
        let Some(field) = submit.image_field.clone().filter(|_| ask.shape.image) else { return Ok(request.json(&body)) };
        let picture = image::png(ask.shape.width, ask.shape.height, ask.seed, &ask.mark);
        let part =
            Part::bytes(picture).file_name(format!("{}.png", ask.mark)).mime_str("image/png").map_err(|e| e.to_string())?;
        let mut form = Form::new().part(field, part);
        for (name, value) in body.as_object().into_iter().flatten() {
            form = form.text(name.clone(), template::as_text(value));
        }
        Ok(request.multipart(form))
    }

    async fn answer(&self, response: Response) -> Answer {
        let status = response.status().as_u16();
        let header = |name| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let after: Option<f64> = header(header::RETRY_AFTER).and_then(|v| v.trim().parse().ok());
        let html = header(header::CONTENT_TYPE).is_some_and(|v| v.starts_with("text/html"));
        let body = match read_bounded(response, MOST_TEXT).await {
            Ok((body, _)) => body,
            Err(reason) => return Answer::NoAnswer { reason },
        };
        let json: Json = serde_json::from_slice(&body).unwrap_or(Json::Null);
        let reason = bounded(&String::from_utf8_lossy(&body));
        let submit = &self.driver.submit;
        if submit.accepted.contains(&status) {
            return match json.pointer(&submit.id).map(template::as_text).filter(|id| !id.is_empty()) {
                Some(id) => Answer::Accepted { id: bounded(&id) },
                None => Answer::Error { status, proxy: html, reason: format!("no job id at {} in: {reason}", submit.id) },
            };
        }
        // A page of HTML in front of an API is a proxy's: the backend itself has not answered.
        if html && matches!(status, 502..=504) {
            return Answer::Error { status, proxy: true, reason };
        }
        if submit.invalid.contains(&status) {
            return Answer::Invalid { status, reason };
        }
        if submit.refused.contains(&status) {
            let in_body = submit.retry_after.as_ref().and_then(|p| json.pointer(p)).and_then(Json::as_f64);
            return Answer::Refused { status, retry_after_s: after.or(in_body), reason };
        }
        Answer::Error { status, proxy: false, reason }
    }

    async fn fetch(&self, route: &ResultRoute, id: &str) -> Result<ResultLook, String> {
        let path = template::path(&route.path, &template::of_id(id));
        let response = self.request(Method::Get, &path).timeout(RESULT_TIMEOUT).send().await.map_err(|e| sentence(&e))?;
        let status = response.status().as_u16();
        let (body, whole) = read_bounded(response, route.at_most.0 as usize).await?;
        let error = if !whole {
            Some(format!("larger than {}", route.at_most))
        } else if status != 200 {
            Some(format!("status {status}"))
        } else {
            None
        };
        Ok(ResultLook {
            status,
            bytes: body.len() as u64,
            digest: fnv(&body),
            kind: magic(&body).to_owned(),
            mark: find_mark(&body),
            error,
        })
    }
}

#[async_trait]
impl Port for HttpPort {
    async fn submit(&self, ask: &Ask) -> Answer {
        let request = match self.submission(ask) {
            Ok(request) => request,
            Err(reason) => return Answer::Invalid { status: 0, reason },
        };
        match request.send().await {
            Ok(response) => self.answer(response).await,
            Err(error) if error.is_connect() => Answer::Unreachable { reason: sentence(&error) },
            Err(error) => Answer::NoAnswer { reason: sentence(&error) },
        }
    }

    async fn status(&self, id: &str) -> Seen {
        let route = Route { method: Method::Get, path: self.driver.status.path.clone() };
        let (status, body) = match self.small(&route, id).await {
            Ok(answer) => answer,
            Err(reason) => return Seen::Unclear(reason),
        };
        match status.as_u16() {
            404 | 410 => Seen::Missing,
            200 => {
                let json = serde_json::from_slice(&body).map_err(|e| e.to_string());
                match json.and_then(|json: Json| template::view(&self.driver.status, &json)) {
                    Ok(view) => Seen::View(view),
                    Err(reason) => Seen::Unclear(reason),
                }
            }
            other => Seen::Unclear(format!("status {other}")),
        }
    }

    async fn connect(&self) -> Option<Result<Box<dyn Channel>, String>> {
        let socket = self.driver.websocket.as_ref()?;
        Some(socket::open(self.base(), socket, &self.driver).await)
    }

    async fn result(&self, id: &str) -> Option<ResultLook> {
        let route = self.driver.result.as_ref()?;
        let failed = |error| ResultLook { status: 0, bytes: 0, digest: 0, kind: "none".into(), mark: None, error: Some(error) };
        Some(self.fetch(route, id).await.unwrap_or_else(failed))
    }

    async fn cancel(&self, id: &str) -> Result<(), String> {
        let route = self.driver.cancel.as_ref().ok_or("the driver knows no way to cancel a job")?;
        let (status, _) = self.small(route, id).await?;
        if status.is_success() || status == StatusCode::NOT_FOUND { Ok(()) } else { Err(format!("cancelling answered {status}")) }
    }

    async fn depth(&self) -> Option<Result<Depth, String>> {
        let queue = self.driver.queue.as_ref()?;
        let route = Route { method: Method::Get, path: queue.path.clone() };
        let read = |body: Vec<u8>| {
            let json: Json = serde_json::from_slice(&body).map_err(|e| e.to_string())?;
            let number = |p: &str| json.pointer(p).and_then(Json::as_f64);
            let waiting = number(&queue.depth).ok_or_else(|| format!("no number at {}", queue.depth))?;
            Ok(Depth { waiting, running: queue.running.as_deref().and_then(number) })
        };
        Some(self.expect_ok(Some(&route)).await.and_then(read))
    }

    async fn health(&self) -> Result<(), String> {
        self.expect_ok(self.driver.health.as_ref()).await.map(drop)
    }

    async fn ready(&self) -> Result<(), String> {
        self.expect_ok(self.driver.ready.as_ref().or(self.driver.health.as_ref())).await.map(drop)
    }

    async fn probe(&self) -> Probe {
        let Some(route) = self.driver.health.as_ref() else { return Probe { open: true, healthy: true, seconds: 0.0 } };
        let began = tokio::time::Instant::now();
        let answer = self.request(route.method, &route.path).timeout(PROBE_TIMEOUT).send().await;
        let (open, healthy) = match answer {
            Ok(response) => (true, response.status().is_success()),
            Err(error) => (!error.is_connect(), false),
        };
        Probe { open, healthy, seconds: began.elapsed().as_secs_f64() }
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Json>) -> Result<(u16, String), String> {
        let request = self.request(method, path).timeout(SMALL_TIMEOUT);
        let request = body.into_iter().fold(request, RequestBuilder::json);
        let response = request.send().await.map_err(|e| sentence(&e))?;
        let status = response.status().as_u16();
        let (body, _) = read_bounded(response, MOST_TEXT).await?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    async fn scrape(&self) -> Option<Result<String, String>> {
        self.driver.metrics.as_ref()?;
        let text = self.expect_ok(self.driver.metrics.as_ref()).await;
        Some(text.map(|body| String::from_utf8_lossy(&body).into_owned()))
    }
}

/// Reads at most `most` bytes; the flag says whether that was all.
async fn read_bounded(response: Response, most: usize) -> Result<(Vec<u8>, bool), String> {
    let mut body = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|e| sentence(&e))?;
        let room = most - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Ok((body, false));
        }
    }
    Ok((body, true))
}

/// An error with its causes in one line: the outermost alone says too little.
fn sentence(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    bounded(&text)
}

fn magic(body: &[u8]) -> &'static str {
    let known: &[(&[u8], &str)] = &[
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"\xff\xd8\xff", "jpeg"),
        (b"glTF", "glb"),
        (b"solid", "stl"),
        (b"RIFF", "riff"),
        (b"{", "json"),
        (b"<", "markup"),
    ];
    known.iter().find(|(start, _)| body.starts_with(start)).map_or("other", |(_, name)| name)
}

/// The first mark of ours in a result.
pub fn find_mark(body: &[u8]) -> Option<String> {
    let length = MARK_PREFIX.len() + 16;
    body.windows(length)
        .find(|w| w.starts_with(MARK_PREFIX.as_bytes()) && w[MARK_PREFIX.len()..].iter().all(u8::is_ascii_hexdigit))
        .map(|w| String::from_utf8_lossy(w).into_owned())
}

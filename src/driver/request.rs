//! Makes a driver's requests and reads what is answered, within bounds.

use std::io::Read;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::cookie::{CookieStore, Jar};
use reqwest::multipart::{Form, Part};
use reqwest::{Client, RequestBuilder, Response, header};
use serde_json::Value as Json;
use tokio::sync::Mutex;

use super::format::{Driver, Method, Route, Step};
use super::inputs::{Ask, Vars};
use super::place::{Answered, Place};
use super::template::{self, Fill, bounded};
use super::tls;
use crate::secret;

/// The largest JSON or text answer that is read.
pub const MOST_TEXT: usize = 4 << 20;
/// How long a small question (status, queue, health, metrics) may take.
pub const SMALL_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The cookies of a job's client, among what was captured: no driver can call anything so.
const COOKIES: &str = "its cookies}}";

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// There was no connection: nothing was sent.
    Unreachable(String),
    /// It was sent, and no whole answer came.
    NoAnswer(String),
    /// It could not be made from what the driver and the job say.
    Unusable(String),
}

impl Failure {
    pub fn reason(self) -> String {
        match self {
            Self::Unreachable(reason) | Self::NoAnswer(reason) | Self::Unusable(reason) => reason,
        }
    }

    fn of(error: &reqwest::Error) -> Self {
        if error.is_connect() { Self::Unreachable(sentence(error)) } else { Self::NoAnswer(sentence(error)) }
    }
}

/// A whole answer, or as much of it as is read.
pub struct Reply {
    pub status: u16,
    pub headers: header::HeaderMap,
    pub body: Vec<u8>,
    /// That was all of it.
    pub whole: bool,
    pub json: Json,
    /// As what the body is encoded.
    pub unread: Option<String>,
}

/// Encodings that chaos does not read. Others that are named so, such as `utf-8`, are none.
const PACKED: [&str; 6] = ["gzip", "x-gzip", "br", "zstd", "deflate", "compress"];

impl Reply {
    pub async fn read(response: Response, most: usize) -> Result<Self, Failure> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let (body, whole) = read_bounded(response, most).await.map_err(Failure::NoAnswer)?;
        let encoding = headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase());
        // Nobody asked for it; some servers do it all the same.
        let is_packed = matches!(encoding.as_deref(), Some(b"gzip" | b"x-gzip"));
        let plain = (is_packed && whole && !body.is_empty()).then(|| unpacked(&body, most)).flatten();
        let unread =
            encoding.filter(|_| plain.is_none() && !body.is_empty()).and_then(|encoding| String::from_utf8(encoding).ok());
        let (body, whole) = plain.unwrap_or((body, whole));
        let json = serde_json::from_slice(&body).unwrap_or(Json::Null);
        Ok(Self { status, headers, body, whole, json, unread })
    }

    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
    }

    /// The body as a short text, for messages.
    pub fn excerpt(&self) -> String {
        self.encoding().map_or_else(|| bounded(&secret::head(&self.body, 4096)), |encoding| format!("({encoding})"))
    }

    /// Why its body cannot be read.
    pub fn encoding(&self) -> Option<String> {
        let is_packed = |encoding: &&str| encoding.split(',').any(|one| PACKED.contains(&one.trim()));
        let encoding = self.unread.as_deref().filter(is_packed)?;
        Some(format!("its body is encoded as `{encoding}`, for which nobody asked, and cannot be read"))
    }

    /// What a client of the job sends back with its later requests: a balancer knows by it which node has the job. Together with
    /// what came before it, as one of what was captured.
    pub fn cookies(&self, asked: &str, before: &Vars) -> Vars {
        let set: Vec<&header::HeaderValue> = self.headers.get_all(header::SET_COOKIE).iter().collect();
        let Some(url) = url::Url::parse(asked).ok().filter(|_| !set.is_empty()) else { return Vars::new() };
        let name = |pair: &str| pair.split('=').next().unwrap_or_default().trim().to_owned();
        let anew: Vec<String> = set.iter().filter_map(|value| Some(name(value.to_str().ok()?))).collect();
        let jar = Jar::default();
        jar.set_cookies(&mut set.into_iter(), &url);
        let kept = before.get(COOKIES).and_then(Json::as_str).unwrap_or_default().split("; ");
        let mut pairs: Vec<String> =
            kept.filter(|pair| !pair.is_empty() && !anew.contains(&name(pair))).map(str::to_owned).collect();
        pairs.extend(jar.cookies(&url).and_then(|value| Some(value.to_str().ok()?.to_owned())));
        [(COOKIES.to_owned(), pairs.join("; ").into())].into()
    }

    pub fn find(&self, place: &Place, fill: Fill<'_>) -> Option<Json> {
        self.answered(|answered| place.find(answered, fill))
    }

    /// For looking up several values.
    pub fn answered<T>(&self, look: impl FnOnce(&Answered<'_>) -> T) -> T {
        let text = String::from_utf8_lossy(&self.body);
        look(&Answered { header: &|name| self.header(name), text: Some(&text), json: &self.json })
    }

    /// All captures of a step.
    ///
    /// # Errors
    /// The first value that is not there.
    pub fn capture<'a>(&self, places: impl IntoIterator<Item = (&'a String, &'a Place)>, fill: Fill<'_>) -> Result<Vars, String> {
        let find = |(name, place): (&String, &Place)| {
            let found =
                self.find(place, fill).ok_or_else(|| format!("nothing at `{place}` (for `{name}`) in: {}", self.excerpt()));
            Ok((name.clone(), found?))
        };
        places.into_iter().map(find).collect()
    }

    /// When to come back, in seconds: as the header says, or as the body does.
    pub fn retry_after(&self, pointer: Option<&String>) -> Option<f64> {
        let header = self.header("retry-after");
        let in_header = header.as_deref().and_then(|text| text.trim().parse().ok().or_else(|| seconds_until(text)));
        in_header.or_else(|| pointer.and_then(|p| self.json.pointer(p)).and_then(Json::as_f64))
    }
}

/// Of a date as HTTP writes it.
fn seconds_until(date: &str) -> Option<f64> {
    let then = jiff::fmt::rfc2822::parse(date.trim()).ok()?.timestamp();
    Some(then.duration_since(jiff::Timestamp::now()).as_secs_f64().max(0.0))
}

pub struct Requester {
    driver: Driver,
    /// The target's URL; that of an embedded backend is known once it has started.
    base: Arc<OnceLock<String>>,
    client: Client,
    /// For URLs that are not the target's: without its cookies, which know no ports.
    elsewhere: Client,
    /// What the target gave a job's client goes back with that job's requests. After a login all cookies are kept for all; who
    /// writes them into the driver has said which.
    are_per_job: bool,
    /// What the login captured; `None` before it, and after the target has forgotten it.
    session: Mutex<Option<Vars>>,
}

impl Requester {
    /// # Errors
    /// When the client cannot be set up: a certificate or a proxy that cannot be used.
    pub fn new(driver: &Driver, base: Arc<OnceLock<String>>) -> Result<Self, String> {
        Ok(Self {
            driver: driver.clone(),
            base,
            client: client(driver, driver.auth.login.is_some())?,
            elsewhere: client(driver, false)?,
            are_per_job: driver.auth.login.is_none() && !driver.headers.keys().any(|name| name.eq_ignore_ascii_case("cookie")),
            session: Mutex::new(None),
        })
    }

    pub fn base(&self) -> &str {
        self.base.get().map_or("http://127.0.0.1:0", |url| url.trim_end_matches('/'))
    }

    /// A request with all that every request carries, and what the target gave the job's client.
    async fn request(&self, method: Method, path: &str, vars: &Vars) -> Result<RequestBuilder, Failure> {
        let session = self.session().await?;
        let request = self.bare(method, path, &session);
        let cookies = vars.get(COOKIES).and_then(Json::as_str).filter(|cookies| self.are_per_job && !cookies.is_empty());
        Ok(cookies.into_iter().fold(request, |request, cookies| request.header(header::COOKIE, cookies)))
    }

    fn bare(&self, method: Method, path: &str, session: &Vars) -> RequestBuilder {
        // Of the driver's own words only, and without what is the target's to know.
        let elsewhere = ["http://", "https://"].iter().any(|scheme| path.starts_with(scheme));
        if elsewhere {
            return self.elsewhere.get(path);
        }
        let url = format!("{}{path}", self.base());
        let request = match method {
            Method::Get => self.client.get(url),
            Method::Post => self.client.post(url),
            Method::Put => self.client.put(url),
            Method::Delete => self.client.delete(url),
        };
        let fill = |name: &str| session.get(name).cloned();
        let request = self
            .driver
            .headers
            .iter()
            .fold(request, |request, (name, value)| request.header(name, template::plain(value, &fill)));
        let auth = &self.driver.auth;
        let request = auth.bearer.iter().fold(request, |request, token| request.bearer_auth(token));
        auth.basic.iter().fold(request, |request, basic| request.basic_auth(&basic.user, Some(&basic.password)))
    }

    /// Logs in if that has to be done and has not been.
    async fn session(&self) -> Result<Vars, Failure> {
        let Some(login) = &self.driver.auth.login else { return Ok(Vars::new()) };
        let mut session = self.session.lock().await;
        if let Some(vars) = session.as_ref() {
            return Ok(vars.clone());
        }
        let none = |_: &str| None;
        let path = template::path(&login.path, &none);
        let request = body(login, self.bare(login.method, &path, &Vars::new()), None, &none)?.timeout(login.timeout.0);
        let reply = Reply::read(request.send().await.map_err(|e| Failure::of(&e))?, MOST_TEXT).await?;
        if !login.accepted.contains(&reply.status) {
            return Err(Failure::Unusable(format!(
                "the login at {path} was answered with {}: {}",
                reply.status,
                reply.excerpt()
            )));
        }
        let vars =
            reply.capture(&login.capture, &none).map_err(|why| Failure::Unusable(format!("the login at {path}: {why}")))?;
        *session = Some(vars.clone());
        Ok(vars)
    }

    /// A request of a submission, made but not sent.
    pub async fn make(&self, step: &Step, ask: &Ask, vars: &Vars) -> Result<RequestBuilder, Failure> {
        let none = Vars::new();
        let fill = |name: &str| vars.get(name).cloned().or_else(|| ask.value(name));
        let path = template::path(&step.path, &fill);
        let says_which = step.headers.keys().any(|name| name.eq_ignore_ascii_case("cookie"));
        let request = self.request(step.method, &path, if says_which { &none } else { vars }).await?;
        let request = step.headers.iter().fold(request, |r, (name, value)| r.header(name, template::plain(value, &fill)));
        Ok(body(step, request, Some(ask), &fill)?.timeout(step.timeout.0))
    }

    /// Sends a request of a submission and reads its answer.
    pub async fn send(&self, step: &Step, ask: &Ask, vars: &Vars, most: usize) -> Result<Reply, Failure> {
        let request = self.make(step, ask, vars).await?;
        let reply = Reply::read(request.send().await.map_err(|e| Failure::of(&e))?, most).await?;
        self.forgotten_by(reply.status).await;
        Ok(reply)
    }

    /// A target that no longer knows us is logged in to again at the next request.
    async fn forgotten_by(&self, status: u16) {
        if status == 401 && self.driver.auth.login.is_some() {
            *self.session.lock().await = None;
        }
    }

    /// A small question.
    pub async fn small(&self, method: Method, path: &str, json: Option<&Json>, within: Duration) -> Result<Reply, Failure> {
        self.read((method, path), json, &Vars::new(), within, MOST_TEXT).await
    }

    /// A question about a job, of which `vars` are known.
    pub async fn read(
        &self,
        (method, path): (Method, &str),
        json: Option<&Json>,
        vars: &Vars,
        within: Duration,
        most: usize,
    ) -> Result<Reply, Failure> {
        let request = self.request(method, path, vars).await?.timeout(within);
        let request = json.into_iter().fold(request, RequestBuilder::json);
        let reply = Reply::read(request.send().await.map_err(|e| Failure::of(&e))?, most).await?;
        self.forgotten_by(reply.status).await;
        Ok(reply)
    }

    /// A text that is sent, and its answer.
    pub async fn text(&self, path: &str, text: String) -> Result<Reply, Failure> {
        let request = self.request(Method::Post, path, &Vars::new()).await?.timeout(SMALL_TIMEOUT);
        let request = request.header(header::CONTENT_TYPE, "text/plain; charset=UTF-8").body(text);
        Reply::read(request.send().await.map_err(|e| Failure::of(&e))?, MOST_TEXT).await
    }

    pub async fn route(&self, route: &Route, vars: &Vars) -> Result<Reply, Failure> {
        let fill = |name: &str| vars.get(name).cloned();
        let json = route.json.as_ref().map(|body| template::json(body, &fill));
        let path = template::target_path(&route.path, self.base(), &fill).map_err(Failure::Unusable)?;
        self.read((route.method, &path), json.as_ref(), vars, SMALL_TIMEOUT, MOST_TEXT).await
    }

    /// A GET that is sent over a connection of its own.
    pub async fn get(&self, path: &str, vars: &Vars) -> Result<reqwest::Request, Failure> {
        let request = self.request(Method::Get, path, vars).await?.header(header::ACCEPT, "text/event-stream");
        request.build().map_err(|e| Failure::Unusable(sentence(&e)))
    }

    /// The headers of every request, for connections that are opened in another way.
    pub async fn headers(&self) -> Result<header::HeaderMap, Failure> {
        let request = self.request(Method::Get, "/", &Vars::new()).await?.build().map_err(|e| Failure::Unusable(sentence(&e)))?;
        Ok(request.headers().clone())
    }
}

fn client(driver: &Driver, cookies: bool) -> Result<Client, String> {
    let failed = |e: reqwest::Error| format!("the HTTP client cannot be set up: {}", sentence(&e));
    let mut client = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .cookie_store(cookies)
        .no_proxy();
    if let Some(file) = &driver.ca {
        client = client.tls_backend_preconfigured(tls::config(Some(file))?);
    }
    if let Some(proxy) = &driver.proxy {
        client = client.proxy(reqwest::Proxy::all(proxy).map_err(failed)?);
    }
    client.build().map_err(failed)
}

/// A request as a short text, with what is known before the first answer; credentials are not in it.
pub fn preview(step: &Step, ask: &Ask) -> String {
    let fill = |name: &str| match name {
        "image_base64" => Some(Json::from("…")),
        name => ask.value(name),
    };
    let parts = |map: &std::collections::BTreeMap<String, String>| {
        let pairs: Vec<String> = map.iter().map(|(name, value)| format!("{name}={}", template::plain(value, &fill))).collect();
        pairs.join(", ")
    };
    let body = match step {
        step if !step.multipart.is_empty() && (step.json.is_none() || ask.shape.image) => {
            format!("multipart: {}", parts(&step.multipart))
        }
        Step { json: Some(json), .. } => template::json(json, &fill).to_string(),
        Step { text: Some(text), .. } => template::plain(text, &fill),
        step => parts(&step.form),
    };
    bounded(&format!("{} {} {body}", step.method, template::path(&step.path, &fill)))
}

/// Puts the step's body into a request.
fn body(step: &Step, request: RequestBuilder, ask: Option<&Ask>, fill: Fill<'_>) -> Result<RequestBuilder, Failure> {
    let in_parts = !step.multipart.is_empty() && (step.json.is_none() || ask.is_some_and(|ask| ask.shape.image));
    if in_parts {
        return Ok(request.multipart(parts(step, ask, fill)?));
    }
    if let Some(json) = &step.json {
        return Ok(request.json(&template::json(json, fill)));
    }
    if let Some(text) = &step.text {
        return Ok(request.body(template::plain(text, fill)));
    }
    if step.form.is_empty() {
        return Ok(request);
    }
    let mut pairs = url::form_urlencoded::Serializer::new(String::new());
    pairs.extend_pairs(step.form.iter().map(|(name, value)| (name, template::plain(value, fill))));
    Ok(request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(pairs.finish()))
}

fn parts(step: &Step, ask: Option<&Ask>, fill: Fill<'_>) -> Result<Form, Failure> {
    let mut form = Form::new();
    for (name, value) in &step.multipart {
        form = match (value.as_str(), ask) {
            ("{{image}}", Some(ask)) => {
                let part = Part::bytes(ask.image()).file_name(format!("{}.png", ask.mark)).mime_str("image/png");
                form.part(name.clone(), part.map_err(|e| Failure::Unusable(e.to_string()))?)
            }
            ("{{file}}", Some(ask)) => {
                let (file, bytes) = ask.file().map_err(Failure::Unusable)?;
                form.part(name.clone(), Part::bytes(bytes).file_name(file))
            }
            (text, _) => form.text(name.clone(), template::plain(text, fill)),
        };
    }
    Ok(form)
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

/// What is packed in a body, up to so many bytes; the flag says whether that is all. `None` where it cannot be read.
fn unpacked(body: &[u8], most: usize) -> Option<(Vec<u8>, bool)> {
    let mut out = Vec::new();
    flate2::read::MultiGzDecoder::new(body).take(most as u64 + 1).read_to_end(&mut out).ok()?;
    let whole = out.len() <= most;
    out.truncate(most);
    Some((out, whole))
}

/// An error with its causes in one line: the outermost alone says too little.
pub fn sentence(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    bounded(&text)
}

//! What drivers can say about requests, tried one by one: bodies, captures, credentials, certificates, proxies, files.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use chaos::driver::http::HttpPort;
use chaos::driver::{Ask, Port, Seen};
use chaos::experiment::JobShape;
use chaos::journal::event::{Answer, JobState};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::stretched;

fn port_in(folder: &Path, driver: &str, url: &str) -> HttpPort {
    crate::common::port::port_in(folder, &format!("version: 1\nname: d\n{driver}"), url)
}

fn port(driver: &str, url: &str) -> HttpPort {
    let folder = tempfile::tempdir().unwrap();
    port_in(folder.path(), driver, url)
}

fn ask(shape: JobShape) -> Ask {
    Ask { shape, mark: "chaos-00000000000000aa".into(), seed: 7, client: "me".into() }
}

/// Everything that was asked: method, path, headers, body.
#[derive(Default)]
struct Asked {
    requests: Mutex<Vec<(String, HeaderMap, String)>>,
    logins: AtomicU32,
}

type Log = Arc<Asked>;

impl Asked {
    fn note(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) {
        let text = String::from_utf8_lossy(body).into_owned();
        self.requests.lock().unwrap().push((format!("{method} {uri}"), headers.clone(), text));
    }

    fn last(&self, what: &str) -> (HeaderMap, String) {
        let all = self.requests.lock().unwrap();
        let found = all.iter().rev().find(|(line, ..)| line == what).unwrap_or_else(|| panic!("{what} was not asked"));
        (found.1.clone(), found.2.clone())
    }
}

async fn echo(State(log): State<Log>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    log.note(&method, &uri, &headers, &body);
    ([("x-job", "h-9")], "queued as job-42; token=t0ken").into_response()
}

async fn login(State(log): State<Log>, body: Bytes) -> Response {
    if body != "password=secret&user=me" {
        return StatusCode::FORBIDDEN.into_response();
    }
    let number = log.logins.fetch_add(1, Ordering::SeqCst);
    ([("set-cookie", format!("session=s{number}"))], Json(json!({ "csrf": format!("c{number}") }))).into_response()
}

/// Only the first two requests of a session are let in: then it is forgotten.
async fn guarded(State(log): State<Log>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let session = log.logins.load(Ordering::SeqCst).saturating_sub(1);
    let cookie = headers.get("cookie").is_some_and(|c| c == format!("session=s{session}").as_str());
    let csrf = headers.get("x-csrf").is_some_and(|c| c == format!("c{session}").as_str());
    log.note(&method, &uri, &headers, &body);
    let used = log.requests.lock().unwrap().len();
    match cookie && csrf && used != 2 {
        true => Json(json!({ "id": used })).into_response(),
        false => StatusCode::UNAUTHORIZED.into_response(),
    }
}

async fn job(UrlPath(id): UrlPath<String>) -> Json<serde_json::Value> {
    Json(json!({ id: { "state": "DONE", "note": "all well" } }))
}

async fn server() -> (String, Log) {
    let log = Log::default();
    let routes = Router::new()
        .route("/echo/{*rest}", any(echo))
        .route("/login", post(login))
        .route("/guarded", any(guarded))
        .route("/jobs/{id}", get(job))
        .with_state(log.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    (url, log)
}

fn accepted(answer: Answer) -> String {
    match answer {
        Answer::Accepted { id } => id,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn values_are_captured_and_filled_in_from_step_to_step() {
    let (url, log) = server().await;
    let driver = r"
headers: { x-all: yes }
submit:
  steps:
    - { name: first, path: '/echo/first', form: { prompt: 'a {{seed}}', client: '{{client}}' }, capture: { number: 'regex job-(\d+)', token: 'regex token=(\w+)', tag: header X-Job } }
    - { name: second, method: PUT, path: '/echo/second/{{number}}', headers: { x-token: 'T {{token}}' }, text: '{{tag}} of {{mark}}' }
  id: '{{tag}}/{{number}}'
status: { path: '/jobs/{{number}}', state: '/{{number}}/state', states: { DONE: completed }, error: 'regex note.:.(\w+)' }
";
    let port = port(driver, &url);
    let id = accepted(port.submit(&ask(JobShape::default())).await);
    assert_eq!(id, "h-9/42");
    assert_eq!(log.last("POST /echo/first").1, "client=me&prompt=a+7");
    let (headers, body) = log.last("PUT /echo/second/42");
    assert_eq!((headers["x-token"].to_str().unwrap(), headers["x-all"].to_str().unwrap()), ("T t0ken", "yes"));
    assert_eq!(body, "h-9 of chaos-00000000000000aa");
    let Seen::View(view) = port.status(&id).await else { panic!() };
    assert_eq!((view.state, view.error.as_deref()), (JobState::Completed, Some("all")));
}

#[tokio::test]
async fn images_and_files_of_the_users_are_sent_in_parts() {
    let (url, log) = server().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("photo.jpg"), "the bytes of a photo").unwrap();
    let driver = "submit: { answer: result, steps: [{ path: /echo/parts, multipart: { picture: '{{image}}', mine: '{{file}}', size: '{{width}}' } }] }";
    let port = port(driver, &url);
    let shape = JobShape { width: 48, height: 32, files: Some(folder.path().display().to_string()), ..JobShape::default() };
    accepted(port.submit(&ask(shape)).await);
    let (headers, body) = log.last("POST /echo/parts");
    assert!(headers["content-type"].to_str().unwrap().starts_with("multipart/form-data"));
    for part in ["filename=\"chaos-00000000000000aa.png\"", "PNG", "filename=\"photo.jpg\"", "the bytes of a photo", "\r\n48\r\n"]
    {
        assert!(body.contains(part), "{part} is not in what was sent");
    }
    // No folder, and an empty one, are told before anything is sent.
    let none = port.submit(&ask(JobShape::default())).await;
    assert!(matches!(&none, Answer::Invalid { status: 0, reason } if reason.contains("files:")), "{none:?}");
}

#[tokio::test]
async fn credentials_of_each_kind_are_sent() {
    let (url, log) = server().await;
    let submit = "submit: { answer: result, steps: [{ path: /echo/x, json: {} }] }";
    for (auth, expected) in [
        ("auth: { bearer: tok-en }", "Bearer tok-en"),
        ("auth: { basic: { user: me, password: pass } }", "Basic bWU6cGFzcw=="),
        ("headers: { authorization: Key 1 }", "Key 1"),
    ] {
        accepted(port(&format!("{auth}\n{submit}"), &url).submit(&ask(JobShape::default())).await);
        assert_eq!(log.last("POST /echo/x").0["authorization"], expected);
    }
}

#[tokio::test]
async fn a_login_is_kept_and_done_again_when_the_target_has_forgotten_it() {
    let (url, log) = server().await;
    let driver = "
headers: { x-csrf: '{{csrf}}' }
auth: { login: { path: /login, form: { user: me, password: secret }, capture: { csrf: /csrf } } }
submit: { id: /id, steps: [{ path: /guarded, json: {} }] }
status: { path: '/jobs/{{id}}', states: { done: completed } }
";
    let port = port(driver, &url);
    assert_eq!(accepted(port.submit(&ask(JobShape::default())).await), "1");
    let forgotten = port.submit(&ask(JobShape::default())).await;
    assert!(matches!(forgotten, Answer::Error { status: 401, .. }), "{forgotten:?}");
    assert_eq!(accepted(port.submit(&ask(JobShape::default())).await), "3");
    assert_eq!(log.logins.load(Ordering::SeqCst), 2);
    let wrong = self::port(&driver.replace("password: secret", "password: guess"), &url);
    let refused = wrong.submit(&ask(JobShape::default())).await;
    assert!(matches!(&refused, Answer::Invalid { reason, .. } if reason.contains("/login was answered with 403")), "{refused:?}");
}

/// Answers every request on a TLS connection with the same text.
async fn tls_server(answer: &'static str) -> (u16, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into(), "localhost".into()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config =
        rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Whoever does not trust the certificate goes away here.
                let Ok(mut stream) = acceptor.accept(tcp).await else { return };
                let mut buffer = vec![0; 1 << 16];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
                // Closed with a part of the request unread, it would reset what was answered.
                while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
            });
        }
    });
    (port, made.cert.pem())
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_the_driver_names_it_and_only_then() {
    let whole = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 8\r\n\r\n{\"ok\":1}";
    let streamed = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let folder = tempfile::tempdir().unwrap();
    for (answer, kind) in [(whole, "result"), (streamed, "stream")] {
        let (port, pem) = tls_server(answer).await;
        std::fs::write(folder.path().join("ca.pem"), pem).unwrap();
        let url = format!("https://localhost:{port}");
        let driver = format!("submit: {{ answer: {kind}, steps: [{{ path: /x, json: {{}} }}] }}\n");
        let trusted = port_in(folder.path(), &format!("ca: ca.pem\n{driver}"), &url);
        let id = accepted(trusted.submit(&ask(JobShape::default())).await);
        let began = Instant::now();
        while trusted.known(&id).is_none() {
            assert!(began.elapsed() < stretched(Duration::from_secs(30)), "{kind}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(trusted.known(&id).unwrap().state, JobState::Completed, "{kind}");
        let stranger = port_in(folder.path(), &driver, &url).submit(&ask(JobShape::default())).await;
        assert!(matches!(stranger, Answer::Unreachable { .. }), "{kind}: {stranger:?}");
    }
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_target() {
    let (proxy, log) = server().await;
    // Nobody is there: only the proxy can answer.
    let target = "http://127.0.0.1:9";
    let driver = format!("proxy: {proxy}\nsubmit: {{ answer: result, steps: [{{ path: /echo/via, json: {{}} }}] }}");
    accepted(port(&driver, target).submit(&ask(JobShape::default())).await);
    let (headers, _) = log.last("POST http://127.0.0.1:9/echo/via");
    assert_eq!(headers["host"], "127.0.0.1:9");
    assert!(matches!(
        port("submit: { answer: result, steps: [{ path: /x, json: {} }] }", target).submit(&ask(JobShape::default())).await,
        Answer::Unreachable { .. }
    ));
}

#[tokio::test]
async fn a_step_that_takes_longer_than_its_timeout_has_no_answer() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let driver =
        "submit: { id: /id, steps: [{ path: /x, json: {}, timeout: 1s }] }\nstatus: { path: '/{{id}}', states: { a: queued } }";
    let answer = port(driver, &url).submit(&ask(JobShape::default())).await;
    assert!(matches!(answer, Answer::NoAnswer { .. }), "{answer:?}");
}

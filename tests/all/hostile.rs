//! Whatever a target answers, it is bounded and counted as an error: nothing hangs, nothing grows, nothing panics.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::common::port::port;
use crate::common::resident;
use chaos::driver::{Ask, Port, Seen};
use chaos::experiment::JobShape;
use chaos::journal::event::{Answer, JobState};
use proptest::prelude::*;

use crate::common::{alone, stretched};

/// Serves every request by one function, each connection on a thread of its own; counts them.
fn serve(answer: impl Fn(&mut TcpStream, &str) + Send + Sync + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (url, asked) = (format!("http://{}", listener.local_addr().unwrap()), Arc::new(AtomicUsize::new(0)));
    let (answer, count) = (Arc::new(answer), asked.clone());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (answer, count) = (answer.clone(), count.clone());
            std::thread::spawn(move || one(stream, &*answer, &count));
        }
    });
    (url, asked)
}

fn one(mut stream: TcpStream, answer: &dyn Fn(&mut TcpStream, &str), count: &AtomicUsize) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        head.push(byte[0]);
    }
    count.fetch_add(1, Ordering::Relaxed);
    let path = String::from_utf8_lossy(&head).split(' ').nth(1).unwrap_or_default().to_owned();
    answer(&mut stream, &path);
    // The body of the request may not have been read: closing at once would reset what was answered.
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
    let _ = stream.read_to_end(&mut Vec::new());
}

const DRIVER: &str = "
version: 1
name: hostile
submit:
  steps: [{ path: /jobs, json: { a: 1 }, timeout: 2s }]
  id: /id
status: { path: '/jobs/{{id}}', state: /status, states: { done: completed } }
result: { path: '/jobs/{{id}}/result', at_most: 1MiB }
queue: { path: /queue, depth: /waiting }
health: { path: /health }
metrics: { path: /metrics }
";

const STREAMED: &str = "
version: 1
name: hostile
submit:
  steps: [{ path: /jobs, json: { a: 1 }, timeout: 2s }]
  answer: stream
";

fn ask() -> Ask {
    Ask { shape: JobShape::default(), mark: "chaos-00000000000000aa".into(), seed: 1, client: "a".into() }
}

fn head(status: &str, more: &str) -> String {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\n{more}\r\n")
}

/// Everything that a run asks of a target is asked of this one. Nothing may come out of it but errors.
async fn nothing_but_errors(what: &str, url: &str) {
    let began = Instant::now();
    for driver in [DRIVER, STREAMED] {
        let port = port(driver, url);
        match port.submit(&ask()).await {
            // A stream that has begun is a job, and it has to fail.
            Answer::Accepted { id } if driver == STREAMED => {
                let deadline = Instant::now() + stretched(Duration::from_secs(60));
                loop {
                    match port.status(&id).await {
                        Seen::View(view) if view.state == JobState::Failed => break,
                        Seen::View(view) => assert_ne!(view.state, JobState::Completed, "{what}"),
                        other => panic!("{what}: {other:?}"),
                    }
                    assert!(Instant::now() < deadline, "{what}: the stream was not given up");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Answer::Accepted { id } => panic!("{what}: accepted as {id}"),
            _ => {}
        }
    }
    let port = port(DRIVER, url);
    let (status, result) = tokio::join!(port.status("1"), port.result("1"));
    assert!(!matches!(status, Seen::View(_)), "{what}: {status:?}");
    let look = result.unwrap();
    assert!(look.error.is_some() || look.bytes <= 1 << 20, "{what}: {look:?}");
    if let Some(Ok(depth)) = port.depth().await {
        panic!("{what}: a depth of {depth:?}");
    }
    let (_, _) = (port.probe().await, port.scrape().await);
    assert!(began.elapsed() < stretched(Duration::from_secs(120)), "{what} took {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_answers_are_bounded_and_errors() {
    // The memory of the whole process is measured.
    if !alone("hostile::hostile_answers_are_bounded_and_errors") {
        return;
    }
    let (elsewhere, asked_elsewhere) = serve(|stream, _| drop(stream.write_all(head("200 OK", "").as_bytes())));
    let redirect = move |stream: &mut TcpStream, path: &str| {
        let _ = stream.write_all(head("302 Found", &format!("location: {elsewhere}{path}\r\ncontent-length: 0\r\n")).as_bytes());
    };
    type Hostile = Box<dyn Fn(&mut TcpStream, &str) + Send + Sync>;
    let cases: Vec<(&str, Hostile)> = vec![
        (
            "100 MB of JSON",
            Box::new(|stream, _| {
                let _ = stream.write_all(head("200 OK", "content-type: application/json\r\n").as_bytes());
                let _ = stream.write_all(b"{\"id\":\"");
                let piece = vec![b'x'; 1 << 20];
                // Whoever reads no further closes: then the rest cannot be written.
                let _ = (0..100).try_for_each(|_| stream.write_all(&piece));
                let _ = stream.write_all(b"\"}");
            }),
        ),
        (
            "invalid UTF-8",
            Box::new(|stream, _| {
                let _ = stream.write_all(head("200 OK", "content-type: application/json\r\n").as_bytes());
                let _ = stream.write_all(b"{\"id\":\"\xff\xfe\xc3(\",\"status\":\"done\",\"waiting\":1}");
            }),
        ),
        (
            "a stream without an end",
            Box::new(|stream, _| {
                let _ = stream.write_all(head("200 OK", "content-type: text/event-stream\r\n").as_bytes());
                let token = b"data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
                while stream.write_all(token).is_ok() {}
            }),
        ),
        (
            "one event without an end",
            Box::new(|stream, _| {
                let _ = stream.write_all(head("200 OK", "content-type: text/event-stream\r\n").as_bytes());
                let piece = vec![b'x'; 1 << 16];
                while stream.write_all(&piece).is_ok() {}
            }),
        ),
        (
            "silence",
            Box::new(|stream, _| {
                let _ = stream.set_read_timeout(Some(Duration::from_secs(8)));
                let _ = stream.read_to_end(&mut Vec::new());
            }),
        ),
        (
            "a head that never ends",
            Box::new(|stream, _| {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
                while stream.write_all(b"x-y: zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz\r\n").is_ok() {}
            }),
        ),
        (
            "1 MB in one header",
            Box::new(|stream, _| {
                let _ = stream.write_all(head("200 OK", &format!("x-y: {}\r\n", "z".repeat(1 << 20))).as_bytes());
                let _ = stream.write_all(b"{\"id\":\"1\"}");
            }),
        ),
        (
            "a page instead of JSON",
            Box::new(|stream, _| {
                let _ = stream.write_all(head("200 OK", "content-type: text/html\r\n").as_bytes());
                let _ = stream.write_all(b"<html>{\"id\":1}</html>");
            }),
        ),
        (
            "a compression bomb",
            Box::new(|stream, _| {
                let _ =
                    stream.write_all(head("200 OK", "content-type: application/json\r\ncontent-encoding: gzip\r\n").as_bytes());
                // The head of a gzip stream and then blocks that would each unfold to 64 KiB.
                let _ = stream.write_all(b"\x1f\x8b\x08\0\0\0\0\0\0\x03");
                let _ = (0..1000).try_for_each(|_| stream.write_all(&[0xed, 0xc1, 0x01, 0x0d, 0, 0, 0, 0xc2, 0xa0, 0xf7]));
            }),
        ),
        (
            "a length that lies",
            Box::new(|stream, _| {
                let _ = stream.write_all(head("200 OK", "content-length: 99999999999\r\n").as_bytes());
                let _ = stream.write_all(b"{\"id\":\"1\"}");
            }),
        ),
        ("a redirect to elsewhere", Box::new(redirect)),
        ("no HTTP", Box::new(|stream, _| drop(stream.write_all(b"\0\x01\x02SSH-2.0-x\r\n\r\n")))),
    ];
    let before = resident();
    for (what, hostile) in cases {
        let (url, _) = serve(hostile);
        nothing_but_errors(what, &url).await;
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 200 << 20, "{} MiB more than before", grown >> 20);
    assert_eq!(asked_elsewhere.load(Ordering::Relaxed), 0, "a redirect was followed");
}

/// Answers of a size that a mutation can reach everything of.
fn answers() -> impl Strategy<Value = Vec<u8>> {
    let seeds = [
        r#"{"id":"a","status":"done","waiting":3,"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}"#,
        "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\ndata: [DONE]\n\n",
        "event: complete\ndata: [1, 2]\n\n",
        "a_metric{b=\"c\"} 1\n# TYPE a_metric gauge\n",
    ];
    (prop::sample::select(seeds.to_vec()), prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20)).prop_map(
        |(seed, changes)| {
            let mut bytes = seed.as_bytes().to_vec();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// No answer, however it is garbled, makes any call panic or hang.
    #[test]
    fn garbled_answers_never_panic(bodies in prop::collection::vec((answers(), 0..3usize), 1..4)) {
        let bodies: BTreeMap<usize, (Vec<u8>, usize)> = bodies.into_iter().enumerate().collect();
        let count = AtomicUsize::new(0);
        let (url, _) = serve(move |stream, _| {
            let (body, kind) = &bodies[&(count.fetch_add(1, Ordering::Relaxed) % bodies.len())];
            let kind = ["application/json", "text/event-stream", "text/plain"][*kind];
            let _ = stream.write_all(head("200 OK", &format!("content-type: {kind}\r\n")).as_bytes());
            let _ = stream.write_all(body);
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for driver in [DRIVER, STREAMED] {
                let port = port(driver, &url);
                let within = tokio::time::timeout(stretched(Duration::from_secs(60)), async {
                    let _ = (port.submit(&ask()).await, port.status("a").await, port.result("a").await);
                    let _ = (port.depth().await, port.scrape().await, port.health().await);
                });
                assert!(within.await.is_ok(), "a call hangs");
            }
        });
    }
}

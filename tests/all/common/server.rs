//! Small servers with one habit each: what people reported of theirs, in a few lines.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What was asked.
pub struct Asked {
    pub path: String,
    pub body: String,
    /// Which request to this path it is, from 1.
    pub count: usize,
}

type Counts = Mutex<HashMap<String, usize>>;

/// A status, a content type and a body.
pub type Said = (u16, &'static str, String);

/// Serves until the test's process ends; each connection has a thread and serves one request. Returns the URL.
pub fn serve(answer: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (answer, counts) = (Arc::new(answer), Arc::new(Mutex::new(HashMap::new())));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (answer, counts) = (answer.clone(), counts.clone());
            // A client that has gone away is no concern of the server's.
            std::thread::spawn(move || drop(one(stream, &*answer, &counts)));
        }
    });
    url
}

/// A server with these routes, on a thread of its own for as long as the test's process lives.
pub fn serve_routes(routes: axum::Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, routes).await.unwrap();
        });
    });
    address
}

fn one(mut stream: TcpStream, answer: &dyn Fn(&Asked) -> Said, counts: &Counts) -> std::io::Result<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body)?;
    let mut words = head.split(' ').map(str::to_owned);
    let path = words.nth(1).unwrap_or_default();
    let count = {
        let mut counts = counts.lock().unwrap();
        let count = counts.entry(path.clone()).or_default();
        *count += 1;
        *count
    };
    let asked = Asked { path, body: String::from_utf8_lossy(&body).into_owned(), count };
    let (status, kind, body) = answer(&asked);
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

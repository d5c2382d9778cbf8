//! A server that pings without end and never reads the pongs takes none of our memory.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use crate::common::port::port;
use crate::common::{alone, resident, stretched};
use chaos::driver::Port;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const DRIVER: &str = "
version: 1
name: pinged
submit: { steps: [{ path: /jobs, json: { a: 1 } }], id: /id }
status: { path: '/jobs/{{id}}', state: /status, states: { done: completed } }
result: { path: '/jobs/{{id}}/result' }
websocket: { path: /ws, id: /id }
";
/// 50 MB of pings, and of pongs.
const PINGS: usize = 400_000;
const MOST_GROWN: u64 = 16 << 20;

/// Upgrades one connection, sends the pings and never reads what comes back; then one message about a job.
fn pings() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, mut head, mut byte) = (listener.accept().unwrap().0, Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let key = head
            .lines()
            .find_map(|line| line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key")));
        let accept = derive_accept_key(key.unwrap().1.as_bytes());
        let upgrade = "HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept";
        stream.write_all(format!("{upgrade}: {accept}\r\n\r\n").as_bytes()).unwrap();
        let ping = [&[0x89, 125][..], &[b'x'; 125]].concat().repeat(100);
        (0..PINGS / 100).for_each(|_| stream.write_all(&ping).unwrap());
        let message = br#"{"id":"7","status":"done"}"#;
        stream.write_all(&[&[0x81, message.len() as u8][..], message].concat()).unwrap();
        // Until the client has gone.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pongs_that_nobody_reads_take_no_memory() {
    if !alone("pings::pongs_that_nobody_reads_take_no_memory") {
        return;
    }
    let port = port(DRIVER, &pings());
    let before = resident();
    let mut channel = port.connect("a").await.unwrap().unwrap();
    let (id, _) = tokio::time::timeout(stretched(Duration::from_secs(120)), channel.next()).await.expect("in time").unwrap();
    let grown = resident().saturating_sub(before);
    assert!(id == "7" && grown < MOST_GROWN, "{id}: {} MiB for 50 MB of pings", grown >> 20);
}

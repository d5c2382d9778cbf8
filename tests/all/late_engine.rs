//! An engine that has much to do tells late of what it did: that is waited for, and decides nothing by itself.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::common::docker::{Backend, engine};
use crate::common::{Run, run};

/// Longer than an effect may take to show.
const LATE: Duration = Duration::from_secs(8);

/// The engine behind a socket of its own, on which its events are late, or never come.
fn behind(socket: &Path, late: Option<Duration>) {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || serve(client, late));
        }
    });
}

fn serve(mut client: UnixStream, late: Option<Duration>) {
    let Ok(mut engine) = UnixStream::connect("/var/run/docker.sock") else { return };
    let mut head = vec![0; 64 << 10];
    let Ok(count) = client.read(&mut head) else { return };
    let asked = String::from_utf8_lossy(&head[..count]).into_owned();
    let is_events = asked.contains("/events?");
    // A connection for each question: what is asked on it later would not be looked at.
    if engine.write_all(asked.replacen("\r\n", "\r\nConnection: close\r\n", 1).as_bytes()).is_err() {
        return;
    }
    let (mut from, mut to) = (client.try_clone().unwrap(), engine.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
    match (is_events, late) {
        (false, _) => drop(std::io::copy(&mut engine, &mut client)),
        (true, None) => drop(std::io::copy(&mut engine, &mut std::io::sink())),
        (true, Some(late)) => copy_late(engine, client.try_clone().unwrap(), late),
    }
    let _ = client.shutdown(std::net::Shutdown::Both);
}

/// Everything comes, each piece so much later than it was said.
fn copy_late(mut from: UnixStream, mut to: UnixStream, late: Duration) {
    let (said, heard) = mpsc::channel::<(Instant, Vec<u8>)>();
    std::thread::spawn(move || {
        let mut piece = [0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            if said.send((Instant::now(), piece[..count].to_vec())).is_err() {
                return;
            }
        }
    });
    for (at, piece) in heard {
        std::thread::sleep(late.saturating_sub(at.elapsed()));
        if to.write_all(&piece).is_err() {
            return;
        }
    }
}

/// A run of faults on a container of its own.
fn with_an_engine_that_is(late: Option<Duration>, fault: &str) -> Run {
    let compose = ["com.docker.compose.project=late", "com.docker.compose.service=s"].map(|label| ["--label", label]);
    let labels = [&["--label", "chaos.allow=true"], compose.as_flattened()].concat();
    let backend = Backend::start(&labels, &["--speed", "400"]);
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("engine.sock");
    behind(&socket, late);
    let text = format!(
        "version: 1\nname: late\ntarget: {{ url: \"{}\", runtime: {{ docker: {{ container: {}, host: \"unix://{}\" }} }} }}\n\
         duration: 4s\nload: [{{ users: 1, think: 50ms..100ms }}]\nfaults: [{fault}]\nchecks: [{{ all_jobs_complete: {{ within: 60s }} }}]\n",
        backend.url(),
        backend.name,
        socket.display(),
    );
    let file = folder.path().join("late.yaml");
    std::fs::write(&file, text).unwrap();
    run(&[file.to_str().unwrap(), "--quiet"])
}

#[test]
fn what_the_engine_tells_late_is_waited_for() {
    if !engine("an engine that tells late") {
        return;
    }
    for (name, fault) in [("pause", "{ pause: { at: 1s, for: 500ms } }"), ("kill", "{ kill: { at: 1s, for: 500ms } }")] {
        let done = with_an_engine_that_is(Some(LATE), fault);
        assert_eq!(done.verdict(&format!("fault {name}")), "passed", "{}", done.trouble());
        assert!(done.is_healthy_but_for(&[]), "{fault}: {}", done.trouble());
        // It was held for its own time, and not until the word came.
        let moment = |key: &str| done.result["faults"][0][key].as_f64().unwrap();
        let (held_s, told_s) = (moment("reverted_at_s") - moment("injected_at_s"), moment("over_at_s") - moment("injected_at_s"));
        assert!(held_s < LATE.as_secs_f64() - 1.0 && told_s >= LATE.as_secs_f64(), "{fault}: {held_s} s, over after {told_s} s");
    }
}

/// A run may be over before the engine has told all that happened in it. Who took a removed container's place is told last.
#[test]
fn what_the_engine_tells_after_the_end_is_part_of_the_run() {
    if !engine("an engine that tells late") {
        return;
    }
    let done = with_an_engine_that_is(Some(LATE / 2), "{ remove: { at: 1s, for: 2500ms } }");
    assert_eq!(done.verdict("fault remove"), "passed", "{}", done.trouble());
    let journal = std::fs::read_to_string(done.folder.join("events.jsonl")).unwrap();
    assert!(journal.contains("was removed, and is followed"), "{}", done.trouble());
}

#[test]
fn what_the_engine_never_tells_is_not_proven() {
    if !engine("an engine that tells nothing") {
        return;
    }
    let done = with_an_engine_that_is(None, "{ pause: { at: 1s, for: 500ms } }");
    assert_eq!((done.code, done.verdict("fault pause")), (Some(6), "inconclusive"), "{}", done.trouble());
    let said = done.result["checks"].to_string();
    assert!(said.contains("yet the engine told of no pause"), "{said}");
}

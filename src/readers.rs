//! Everything that `chaos` reads from outside, by name, for those who attack it: `tests/all/fuzz.rs` and `fuzz/`. Whatever the bytes
//! are, a reader says what is wrong with them; it never panics.
//!
//! To add one: a function, and a line in [`READERS`]; inputs to begin with lie in `fuzz/corpus/NAME`.

use std::path::Path;

use serde_json::Value as Json;

use crate::driver::socketio_packet::{self, Engine};
use crate::driver::{self, Wanted, With, messages};
use crate::experiment::decode::At;
use crate::experiment::diagnostic::{Diagnostics, Span};
use crate::experiment::file::{self, Overrides};
use crate::incident::{access, docker, logs, prometheus as exported};
use crate::journal::{FILE, reader, undo};
use crate::observe::prometheus;
use crate::plan::build;
use crate::report::result;
use crate::schedule::file as schedules;
use crate::secret::Redactor;
use crate::seed::Seed;

/// Takes whatever it is given.
pub type Reader = fn(&[u8]);

/// Every one of them.
pub const READERS: [(&str, Reader); 13] = [
    ("access-log", |bytes| drop(access::read("access.log", &text(bytes)))),
    ("docker-events", |bytes| drop(docker::events("events.json", &text(bytes)))),
    ("docker-inspect", |bytes| drop(docker::inspect("inspect.json", &text(bytes)))),
    ("driver", driver),
    ("experiment", experiment),
    ("journal", journal),
    ("log", |bytes| drop(logs::read("app.log", &text(bytes)))),
    ("metrics", metrics),
    ("prometheus-export", |bytes| drop(exported::read("range.json", &text(bytes)))),
    ("schedule", schedule),
    ("socketio", socketio),
    ("sse", sse),
    ("websocket", websocket),
];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Gives a reader of files one with these bytes.
fn with_file(name: &str, bytes: &[u8], read: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().and_then(|folder| std::fs::write(folder.path().join(name), bytes).map(|()| folder));
    if let Ok(folder) = folder {
        read(folder.path());
    }
}

fn experiment(bytes: &[u8]) {
    let diags = match file::load_text("experiment.yaml", text(bytes), &Overrides::default(), &|_| None) {
        Ok(mut loaded) => {
            build::build(&mut loaded, Seed(1), Path::new("."));
            loaded.diags
        }
        Err(diags) => diags,
    };
    diags.render(false);
}

fn find_driver(name: &str, beside: &Path) -> Option<driver::Driver> {
    let name = At { value: name.to_owned(), span: Span::default() };
    let (with, mut diags) = (With::new(), Diagnostics::default());
    // Where the driver is named.
    diags.add_source("experiment.yaml", "");
    let found = driver::find(&Wanted { name: &name, with: &with, beside }, &mut Redactor::default(), &mut diags);
    diags.render(false);
    found
}

fn driver(bytes: &[u8]) {
    with_file("driver.yaml", bytes, |folder| drop(find_driver("driver.yaml", folder)));
}

fn schedule(bytes: &[u8]) {
    with_file("schedule.yaml", bytes, |folder| {
        if let Err(diags) = schedules::load(&folder.join("schedule.yaml"), &|_| None) {
            diags.render(false);
        }
    });
}

/// What is left to put back, what happened, and the verdicts.
fn journal(bytes: &[u8]) {
    let _ = undo::left_in(bytes);
    with_file(FILE, bytes, |folder| {
        let Ok(record) = reader::read(folder) else { return };
        let judged = result::of(&record);
        let broken = judged.checks.iter().find(|check| check.observed.contains("mistake in chaos"));
        assert!(broken.is_none(), "a check panics: {broken:?}");
        let broken = judged.notes.iter().find(|note| note.contains("mistake in chaos") && !record.notes.contains(note));
        assert!(broken.is_none(), "the analysis panics: {broken:?}");
    });
}

fn metrics(bytes: &[u8]) {
    let text = text(bytes);
    let scrape = prometheus::parse(&text);
    scrape.values.keys().for_each(|name| {
        prometheus::canonical_name(name);
        prometheus::sum(&text, name);
    });
}

/// In pieces of a length that the first byte says.
fn sse(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first() else { return };
    let mut events = driver::events::Reader::default();
    let _ = rest.chunks(usize::from(*length).max(1)).try_for_each(|piece| events.take(piece).map(drop));
}

fn socketio(bytes: &[u8]) {
    if let Ok(Engine::Message(rest)) = socketio_packet::engine(&text(bytes))
        && let Ok(mut packet) = socketio_packet::packet(rest)
    {
        socketio_packet::fill_in(&mut packet.data, &[7]);
    }
}

/// A message as every driver that hears some reads it.
fn websocket(bytes: &[u8]) {
    let Ok(message) = serde_json::from_slice::<Json>(bytes) else { return };
    for (name, _) in driver::BUILT_IN {
        let Some(driver) = find_driver(name, Path::new(".")) else { continue };
        let rules =
            driver.websocket.iter().map(|socket| &socket.events).chain(driver.socketio.iter().map(|socket| &socket.events));
        rules.for_each(|rules| drop(messages::read(&driver, rules, &message, &message)));
    }
}

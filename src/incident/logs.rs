//! The backend's own log: lines with a moment, as text or as JSON.

use std::sync::LazyLock;

use jiff::Timestamp;
use regex::RegexSet;
use serde_json::{Map, Value as Json};

use super::lines::{self, Line};
use super::{Fact, Read, What, quote, stamp};

/// What each pattern of [`PATTERNS`] means, in its order.
const MEANINGS: [What; 6] = [
    What::OomKilled,
    What::GpuOutOfMemory,
    What::Ended { killed: true },
    What::Ended { killed: false },
    What::Started,
    What::Disconnected,
];

// The patterns are constants, and tested.
#[expect(clippy::unwrap_used)]
static PATTERNS: LazyLock<RegexSet> = LazyLock::new(|| {
    RegexSet::new([
        r"(?i)out of memory: killed process|oom-kill:|oom_reaper|memory cgroup out of memory",
        r"(?i)cuda.{0,12}out of memory|hip out of memory|outofmemoryerror|CUDA_ERROR_OUT_OF_MEMORY",
        r"(?i)segmentation fault|core dumped|panicked at|fatal: the cuda context",
        r"(?i)\bshutting down\b|received sigterm|\bgraceful shutdown\b",
        r"(?i)listening on http|uvicorn running on|application startup complete|running on local url|to see the gui go to|server is listening",
        r"(?i)(websocket|socket\.?io|client)\b.{0,80}\b(disconnected|dropped|reset by peer|closed unexpectedly|lost)\b",
    ])
    .unwrap()
});

pub fn read(name: &str, text: &str) -> Result<Read, String> {
    let mut read = Read::default();
    let (mut last, mut assumed): (Option<(Timestamp, String, String)>, bool) = (None, false);
    for (at, line) in text.lines().enumerate() {
        let source = format!("{name}:{}", at + 1);
        let Line { text: said, kept } = lines::unwrap(line);
        let timed = moment(&said).or(kept.map(|kept| (kept, false)));
        // A traceback belongs to the line above it; a start without a moment of its own may belong to anything.
        let Some(when) = timed.map(|(t, _)| t).or_else(|| last.as_ref().map(|(t, ..)| *t)) else { continue };
        assumed |= timed.is_some_and(|(_, zone_assumed)| zone_assumed);
        if let Some(what) = meaning(&said).filter(|what| timed.is_some() || *what != What::Started) {
            if what == What::Started {
                read.facts.extend(silent_end(&read.facts, last.as_ref()));
            }
            read.facts.push(Fact { at: when, what, source: source.clone(), text: quote(&said) });
        }
        if timed.is_some() {
            last = Some((when, source, quote(&said)));
        }
    }
    if last.is_none() {
        return Err(format!("{name}: no line begins with a moment, or is a JSON object with one"));
    }
    if assumed {
        read.doubts.push(format!("the times of {name} have no time zone: are they UTC, as is assumed?"));
    }
    Ok(read)
}

/// A server that was killed says nothing: its last line is all that is known of its end.
fn silent_end(facts: &[Fact], last: Option<&(Timestamp, String, String)>) -> Option<Fact> {
    let life = facts.iter().rev().find(|f| matches!(f.what, What::Started | What::Ended { .. } | What::OomKilled));
    let told = life.is_some_and(|fact| fact.what != What::Started);
    let (at, source, text) = last.filter(|_| !told)?.clone();
    Some(Fact { at, what: What::LastSign, source, text: format!("{text} (the last line before the next start)") })
}

fn meaning(line: &str) -> Option<What> {
    // The first that fits: what the kernel says of its memory holds words of the others.
    PATTERNS.matches(line).iter().next().and_then(|at| MEANINGS.get(at).cloned())
}

fn moment(line: &str) -> Option<(Timestamp, bool)> {
    if line.trim_start().starts_with('{') {
        let object: Map<String, Json> = serde_json::from_str(line).ok()?;
        return ["timestamp", "time", "ts", "@timestamp"].iter().find_map(|key| stamp::json(object.get(*key)?));
    }
    stamp::leading(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_ends_and_silent_ends_are_found() {
        let text = "listening on nothing that has a time\n\
            2026-11-24 00:00:00,000 INFO Uvicorn running on http://0.0.0.0:5000\n\
            2026-11-24 00:00:05,000 ERROR torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20 GiB\n\
            Traceback (most recent call last):\n\
            2026-11-24 00:00:09,500 INFO job 7 done\n\
            2026-11-24 00:00:20,000 INFO Uvicorn running on http://0.0.0.0:5000\n\
            2026-11-24 00:00:30,000 INFO Shutting down\n\
            2026-11-24 00:00:31,000 INFO Uvicorn running on http://0.0.0.0:5000\n\
            2026-11-24 00:00:40,000 WARN websocket client 3 disconnected\n";
        let read = read("server.log", text).unwrap();
        let found: Vec<(i64, What, &str)> =
            read.facts.iter().map(|f| (f.at.as_millisecond() % 86_400_000, f.what.clone(), f.source.as_str())).collect();
        assert_eq!(
            found,
            [
                (0, What::Started, "server.log:2"),
                (5000, What::GpuOutOfMemory, "server.log:3"),
                (9500, What::LastSign, "server.log:5"),
                (20_000, What::Started, "server.log:6"),
                (30_000, What::Ended { killed: false }, "server.log:7"),
                (31_000, What::Started, "server.log:8"),
                (40_000, What::Disconnected, "server.log:9"),
            ]
        );
        assert!(read.doubts[0].contains("no time zone"));
        assert!(super::read("x", "no moments\n").is_err());
        let kept = super::read("x", "2026-11-24T00:00:40.000000001Z segmentation fault (core dumped)\n").unwrap();
        assert_eq!(kept.facts[0].what, What::Ended { killed: true });
    }
}

//! The backend's own log: lines with a moment, as text or as JSON.

use std::sync::LazyLock;

use jiff::Timestamp;
use regex::RegexSet;
use serde_json::{Map, Value as Json};

use super::lines::{self, Line};
use super::structured::{self, Object};
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
    // What objects without a moment mean: they are lines of their own, and no part of the line above.
    let mut unplaced: Vec<(String, What)> = Vec::new();
    for line in lines::of(text) {
        let source = format!("{name}:{}", line.number);
        let Said { at: timed, is_object, what, text: said } = Said::of(&line);
        if timed.is_none() && is_object {
            unplaced.extend(what.map(|what| (source, what)));
            continue;
        }
        // A traceback belongs to the line above it; a start without a moment of its own may belong to anything.
        let Some(when) = timed.map(|(t, _)| t).or_else(|| last.as_ref().map(|(t, ..)| *t)) else { continue };
        assumed |= timed.is_some_and(|(_, zone_assumed)| zone_assumed);
        if let Some(what) = what.filter(|what| timed.is_some() || *what != What::Started) {
            if what == What::Started {
                read.facts.extend(silent_end(&read.facts, last.as_ref()));
            }
            read.facts.push(Fact { at: when, what, source: source.clone(), text: said.clone() });
        }
        if timed.is_some() {
            last = Some((when, source, said));
        }
    }
    let looked = structured::where_looked();
    if last.is_none() {
        return Err(format!(
            "{name}: no line begins with a moment, or is a JSON object with one (it was looked for at {looked})"
        ));
    }
    if let Some((first, what)) = unplaced.first() {
        let count = unplaced.len();
        read.doubts.push(format!(
            "{count} JSON lines of {name} that mean something have no moment at {looked}, and are left out; the first is {first} ({what:?}): when was that?"
        ));
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

/// What a line says.
struct Said {
    /// The second says whether the zone had to be assumed.
    at: Option<(Timestamp, bool)>,
    is_object: bool,
    what: Option<What>,
    /// As it is quoted.
    text: String,
}

impl Said {
    fn of(line: &Line<'_>) -> Self {
        let kept = line.kept.map(|kept| (kept, false));
        let object = || serde_json::from_str::<Map<String, Json>>(&line.text).ok();
        let Some(map) = line.text.trim_start().starts_with('{').then(object).flatten() else {
            let at = stamp::leading(&line.text).or(kept);
            return Self { at, is_object: false, what: meaning(&line.text), text: quote(&line.text) };
        };
        let object = Object::of(&map);
        let message = object.text().unwrap_or(&line.text);
        // What is not in the message may be in a field beside it, such as an exception's.
        let (what, text) = match meaning(message) {
            Some(what) => (Some(what), quote(message)),
            None => (meaning(&line.text), quote(&line.text)),
        };
        Self { at: object.moment().or(kept).or_else(|| object.moment_inside()), is_object: true, what, text }
    }
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
    /// The same four lines, by the loggers and collectors of several languages.
    #[test]
    fn one_story_is_one_story_however_it_is_written() {
        let lines = [
            (30, "Uvicorn running on http://0.0.0.0:5000"),
            (60, "torch.OutOfMemoryError: CUDA out of memory"),
            (100, "Shutting down"),
            (110, "Uvicorn running on http://0.0.0.0:5000"),
        ];
        let expected = [What::Started, What::GpuOutOfMemory, What::Ended { killed: false }, What::Started];
        let clock = |s: i32| format!("03:{:02}:{:02}", s / 60, s % 60);
        let since = |s: i32| 1_795_489_200 + i64::from(s);
        type Form<'a> = (&'a str, &'a dyn Fn(i32, &str) -> String);
        let forms: [Form<'_>; 9] = [
            ("loguru", &|s, m| {
                format!(r#"{{"text":"{m}\n","record":{{"message":"{m}","time":{{"repr":"x","timestamp":{}}}}}}}"#, since(s))
            }),
            ("asctime", &|s, m| format!(r#"{{"asctime":"2026-11-24 {},250","name":"app","message":"{m}"}}"#, clock(s))),
            ("otlp", &|s, m| format!(r#"{{"timeUnixNano":"{}000000000","body":{{"stringValue":"{m}"}}}}"#, since(s))),
            ("pino", &|s, m| format!(r#"{{"level":30,"time":{}000,"msg":"{m}"}}"#, since(s))),
            ("google", &|s, m| format!(r#"{{"textPayload":"{m}","timestamp":"2026-11-24T{}Z"}}"#, clock(s))),
            ("structlog", &|s, m| format!(r#"{{"datetime":"2026-11-24T{}Z","event":"{m}"}}"#, clock(s))),
            ("cri", &|s, m| {
                format!(
                    "2026-11-24T{}.250000000Z stderr P {}\n2026-11-24T{}.250000000Z stderr F {}",
                    clock(s),
                    &m[..6],
                    clock(s),
                    &m[6..]
                )
            }),
            ("rfc 5424", &|s, m| format!("<14>1 2026-11-24T{}.25Z box app 7 - - {m}", clock(s))),
            ("mixed", &|s, m| match s {
                60 | 100 => format!(r#"{{"text":"{m}","record":{{"time":{{"timestamp":{}}}}}}}"#, since(s)),
                _ => format!("2026-11-24 {},250 INFO {m}", clock(s)),
            }),
        ];
        for (form, written) in forms {
            let text: Vec<String> = lines.iter().map(|(s, m)| written(*s, m)).collect();
            let read = read("app.log", &text.join("\n")).unwrap();
            let found: Vec<(i64, What)> = read.facts.iter().map(|f| (f.at.as_second() - since(0), f.what.clone())).collect();
            let wanted: Vec<(i64, What)> =
                lines.iter().zip(&expected).map(|((s, _), what)| (i64::from(*s), what.clone())).collect();
            assert_eq!(found, wanted, "{form}");
            assert!(
                read.facts[1].text.contains("CUDA out of memory") && !read.facts[1].text.contains('{'),
                "{form}: {}",
                read.facts[1].text
            );
        }
    }

    #[test]
    fn what_has_no_moment_is_told_and_put_at_nobody_elses() {
        let object = r#"{"level":"error","when":"then","message":"CUDA out of memory"}"#;
        let told = super::read("app.log", &format!("{object}\n")).unwrap_err();
        assert!(told.contains("it was looked for at `timestamp`"), "{told}");
        let mixed = super::read("app.log", &format!("2026-11-24 03:00:00,250 INFO started\n{object}\n")).unwrap();
        assert!(mixed.facts.is_empty(), "{:?}", mixed.facts);
        assert!(mixed.doubts.iter().any(|doubt| doubt.contains("app.log:2 (GpuOutOfMemory)")), "{:?}", mixed.doubts);
        // An exception beside the message.
        let beside =
            r#"{"time":"2026-11-24T03:00:00Z","message":"job 7 failed","exc_info":"torch.OutOfMemoryError: CUDA out of memory"}"#;
        assert_eq!(super::read("app.log", beside).unwrap().facts[0].what, What::GpuOutOfMemory);
        // A traceback is the line's above, in whatever it is written.
        let traceback = "{\"time\":\"2026-11-24T03:00:00Z\",\"message\":\"job 7 failed\"}\nTraceback (most recent call last):\ntorch.OutOfMemoryError: CUDA out of memory\n";
        assert_eq!(super::read("app.log", traceback).unwrap().facts[0].source, "app.log:3");
    }
}

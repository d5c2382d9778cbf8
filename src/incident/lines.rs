//! Lines as their program wrote them, and when, where whatever kept them says so.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::iter::Enumerate;
use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use regex::Regex;
use serde_json::Value as Json;

use super::stamp;

/// Of a line that was kept in pieces, no more is put together.
const LONGEST: usize = 1 << 20;

/// The pieces of a line come one after the other: later ones are another line's, of the program's next life.
const PIECES_WITHIN: SignedDuration = SignedDuration::from_secs(5);

/// One line of a log.
#[derive(Debug, PartialEq)]
pub struct Line<'a> {
    /// In its file, counted from one.
    pub number: usize,
    pub text: Cow<'a, str>,
    /// When it was written, by whatever kept it.
    pub kept: Option<Timestamp>,
}

/// What stands on one line of a file.
struct Piece<'a> {
    text: Cow<'a, str>,
    kept: Option<Timestamp>,
    /// Of which of the program's outputs, and whether its line goes on in the next piece.
    stream: String,
    goes_on: bool,
}

// The patterns are constants, and tested.
#[expect(clippy::unwrap_used)]
static CRI: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^(\S+) (stdout|stderr) ([FP])(?::\S*)?(?: (.*))?$").unwrap());
// PRI, version, moment, host, program, process, message's name, structured data (whose values escape their quotes), message.
#[expect(clippy::unwrap_used)]
static RFC_5424: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"^<\d{1,3}>1 (\S+) \S+ \S+ \S+ \S+ (?:-|(?:\[(?:[^\]"]|"(?:[^"\\]|\\.)*")*\])+) ?(.*)$"#).unwrap()
});

/// The lines of a file. Takes off what `docker logs --timestamps` and `kubectl logs --timestamps` put before a line, and what the
/// files of Docker (`*-json.log`), of the container runtimes of Kubernetes (CRI) and of syslog (RFC 5424) put around it; what
/// they keep in pieces is one line again. A carriage return ends a line, too: what a progress bar stood on.
pub fn of(text: &str) -> impl Iterator<Item = Line<'_>> {
    Whole { raw: text.lines().enumerate(), open: HashMap::new(), ready: VecDeque::new() }.flat_map(at_returns)
}

/// Puts pieces together.
struct Whole<'a> {
    raw: Enumerate<std::str::Lines<'a>>,
    open: HashMap<String, Line<'a>>,
    ready: VecDeque<Line<'a>>,
}

impl<'a> Iterator for Whole<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            let Some((at, raw)) = self.raw.next() else {
                // The last words of a program that was killed have no end.
                let mut left: Vec<Line<'a>> = self.open.drain().map(|(_, line)| line).collect();
                left.sort_by_key(|line| line.number);
                self.ready.extend(left);
                return self.ready.pop_front();
            };
            self.take(at + 1, piece(raw));
        }
    }
}

impl<'a> Whole<'a> {
    fn take(&mut self, number: usize, piece: Piece<'a>) {
        let Piece { text, kept, stream, goes_on } = piece;
        let begun = self.open.remove(&stream);
        let is_soon = |begun: &Line<'_>| begun.kept.zip(kept).is_none_or(|(a, b)| b.duration_since(a) <= PIECES_WITHIN);
        let line = match begun {
            Some(begun) if is_soon(&begun) => Line { text: joined(begun.text, &text).into(), ..begun },
            begun => {
                self.ready.extend(begun);
                Line { number, text, kept }
            }
        };
        if goes_on {
            self.open.insert(stream, line);
        } else {
            self.ready.push_back(line);
        }
    }
}

fn joined(begun: Cow<'_, str>, more: &str) -> String {
    let mut text = begun.into_owned();
    if text.len() < LONGEST {
        text.push_str(more);
    }
    text
}

fn at_returns(line: Line<'_>) -> Vec<Line<'_>> {
    if !line.text.contains('\r') {
        return vec![line];
    }
    let parts = line.text.split('\r').filter(|part| !part.trim().is_empty());
    parts.map(|part| Line { number: line.number, text: part.to_owned().into(), kept: line.kept }).collect()
}

fn piece(line: &str) -> Piece<'_> {
    let plain = |text, kept| Piece { text, kept, stream: String::new(), goes_on: false };
    if line.starts_with("{\"log\":") {
        return docker(line).unwrap_or_else(|| plain(line.into(), None));
    }
    if let Some(found) = CRI.captures(line)
        && let Ok(kept) = found[1].parse()
    {
        let text = found.get(4).map_or("", |text| text.as_str()).into();
        return Piece { text, kept: Some(kept), stream: found[2].to_owned(), goes_on: &found[3] == "P" };
    }
    if let Some(found) = RFC_5424.captures(line) {
        let text = found.get(2).map_or("", |text| text.as_str()).trim_start_matches('\u{feff}');
        return plain(text.into(), found[1].parse().ok());
    }
    match line.split_once(' ') {
        // To the nanosecond: no program writes so itself.
        Some((first, rest)) if (30..=35).contains(&first.len()) && first.contains('.') => match first.parse() {
            Ok(kept) => plain(rest.into(), Some(kept)),
            Err(_) => plain(line.into(), None),
        },
        _ => plain(line.into(), None),
    }
}

/// Docker keeps a long line in pieces of 16 KiB, of which only the last ends in a line feed.
fn docker(line: &str) -> Option<Piece<'_>> {
    let object: Json = serde_json::from_str(line).ok()?;
    let text = object.get("log")?.as_str()?;
    let stream = object.get("stream").and_then(Json::as_str).unwrap_or_default().to_owned();
    let kept = object.get("time").and_then(stamp::json).map(|(at, _)| at);
    let whole = text.trim_end_matches(['\n', '\r']);
    // A program's last line may have no end.
    Some(Piece { text: whole.to_owned().into(), kept, stream, goes_on: !text.ends_with('\n') && text.len() >= DOCKERS })
}

/// A shorter piece without an end is no piece.
const DOCKERS: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn unwrap(text: &str) -> (String, Option<Timestamp>) {
        let mut all: Vec<Line<'_>> = of(text).collect();
        assert_eq!(all.len(), 1, "{text}");
        let line = all.remove(0);
        (line.text.into_owned(), line.kept)
    }

    #[test]
    fn what_was_put_around_a_line_is_taken_off() {
        let kept = "2026-11-24T03:00:01.123Z".parse::<Timestamp>().ok();
        for line in [
            "2026-11-24T03:00:01.123456789Z hello there",
            "2026-11-24T04:00:01.123456789+01:00 hello there",
            r#"{"log":"hello there\n","stream":"stdout","time":"2026-11-24T03:00:01.123456789Z"}"#,
            r#"{"log":"hello there","stream":"stdout","time":"2026-11-24T03:00:01.123456789Z"}"#,
            "2026-11-24T04:00:01.123456789+01:00 stderr F hello there",
            "<165>1 2026-11-24T03:00:01.123Z gpubox app 17 - - hello there",
            "<13>1 2026-11-24T03:00:01.123456+00:00 gpubox app 17 ID47 [x@1 a=\"]\\\"\"][y@1] \u{feff}hello there",
        ] {
            let (text, at) = unwrap(line);
            assert_eq!(
                (text.as_str(), at.map(|t| t.as_millisecond())),
                ("hello there", kept.map(|t| t.as_millisecond())),
                "{line}"
            );
        }
        for own in ["2026-11-24T03:00:01.123Z hello", "hello there", r#"{"log": 3}"#, r#"{"message":"x"}"#, "now stdout F x"] {
            assert_eq!(unwrap(own), (own.to_owned(), None));
        }
    }

    #[test]
    fn what_was_kept_in_pieces_is_one_line_of_its_first_moment() {
        let cri = "2026-11-24T03:00:01.000000000Z stdout P {\"a\":\n\
            2026-11-24T03:00:01.200000000Z stderr F in between\n\
            2026-11-24T03:00:01.300000000Z stdout P 1,\n\
            2026-11-24T03:00:01.400000000Z stdout F \"b\":2}\n";
        let all: Vec<(usize, String)> = of(cri).map(|line| (line.number, line.text.into_owned())).collect();
        assert_eq!(all, [(2, "in between".to_owned()), (1, "{\"a\":1,\"b\":2}".to_owned())]);
        let long = "x".repeat(16 << 10);
        let docker = format!(
            "{{\"log\":\"{long}\",\"stream\":\"stdout\",\"time\":\"2026-11-24T03:00:01Z\"}}\n{{\"log\":\"the end\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-24T03:00:02Z\"}}\n"
        );
        let (text, at) = unwrap(&docker);
        assert!(text.ends_with("xthe end") && at == "2026-11-24T03:00:01Z".parse().ok());
    }

    #[test]
    fn last_words_without_an_end_are_a_line() {
        let killed = "2026-11-24T03:00:01.000000000Z stderr P CUDA out of memory\n";
        assert_eq!(unwrap(killed).0, "CUDA out of memory");
        let next_life = format!("{killed}2026-11-24T03:01:00.000000000Z stderr F Uvicorn running on http://x\n");
        let all: Vec<(usize, String)> = of(&next_life).map(|line| (line.number, line.text.into_owned())).collect();
        assert_eq!(all, [(1, "CUDA out of memory".to_owned()), (2, "Uvicorn running on http://x".to_owned())]);
    }

    #[test]
    fn what_a_bar_stands_on_ends_at_its_return() {
        let bar = "2026-11-24 03:00:01 loading\r 50%\r100%\rCUDA out of memory\n";
        let all: Vec<String> = of(bar).map(|line| line.text.into_owned()).collect();
        assert_eq!(all, ["2026-11-24 03:00:01 loading", " 50%", "100%", "CUDA out of memory"]);
    }
}

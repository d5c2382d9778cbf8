//! Lines as their program wrote them, and when, where whatever kept them says so.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::Value as Json;

use super::stamp;

/// One line of a log.
#[derive(Debug, PartialEq)]
pub struct Line<'a> {
    pub text: Cow<'a, str>,
    /// When it was written, by whatever kept it.
    pub kept: Option<Timestamp>,
}

/// Takes off what `docker logs --timestamps` and `kubectl logs --timestamps` put before a line, and what Docker's own files
/// (`*-json.log`) put around it.
pub fn unwrap(line: &str) -> Line<'_> {
    if line.starts_with("{\"log\":") {
        let object: Option<Json> = serde_json::from_str(line).ok();
        let text = object.as_ref().and_then(|o| o.get("log")?.as_str()).map(|text| text.trim_end().to_owned());
        let kept = object.as_ref().and_then(|o| stamp::json(o.get("time")?)).map(|(at, _)| at);
        if let Some(text) = text {
            return Line { text: text.into(), kept };
        }
    }
    match line.split_once(' ') {
        // To the nanosecond: no program writes so itself.
        Some((first, rest)) if (30..=35).contains(&first.len()) && first.contains('.') => match first.parse() {
            Ok(kept) => Line { text: rest.into(), kept: Some(kept) },
            Err(_) => Line { text: line.into(), kept: None },
        },
        _ => Line { text: line.into(), kept: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_around_a_line_is_taken_off() {
        let kept = "2026-11-24T03:00:01.123456789Z".parse::<Timestamp>().ok();
        for line in [
            "2026-11-24T03:00:01.123456789Z hello there",
            "2026-11-24T04:00:01.123456789+01:00 hello there",
            r#"{"log":"hello there\n","stream":"stdout","time":"2026-11-24T03:00:01.123456789Z"}"#,
        ] {
            let found = unwrap(line);
            assert_eq!((&*found.text, found.kept.map(|t| t.as_millisecond())), ("hello there", kept.map(|t| t.as_millisecond())));
        }
        for own in ["2026-11-24T03:00:01.123Z hello", "hello there", "", r#"{"log": 3}"#, r#"{"message":"x"}"#] {
            assert_eq!(unwrap(own), Line { text: own.into(), kept: None });
        }
    }
}

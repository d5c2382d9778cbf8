//! Which log lines matter.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Regex, RegexSet};

use serde_json::Value as Json;

use super::advice;

/// A log line for a reader: of a structured one the message and its fields, any other as it is.
pub fn readable(line: &str) -> String {
    let Ok(Json::Object(record)) = serde_json::from_str::<Json>(line) else { return line.to_owned() };
    let inside = record.get("fields").and_then(Json::as_object).unwrap_or(&record);
    let Some(message) = ["message", "msg", "event"].iter().find_map(|key| inside.get(*key)?.as_str()) else {
        return line.to_owned();
    };
    let level = record.get("level").and_then(Json::as_str).map_or_else(String::new, |level| format!("{level} "));
    let details = inside.iter().filter(|(key, value)| {
        let known = ["message", "msg", "event", "level", "timestamp", "time", "ts"];
        !known.contains(&key.as_str()) && !value.is_object() && !value.is_array()
    });
    let details: Vec<String> = details
        .map(|(key, value)| format!(" {key}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect();
    format!("{level}{message}{}", details.concat())
}

/// The patterns of a run: the driver's, the triggers', the checks'.
#[derive(Debug, Default)]
pub struct LogMatcher {
    patterns: Vec<(String, Regex)>,
    /// Tells whether it is any of them, which mostly it is not.
    set: RegexSet,
}

/// What stands this far in front of a match is left out where it is more ...
const BEFORE: usize = 200;
/// ... but for so much of its beginning, and of its end.
const SHOWN_HEAD: usize = 80;
const SHOWN_BEFORE: usize = 80;

impl LogMatcher {
    /// # Errors
    /// When a pattern is no regular expression; planning has refused those already.
    pub fn new(patterns: &[(String, String)]) -> Result<Self, String> {
        let set = RegexSet::new(patterns.iter().map(|(_, pattern)| pattern)).map_err(|e| e.to_string())?;
        let each = |(name, pattern): &(String, String)| Ok((name.clone(), Regex::new(pattern).map_err(|e| e.to_string())?));
        Ok(Self { patterns: patterns.iter().map(each).collect::<Result<_, String>>()?, set })
    }

    /// The names of the patterns that a line matches, each with what a reader is shown of the line.
    pub fn matching<'a>(&'a self, line: &'a str) -> impl Iterator<Item = (&'a str, String)> + 'a {
        let patterns = self.set.matches(line).into_iter().map(|at| &self.patterns[at]);
        let happened = patterns.filter(move |(name, pattern)| name != OOM || !is_advice(line, pattern));
        happened.map(move |(name, pattern)| (name.as_str(), around(&readable(line), pattern)))
    }
}

/// The driver's pattern for an out-of-memory.
const OOM: &str = "oom";

/// Wherever it is spoken of it is of what might happen.
fn is_advice(line: &str, pattern: &Regex) -> bool {
    pattern.find_iter(line).all(|found| advice::is_advice(&line[..found.start()]))
}

// The pattern is a constant, and tested.
#[expect(clippy::unwrap_used)]
/// What tqdm and those like it draw, up to its end: `12%|##   | 6/50 [00:01<00:07, 6.0it/s]`.
static BAR: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^.{0,80}?\d{1,3}%\|[^|]{0,400}\|\s*\d+/\d+\s*(\[[^\]]{0,80}\])?").unwrap());

/// A line without a bar that was drawn in it; where the match stands far behind its beginning, the beginning, and what is
/// around the match. Both are needed: who says it, a process or a job, stands in front.
fn around(line: &str, pattern: &Regex) -> String {
    let cut = BAR.find(line).filter(|bar| pattern.find(line).is_none_or(|found| found.start() >= bar.end()));
    let line = cut.map_or(Cow::Borrowed(line), |bar| Cow::Owned(line[bar.end()..].trim_start().to_owned()));
    let Some(start) = pattern.find(&line).map(|found| found.start()).filter(|start| *start > BEFORE) else {
        return line.into_owned();
    };
    let (head, near) = (line.floor_char_boundary(SHOWN_HEAD), line.floor_char_boundary(start - SHOWN_BEFORE));
    format!("{} … {}", &line[..head], &line[near..])
}

#[cfg(test)]
mod tests {
    use super::{LogMatcher, readable};

    #[test]
    fn of_a_long_line_the_match_is_shown() {
        let matcher = LogMatcher::new(&[("oom".into(), "out of memory".into()), ("x".into(), "^x".into())]).unwrap();
        let shown = |line: &str| matcher.matching(line).map(|(name, text)| (name.to_owned(), text)).collect::<Vec<_>>();
        assert_eq!(shown("CUDA out of memory."), [("oom".to_owned(), "CUDA out of memory.".to_owned())]);
        let long = shown(&format!("x{} CUDA out of memory.", "é".repeat(5000)));
        let quote = &long[0].1;
        assert!(quote.starts_with("xé") && quote.contains(" … é") && quote.ends_with("é CUDA out of memory."), "{long:?}");
        assert!(quote.len() < 200, "{quote}");
        assert!(long[1].0 == "x" && long[1].1.starts_with("xé"));
        assert!(shown("nothing").is_empty());
        let bar = "Sampling:  12%|█▌        | 6/50 [00:01<00:07, 6.0it/s]";
        assert_eq!(shown(&format!("{bar}torch: CUDA out of memory"))[0].1, "torch: CUDA out of memory");
        assert_eq!(shown(&format!("out of memory, {bar}"))[0].1, format!("out of memory, {bar}"));
    }

    #[test]
    fn advice_about_memory_is_no_out_of_memory() {
        let matcher =
            LogMatcher::new(&[("oom".into(), "(?i)out of memory".into()), ("x".into(), "(?i)out of memory".into())]).unwrap();
        let names = |line: &str| matcher.matching(line).map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
        for advice in [
            "INFO 11-24 model_runner.py:1518] Capturing graphs. If an out of memory error comes while capturing, lower gpu_memory_utilization",
            "WARN: in case of out of memory errors use --lowvram",
            "hint: use smaller tiles to reduce out of memory errors",
        ] {
            assert_eq!(names(advice), ["x"], "{advice}");
        }
        for did in [
            "CUDA out of memory. If reserved memory is large, it may run out of memory again",
            "RuntimeError: CUDA out of memory",
        ] {
            assert_eq!(names(did), ["oom", "x"], "{did}");
        }
    }

    #[test]
    fn structured_lines_are_made_readable_and_others_left_alone() {
        let tracing =
            r#"{"timestamp":"t","level":"ERROR","fields":{"message":"CUDA out of memory","job":"job-1","batch":4},"target":"x"}"#;
        assert_eq!(readable(tracing), "ERROR CUDA out of memory job=job-1 batch=4");
        assert_eq!(readable(r#"{"msg":"m","a":1}"#), "m a=1");
        for plain in ["plain text", "{not json", "{\"a\":1}", "[1]"] {
            assert_eq!(readable(plain), plain);
        }
    }
}

//! Which log lines matter.

use regex::RegexSet;

use serde_json::Value as Json;

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
    names: Vec<String>,
    set: RegexSet,
}

impl LogMatcher {
    /// # Errors
    /// When a pattern is no regular expression; planning has refused those already.
    pub fn new(patterns: &[(String, String)]) -> Result<Self, String> {
        let set = RegexSet::new(patterns.iter().map(|(_, pattern)| pattern)).map_err(|e| e.to_string())?;
        Ok(Self { names: patterns.iter().map(|(name, _)| name.clone()).collect(), set })
    }

    /// The names of the patterns that a line matches.
    pub fn matching<'a>(&'a self, line: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let matches: Vec<usize> = self.set.matches(line).into_iter().collect();
        matches.into_iter().map(|at| self.names[at].as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::readable;

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

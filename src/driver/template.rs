//! Fills `{{name}}` in a driver's paths and bodies, and reads values out of answers.

use serde_json::Value as Json;

use super::{StateWord, Status};
use crate::journal::event::{JobState, JobView};
use crate::secret;

/// The longest text of the target's that is kept.
pub const LONGEST_TEXT: usize = 600;

/// The value of a placeholder, if there is one of that name.
pub type Fill<'a> = &'a dyn Fn(&str) -> Option<Json>;

/// The placeholder of a job that has been accepted.
pub fn of_id(id: &str) -> impl Fn(&str) -> Option<Json> + '_ {
    move |name| (name == "id").then(|| id.into())
}

/// Fills a text as it stands.
pub fn plain(template: &str, fill: Fill<'_>) -> String {
    text(template, &|name| fill(name).map(|value| as_text(&value)))
}

/// Fills a path that may be nothing but a value of the target's: then that value, if it is a path of the same target.
pub fn target_path(template: &str, fill: Fill<'_>) -> Option<String> {
    let whole = template.strip_prefix("{{").and_then(|t| t.strip_suffix("}}")).filter(|name| !name.contains("{{"));
    let Some(name) = whole else { return Some(path(template, fill)) };
    let given = as_text(&fill(name.trim())?);
    (given.starts_with('/') && !given.starts_with("//") && !given.contains("..")).then_some(given)
}

/// The names of the placeholders in a text.
pub fn names(template: &str) -> Vec<String> {
    let found = std::cell::RefCell::new(Vec::new());
    text(template, &|name| {
        found.borrow_mut().push(name.to_owned());
        Some(String::new())
    });
    found.into_inner()
}

/// Fills a text; in a path the values must not bring in new path steps.
pub fn path(template: &str, fill: Fill<'_>) -> String {
    let encode = |text: String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.~".contains(c);
        text.chars().flat_map(|c| if plain(c) { vec![c.to_string()] } else { percent(c) }).collect::<String>()
    };
    text(template, &|name| fill(name).map(|value| encode(as_text(&value))))
}

fn percent(c: char) -> Vec<String> {
    let mut buffer = [0; 4];
    c.encode_utf8(&mut buffer).bytes().map(|b| format!("%{b:02X}")).collect()
}

fn text(template: &str, fill: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, tail)) = rest.split_once("{{") {
        out.push_str(before);
        let Some((name, after)) = tail.split_once("}}") else {
            out.push_str("{{");
            rest = tail;
            continue;
        };
        let (wanted, default) = name.split_once(":-").map_or((name, None), |(name, default)| (name, Some(default)));
        match fill(wanted.trim()).or_else(|| default.map(str::to_owned)) {
            Some(value) => out.push_str(&value),
            None => out.push_str(&format!("{{{{{name}}}}}")),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Fills a JSON value. A text that is nothing but one placeholder becomes the value itself, number or not.
pub fn json(template: &Json, fill: Fill<'_>) -> Json {
    match template {
        Json::String(t) => {
            let whole = t.strip_prefix("{{").and_then(|t| t.strip_suffix("}}")).filter(|name| !name.contains("{{"));
            match whole.and_then(|name| fill(name.trim())) {
                Some(value) => value,
                None => text(t, &|name| fill(name).map(|v| as_text(&v))).into(),
            }
        }
        Json::Array(items) => items.iter().map(|item| json(item, fill)).collect(),
        Json::Object(map) => map.iter().map(|(k, v)| (k.clone(), json(v, fill))).collect(),
        other => other.clone(),
    }
}

pub fn as_text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A text of the target's, cut to a bounded length and without control characters.
/// Secrets are masked before it is cut.
pub fn bounded(text: &str) -> String {
    let text = secret::head(text.as_bytes(), LONGEST_TEXT * 4);
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_TEXT).collect();
    clean.trim().to_owned()
}

/// Reads a job's view from an answer.
///
/// # Errors
/// When the state is not where the driver says.
pub fn view(status: &Status, body: &Json, fill: Fill<'_>) -> Result<JobView, String> {
    let state = plain(&status.state, fill);
    let word = body
        .pointer(&state)
        .filter(|word| !word.is_null())
        .map(as_text)
        .ok_or_else(|| format!("no state at {state} in {}", bounded(&body.to_string())))?;
    let at = |pointer: &Option<String>| pointer.as_ref().and_then(|p| body.pointer(&plain(p, fill))).filter(|v| !v.is_null());
    let number = |pointer: &Option<String>| at(pointer).and_then(|v| v.as_f64().or_else(|| v.as_str()?.parse().ok()));
    let count = |pointer: &Option<String>| number(pointer).filter(|n| *n >= 0.0).map(|n| n as u32);
    Ok(JobView {
        state: status.states.get(&word).map_or(JobState::Unknown, |state| (*state).into()),
        word: bounded(&word),
        progress: number(&status.progress),
        stage: at(&status.stage).map(|v| bounded(&as_text(v))),
        attempts: count(&status.attempts),
        batch: count(&status.batch),
        cold: at(&status.cold).and_then(Json::as_bool),
        error: status.error.as_ref().and_then(|place| place.find_in(body, fill)).map(|v| bounded(&as_text(&v))),
        completions: count(&status.completions),
        tokens: None,
    })
}

impl From<StateWord> for JobState {
    fn from(word: StateWord) -> Self {
        match word {
            StateWord::Queued => Self::Queued,
            StateWord::Running => Self::Running,
            StateWord::Completed => Self::Completed,
            StateWord::Failed => Self::Failed,
            StateWord::Cancelled => Self::Cancelled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_whole_placeholder_keeps_its_type() {
        let fill = |name: &str| (name == "width").then(|| json!(512));
        assert_eq!(
            json(&json!({ "w": "{{width}}", "t": "{{width}} px", "u": "{{other}}" }), &fill),
            json!({ "w": 512, "t": "512 px", "u": "{{other}}" })
        );
    }

    #[test]
    fn an_id_cannot_leave_its_place_in_the_path() {
        assert_eq!(path("/jobs/{{id}}", &of_id("../a b?x")), "/jobs/..%2Fa%20b%3Fx");
    }

    #[test]
    fn a_path_of_the_targets_own_stays_with_the_target() {
        let of = |value: &str| {
            let value = json!(value);
            target_path("{{url}}", &|name| (name == "url").then(|| value.clone()))
        };
        assert_eq!(of("/api/download/1/a.stl"), Some("/api/download/1/a.stl".into()));
        for elsewhere in ["//evil/x", "http://evil/x", "/a/../../etc", "x"] {
            assert_eq!(of(elsewhere), None, "{elsewhere}");
        }
    }

    #[test]
    fn placeholders_are_named() {
        assert_eq!(names("/a/{{id}}?x={{ client }}&y={{folder:-}}{{"), ["id", "client", "folder"]);
    }

    #[test]
    fn what_is_not_known_has_its_default() {
        assert_eq!(path("/view?name={{id}}&folder={{folder:-a}}", &of_id("x")), "/view?name=x&folder=a");
        assert_eq!(plain("{{id:-none}}", &of_id("x")), "x");
    }

    #[test]
    fn hostile_texts_are_bounded() {
        assert_eq!(bounded("a\u{1b}[31mb\n"), "a [31mb");
        assert_eq!(bounded(&"x".repeat(10_000)).len(), LONGEST_TEXT);
    }
}

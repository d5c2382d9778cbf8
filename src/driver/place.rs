//! Where in an answer a value stands: one text in a driver file.

use std::borrow::Cow;
use std::str::FromStr;

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use serde_json_path::JsonPath;

use super::template::{self, Fill};
use crate::experiment::decode::Decode;
use crate::experiment::diagnostic::Diagnostics;
use crate::experiment::node::Node;

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Place {
    /// A JSON pointer into the body.
    Pointer(String),
    /// A JSONPath (RFC 9535) into the body: the first value that it selects.
    Query(String),
    /// The value of a header.
    Header(String),
    /// The first group of a regular expression over the body.
    Pattern(String),
    /// A text with values that are known already.
    Template(String),
    /// The first of several that is there: `/id or /job_id`.
    FirstOf(Vec<Place>),
}

/// Between places of which the first that is there counts.
const OR: &str = " or ";

const EXPECTED: &str = "expected a JSON pointer (`/job/id`), a JSONPath (`$.jobs[0].id`), `header X-Job-Id`, `regex job-(\\d+)`, several of them (`/id or /job_id`), or a text with `{{name}}` in it";

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A text with values in it may have the word, too; several places that begin as places do are meant as such.
        let begins = |one: &str| one.starts_with('/') || one.starts_with("header ") || is_query(one);
        let are_places = || !text.contains("{{") || text.split(OR).all(|one| begins(one.trim()));
        if text.contains(OR) && !text.starts_with("regex ") && are_places() {
            return text.split(OR).map(|one| one.trim().parse()).collect::<Result<_, _>>().map(Self::FirstOf);
        }
        if let Some(name) = text.strip_prefix("header ") {
            return Ok(Self::Header(name.trim().to_owned()));
        }
        if is_query(text) {
            // An id may be anything: only in quotes it is a name or a text.
            let query = template::plain(text, &|_| Some("1 -x".into()));
            return match JsonPath::parse(&query) {
                Ok(_) => Ok(Self::Query(text.to_owned())),
                Err(why) if text.contains("{{") => {
                    Err(format!("this is no JSONPath (RFC 9535), in which values stand in quotes (`$['{{{{id}}}}']`): {why}"))
                }
                Err(why) => Err(format!("this is no JSONPath (RFC 9535): {why}")),
            };
        }
        if let Some(pattern) = text.strip_prefix("regex ") {
            let made = Regex::new(pattern.trim()).map_err(|e| format!("this is no regular expression: {e}"))?;
            if made.captures_len() < 2 {
                return Err("a regular expression needs a group around the value: `regex job-(\\d+)`".to_owned());
            }
            return Ok(Self::Pattern(pattern.trim().to_owned()));
        }
        match text {
            _ if text.contains("{{") && !text.starts_with('/') => Ok(Self::Template(text.to_owned())),
            _ if text.is_empty() || text.starts_with('/') => Ok(Self::Pointer(text.to_owned())),
            _ => Err(EXPECTED.to_owned()),
        }
    }
}

/// Of a journal, which may be older than the rules for places: what is none was never found, and is not now.
impl From<String> for Place {
    fn from(text: String) -> Self {
        text.parse().unwrap_or(Self::Pointer(text))
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.to_string()
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pointer(pointer) => f.write_str(pointer),
            Self::Query(query) => f.write_str(query),
            Self::Header(name) => write!(f, "header {name}"),
            Self::Pattern(pattern) => write!(f, "regex {pattern}"),
            Self::Template(text) => f.write_str(text),
            Self::FirstOf(all) => f.write_str(&all.iter().map(ToString::to_string).collect::<Vec<_>>().join(OR)),
        }
    }
}

impl Decode for Place {
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self> {
        let text = String::decode(node, diags)?;
        text.parse().map_err(|wrong: String| diags.error(node.span, wrong.replace('\n', " "), EXPECTED)).ok()
    }
    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

fn is_query(text: &str) -> bool {
    text == "$" || text.starts_with("$.") || text.starts_with("$[")
}

/// An answer, for looking values up in it.
pub struct Answered<'a> {
    pub header: &'a dyn Fn(&str) -> Option<String>,
    /// `None` of a message that is JSON alone: as it is written without spaces.
    pub text: Option<&'a str>,
    pub json: &'a Json,
}

impl<'a> Answered<'a> {
    /// A message, which has no headers.
    pub fn of(json: &'a Json) -> Self {
        Self { header: &|_| None, text: None, json }
    }

    pub fn text(&self) -> Cow<'a, str> {
        self.text.map_or_else(|| Cow::Owned(self.json.to_string()), Cow::Borrowed)
    }
}

impl Place {
    /// It may be the value of this header.
    pub fn is_header(&self, wanted: &str) -> bool {
        match self {
            Self::Header(name) => name.eq_ignore_ascii_case(wanted),
            Self::FirstOf(all) => all.iter().any(|place| place.is_header(wanted)),
            Self::Pointer(_) | Self::Query(_) | Self::Pattern(_) | Self::Template(_) => false,
        }
    }

    /// The names of what is filled in.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Pointer(text) | Self::Query(text) | Self::Template(text) => template::names(text),
            Self::FirstOf(all) => all.iter().flat_map(Self::names).collect(),
            Self::Header(_) | Self::Pattern(_) => Vec::new(),
        }
    }

    /// The value in a JSON message alone.
    pub fn find_in(&self, json: &Json, fill: Fill<'_>) -> Option<Json> {
        self.find(&Answered::of(json), fill)
    }

    /// The value there; `None` where there is none, or an empty one.
    pub fn find(&self, answered: &Answered<'_>, fill: Fill<'_>) -> Option<Json> {
        let found = match self {
            Self::Pointer(pointer) if pointer.contains("{{") => answered.json.pointer(&template::plain(pointer, fill)).cloned(),
            Self::Pointer(pointer) => answered.json.pointer(pointer).cloned(),
            Self::Query(query) => {
                // Only the quotes that stand around it may be escaped.
                let quote = if query.contains("'{{") { "'" } else { "\"" };
                let quoted = |name: &str| {
                    let value = template::as_text(&fill(name)?);
                    Some(value.replace('\\', "\\\\").replace(quote, &format!("\\{quote}")).into())
                };
                let path = JsonPath::parse(&template::plain(query, &quoted)).ok()?;
                path.query(answered.json).first().cloned()
            }
            Self::Header(name) => (answered.header)(name).map(Json::from),
            Self::Pattern(pattern) => {
                let made = Regex::new(pattern).ok()?;
                made.captures(&answered.text()).and_then(|found| found.get(1)).map(|m| m.as_str().into())
            }
            Self::Template(text) => Some(template::plain(text, fill).into()),
            Self::FirstOf(all) => all.iter().find_map(|place| place.find(answered, fill)),
        };
        found.filter(|value| !value.is_null() && value.as_str() != Some(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_place_is_found_and_written_back_as_it_was() {
        let json = json!({ "job": { "id": 7 }, "a/b": "x", "none": null });
        let header = |name: &str| name.eq_ignore_ascii_case("x-job").then(|| "h-1".to_owned());
        let answered = Answered { header: &header, text: Some("queued as job-42."), json: &json };
        let fill = |name: &str| (name == "id").then(|| json!("job"));
        let find = |text: &str| {
            let place: Place = text.parse().unwrap();
            assert_eq!(place.to_string(), text);
            place.find(&answered, &fill)
        };
        assert_eq!(find("/job/id"), Some(json!(7)));
        assert_eq!(find("/{{id}}/id"), Some(json!(7)));
        assert_eq!(find("/a~1b"), Some(json!("x")));
        assert_eq!(find("header X-Job"), Some(json!("h-1")));
        assert_eq!(find("regex job-(\\d+)"), Some(json!("42")));
        assert_eq!(find("{{id}}/y"), Some(json!("job/y")));
        assert_eq!(find("/id or /job/id or header X-Job"), Some(json!(7)));
        assert_eq!(find("/none or header X-Job"), Some(json!("h-1")));
        assert_eq!(find("/none or /id"), None);
        assert_eq!(find("/none or /{{id}}/id"), Some(json!(7)));
        assert_eq!(find("{{id}} or none"), Some(json!("job or none")));
        assert_eq!(find("regex (queued or not|job)"), Some(json!("job")));
        assert_eq!(find("/none"), None);
        assert_eq!(find("header Y"), None);
        // Of an older journal.
        let none: Place = serde_json::from_value(json!("progress")).unwrap();
        assert_eq!((none.find(&answered, &fill), serde_json::to_value(&none).unwrap()), (None, json!("progress")));
    }

    /// What ComfyUI tells of a job: its graph, whose inputs may have the same names, and files of which some are previews.
    #[test]
    fn a_query_finds_what_a_pointer_cannot_name() {
        let json = json!({ "it's 7": {
            "prompt": [0, "x", { "1": { "inputs": { "filename": "styles.csv", "type": "input" } } }],
            "outputs": {
                "10": { "text": ["no file"], "images": [{ "filename": "preview.png", "subfolder": "p", "type": "temp" }] },
                "9": { "animated": [false], "images": [{ "filename": "a.png", "subfolder": "", "type": "output" }] },
            } } });
        let answered = Answered::of(&json);
        let fill = |name: &str| (name == "id").then(|| json!("it's 7"));
        let find = |text: &str| text.parse::<Place>().unwrap().find(&answered, &fill);
        let file = |key: &str| find(&format!("$['{{{{id}}}}'].outputs.*.*[?@.type == 'output'].{key}"));
        assert_eq!((file("filename"), file("subfolder"), file("type")), (Some(json!("a.png")), None, Some(json!("output"))));
        assert_eq!(
            find("$['{{id}}'].none or $['{{id}}'].outputs..filename"),
            Some(json!("preview.png")),
            "the first that is there"
        );
        let other = |id: &'static str| {
            let json = json!({ id: { "at": 1 } });
            let fill = |name: &str| (name == "id").then(|| json!(id));
            let of = |text: &str| text.parse::<Place>().unwrap().find(&Answered::of(&json), &fill);
            (of("$['{{id}}'].at"), of("$[\"{{id}}\"].at"))
        };
        for id in ["a'b", "a\"b", "a\\b", "3f2a-1", "7"] {
            assert_eq!(other(id), (Some(json!(1)), Some(json!(1))), "{id}");
        }
        for wrong in ["$.a[", "$. and more", "$.a or job", "$.{{id}}.state"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for wrong in ["/id or job", "id", "regex job", "regex ("] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}

//! Fills `{{name}}` in a driver's paths and bodies, and reads values out of answers.

use serde_json::Value as Json;
use url::{Host, Url};

use super::place::{Answered, Place};
use super::words;
use super::{StateWord, Status};
use crate::journal::event::{JobState, JobView};
use crate::secret;

/// The longest text of the target's that is kept.
pub const LONGEST_TEXT: usize = 600;

/// Among what was captured: the path that was asked when a `Location` was captured as that name. No driver can call anything so.
pub fn asked_at(name: &str) -> String {
    format!("{name}}}}} was asked at")
}

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

/// Fills a path that may begin with a value of the target's: a path, or a whole URL, of the target at `base`.
///
/// # Errors
/// The value is not known, or is somewhere else.
pub fn target_path(template: &str, base: &str, fill: Fill<'_>) -> Result<String, String> {
    let Some((name, rest)) = template.strip_prefix("{{").and_then(|t| t.split_once("}}")) else {
        return Ok(path(template, fill));
    };
    let given = fill(name.trim()).ok_or_else(|| format!("`{}` is not known", name.trim()))?;
    let given = as_text(&given);
    let is_relative = !given.is_empty() && !given.starts_with(['/', '?', '#']) && Url::parse(&given).is_err();
    let own = match fill(&asked_at(name.trim())).filter(|_| is_relative) {
        Some(from) => redirected(&as_text(&from), &given, base),
        None => own_path(&given, base),
    };
    Ok(own? + &path(rest, fill))
}

/// What the target names, as a path below its URL.
///
/// # Errors
/// It is not the target's own.
pub fn own_path(given: &str, base: &str) -> Result<String, String> {
    let own = Url::parse(base).map_err(|e| format!("{base}: {e}"))?;
    let below =
        |path: &str| path.strip_prefix(own.path().trim_end_matches('/')).filter(|p| p.starts_with('/')).map(str::to_owned);
    if given.starts_with('/') && !given.starts_with("//") && !climbs(given) {
        // Some count from the server's root, as HTTP does, some from where they believe theirs to be.
        return Ok(below(given).unwrap_or_else(|| given.to_owned()));
    }
    let whole = Url::parse(given).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let Some(url) = whole else {
        return Err(format!("the target names no path of its own ({})", bounded(given)));
    };
    let path = url[url::Position::BeforePath..url::Position::AfterQuery].to_owned();
    match below(&path).filter(|_| is_same_server(&url, &own)) {
        Some(path) => Ok(path),
        None => Err(format!(
            "the target names {}, which is not at {base}, and is not fetched; its path alone is {} (a driver captures that with `regex https?://[^/\"]+([^\"]+)`)",
            bounded(given),
            bounded(&path)
        )),
    }
}

/// Where a redirect leads from that path.
///
/// # Errors
/// It is not the target's own.
pub fn redirected(from: &str, to: &str, base: &str) -> Result<String, String> {
    let here = Url::parse(&format!("{base}{from}")).map_err(|e| format!("{base}{from}: {e}"))?;
    let there = here.join(to).map_err(|e| format!("the target redirects to {}: {e}", bounded(to)))?;
    own_path(there.as_str(), base)
}

/// A step of the path leads upwards.
fn climbs(path: &str) -> bool {
    let before_query = path.split(['?', '#']).next().unwrap_or_default();
    percent_encoding::percent_decode_str(before_query).decode_utf8_lossy().split(['/', '\\']).any(|step| step == "..")
}

/// Whichever scheme it believes to be reached by: behind a proxy that encrypts, a server writes `http`.
fn is_same_server(a: &Url, b: &Url) -> bool {
    let is_here = |url: &Url| match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let no_ports = || a.port().is_none() && b.port().is_none();
    (a.port_or_known_default() == b.port_or_known_default() || no_ports()) && (a.host() == b.host() || (is_here(a) && is_here(b)))
}

/// The first placeholder that has neither a value nor a default.
pub fn unfilled(template: &str, fill: Fill<'_>) -> Option<String> {
    names(&text(template, &|name| fill(name).map(|_| String::new()))).into_iter().next()
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
pub fn view(status: &Status, answered: &Answered<'_>, fill: Fill<'_>) -> Result<JobView, String> {
    let missing = || {
        let place = plain(&status.state.to_string(), fill);
        format!("no state at {place} in {}", bounded(&answered.text()))
    };
    let told = status.state.find(answered, fill).ok_or_else(missing)?;
    let word = as_text(&told);
    let at = |place: &Option<Place>| place.as_ref().and_then(|place| place.find(answered, fill));
    let number = |place: &Option<Place>| at(place).and_then(|v| v.as_f64().or_else(|| v.as_str()?.parse().ok()));
    let count = |place: &Option<Place>| number(place).filter(|n| *n >= 0.0).map(|n| n as u32);
    let error = at(&status.error).filter(says_something).map(|v| bounded(&as_text(&v)));
    let state = status.meaning(&word).map_or(JobState::Unknown, Into::into);
    // It only says that the job is over.
    let is_flag = told.is_boolean();
    let has_failed = is_flag && state == JobState::Completed && error.is_some();
    Ok(JobView {
        state: if has_failed { JobState::Failed } else { state },
        word: bounded(&word),
        progress: number(&status.progress).map(|now| status.progress_of.map_or(now, |end| now / end * 100.0)),
        stage: at(&status.stage).map(|v| bounded(&as_text(&v))),
        attempts: count(&status.attempts),
        batch: count(&status.batch),
        cold: at(&status.cold).and_then(|v| v.as_bool()),
        error,
        completions: count(&status.completions),
        tokens: None,
    })
}

/// Whoever has nothing to tell, of an error for one, writes null, an empty text or list, 0 or false.
pub fn says_something(error: &Json) -> bool {
    match error {
        Json::Null => false,
        Json::Bool(said) => *said,
        Json::Number(code) => code.as_f64() != Some(0.0),
        Json::String(text) => !["", "none", "null"].iter().any(|nothing| text.trim().eq_ignore_ascii_case(nothing)),
        Json::Array(all) => !all.is_empty(),
        Json::Object(fields) => !fields.is_empty(),
    }
}

impl Status {
    /// What a word of the target's means: as it is written, or else whatever its case and what parts its words.
    fn meaning(&self, word: &str) -> Option<StateWord> {
        let in_any_case = || self.states.iter().find(|(theirs, _)| words::is_same(theirs, word)).map(|(_, state)| state);
        self.states.get(word).or_else(in_any_case).copied()
    }
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
            let fill = |name: &str| (name == "url").then(|| value.clone());
            target_path("{{url}}", "http://Host:8080", &fill).map_err(|why| assert!(why.contains("the target names"), "{why}"))
        };
        assert_eq!(of("/api/download/1/a.stl"), Ok("/api/download/1/a.stl".into()));
        assert_eq!(of("https://HOST:8080/files/1.png?sig=a%2Fb#top"), Ok("/files/1.png?sig=a%2Fb".into()));
        for elsewhere in ["//evil/x", "http://evil:8080/x", "http://host/x", "/a/../../etc", "x", "file:///etc/passwd", ""] {
            assert_eq!(of(elsewhere), Err(()), "{elsewhere}");
        }
        let below = |given: &str| own_path(given, "http://localhost:80/api/");
        assert_eq!(below("http://127.0.0.1/api/files/1"), Ok("/files/1".into()));
        assert!(below("http://127.0.0.1/files/1").unwrap_err().contains("its path alone is /files/1"));
        assert!(below("http://inside:9000/apis/1").is_err());
        // Counted from the root of the server, and from where it believes its own to be.
        assert_eq!((below("/api/files/1"), below("/files/1")), (Ok("/files/1".into()), Ok("/files/1".into())));
        assert_eq!((below("/apis/1"), below("/files/a..b.png?x=..")), (Ok("/apis/1".into()), Ok("/files/a..b.png?x=..".into())));
        assert!(below("/files/%2e%2E/x").is_err() && below("/a/..").is_err() && below("/a/..%2f..%2Fx").is_err());
        assert_eq!(own_path("http://h/files/1", "https://h"), Ok("/files/1".into()));
        assert!(own_path("http://h:8080/files/1", "https://h").is_err());
        let redirected = |to: &str| redirected("/jobs/7", to, "http://h/api");
        for (to, path) in [("/api/r/1", "/r/1"), ("7/result", "/jobs/7/result"), ("http://h/api/r/1?x=2", "/r/1?x=2")] {
            assert_eq!(redirected(to), Ok(path.into()), "{to}");
        }
        // Whoever follows it goes to the server's root, whatever the server believes to be its own.
        for elsewhere in ["/files/1", "https://bucket.example/x", "//evil/x", "../../x", "/../x", "http://h/files/1"] {
            assert!(redirected(elsewhere).is_err(), "{elsewhere}");
        }
    }

    #[test]
    fn what_begins_with_a_path_of_the_targets_goes_on_behind_it() {
        let fill = |name: &str| match name {
            "id" => Some(json!("/jobs/7")),
            "part" => Some(json!("a/b")),
            _ => None,
        };
        let of = |template: &str| target_path(template, "http://h", &fill);
        assert_eq!(of("{{id}}/parts/{{part}}"), Ok("/jobs/7/parts/a%2Fb".into()));
        assert_eq!(of("/all/{{part}}"), Ok("/all/a%2Fb".into()));
        assert_eq!(of("{{other}}/x"), Err("`other` is not known".into()));
    }

    #[test]
    fn what_a_target_names_without_a_slash_is_counted_from_where_it_was_asked() {
        let of = |id: &str, from: Option<&str>| {
            let fill = |name: &str| match name {
                "id" => Some(json!(id)),
                name if name == asked_at("id") => from.map(Json::from),
                _ => None,
            };
            target_path("{{id}}", "http://h/api", &fill)
        };
        for (id, from, path) in [
            ("jobs/7", "/jobs", "/jobs/7"),
            ("7", "/jobs/", "/jobs/7"),
            ("./7?x=1", "/v1/jobs/", "/v1/jobs/7?x=1"),
            ("../results/7", "/jobs/all", "/results/7"),
            ("a/b:1", "/jobs", "/a/b:1"),
        ] {
            assert_eq!(of(id, Some(from)), Ok(path.into()), "{id} from {from}");
        }
        assert!(of("../../../x", Some("/jobs")).is_err() && of("jobs/7", None).is_err() && of("http:7", Some("/jobs")).is_err());
    }

    #[test]
    fn placeholders_are_named() {
        assert_eq!(names("/a/{{id}}?x={{ client }}&y={{folder:-}}{{"), ["id", "client", "folder"]);
    }

    #[test]
    fn what_is_not_known_has_its_default() {
        let open = |path: &str| unfilled(path, &of_id("x"));
        assert_eq!(open("/view?name={{id}}&folder={{folder:-a}}"), None);
        assert_eq!(open("/view?name={{ filename }}&id={{id}}").as_deref(), Some("filename"));
        assert_eq!(open("{{id}}/{{a}}/{{b}}").as_deref(), Some("a"));
        assert_eq!(path("/view?name={{id}}&folder={{folder:-a}}", &of_id("x")), "/view?name=x&folder=a");
        assert_eq!(plain("{{id:-none}}", &of_id("x")), "x");
    }

    #[test]
    fn hostile_texts_are_bounded() {
        assert_eq!(bounded("a\u{1b}[31mb\n"), "a [31mb");
        assert_eq!(bounded(&"x".repeat(10_000)).len(), LONGEST_TEXT);
    }
}

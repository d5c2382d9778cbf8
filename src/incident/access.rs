//! Access logs: common, combined, and JSON a line.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jiff::SignedDuration;
use regex::Regex;
use serde_json::{Map, Value as Json};

use super::lines::{self, Line};
use super::structured::Object;
use super::{Clock, Fact, Post, Read, Submission, What, quote, stamp};
use crate::experiment::JobShape;

// The pattern is a constant, and tested.
#[expect(clippy::unwrap_used)]
static LINE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"^\S+ \S+ \S+ \[([^\]]+)\] "([A-Z]+) (\S+)[^"]*" (\d{3}) "#).unwrap());

const METHODS: &[&str] = &["method", "requestmethod", "verb", "httpmethod"];
const PATHS: &[&str] = &["path", "uri", "url", "requesturi", "httppath", "requestpath", "requesturl"];
const STATUSES: &[&str] = &["status", "statuscode", "code", "httpstatus", "downstreamstatus"];

pub fn read(name: &str, text: &str) -> Result<Read, String> {
    let (mut read, mut assumed) = (Read::default(), false);
    for line in lines::of(text).filter(|line| !line.text.trim().is_empty()) {
        let source = format!("{name}:{}", line.number);
        match request(&line, source, &mut assumed) {
            Some(fact) => read.facts.push(fact),
            None => read.unread += 1,
        }
    }
    if read.facts.is_empty() {
        return Err(format!("{name}: no line is one of an access log (common, combined, or one JSON object a line)"));
    }
    if read.facts.iter().filter_map(posted).any(|post| post.known_by == Clock::Second) {
        read.doubts.push(format!(
            "the moments of {name} are taken as those at which requests came. Are they (Apache), or those of the answers (nginx)?"
        ));
    }
    if assumed {
        read.doubts.push(format!("the times of {name} have no time zone: are they UTC, as is assumed?"));
    }
    Ok(read)
}

fn request(line: &Line<'_>, source: String, assumed: &mut bool) -> Option<Fact> {
    let Line { text, kept, .. } = line;
    if text.trim_start().starts_with('{') {
        return from_json(&serde_json::from_str(text).ok()?, text, source, assumed);
    }
    let found = LINE.captures(text)?;
    let (at, known_by) = match kept {
        // Whatever kept the line knows it better than to the second.
        Some(kept) => (*kept, Clock::Moment),
        None => (stamp::common(&found[1])?, Clock::Second),
    };
    let what = asked(&found[2], &found[3], found[4].parse().ok(), query(&found[3]), known_by);
    Some(Fact { at, what, source, text: quote(text) })
}

fn from_json(object: &Map<String, Json>, line: &str, source: String, assumed: &mut bool) -> Option<Fact> {
    let object = Object::of(object);
    let find = |names: &[&str]| object.find(names);
    let (at, zone_assumed) = object.moment().or_else(|| object.moment_inside())?;
    *assumed |= zone_assumed;
    let known_by = if at.subsec_nanosecond() == 0 { Clock::Second } else { Clock::Moment };
    // nginx writes when it has answered, and how long that took, in seconds.
    let took = find(&["requesttime"]).and_then(|v| v.as_f64().or_else(|| v.as_str()?.parse().ok())).unwrap_or(0.0);
    let at = SignedDuration::try_from_secs_f64(took).ok().and_then(|took| at.checked_sub(took).ok()).unwrap_or(at);
    let text = |value: &Json| value.as_str().map(str::to_owned);
    // nginx' `request`: "POST /jobs HTTP/1.1".
    let whole = find(&["request"]).and_then(text);
    let mut words = whole.as_deref().unwrap_or_default().split(' ');
    let method = find(METHODS).and_then(text).or_else(|| words.next().map(str::to_owned)).filter(|m| !m.is_empty())?;
    let path = find(PATHS).and_then(text).or_else(|| words.next().map(str::to_owned))?;
    let path = url::Url::parse(&path).map_or(path, |url| url[url::Position::BeforePath..].to_owned());
    let status = find(STATUSES).and_then(|v| v.as_u64().or_else(|| v.as_str()?.parse().ok())).and_then(|n| u16::try_from(n).ok());
    let mut job = query(&path);
    for key in sizes() {
        if let Some(value) = find(&[&key]).filter(|v| v.is_u64()) {
            job.insert(key, value.clone());
        }
    }
    let size = find(&["size"]).and_then(Json::as_str);
    if let Some((width, height)) = size.and_then(|size| size.split_once('x')) {
        let number = |text: &str| text.parse::<u64>().ok().map(Json::from);
        job.extend(
            [("width", number(width)), ("height", number(height))].into_iter().filter_map(|(k, v)| Some((k.to_owned(), v?))),
        );
    }
    let what = asked(&method, &path, status, job, known_by);
    Some(Fact { at, what, source, text: quote(line) })
}

/// What a job's size may be called.
fn sizes() -> Vec<String> {
    let shape = serde_json::to_value(JobShape::default()).unwrap_or_default();
    let names = shape.as_object().map(|map| map.iter().filter(|(_, v)| v.is_u64()).map(|(k, _)| k.clone()).collect::<Vec<_>>());
    names.unwrap_or_default().into_iter().filter(|name| name != "weight").collect()
}

/// Sizes in the query.
fn query(path: &str) -> Map<String, Json> {
    let pairs = path.split_once('?').map_or("", |(_, query)| query);
    let known = sizes();
    url::form_urlencoded::parse(pairs.as_bytes())
        .filter(|(key, _)| known.iter().any(|k| k == key))
        .filter_map(|(key, value)| Some((key.into_owned(), Json::from(value.parse::<u64>().ok()?))))
        .collect()
}

/// Whether it asks for a job is decided when all are known.
fn asked(method: &str, path: &str, status: Option<u16>, job: Map<String, Json>, known_by: Clock) -> What {
    let path = path.split(['?', '#']).next().unwrap_or(path).to_owned();
    if method == "POST" { What::Posted(Post { path, job, status, known_by }) } else { What::Other { status } }
}

/// Statuses of a request that was wrong.
const INVALID: &[u16] = &[400, 401, 403, 404, 405, 413, 415, 422];

/// Keeps the requests that submit a job, and puts those of one second, where the log knows no more, evenly into it.
pub fn choose(read: &mut Read, submission: &Submission) {
    let has_log = read.facts.iter().filter_map(posted).any(|post| post.known_by != Clock::Counter);
    // Whoever has the requests needs no counter of them.
    read.facts.retain(|fact| posted(fact).is_none_or(|post| has_log != (post.known_by == Clock::Counter)));
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    read.facts.iter().filter_map(posted).for_each(|post| *counts.entry(&post.path).or_default() += 1);
    let most = counts.iter().max_by_key(|(_, n)| **n).map(|(path, _)| (*path).to_owned());
    let given = submission.path.clone().filter(|path| counts.contains_key(path.as_str()));
    match (&given, &most) {
        (None, Some(path)) if !path.is_empty() => read
            .doubts
            .push(format!("jobs are taken to be submitted with POST {path}, which is posted to most often: is that so?")),
        _ => {}
    }
    if !has_log && most.is_some() {
        read.doubts.push(
            "there is no access log: arrivals are placed evenly between two samples of a counter. Were there bursts?".to_owned(),
        );
    }
    let chosen = given.or(most);
    read.facts.retain(|fact| posted(fact).is_none_or(|post| Some(&post.path) == chosen.as_ref()));
    let all = read.facts.len();
    read.facts.retain(|fact| posted(fact).and_then(|post| post.status).is_none_or(|status| !INVALID.contains(&status)));
    let invalid = all - read.facts.len();
    if invalid > 0 {
        read.doubts.push(format!("{invalid} submissions were refused as invalid and are left out: did they matter?"));
    }
    spread(&mut read.facts);
}

fn posted(fact: &Fact) -> Option<&Post> {
    match &fact.what {
        What::Posted(post) => Some(post),
        _ => None,
    }
}

fn spread(facts: &mut [Fact]) {
    let is_coarse = |fact: &Fact| posted(fact).is_some_and(|post| post.known_by == Clock::Second);
    let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
    facts.iter().filter(|fact| is_coarse(fact)).for_each(|fact| *counts.entry(fact.at.as_second()).or_default() += 1);
    let mut placed: BTreeMap<i64, i64> = BTreeMap::new();
    for fact in facts.iter_mut().filter(|fact| is_coarse(fact)) {
        let second = fact.at.as_second();
        let at = placed.entry(second).or_default();
        let ms = second * 1000 + *at * 1000 / counts.get(&second).copied().unwrap_or(1);
        *at += 1;
        fact.at = jiff::Timestamp::from_millisecond(ms).unwrap_or(fact.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(text: &str, path: Option<&str>) -> Vec<(i64, Map<String, Json>)> {
        let mut all = read("access.log", text).unwrap();
        choose(&mut all, &Submission { path: path.map(str::to_owned) });
        let of = |fact: &Fact| Some((fact.at.as_millisecond() % 86_400_000, posted(fact)?.job.clone()));
        all.facts.iter().filter_map(of).collect()
    }

    #[test]
    fn common_and_combined_lines_are_spread_over_their_second() {
        let text = "10.0.0.1 - - [24/Nov/2026:00:00:01 +0000] \"POST /jobs?width=1024 HTTP/1.1\" 202 31\n\
            10.0.0.1 - bob [24/Nov/2026:00:00:01 +0000] \"POST /jobs HTTP/1.1\" 429 31 \"-\" \"curl/8\"\n\
            10.0.0.1 - - [24/Nov/2026:00:00:02 +0000] \"GET /jobs/1 HTTP/1.1\" 200 31\n\
            10.0.0.1 - - [24/Nov/2026:00:00:02 +0000] \"POST /jobs HTTP/1.1\" 422 31\n";
        let found = arrivals(text, Some("/jobs"));
        assert_eq!(found.iter().map(|a| a.0).collect::<Vec<_>>(), [1000, 1500]);
        assert_eq!(found[0].1["width"], 1024);
    }

    #[test]
    fn json_lines_of_several_makers_are_read() {
        let text = r#"{"timestamp":"2026-11-24T00:00:01.250Z","fields":{"method":"POST","path":"/jobs","status":202,"width":768,"height":512,"batch":2}}
{"time_local":"24/Nov/2026:00:00:02 +0000","request":"POST /jobs HTTP/1.1","status":"202"}
{"ts":1795478403.5,"request":{"method":"POST","uri":"/jobs","width":64}}
{"time":"2026-11-24T00:00:05.750Z","request_time":"0.250","method":"POST","url":"http://gpu:5000/jobs?batch=4","size":"1024x768"}
{"ts":1795478404.5,"request":{"method":"POST","uri":"/login"}}"#;
        let found = arrivals(text, None);
        assert_eq!(found.iter().map(|a| a.0).collect::<Vec<_>>(), [1250, 2000, 3500, 5500]);
        assert_eq!(serde_json::to_string(&found[3].1).unwrap(), r#"{"batch":4,"width":1024,"height":768}"#);
        assert_eq!((found[0].1["batch"].clone(), found[2].1["width"].clone()), (2.into(), 64.into()));
    }

    #[test]
    fn what_engines_and_proxies_keep_is_read() {
        let text = r#"2026-11-24T00:00:01.500000000Z stdout F 10.0.0.1 - - [24/Nov/2026:00:00:01 +0000] "POST /jobs HTTP/1.1" 202 31
2026-11-24T00:00:02.500000000Z stdout P 10.0.0.1 - - [24/Nov/2026:00:00:02 +0000] "POST /jo
2026-11-24T00:00:02.500000000Z stdout F bs HTTP/1.1" 202 31
<14>1 2026-11-24T00:00:03.5Z proxy nginx - - - 10.0.0.1 - - [24/Nov/2026:00:00:03 +0000] "POST /jobs HTTP/1.1" 202 31
{"RequestMethod":"POST","RequestPath":"/jobs","DownstreamStatus":202,"time":"2026-11-24T00:00:04.500Z"}
{"httpRequest":{"requestMethod":"POST","requestUrl":"http://gpu/jobs","status":202},"timestamp":"2026-11-24T00:00:05.500Z"}
"#;
        let found = arrivals(text, Some("/jobs"));
        assert_eq!(found.iter().map(|a| a.0).collect::<Vec<_>>(), [1500, 2500, 3500, 4500, 5500]);
    }

    #[test]
    fn whatever_kept_a_line_knows_its_moment_better() {
        let kept = "2026-11-24T00:00:01.400000000Z 10.0.0.1 - - [24/Nov/2026:00:00:01 +0000] \"POST /jobs HTTP/1.1\" 202 31";
        let file = r#"{"log":"{\"time\":\"2026-11-24T00:00:02.25Z\",\"method\":\"POST\",\"path\":\"/jobs\"}\n","stream":"stdout","time":"2026-11-24T00:00:02.26Z"}"#;
        assert_eq!(arrivals(&format!("{kept}\n{file}\n"), None).iter().map(|a| a.0).collect::<Vec<_>>(), [1400, 2250]);
    }

    #[test]
    fn another_file_is_refused() {
        assert!(read("x", "hello\nworld\n").is_err());
    }
}

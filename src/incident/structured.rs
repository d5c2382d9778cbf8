//! A line that is a JSON object, as the loggers and collectors of many languages write it: when, and what was said.

use jiff::Timestamp;
use serde_json::{Map, Value as Json};

use super::stamp;

/// What the moment is called, without regard to case and signs: of `@timestamp` that is `timestamp`. The first that can be read counts.
const TIMES: [&str; 16] = [
    "timestamp",
    "time",
    "ts",
    "asctime",
    "datetime",
    "date",
    "eventtime",
    "timelocal",
    "timeiso8601",
    "timeunixnano",
    "observedtimeunixnano",
    "timemillis",
    "t",
    "realtimetimestamp",
    "sourcerealtimetimestamp",
    "startutc",
];
const TEXTS: [&str; 9] = ["message", "msg", "text", "event", "log", "textpayload", "body", "m", "shortmessage"];
/// What the application itself says stands in one of these in many a format.
const INSIDE: [&str; 13] = [
    "record",
    "fields",
    "jsonpayload",
    "log",
    "event",
    "data",
    "payload",
    "request",
    "http",
    "httprequest",
    "body",
    "params",
    "attributes",
];

/// What a whole record of the logger's stands in. Elsewhere a moment may be a job's.
const RECORDS: [&str; 3] = ["record", "fields", "jsonpayload"];
/// 2010: what would be before that counts from something else.
const LONG_AGO_S: i64 = 1_262_304_000;
/// Zones are whole quarters of an hour apart.
const QUARTER_S: i64 = 900;

/// The object and what it holds of the application's own, in the order in which a field is looked for.
pub struct Object<'a>(Vec<&'a Map<String, Json>>);

impl<'a> Object<'a> {
    pub fn of(object: &'a Map<String, Json>) -> Self {
        let inside = INSIDE.iter().filter_map(|name| get(object, name)?.as_object());
        Self([object].into_iter().chain(inside).collect())
    }

    /// The first field of one of these names. They are written small and without signs.
    pub fn find(&self, names: &[&str]) -> Option<&'a Json> {
        self.find_map(names, Some)
    }

    fn find_map<T>(&self, names: &[&str], read: impl Fn(&'a Json) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(|map| names.iter().find_map(|name| read(get(map, name)?)))
    }

    /// When it was written, by itself. The second says whether the zone had to be assumed.
    pub fn moment(&self) -> Option<(Timestamp, bool)> {
        self.0.first().and_then(|map| moment_in(map))
    }

    /// When it was written, by the record of the logger's that it holds.
    pub fn moment_inside(&self) -> Option<(Timestamp, bool)> {
        let map = self.0.first()?;
        RECORDS.iter().find_map(|name| moment_in(get(map, name)?.as_object()?))
    }

    pub fn text(&self) -> Option<&'a str> {
        let text = |value: &'a Json| value.as_str().or_else(|| value.get("stringValue")?.as_str());
        self.find_map(&TEXTS, text)
    }
}

/// Where a moment is looked for, for whoever finds that there is none.
pub fn where_looked() -> String {
    format!("`{}`, or one of these in `{}`", TIMES[..6].join("`, `"), RECORDS.join("`, `"))
}

fn moment_in(map: &Map<String, Json>) -> Option<(Timestamp, bool)> {
    let known = |name: &str| moment(get(map, name)?).filter(|(at, _)| at.as_second() > LONG_AGO_S);
    let all = || TIMES.iter().filter_map(|name| known(name));
    let (at, assumed) = all().next()?;
    // Python's own record has the same moment twice, once with its zone; another moment beside it is something else's.
    let is_same = |(exact, exact_assumed): &(Timestamp, bool)| {
        let apart = (exact.as_second() - at.as_second()).rem_euclid(QUARTER_S);
        !exact_assumed && (apart <= 1 || apart >= QUARTER_S - 1)
    };
    let exact = all().chain(known("created")).find(|found| assumed && is_same(found));
    Some(exact.unwrap_or((at, assumed)))
}

fn moment(value: &Json) -> Option<(Timestamp, bool)> {
    let Some(map) = value.as_object() else { return stamp::json(value) };
    // Loguru's, MongoDB's, and that of protocol buffers.
    let inside = ["timestamp", "repr", "$date"].iter().find_map(|name| stamp::json(map.get(*name)?));
    inside.or_else(|| stamp::json(map.get("seconds")?))
}

fn get<'a>(map: &'a Map<String, Json>, name: &str) -> Option<&'a Json> {
    map.get(name).or_else(|| {
        let is_it = |key: &str| key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).eq(name.chars());
        map.iter().find(|(key, _)| is_it(key)).map(|(_, value)| value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> (Option<i64>, Option<String>) {
        let object: Map<String, Json> = serde_json::from_str(line).unwrap();
        let object = Object::of(&object);
        (object.moment().or_else(|| object.moment_inside()).map(|(t, _)| t.as_millisecond()), object.text().map(str::to_owned))
    }

    #[test]
    fn the_forms_of_many_loggers_are_one() {
        for line in [
            r#"{"text":"it\n","record":{"elapsed":{"seconds":1.0},"message":"x","time":{"repr":"2026-11-24 02:59:30.250000+00:00","timestamp":1795489170.25}}}"#,
            r#"{"asctime":"2026-11-24 02:59:30,250","levelname":"INFO","message":"it"}"#,
            r#"{"timeUnixNano":"1795489170250000000","body":{"stringValue":"it"}}"#,
            r#"{"time":1795489170250,"level":30,"msg":"it"}"#,
            r#"{"textPayload":"it","timestamp":"2026-11-24T02:59:30.250Z"}"#,
            r#"{"datetime":"2026-11-24T02:59:30.250Z","event":"it","logger":"app"}"#,
            r#"{"@t":"2026-11-24T02:59:30.2500000Z","@m":"it"}"#,
            r#"{"__REALTIME_TIMESTAMP":"1795489170250000","MESSAGE":"it"}"#,
            r#"{"Timestamp":"2026-11-24T03:59:30.25+01:00","jsonPayload":{"message":"it"}}"#,
            r#"{"t":{"$date":"2026-11-24T02:59:30.250+00:00"},"msg":"it"}"#,
            r#"{"time":"02:59:30","date":"2026-11-24T02:59:30.250Z","log":{"message":"it"}}"#,
        ] {
            let (at, text) = read(line);
            assert_eq!((at, text.as_deref().map(str::trim)), (Some(1_795_489_170_250), Some("it")), "{line}");
        }
        let python = r#"{"asctime":"2026-11-24 04:59:30,250","created":1795489170.25,"message":"it"}"#;
        assert_eq!(read(python).0, Some(1_795_489_170_250), "local time, and the same moment in seconds");
        for of_a_job in
            [r#"{"message":"it","data":{"created":1795480000,"time":1795480000}}"#, r#"{"message":"it","created":1795480000}"#]
        {
            assert_eq!(read(of_a_job).0, None, "{of_a_job}");
        }
        let other = r#"{"asctime":"2026-11-24 02:59:30,250","message":"it","event_time":"2026-11-24T01:55:13Z"}"#;
        assert_eq!(read(other).0, Some(1_795_489_170_250), "an event's own moment is none of the line's");
        let relative = read(r#"{"time":12.5,"ts":86400000,"log":"since the start"}"#);
        assert_eq!(relative, (None, Some("since the start".to_owned())));
        assert_eq!(
            read(r#"{"job":{"created":1795489170},"level":"x"}"#),
            (None, None),
            "a job's own moment is none of the line's"
        );
    }
}

//! Moments as logs write them.

use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use regex::Regex;
use serde_json::Value as Json;

// The patterns are constants, and tested.
#[expect(clippy::unwrap_used)]
static LEADING: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^\W{0,2}(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}:\d{2})(?:[.,](\d{1,9}))?\s?(Z|UTC|[+-]\d{2}:?\d{2})?").unwrap()
});

// As `dmesg -T` writes it: [Tue Nov 24 03:00:01 2026], in the machine's own zone.
#[expect(clippy::unwrap_used)]
static OF_DMESG: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^\[[A-Z][a-z]{2} ([A-Z][a-z]{2}) +(\d{1,2}) (\d{2}:\d{2}:\d{2}) (\d{4})\]").unwrap());

/// A moment in a text of its own: RFC 3339, with a blank or a comma in places, or as `dmesg -T` writes it; without a zone it
/// is taken as UTC. The second says whether the zone had to be assumed.
pub fn leading(line: &str) -> Option<(Timestamp, bool)> {
    if let Some(found) = OF_DMESG.captures(line) {
        let text = format!("{} {} {} {} +0000", &found[1], &found[2], &found[3], &found[4]);
        return jiff::fmt::strtime::parse("%b %d %H:%M:%S %Y %z", text).ok()?.to_timestamp().ok().map(|moment| (moment, true));
    }
    let found = LEADING.captures(line)?;
    let fraction = found.get(3).map_or("0", |f| f.as_str());
    let zone = found.get(4).map(|z| z.as_str());
    let offset = match zone {
        None | Some("Z" | "UTC") => "+00:00".to_owned(),
        Some(text) if text.len() == 5 => format!("{}:{}", &text[..3], &text[3..]),
        Some(text) => text.to_owned(),
    };
    let text = format!("{}T{}.{fraction}{offset}", &found[1], &found[2]);
    text.parse().ok().map(|moment| (moment, zone.is_none()))
}

/// As Apache and nginx write it: 10/Oct/2000:13:55:36 -0700.
pub fn common(text: &str) -> Option<Timestamp> {
    jiff::fmt::strtime::parse("%d/%b/%Y:%H:%M:%S %z", text).ok()?.to_timestamp().ok()
}

/// A JSON value: a text of one of these forms, or seconds, milliseconds or nanoseconds since 1970.
pub fn json(value: &Json) -> Option<(Timestamp, bool)> {
    match value {
        Json::String(text) => leading(text).or_else(|| common(text).map(|t| (t, false))).or_else(|| number(text.parse().ok()?)),
        Json::Number(n) => number(n.as_f64()?),
        _ => None,
    }
}

fn number(n: f64) -> Option<(Timestamp, bool)> {
    let seconds = match n.abs() {
        n if n >= 1e17 => 1e-9,
        n if n >= 1e14 => 1e-6,
        n if n >= 1e11 => 1e-3,
        _ => 1.0,
    } * n;
    // Milliseconds are as exact as anything that is placed by them.
    Timestamp::from_millisecond((seconds * 1e3).round() as i64).ok().filter(|t| t.as_second() > 0).map(|t| (t, false))
}

/// A moment of the command line.
///
/// # Errors
/// A sentence.
pub fn given(text: &str) -> Result<Timestamp, String> {
    let civil = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|z| z.timestamp());
    text.parse::<Timestamp>().ok().or_else(civil).ok_or_else(|| format!("`{text}` is no moment; expected 2026-11-24T03:00:00Z"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json as value;

    #[test]
    fn the_forms_of_many_logs_are_one_moment() {
        let moment: Timestamp = "2026-11-24T03:00:01.5Z".parse().unwrap();
        for line in [
            "2026-11-24T03:00:01.500Z INFO x",
            "2026-11-24 03:00:01,500 - ERROR",
            "[2026-11-24 03:00:01.5 UTC] x",
            "2026-11-24T04:00:01.500000000+01:00 x",
            "2026-11-24T04:00:01.5+0100",
        ] {
            assert_eq!(leading(line).map(|t| t.0), Some(moment), "{line}");
        }
        let of_dmesg = leading("[Tue Nov  3 03:00:01 2026] Out of memory: Killed process 17 (python)");
        assert_eq!(of_dmesg, Some(("2026-11-03T03:00:01Z".parse().unwrap(), true)));
        assert!(leading("2026-11-24 03:00:01").unwrap().1 && !leading("2026-11-24T03:00:01Z").unwrap().1);
        for number in [value!(1795489201.5), value!(1795489201500_i64), value!("1795489201.5"), value!(1795489201500000000_i64)] {
            assert_eq!(json(&number).map(|t| t.0), Some(moment), "{number}");
        }
        assert_eq!(common("24/Nov/2026:04:00:01 +0100").unwrap().as_second(), moment.as_second());
        for no in ["", "INFO", "12:00:00 x", "2026-13-24T03:00:01Z"] {
            assert_eq!(leading(no), None, "{no}");
        }
    }
}

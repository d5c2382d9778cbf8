//! Quantities as people write them: `90s`, `1.5m`, `2GiB`, `5/s`, `30s..90s`, `20%`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::decode::Decode;
use super::diagnostic::Diagnostics;
use super::node::{Node, Value};

/// A unit type: parsed from text, printed as text that parses back.
macro_rules! quantity {
    ($name:ident, $expected:literal, $pattern:literal $(, $scaled:expr)?) => {
        impl Decode for $name {
            fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self> {
                if node.shows_secret($expected, diags) {
                    return None;
                }
                let text = match &node.value {
                    Value::Text(_) | Value::Int(_) | Value::Float(_) => node.scalar().unwrap_or_default(),
                    _ => {
                        diags.error(node.span, format!("expected {}, found {}", $expected, node.kind()), concat!("expected ", $expected));
                        return None;
                    }
                };
                match text.parse::<Self>() {
                    Ok(value) => Some(value.scaled(diags.time_scale)),
                    Err(reason) => {
                        diags.error(node.span, format!("`{text}`: {reason}"), concat!("expected ", $expected));
                        None
                    }
                }
            }
            $(fn scaled(self, by: f64) -> Self {
                let scale: fn(Self, f64) -> Self = $scaled;
                scale(self, by)
            })?
            fn schema() -> Json {
                json!({ "anyOf": [{ "type": "string", "pattern": concat!("^(", $pattern, r"|.*\$\{.*)$") }, { "type": "number", "const": 0 }] })
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// A length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub Duration);

/// The longest time that an experiment may speak of: a month.
const LONGEST: f64 = 31.0 * 86_400.0;

impl Time {
    pub const fn secs(s: u64) -> Self {
        Self(Duration::from_secs(s))
    }
    pub const fn millis(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }
    pub fn as_s(self) -> f64 {
        self.0.as_secs_f64()
    }
    /// At a time scale, to the microsecond.
    pub fn times(self, scale: f64) -> Self {
        Self(Duration::from_micros((self.as_s() * scale * 1e6).round() as u64))
    }
}

/// Splits `1.5m` into 1.5 and `m`.
fn number_and_unit(text: &str) -> Result<(f64, &str), String> {
    let text = text.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-' || c == '+')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| "does not begin with a number".to_owned())?;
    if number < 0.0 {
        return Err("is negative".to_owned());
    }
    Ok((number, unit.trim()))
}

impl FromStr for Time {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut total = 0.0;
        let mut parts = 0;
        for part in split_compound(text) {
            let (number, unit) = number_and_unit(part)?;
            let factor = match unit {
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" | "min" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                "" if number == 0.0 => 1.0,
                "" => return Err("has no unit".to_owned()),
                other => return Err(format!("`{other}` is not a unit of time (us, ms, s, m, h, d)")),
            };
            total += number * factor;
            parts += 1;
        }
        if parts == 0 {
            return Err("is empty".to_owned());
        }
        if total > LONGEST {
            return Err("is longer than a month".to_owned());
        }
        Ok(Self(Duration::from_nanos((total * 1e9).round() as u64)))
    }
}

/// Splits `1m30s` and `1m 30s` into parts that each end in a unit.
fn split_compound(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut in_unit = false;
    for (at, c) in text.char_indices() {
        let numeric = c.is_ascii_digit() || c == '.' || c == '-';
        if in_unit && numeric {
            parts.push(text[start..at].trim());
            start = at;
        }
        in_unit = !numeric && (in_unit || !c.is_whitespace());
    }
    let last = text[start..].trim();
    if !last.is_empty() {
        parts.push(last);
    }
    parts
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let (value, unit) = match nanos {
            0 => (0.0, "s"),
            n if n < 1_000_000 => (n as f64 / 1e3, "us"),
            n if n < 1_000_000_000 => (n as f64 / 1e6, "ms"),
            n if n % 3_600_000_000_000 == 0 => (n as f64 / 3.6e12, "h"),
            n if n % 60_000_000_000 == 0 => (n as f64 / 6e10, "m"),
            n => (n as f64 / 1e9, "s"),
        };
        f.pad(&format!("{value}{unit}"))
    }
}
quantity!(
    Time,
    "a time such as 500ms, 90s, 1.5m or 2h",
    r"\s*[0-9.]+ ?(us|µs|ms|s|m|min|h|d)([0-9. ]+(ms|s|m|min|h))*\s*",
    Time::times
);

/// A length of time that belongs to the machine, such as the time in which a process must start: no time scale changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallTime(pub Duration);

impl WallTime {
    pub const fn secs(s: u64) -> Self {
        Self(Duration::from_secs(s))
    }
    pub const fn millis(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }
    pub fn as_s(self) -> f64 {
        self.0.as_secs_f64()
    }
}

impl FromStr for WallTime {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<Time>().map(|time| Self(time.0))
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Time(self.0).fmt(f)
    }
}
quantity!(WallTime, "a time such as 500ms, 90s, 1.5m or 2h", r"\s*[0-9.]+ ?(us|µs|ms|s|m|min|h|d)([0-9. ]+(ms|s|m|min|h))*\s*");

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Bytes(pub u64);

impl Bytes {
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }
}

impl FromStr for Bytes {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = number_and_unit(text)?;
        let factor: f64 = match unit.to_ascii_lowercase().as_str() {
            "b" => 1.0,
            "kb" => 1e3,
            "mb" => 1e6,
            "gb" => 1e9,
            "tb" => 1e12,
            "kib" => 1024.0,
            "mib" => 1048576.0,
            "gib" => 1073741824.0,
            "tib" => 1099511627776.0,
            "" if number == 0.0 => 1.0,
            "" => return Err("has no unit".to_owned()),
            other => return Err(format!("`{other}` is not a unit of size (B, KiB, MiB, GiB, TiB, KB, MB, GB, TB)")),
        };
        let bytes = number * factor;
        if bytes > 1e16 {
            return Err("is more than any machine has".to_owned());
        }
        Ok(Self(bytes.round() as u64))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let text = match exact.iter().find(|(size, _)| self.0 >= *size && self.0.is_multiple_of(*size)) {
            Some((size, unit)) => format!("{}{unit}", self.0 / size),
            None => format!("{}B", self.0),
        };
        f.pad(&text)
    }
}
quantity!(Bytes, "a size such as 512MiB or 24GiB", r"\s*[0-9.]+ ?([kKmMgGtT]i?)?[bB]\s*");

/// A share of a whole, 0 to 1 inside, `0%` to `100%` outside.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Share(pub f64);

impl FromStr for Share {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = number_and_unit(text)?;
        match unit {
            "%" if number > 100.0 => Err("is above 100%".to_owned()),
            "%" => Ok(Self(number / 100.0)),
            "" if number == 0.0 => Ok(Self(0.0)),
            "" => Err("has no % sign".to_owned()),
            other => Err(format!("`{other}` is not %")),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}%", (self.0 * 1e8).round() / 1e6))
    }
}
quantity!(Share, "a percentage from 0% to 100%", r"\s*[0-9.]+ ?%\s*");

/// So many in a time, as events per second.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Rate(pub f64);

impl FromStr for Rate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (count, per) = text.split_once('/').ok_or_else(|| "has no `/s`, `/m` or `/h`".to_owned())?;
        let (number, rest) = number_and_unit(count)?;
        if !rest.is_empty() {
            return Err(format!("`{rest}` does not belong before the `/`"));
        }
        let factor = match per.trim() {
            "s" => 1.0,
            "m" | "min" => 1.0 / 60.0,
            "h" => 1.0 / 3600.0,
            other => return Err(format!("`/{other}` is not a rate (/s, /m, /h)")),
        };
        match number * factor {
            r if r <= 0.0 => Err("is nothing at all".to_owned()),
            r if r > 100_000.0 => Err("is more than 100000/s".to_owned()),
            r => Ok(Self(r)),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/s", self.0))
    }
}
quantity!(Rate, "a rate such as 5/s or 30/m", r"\s*[0-9.]+ ?/ ?(s|m|min|h)\s*", |rate, scale| Rate(rate.0 / scale));

/// A time between two bounds, both included; a single time is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    pub from: Time,
    pub to: Time,
}

impl TimeRange {
    pub const fn exactly(span: Time) -> Self {
        Self { from: span, to: span }
    }
    pub fn mean_s(self) -> f64 {
        (self.from.as_s() + self.to.as_s()) / 2.0
    }
}

impl FromStr for TimeRange {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let Some((from, to)) = text.split_once("..") else {
            return text.parse().map(Self::exactly);
        };
        let (from, to): (Time, Time) = (from.parse()?, to.parse()?);
        if from > to {
            return Err("begins after its end".to_owned());
        }
        Ok(Self { from, to })
    }
}

impl fmt::Display for TimeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from == self.to { self.from.fmt(f) } else { f.pad(&format!("{}..{}", self.from, self.to)) }
    }
}
quantity!(TimeRange, "a time or a range such as 30s..90s", r"\s*[0-9.]+ ?(us|µs|ms|s|m|min|h|d).*", |range, scale| TimeRange {
    from: range.from.times(scale),
    to: range.to.times(scale)
});

/// A percentage between two bounds, both included, such as `70%..85%`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShareRange {
    pub from: Share,
    pub to: Share,
}

impl ShareRange {
    pub fn holds(self, share: f64) -> bool {
        (self.from.0..=self.to.0).contains(&share)
    }
}

impl FromStr for ShareRange {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (from, to) = text.split_once("..").ok_or_else(|| "has no `..` between two percentages".to_owned())?;
        let (from, to): (Share, Share) = (from.parse()?, to.parse()?);
        if from > to {
            return Err("begins after its end".to_owned());
        }
        Ok(Self { from, to })
    }
}

impl fmt::Display for ShareRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}..{}", self.from, self.to))
    }
}
quantity!(ShareRange, "a range such as 70%..85%", r"\s*[0-9.]+ ?%\s*\.\.\s*[0-9.]+ ?%\s*");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_as_people_write_them() {
        assert_eq!("90s".parse(), Ok(Time::secs(90)));
        assert_eq!("1.5m".parse(), Ok(Time::secs(90)));
        assert_eq!("1m30s".parse(), Ok(Time::secs(90)));
        assert_eq!("1m 30s".parse(), Ok(Time::secs(90)));
        assert_eq!("0".parse(), Ok(Time::secs(0)));
        assert_eq!("2GiB".parse(), Ok(Bytes(2 << 30)));
        assert_eq!("20%".parse(), Ok(Share(0.2)));
        assert_eq!("30/m".parse(), Ok(Rate(0.5)));
        assert_eq!("70%..85%".parse(), Ok(ShareRange { from: Share(0.7), to: Share(0.85) }));
        assert_eq!(Time::secs(82).times(0.005), Time::millis(410));
        assert_eq!("30s..1.5m".parse(), Ok(TimeRange { from: Time::secs(30), to: Time::secs(90) }));
    }

    #[test]
    fn wrong_units_say_what_is_wrong() {
        let wrong = |text: &str| text.parse::<Time>().unwrap_err();
        assert!(wrong("10x").contains("`x` is not a unit of time"));
        assert!(wrong("-5s").contains("negative"));
        assert!(wrong("10").contains("no unit"));
        assert!(wrong("").contains("empty"));
        assert!(wrong("ten s").contains("number"));
        assert!(wrong("100d").contains("month"));
        assert!("120%".parse::<Share>().unwrap_err().contains("above 100%"));
        assert!("9s..3s".parse::<TimeRange>().unwrap_err().contains("begins after its end"));
        assert!("5".parse::<Rate>().unwrap_err().contains("/s"));
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(ms in 0u64..2_000_000_000) {
            let span = Time::millis(ms);
            prop_assert_eq!(span.to_string().parse::<Time>().unwrap(), span);
        }

        #[test]
        fn sizes_are_read_back(bytes in 0u64..1 << 50) {
            prop_assert_eq!(Bytes(bytes).to_string().parse::<Bytes>().unwrap(), Bytes(bytes));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = text.parse::<Time>();
            let _ = text.parse::<TimeRange>();
            let _ = text.parse::<Bytes>();
            let _ = text.parse::<Rate>();
            let _ = text.parse::<Share>();
        }
    }
}

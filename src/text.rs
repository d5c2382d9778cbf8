//! Figures as text, the same in every report; and what a text is.

use crate::experiment::units::Bytes;

/// Whether this is the URL of a server that speaks HTTP.
pub fn is_http_url(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// Text of the target's must not steer a terminal, nor change the order in which what stands around it is read.
pub fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() {
                ' '
            } else if is_invisible(c) {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// Marks that are not seen and change what is: directions (UAX #9), joiners, tags, and noncharacters.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' | '\u{fdd0}'..='\u{fdef}')
        || u32::from(c) & 0xfffe == 0xfffe
}

/// Seconds for a person.
pub fn seconds(s: f64) -> String {
    match s {
        s if s < 0.0095 => format!("{:.1} ms", s * 1e3),
        s if s < 0.9995 => format!("{:.0} ms", s * 1e3),
        s if s < 119.5 => format!("{s:.2} s"),
        s => format!("{:.1} min", s / 60.0),
    }
}

/// The value of one of our series for a person, by the unit in its name.
pub fn figure(name: &str, value: f64) -> String {
    if name.ends_with("_bytes") {
        bytes(value)
    } else if name.ends_with("_percent") {
        format!("{value:.0} %")
    } else if name.ends_with("temperature_c") {
        format!("{value:.0} °C")
    } else {
        format!("{value:.1}")
    }
}

fn bytes(value: f64) -> String {
    let units = [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    units
        .iter()
        .find(|(size, _)| value >= *size as f64)
        .map_or_else(|| Bytes(value.max(0.0) as u64).to_string(), |(size, unit)| format!("{:.1} {unit}", value / *size as f64))
}

/// `1 job`, `3 jobs`.
pub fn jobs(n: u64) -> String {
    count(n as usize, "job")
}

/// `1 problem`, `3 problems`.
pub fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// What a panic said.
pub fn panic(said: &(dyn std::any::Any + Send)) -> &str {
    said.downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| said.downcast_ref::<&str>().copied())
        .unwrap_or("nothing was said")
}

/// A word of one of our enums, as reports write it.
pub fn word(of: impl serde::Serialize) -> String {
    serde_json::to_value(of).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_shown_and_what_is_stays() {
        assert_eq!(harmless("ok \u{1b}[31m\n\u{202e}gpj.exe\u{feff}\u{ffff}"), "ok  [31m \u{fffd}gpj.exe\u{fffd}\u{fffd}");
        assert_eq!(harmless("größer → 模型 \u{1f600}"), "größer → 模型 \u{1f600}");
    }
}

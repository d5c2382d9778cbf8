//! Figures as text, the same in every report.

use crate::experiment::units::Bytes;

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

/// A word of one of our enums, as reports write it.
pub fn word(of: impl serde::Serialize) -> String {
    serde_json::to_value(of).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

//! Recorded arrivals: a file with one JSON object a line.

use std::path::Path;

use serde_json::{Map, Value as Json};

use super::Arrival;
use crate::experiment::decode::At;
use crate::experiment::diagnostic::Diagnostics;
use crate::experiment::{JobShape, Load};

/// A trace of more arrivals than this is another kind of test.
const MOST: usize = 1_000_000;
/// What a line may say besides the job: when, and where it was taken from.
const AT: &str = "at_s";
const FROM: &str = "from";

/// Reads a load's trace. What is wrong goes to `diags`, with the number of the line.
pub fn read(file: &At<String>, load: &Load, beside: &Path, time_scale: f64, diags: &mut Diagnostics) -> Vec<Arrival> {
    let path = beside.join(&file.value);
    let read = std::fs::read_to_string(&path)
        .map_err(|e| format!("{} cannot be read: {e}", path.display()))
        .and_then(|text| parse(&text, load.job.first().unwrap_or(&JobShape::default()), time_scale));
    match read {
        Ok(arrivals) => arrivals,
        Err(reason) => {
            diags
                .error(file.span, reason, "this trace")
                .help(r#"each line is an object such as {"at_s": 1.5, "width": 1024, "height": 1024}, the earliest first"#);
            Vec::new()
        }
    }
}

fn parse(text: &str, usual: &JobShape, time_scale: f64) -> Result<Vec<Arrival>, String> {
    let usual = match serde_json::to_value(usual) {
        Ok(Json::Object(map)) => map,
        _ => Map::new(),
    };
    let mut arrivals: Vec<Arrival> = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let arrival = one(line, &usual, time_scale).map_err(|why| format!("line {} of the trace: {why}", at + 1))?;
        if arrivals.last().is_some_and(|last| last.at_s > arrival.at_s) {
            return Err(format!("line {} of the trace comes before the one above it", at + 1));
        }
        arrivals.push(arrival);
        if arrivals.len() > MOST {
            return Err(format!("the trace has more than {MOST} arrivals"));
        }
    }
    if arrivals.is_empty() { Err("the trace has no arrivals".to_owned()) } else { Ok(arrivals) }
}

fn one(line: &str, usual: &Map<String, Json>, time_scale: f64) -> Result<Arrival, String> {
    let mut given: Map<String, Json> = serde_json::from_str(line).map_err(|e| e.to_string())?;
    given.remove(FROM);
    let at = given.remove(AT).as_ref().and_then(Json::as_f64).filter(|s| s.is_finite() && *s >= 0.0);
    let at = at.ok_or_else(|| format!("`{AT}` is missing, or no time"))?;
    if let Some(unknown) = given.keys().find(|key| !usual.contains_key(*key)) {
        return Err(format!("`{unknown}` is nothing that a job has"));
    }
    let mut job = usual.clone();
    job.extend(given);
    let job: JobShape = serde_json::from_value(Json::Object(job)).map_err(|e| e.to_string())?;
    if job.width == 0 || job.height == 0 || job.batch == 0 {
        return Err("a job without pixels".to_owned());
    }
    Ok(Arrival { at_s: at * time_scale, job })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_keep_their_moments_and_differ_where_they_say_so() {
        let text = "{\"at_s\": 1.5}\n\n{\"at_s\": 4, \"width\": 1024, \"from\": \"access.log:7\"}\n";
        let all = parse(text, &JobShape::default(), 0.5).unwrap();
        assert_eq!(
            all.iter().map(|a| (a.at_s, a.job.width, a.job.height)).collect::<Vec<_>>(),
            [(0.75, 512, 512), (2.0, 1024, 512)]
        );
    }

    #[test]
    fn wrong_lines_are_named() {
        for (text, part) in [
            ("", "no arrivals"),
            ("{\"at_s\": 2}\n{\"at_s\": 1}", "line 2"),
            ("{\"at_s\": -1}", "no time"),
            ("{\"at_s\": 1, \"widht\": 3}", "`widht`"),
            ("{\"at_s\": 1, \"width\": \"x\"}", "line 1"),
            ("nonsense", "line 1"),
            ("{\"at_s\": 1, \"batch\": 0}", "without pixels"),
        ] {
            let error = parse(text, &JobShape::default(), 1.0).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}

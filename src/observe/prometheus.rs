//! Reads the Prometheus exposition format. Lines that cannot be read are counted, never dropped in silence.

use crate::secret;
use std::collections::BTreeMap;

/// The series of one scrape, by canonical name: `name` or `name{a="b",c="d"}` with sorted labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scrape {
    pub values: BTreeMap<String, f64>,
    /// The type of each family that tells it.
    pub types: BTreeMap<String, String>,
    /// The first line that could not be read, and how many there were.
    pub malformed: Option<(u64, String)>,
}

/// More series than this are not kept.
const MOST_SERIES: usize = 20_000;

pub fn parse(text: &str) -> Scrape {
    let mut scrape = Scrape::default();
    for line in text.lines().filter_map(|l| l.trim().strip_prefix("# TYPE ")) {
        if let Some((name, kind)) = line.split_once(char::is_whitespace)
            && scrape.types.len() < MOST_SERIES
        {
            scrape.types.insert(name.to_owned(), kind.trim().to_owned());
        }
    }
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        match sample(line) {
            Some((name, value)) if scrape.values.len() < MOST_SERIES => {
                scrape.values.insert(name, value);
            }
            Some(_) => {}
            None => {
                let malformed = scrape.malformed.get_or_insert_with(|| (0, secret::head(line.as_bytes(), 120)));
                malformed.0 += 1;
            }
        }
    }
    scrape
}

fn sample(line: &str) -> Option<(String, f64)> {
    // What follows a name of these is `{` or a space, or it is none.
    let valid = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b':';
    let name_end = line.bytes().position(|c| !valid(c))?;
    let (name, after) = line.split_at(name_end);
    if name.is_empty() || !after.starts_with(|c: char| c == '{' || c.is_whitespace()) {
        return None;
    }
    let (labels, rest) =
        if line[name_end..].starts_with('{') { labels(&line[name_end + 1..])? } else { (Vec::new(), &line[name_end..]) };
    let value = number(rest.split_whitespace().next()?)?;
    Some((canonical(name, labels), value))
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        other => other.parse().ok(),
    }
}

/// `a="b",c="d"} …` → the labels and what follows the brace.
fn labels(text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    let mut rest = text.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = quoted(after.trim_start().strip_prefix('"')?)?;
        labels.push((name.trim().to_owned(), value));
        rest = after.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
}

fn quoted(text: &str) -> Option<(String, &str)> {
    if let Some((value, after)) = text.split_once('"')
        && !value.contains('\\')
    {
        return Some((value.to_owned(), after));
    }
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

fn canonical(name: &str, mut labels: Vec<(String, String)>) -> String {
    if labels.is_empty() {
        return name.to_owned();
    }
    labels.sort();
    let inside: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v:?}")).collect();
    format!("{name}{{{}}}", inside.join(","))
}

/// The sum of a metric over its labels; `None` where it has no sample.
pub fn sum(text: &str, name: &str) -> Option<f64> {
    let same = |series: &str| series.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
    let family = name.split('{').next().unwrap_or(name);
    let lines = text.lines().map(str::trim).filter(|line| line.starts_with(family));
    // Of a series that stands there twice the last counts.
    let values: BTreeMap<String, f64> = lines.filter_map(sample).filter(|(series, _)| same(series)).collect();
    (!values.is_empty()).then(|| values.values().sum())
}

/// A name as a user may have written it, in canonical form.
pub fn canonical_name(text: &str) -> String {
    sample(&format!("{text} 0")).map_or_else(|| text.to_owned(), |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_alone() {
        let text = "vllm:num_requests_waiting{engine=\"0\"} 2\nvllm:num_requests_waiting{engine=\"1\"} 3\nvllm:num_requests_waiting_x 9\n";
        assert_eq!(sum(text, "vllm:num_requests_waiting"), Some(5.0));
        assert_eq!(sum(text, "vllm:num_requests"), None);
    }
    use proptest::prelude::*;

    #[test]
    fn samples_labels_and_escapes() {
        let text = "# HELP a b\n# TYPE a gauge\na 1\nb{z=\"1\",a=\"x \\\"y\\\"\"} 2.5 1700000000\nc_bucket{le=\"+Inf\"} +Inf\n";
        let scrape = parse(text);
        assert_eq!(scrape.values["a"], 1.0);
        assert_eq!(scrape.values["b{a=\"x \\\"y\\\"\",z=\"1\"}"], 2.5);
        assert_eq!(scrape.values["c_bucket{le=\"+Inf\"}"], f64::INFINITY);
        assert_eq!(scrape.malformed, None);
    }

    #[test]
    fn what_cannot_be_read_is_counted() {
        let scrape = parse("good 1\nbad\nworse{a=\"b 3\n=4 5\n");
        assert_eq!(scrape.values.len(), 1);
        assert_eq!(scrape.malformed, Some((3, "bad".to_owned())));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(\\PC|\n){0,200}") {
            parse(&text);
        }
    }
}

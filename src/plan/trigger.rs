//! `when:` — a condition on what happens in the run.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::check::blind::is_read;
use crate::experiment::diagnostic::nearest;
use crate::journal::record::Record;

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The progress of any job in flight, percent.
    JobProgress,
    QueueDepth,
    /// A series of the target's `/metrics`.
    Metric(String),
    /// A line of the target's log.
    Log,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relation {
    #[serde(rename = ">")]
    Above,
    #[serde(rename = ">=")]
    AtLeast,
    #[serde(rename = "<")]
    Below,
    #[serde(rename = "<=")]
    AtMost,
    #[serde(rename = "=~")]
    Matches,
}

/// A condition such as `queue_depth > 5`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    pub subject: Subject,
    pub relation: Relation,
    /// For every subject but the log.
    pub value: f64,
    /// For the log.
    pub pattern: Option<String>,
}

const SUBJECTS: [&str; 4] = ["job.progress", "queue_depth", "log", "metric"];
/// The longer ones first, so that `>=` is not read as `>`.
const RELATIONS: [(&str, Relation); 5] = [
    (">=", Relation::AtLeast),
    ("<=", Relation::AtMost),
    ("=~", Relation::Matches),
    (">", Relation::Above),
    ("<", Relation::Below),
];

impl FromStr for Trigger {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = RELATIONS
            .iter()
            .filter_map(|(sign, relation)| text.find(sign).map(|at| (at, *sign, *relation)))
            .min_by_key(|(at, sign, _)| (*at, 2 - sign.len()));
        let (at, sign, relation) = found.ok_or("has none of >, >=, <, <=, =~")?;
        let (left, right) = (text[..at].trim(), text[at + sign.len()..].trim());
        let subject = subject(left)?;
        match (&subject, relation) {
            (Subject::Log, Relation::Matches) => {
                let pattern = right.trim_matches('"').to_owned();
                regex::Regex::new(&pattern)
                    .map_err(|e| format!("is no regular expression: {}", e.to_string().replace('\n', " ")))?;
                Ok(Self { subject, relation, value: 0.0, pattern: Some(pattern) })
            }
            (Subject::Log, _) => Err("a log is matched with =~".to_owned()),
            (_, Relation::Matches) => Err("=~ is for `log` only".to_owned()),
            _ => {
                let number = right.strip_suffix('%').unwrap_or(right).trim();
                let value = number.parse().ok().filter(|value: &f64| value.is_finite());
                let value = value.ok_or_else(|| format!("`{right}` is not a number"))?;
                Ok(Self { subject, relation, value, pattern: None })
            }
        }
    }
}

fn subject(text: &str) -> Result<Subject, String> {
    match text.split_once(char::is_whitespace) {
        None if text == "job.progress" => Ok(Subject::JobProgress),
        None if text == "queue_depth" => Ok(Subject::QueueDepth),
        None if text == "log" => Ok(Subject::Log),
        Some(("metric", name)) => Ok(Subject::Metric(name.trim().to_owned())),
        _ => {
            let hint = nearest(text, SUBJECTS).map_or_else(String::new, |word| format!("; did you mean `{word}`?"));
            Err(format!("`{text}` is nothing that can be watched ({}){hint}", SUBJECTS.join(", ")))
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = RELATIONS.iter().find(|(_, r)| *r == self.relation).map_or("?", |(sign, _)| sign);
        match (&self.subject, &self.pattern) {
            (Subject::JobProgress, _) => write!(f, "job.progress {sign} {}%", self.value),
            (Subject::QueueDepth, _) => write!(f, "queue_depth {sign} {}", self.value),
            (Subject::Metric(name), _) => write!(f, "metric {name} {sign} {}", self.value),
            (Subject::Log, pattern) => write!(f, "log =~ \"{}\"", pattern.as_deref().unwrap_or_default()),
        }
    }
}

impl Trigger {
    /// The name under which matching log lines are written to the journal.
    pub fn log_pattern(&self) -> Option<(String, &str)> {
        self.pattern.as_deref().map(|pattern| (self.to_string(), pattern))
    }

    /// Has it happened since `since`?
    pub fn holds(&self, record: &Record, since: f64) -> bool {
        let test = |value: f64| match self.relation {
            Relation::Above => value > self.value,
            Relation::AtLeast => value >= self.value,
            Relation::Below => value < self.value,
            Relation::AtMost => value <= self.value,
            Relation::Matches => false,
        };
        match &self.subject {
            Subject::JobProgress => record
                .jobs
                .open()
                .filter(|job| job.accepted() && !job.settled())
                .filter_map(|job| job.last_view.as_ref()?.progress)
                .any(test),
            Subject::QueueDepth => record.series.get("queue.depth").and_then(|s| s.last()).is_some_and(test),
            Subject::Metric(name) => sum(record, name).is_some_and(test),
            Subject::Log => record.log_hits.iter().any(|hit| hit.t >= since && hit.pattern == self.to_string()),
        }
    }

    /// For one that did not happen: what was seen instead.
    pub fn hint(&self, record: &Record) -> String {
        let last = |name: &str| match record.series.get(name).and_then(|series| series.last()) {
            Some(value) => format!("it was last {value}"),
            None => "it was never told".to_owned(),
        };
        match &self.subject {
            Subject::JobProgress => match record.jobs.iter().map(|job| job.highest_progress).fold(0.0, f64::max) {
                0.0 => "no job told of any progress (in a driver: `status.progress`)".to_owned(),
                highest if highest <= 1.0 => {
                    format!("no job showed more than {highest} %: where that is a fraction, the driver says `progress_of: 1`")
                }
                highest => format!("no job showed more than {highest} %"),
            },
            Subject::QueueDepth => last("queue.depth"),
            Subject::Metric(name) => match sum(record, name) {
                Some(value) => format!("it was last {value}"),
                None => "it was never told".to_owned(),
            },
            Subject::Log => "no line matched".to_owned(),
        }
    }
}

/// A metric over the labels that it has now, as `queue.depth` is.
fn sum(record: &Record, name: &str) -> Option<f64> {
    let now = record.metric(name).filter(|(key, _)| is_read(record, key, record.now));
    now.filter_map(|(_, series)| series.last()).reduce(|a, b| a + b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_read_and_print() {
        for text in
            ["job.progress >= 50%", "queue_depth > 5", "log =~ \"VAE decode\"", "metric job_queue_size < 3", "queue_depth <= 2"]
        {
            assert_eq!(text.parse::<Trigger>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn wrong_conditions_say_why() {
        let error = |text: &str| text.parse::<Trigger>().unwrap_err();
        assert!(error("queue_dept > 5").contains("did you mean `queue_depth`"));
        assert!(error("queue_depth > many").contains("not a number"));
        assert!(error("queue_depth").contains("none of"));
        assert!(error("log > 5").contains("=~"));
        assert!(error("log =~ \"(\"").contains("regular expression"));
    }
}

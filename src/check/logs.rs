//! Lines of the target's log: that some are there, or that some are not.

use super::{Check, Verdict, View};
use crate::experiment::diagnostic::{Diagnostics, Span};
use crate::record;

record! {
    /// How often lines of the target's log match.
    pub struct Logs {
        /// A regular expression.
        matching: String,
        /// At least so many lines.
        at_least: Option<u64> = None,
        /// At most so many lines.
        at_most: Option<u64> = None,
    }
}

impl Logs {
    fn pattern_name(&self) -> String {
        format!("check:{}", self.matching)
    }
}

impl Check for Logs {
    fn validate(&self, place: Span, diags: &mut Diagnostics) {
        if let Err(error) = regex::Regex::new(&self.matching) {
            diags.error(place, format!("`matching` is no regular expression: {}", error.to_string().replace('\n', " ")), "in this check");
        }
        if self.at_least.is_none() && self.at_most.is_none() {
            diags.error(place, "this check could not fail", "expected `at_least` or `at_most`");
        }
    }

    fn log_patterns(&self) -> Vec<(String, String)> {
        vec![(self.pattern_name(), self.matching.clone())]
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let (least, most) = (self.at_least.unwrap_or(0), self.at_most.unwrap_or(u64::MAX));
        let bound = match (self.at_least, self.at_most) {
            (Some(least), Some(most)) => format!("{least} to {most}"),
            (Some(least), None) => format!("at least {least}"),
            (None, Some(most)) => format!("at most {most}"),
            (None, None) => "any number of".to_owned(),
        };
        let expected = format!("{bound} log lines match `{}`", self.matching);
        let record = view.record;
        let name = self.pattern_name();
        let seen = record.log_counts.get(&name).copied().unwrap_or(0);
        let lines = record.log_hits.iter().filter(|hit| hit.pattern == name).take(5).map(|hit| format!("at {:.1} s: {}", hit.t, hit.line));
        if seen > most {
            return Verdict::failed(&expected, format!("{seen} do")).with(lines);
        }
        if !record.ended || (record.cut_short() && seen < least) {
            return Verdict::pending(&expected, format!("{seen} so far"));
        }
        if record.generations.is_empty() {
            return Verdict::inconclusive(&expected, "this target's log cannot be read: its runtime is `none`");
        }
        // Those that are there suffice for `at_least` alone.
        if record.log_end_is_missing() && (self.at_most.is_some() || seen < least) {
            return Verdict::inconclusive(&expected, format!("{seen} do, and the last lines of the log could not be read")).with(lines);
        }
        let verdict = if seen >= least { Verdict::passed(&expected, format!("{seen} do")) } else { Verdict::failed(&expected, format!("{seen} do")) };
        verdict.with(lines)
    }
}

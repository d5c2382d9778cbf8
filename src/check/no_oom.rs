//! No out-of-memory happened.

use super::dose::Dose;
use super::{Check, Verdict, View, oom};
use crate::journal::record::Record;
use crate::record;

const EXPECTED: &str = "no out-of-memory";

record! {
    /// No out-of-memory happened.
    pub struct NoOom {}
}

impl Check for NoOom {
    fn dose(&self) -> Dose {
        Dose::Pass
    }

    fn rests_on(&self, record: &Record) -> Vec<String> {
        oom::counter(record)
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let record = view.record;
        let sources = oom::counts(record);
        let seen = sources.iter().map(|(_, count)| *count).max().unwrap_or(0);
        let evidence = sources.iter().map(|(source, count)| format!("{source}: {count}"));
        if seen > 0 {
            return Verdict::failed(EXPECTED, format!("{seen} seen")).with(evidence).with(oom::lines(record)).measuring(seen.to_string());
        }
        if !record.ended {
            return Verdict::pending(EXPECTED, "none so far");
        }
        if sources.is_empty() {
            return Verdict::inconclusive(EXPECTED, "nothing could show one: the driver has neither an `oom` pattern nor a counter");
        }
        if oom::end_is_unread(record, &sources) {
            return Verdict::inconclusive(EXPECTED, "none seen, and the last lines of the log could not be read").with(evidence);
        }
        if let Some((_, told)) = oom::unsure(record) {
            return Verdict::inconclusive(EXPECTED, format!("none seen, and {told}")).with(evidence);
        }
        Verdict::passed(EXPECTED, "none seen").with(evidence).measuring("0")
    }
}

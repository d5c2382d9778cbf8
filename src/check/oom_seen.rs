//! An out-of-memory really happened: without it, nothing about recovery from one is proven.

use super::dose::Dose;
use super::{Check, Verdict, View, oom};
use crate::journal::record::Record;
use crate::record;

record! {
    /// An out-of-memory really happened.
    pub struct OomSeen {
        /// How many there must be.
        at_least: u32 = 1,
    }
}

impl Check for OomSeen {
    fn dose(&self) -> Dose {
        Dose::Fail
    }

    fn rests_on(&self, record: &Record) -> Vec<String> {
        oom::counter(record)
    }
    fn fails_by_last(&self) -> bool {
        true
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let expected = format!("at least {} out-of-memory", self.at_least);
        let record = view.record;
        let sources = oom::counts(record);
        if sources.is_empty() && record.ended {
            return Verdict::inconclusive(&expected, "nothing could show one: the driver has neither an `oom` pattern nor a counter");
        }
        let seen = sources.iter().map(|(_, count)| *count).max().unwrap_or(0);
        let evidence = sources.iter().map(|(source, count)| format!("{source}: {count}"));
        if seen >= u64::from(self.at_least) {
            return Verdict::passed(&expected, format!("{seen} seen")).with(evidence).with(oom::lines(record));
        }
        if record.ended && oom::end_is_unread(record, &sources) {
            return Verdict::inconclusive(&expected, format!("{seen} seen, and the last lines of the log could not be read")).with(evidence);
        }
        if let Some((_, told)) = oom::unsure(record).filter(|(more, _)| record.ended && seen + more >= u64::from(self.at_least)) {
            return Verdict::inconclusive(&expected, format!("{seen} seen, and {told}")).with(evidence);
        }
        if record.ended && !record.cut_short() {
            Verdict::failed(&expected, format!("{seen} seen: the fault did not exhaust the memory")).with(evidence)
        } else {
            Verdict::pending(&expected, format!("{seen} so far"))
        }
    }
}

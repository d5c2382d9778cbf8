//! What was read before and cannot be read now. A figure holds until the next one, so without a mark its last value would stand
//! for all the time in which nobody could read it: `unread:NAME` is 1 for as long as that is so.

use std::collections::{BTreeMap, BTreeSet};

const PREFIX: &str = "unread:";
/// Stands for the target's metrics as a whole.
pub const METRICS: &str = "metrics";

/// The series that marks this one.
pub fn mark(series: &str) -> String {
    format!("{PREFIX}{series}")
}

pub fn is_mark(series: &str) -> bool {
    series.starts_with(PREFIX)
}

/// What cannot be read at present.
#[derive(Debug, Default)]
pub struct Unread {
    names: BTreeSet<String>,
}

impl Unread {
    /// The marks that change: `missing` is now all that cannot be read.
    pub fn becomes(&mut self, missing: BTreeSet<String>) -> BTreeMap<String, f64> {
        let gone = missing.difference(&self.names).map(|name| (mark(name), 1.0));
        let back = self.names.difference(&missing).map(|name| (mark(name), 0.0));
        let changed = gone.chain(back).collect();
        self.names = missing;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_set_once_and_taken_away_once() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
        let mut unread = Unread::default();
        assert!(unread.becomes(set(&[])).is_empty());
        assert_eq!(unread.becomes(set(&["a", "b"])), [("unread:a".to_owned(), 1.0), ("unread:b".to_owned(), 1.0)].into());
        assert!(unread.becomes(set(&["a", "b"])).is_empty());
        assert_eq!(unread.becomes(set(&["b"])), [("unread:a".to_owned(), 0.0)].into());
    }
}

//! By how much one of the target's own counters rose in this run, over all of its labels.

use crate::journal::record::Record;

/// How much a counter has counted.
pub struct Counted {
    pub by: f64,
    /// The first values of labels that came later, of a target that was there before the run: they may have been counted now, or be old
    /// ones of another replica.
    pub unsure: f64,
    /// When it was heard of for the last time.
    pub last_t: f64,
}

/// `None` of a counter that was never read.
pub fn counted(record: &Record, name: &str) -> Option<Counted> {
    let first_read_t = record.first_metric_t()?;
    let mut all = Counted { by: 0.0, unsure: 0.0, last_t: f64::NEG_INFINITY };
    for (_, series) in record.metric(name) {
        let (Some(first), Some(last)) = (series.first_point(), series.last_point()) else { continue };
        // With labels a counter is there from its first count on: that counts from nothing.
        let begun = if first.t > first_read_t { first.value.max(0.0) } else { 0.0 };
        let is_ours = record.plan().runtime.is_started();
        all.by += series.increase() + if is_ours { begun } else { 0.0 };
        all.unsure += if is_ours { 0.0 } else { begun };
        all.last_t = all.last_t.max(last.t);
    }
    all.last_t.is_finite().then_some(all)
}

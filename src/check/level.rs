//! How sure a verdict on a run must be: 99 %, and surer where its load may have been looked at several times (`plan::looks`).
//! It follows from the plan and from when the load ended, so that the verdict is the same on any day.

use super::View;
use crate::journal::event::Phase;
use crate::journal::record::Record;
use crate::plan::looks;
use crate::stats::confidence::Confidence;

/// While the load goes on: how sure it would have to be if it ended now.
pub fn of(record: &Record) -> Confidence {
    let Some(begin) = record.phase_start(Phase::Baseline) else { return Confidence::USUAL };
    looks::confidence_at(record.plan(), record.load_stopped_t.unwrap_or(record.now) - begin)
}

impl View<'_> {
    pub fn confidence(&self) -> Confidence {
        of(self.record)
    }
}

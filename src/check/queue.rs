//! The queue as the target tells it, and as the ledger knows it.

use crate::journal::record::Record;
use crate::journal::series::Series;

const GAUGE: &str = "queue.depth";
const TOLD: &str = "the target's own queue depth";

/// The depth over time, and where it comes from.
pub struct Depth {
    pub series: Series,
    pub source: &'static str,
    /// Accepted, and neither running nor ended.
    pub by_ledger: Series,
}

pub fn depth(record: &Record) -> Depth {
    let by_ledger = waiting_by_ledger(record);
    match record.series.get(GAUGE) {
        Some(series) => Depth { series: series.clone(), source: TOLD, by_ledger },
        None => Depth { series: by_ledger.clone(), source: "derived: accepted, and neither running nor ended", by_ledger },
    }
}

impl Depth {
    /// By the target itself, not derived.
    pub fn is_told(&self) -> bool {
        self.source == TOLD
    }

    /// A gauge that stands still while jobs wait shows nothing.
    pub fn is_frozen(&self, to: f64) -> bool {
        !self.series.ever_moved() && self.by_ledger.max > to
    }
}

/// The highest value between two moments.
pub fn peak(series: &Series, from: f64, to: f64) -> f64 {
    series.extremes(from, to).map_or(0.0, |(_, highest)| highest.max(0.0))
}

/// How many jobs were accepted and neither running nor ended, over time.
fn waiting_by_ledger(record: &Record) -> Series {
    let mut steps: Vec<(f64, f64)> = Vec::new();
    for job in record.jobs.iter().filter(|j| j.accepted()) {
        let Some((accepted, _)) = job.answer else { continue };
        let ends = [
            job.running_t,
            job.ended.as_ref().map(|e| e.0),
            job.vanished_t(),
            job.cancelled().map(|c| c.0),
            job.given_to().map(|g| g.t),
        ];
        let until = ends.into_iter().flatten().reduce(f64::min);
        steps.push((accepted, 1.0));
        steps.extend(until.map(|t| (t.max(accepted), -1.0)));
    }
    steps.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut series = Series::default();
    let mut depth = 0.0;
    for (t, change) in steps {
        depth += change;
        series.push(t, depth);
    }
    if series.is_empty() {
        series.push(0.0, 0.0);
    }
    series
}

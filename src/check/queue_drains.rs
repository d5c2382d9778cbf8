//! The queue empties after the faults, with the load still on: a queue that drains only when the load is taken away hides
//! a failure that sustains itself (Bronson et al., Metastable Failures in Distributed Systems, HotOS 2021).

use super::{Check, Verdict, View};
use crate::experiment::units::Time;
use crate::journal::record::Record;
use crate::journal::series::{Point, Series};
use crate::record;

const GAUGE: &str = "queue.depth";

record! {
    /// The queue empties after the faults, while the load goes on.
    pub struct QueueDrains {
        /// To at most this many waiting jobs.
        to: u32 = 0,
        /// Counted from the moment that the cause of the last fault was gone.
        within: Time = Time::secs(60),
        /// For how long it must stay there.
        hold: Time = Time::millis(500),
    }
}

impl Check for QueueDrains {
    fn needs_load(&self) -> bool {
        true
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let expected = format!("at most {} jobs wait, within {} after the last fault, held for {}", self.to, self.within, self.hold);
        let record = view.record;
        let Some(begin) = record.baseline_end() else { return Verdict::pending(&expected, "no fault yet") };
        let Some(cause_gone) = record.faults_end() else { return Verdict::pending(&expected, "a fault is at work") };
        let waiting = waiting_by_ledger(record);
        let (series, source) = match record.series.get(GAUGE) {
            Some(series) => (series.clone(), "the target's own queue depth"),
            None => (waiting.clone(), "derived: accepted, and neither running nor ended"),
        };
        let peak = series.between(begin, record.now).iter().map(|p| p.value).fold(0.0, f64::max);
        let really_waiting = waiting.between(begin, record.now).iter().map(|p| p.value).fold(0.0, f64::max);
        let to = f64::from(self.to);
        let drained = self.drained_at(&series, cause_gone, record.now);
        let facts = [format!("source: {source}"), format!("peak {peak:.0}"), format!("by the ledger at most {really_waiting:.0} jobs waited")];
        if let Some(t) = drained.filter(|t| *t - cause_gone <= self.within.as_s()) {
            // Some evidence is there only at the end: a gauge that stood still while jobs waited shows nothing.
            if !series.ever_moved() && really_waiting > to {
                return Verdict::inconclusive(&expected, "the target's queue depth never moved, though jobs waited").with(facts);
            }
            if peak <= to {
                return Verdict::inconclusive(&expected, format!("the queue never rose above {to:.0}: there was nothing to drain")).with(facts);
            }
            return Verdict::passed(&expected, format!("drained {:.1} s after the last fault, from a peak of {peak:.0}", t - cause_gone)).with(facts);
        }
        let last = series.last();
        if record.now - cause_gone > self.within.as_s() + self.hold.as_s() {
            return match last {
                Some(depth) => Verdict::failed(&expected, format!("{depth:.0} jobs still wait, peak {peak:.0}")).with(facts),
                None => Verdict::inconclusive(&expected, "the queue depth was never seen").with(facts),
            };
        }
        Verdict::pending(&expected, format!("{:.0} jobs wait", last.unwrap_or(0.0)))
    }
}

impl QueueDrains {
    /// The first moment from which the depth stays low for the hold time.
    fn drained_at(&self, series: &Series, from: f64, now: f64) -> Option<f64> {
        let points = series.between(from, now);
        let mut low_since: Option<f64> = None;
        for (at, point) in points.iter().enumerate() {
            if point.value <= f64::from(self.to) {
                let since = *low_since.get_or_insert(point.t);
                let until = points.get(at + 1).map_or(now, |next| next.t);
                if until - since >= self.hold.as_s() {
                    return Some(since);
                }
            } else {
                low_since = None;
            }
        }
        None
    }
}

/// How many jobs were accepted and neither running nor ended, over time.
fn waiting_by_ledger(record: &Record) -> Series {
    let mut steps: Vec<(f64, f64)> = Vec::new();
    for job in record.jobs.iter().filter(|j| j.accepted()) {
        let Some((accepted, _)) = job.answer else { continue };
        let ends = [job.running_t, job.ended.as_ref().map(|e| e.0), job.vanished_t];
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
    if series.points.is_empty() {
        series.points.push(Point { t: 0.0, value: 0.0 });
    }
    series
}

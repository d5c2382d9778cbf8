//! The queue empties after the faults, with the load still on: a queue that drains only when the load is taken away hides
//! a failure that sustains itself (Bronson et al., Metastable Failures in Distributed Systems, HotOS 2021).

use super::dose::Dose;
use super::noise::Bearing;
use super::queue::{self, DIFFERS_BY, Depth, Source, peak};
use super::scope::settled_baseline;
use super::{Check, Verdict, View};
use crate::experiment::units::Time;
use crate::journal::event::Phase;
use crate::journal::outage::Outage;
use crate::journal::record::Record;
use crate::journal::series::Series;
use crate::{record, words};

/// Of a target that answers with the result.
const NO_MEASURE: &str = "no job of the load was answered in the second half of the baseline: nothing says how long one takes that does not wait";

words! {
    /// What goes on while the queue drains.
    pub enum With("state of the load") {
        /// The load goes on.
        Kept = "kept",
        /// The load has ended; the time counts from then.
        Gone = "gone",
    }
}

record! {
    /// The queue empties after the faults, while the load goes on.
    pub struct QueueDrains {
        /// To at most this many waiting jobs.
        to: u32 = 0,
        /// Counted from the moment that the outage began: the end of the last fault's cause.
        within: Time = Time::secs(60),
        /// For how long it must stay there.
        hold: Time = Time::millis(500),
        /// With the load still on, or after it has ended.
        load: With = With::Kept,
    }
}

impl Check for QueueDrains {
    fn dose(&self) -> Dose {
        Dose::Pass
    }
    fn bearing(&self) -> Bearing {
        Bearing::Clock
    }
    fn needs_load(&self) -> Option<Time> {
        (self.load == With::Kept).then_some(Time(self.within.0 + self.hold.0))
    }
    fn needs_time(&self) -> bool {
        self.load == With::Gone
    }
    fn waits_for_jobs(&self) -> Option<Time> {
        (self.load == With::Gone).then_some(Time(self.within.0 + self.hold.0))
    }

    fn series(&self) -> Vec<String> {
        ["queue.depth"].map(str::to_owned).into()
    }
    fn fails_by_last(&self) -> bool {
        true
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let since = if self.load == With::Kept { "the last fault" } else { "the end of the load" };
        let expected = format!("at most {} jobs wait, within {} after {since}, held for {}", self.to, view.time(self.within), view.time(self.hold));
        let record = view.record;
        let Some(begin) = record.baseline_end() else { return Verdict::pending(&expected, "no fault yet") };
        let Some((back, outage)) = self.clock(record) else { return Verdict::pending(&expected, "a fault or the load is at work") };
        let cause_gone = outage.t;
        let depth = queue::depth(record);
        let series = depth.series();
        let to = f64::from(self.to);
        let looked_until = depth.known_until(self.looked_until(record));
        let drained = self.drained_at(series, to, back, looked_until);
        let waiting = format!("{:.0} jobs wait", series.at(looked_until).unwrap_or(0.0));
        let needed = self.within.as_s() + self.hold.as_s();
        if depth.is_unknown() {
            return Verdict::inconclusive(&expected, NO_MEASURE);
        }
        if !record.ended && drained.is_none() && looked_until - cause_gone <= needed {
            return Verdict::pending(&expected, waiting);
        }
        let top = peak(series, begin, record.now);
        let facts = self.facts(&depth, top, begin, &outage);
        if let Some(t) = drained.filter(|t| *t - cause_gone <= self.within.as_s()) {
            // Some evidence is there only at the end: a gauge that stood still while jobs waited shows nothing.
            if let Some(told) = self.contradicted(&depth, back, cause_gone, looked_until) {
                return Verdict::inconclusive(&expected, told).with(facts);
            }
            if depth.source == Source::Overdue && !queue::is_served_after(record, t) {
                return Verdict::inconclusive(&expected, "nobody waits, and no job was done since: is anybody there?").with(facts);
            }
            if depth.is_frozen(to) {
                return Verdict::inconclusive(&expected, "the target's queue depth never moved, though jobs waited").with(facts);
            }
            if top <= to {
                return Verdict::inconclusive(&expected, format!("the queue never rose above {to:.0}: there was nothing to drain")).with(facts);
            }
            return Verdict::passed(&expected, format!("drained {} after {since}, from a peak of {top:.0}", view.seconds(t - cause_gone))).taking(t - cause_gone).with(facts);
        }
        if looked_until - cause_gone > needed
            && let Some(before) = self.as_before(record, series, (back, looked_until), cause_gone)
        {
            let observed = format!("as many wait as before the faults, at most {before:.0} of them: the load itself keeps the queue");
            return Verdict::inconclusive(&expected, observed).with(facts);
        }
        if let Some(t) = drained.filter(|_| looked_until - cause_gone > needed) {
            let observed = format!("drained only {} after {since}, from a peak of {top:.0}", view.seconds(t - cause_gone));
            return Verdict::failed(&expected, observed).taking(t - cause_gone).with(facts);
        }
        if looked_until - cause_gone > needed {
            return match series.at(looked_until) {
                Some(last) if last <= to => {
                    let observed = format!("drained only at the end, and was not seen to stay so, from a peak of {top:.0}");
                    Verdict::failed(&expected, observed).with(facts)
                }
                Some(last) => Verdict::failed(&expected, format!("{last:.0} jobs still wait, peak {top:.0}")).with(facts),
                None => Verdict::inconclusive(&expected, "the queue depth was never seen").with(facts),
            };
        }
        if record.ended {
            let looked = view.seconds(looked_until - cause_gone);
            return Verdict::inconclusive(&expected, format!("{waiting}, and chaos looked for {looked} only")).with(facts);
        }
        Verdict::pending(&expected, waiting)
    }
}

impl QueueDrains {
    fn facts(&self, depth: &Depth<'_>, top: f64, begin: f64, outage: &Outage) -> Vec<String> {
        let mut facts = vec![format!("source: {}", depth.source), format!("peak {top:.0}")];
        if depth.is_told() {
            facts.push(format!("by the ledger at most {:.0} jobs waited", peak(depth.by_ledger(), begin, depth.now())));
        }
        facts.push(outage.told());
        facts
    }

    /// How many waited at the most in the second half of the baseline, where they were never so few for the hold time, and where
    /// they are no more in time.
    fn as_before(&self, record: &Record, series: &Series, (back, looked_until): (f64, f64), cause_gone: f64) -> Option<f64> {
        let (from, begin) = settled_baseline(record)?;
        let is_compared = self.load == With::Kept && begin - from > self.hold.as_s();
        if !is_compared || self.drained_at(series, f64::from(self.to), from, begin).is_some() {
            return None;
        }
        let before = peak(series, from, begin);
        let since = self.drained_at(series, before, back, looked_until);
        since.is_some_and(|t| t - cause_gone <= self.within.as_s()).then_some(before)
    }

    /// By the target's own figure the queue is empty, and by what it says of its jobs it never was in time.
    fn contradicted(&self, depth: &Depth<'_>, back: f64, cause_gone: f64, looked_until: f64) -> Option<String> {
        let surely = depth.surely()?;
        let to = f64::from(self.to) + DIFFERS_BY.0;
        let drained = self.drained_at(&surely, to, back, looked_until);
        if drained.is_some_and(|t| t - cause_gone <= self.within.as_s()) {
            return None;
        }
        let contradiction = depth.contradiction(back, looked_until, |two| two.known > to);
        contradiction.map(|two| format!("two counts contradict each other: {two}"))
    }

    /// From when on the depth is looked at, and from when the deadline counts. While the target is away its depth is not known.
    fn clock(&self, record: &Record) -> Option<(f64, Outage)> {
        match self.load {
            With::Kept => record.faults_end().zip(record.outage()),
            With::Gone => record.load_stopped_t.map(|t| (t, Outage { t, what: "the end of the load".to_owned() })),
        }
    }

    /// With the load kept, what happens after its end says nothing; what is put back at the end of the run is no drain either.
    fn looked_until(&self, record: &Record) -> f64 {
        let end = match self.load {
            With::Kept => record.load_stopped_t,
            With::Gone => record.phase_start(Phase::Revert),
        };
        end.unwrap_or(record.now).min(record.now)
    }

    /// The first moment from which the depth stays low for the hold time.
    fn drained_at(&self, series: &Series, to: f64, from: f64, now: f64) -> Option<f64> {
        let points = series.between(from, now);
        let mut low_since: Option<f64> = None;
        for (at, point) in points.iter().enumerate() {
            if point.value <= to {
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

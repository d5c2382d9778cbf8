//! Figures that could not be read. The last one holds until the next, so a target whose metrics stop answering looks like one that
//! stands still: a limit that was kept as far as anybody saw was not shown to be kept, and a queue that was last seen full was
//! not shown to stay so.
//!
//! While a fault is at work, or the target is known to be away, there is nothing to read: that time does not count.

use super::scope::Over;
use super::{CheckSpec, Ruling, Verdict, View};
use crate::journal::record::Record;
use crate::journal::series::Series;
use crate::observe::prober::UP;
use crate::observe::unread::{METRICS, mark};
use crate::text::seconds;

/// Nothing rests on a figure that could not be read for more than this share of the time, in stretches ...
const MOST_SHARE: f64 = 0.1;
/// ... of more than so many samples: where one in three is missing, the others show enough.
const SHORTEST_SAMPLES: f64 = 3.0;
/// A question to the target is given up after so long, and then asked again.
pub const ASKED_FOR_S: f64 = 6.0;
const REMEDY: &str =
    "see that the target's figures can be read while it works (the gaps in the report's findings say what was answered)";

/// A verdict that rests on figures, held against the time in which they could be read.
pub fn weigh(check: &CheckSpec, verdict: Verdict, view: &View<'_>) -> Verdict {
    let needs = match verdict.ruling {
        Ruling::Passed => true,
        // A recovery that came too late was seen.
        Ruling::Failed => check.fails_by_last() && verdict.took_s.is_none(),
        Ruling::Pending | Ruling::Inconclusive => false,
    };
    let names = if needs { check.rests_on(view.record) } else { Vec::new() };
    let Some(told) = names.iter().find_map(|name| told(name, check.over(), view)) else { return verdict };
    let observed = format!("{told}: {}", verdict.observed);
    Verdict { ruling: Ruling::Inconclusive, observed, took_s: None, ..verdict }.with([REMEDY.to_owned()])
}

/// That too much of a series is missing in this part of the run; of the whole of it, also since the faults.
pub fn told(series: &str, over: Over, view: &View<'_>) -> Option<String> {
    let record = view.record;
    let parts = if over == Over::All { vec![Over::All, Over::After] } else { vec![over] };
    parts.into_iter().find_map(|over| {
        let (from, to) = over.window(record)?;
        let away = away(record, over);
        let is_long = |(begin, end): &(f64, f64)| end - begin > SHORTEST_SAMPLES * record.plan().sample_every_s;
        let stretches: Vec<(f64, f64)> = unread(record, series, from, to).into_iter().filter(is_long).collect();
        let missing_s: f64 = stretches.iter().map(|stretch| outside(settled(*stretch, &away), &away)).sum();
        let share = missing_s / outside((from, to), &away).max(f64::MIN_POSITIVE);
        (share > MOST_SHARE).then(|| {
            let first = stretches.first().map_or(from, |(begin, _)| *begin);
            let length = seconds(missing_s);
            format!(
                "`{series}` could not be read for {:.0} % of the time ({length}, the first time at {first:.1} s)",
                share * 100.0
            )
        })
    })
}

/// When a series could not be read. What is read for the first time in the middle could not be before, if nothing could.
fn unread(record: &Record, series: &str, from: f64, to: f64) -> Vec<(f64, f64)> {
    let begun = record.series.get(series).and_then(Series::first_point).map_or(from, |first| first.t.min(to));
    let before = (begun > from && !is_read(record, METRICS, from)).then_some((from, begun));
    let marks = record.series.get(&mark(series)).map(|marks| marks.stretches(from, to)).unwrap_or_default();
    before.into_iter().chain(marks.into_iter().filter(|(.., unread)| *unread > 0.0).map(|(begin, end, _)| (begin, end))).collect()
}

/// Whether a series could be read at a moment.
pub fn is_read(record: &Record, series: &str, t: f64) -> bool {
    record.series.get(&mark(series)).and_then(|marks| marks.at(t)).is_none_or(|is_unread| is_unread < 1.0)
}

/// When the target had nothing to tell: in the order of time, without overlaps. One that does not come back is another matter; and
/// whoever looks at the time of the faults wants to know what was then.
fn away(record: &Record, over: Over) -> Vec<(f64, f64)> {
    let faults = record.faults.iter().filter(|_| over != Over::Fault);
    let faults = faults.filter_map(|f| Some((f.injecting_t?, f.over_t.unwrap_or(record.now))));
    let lives = record.generations.iter().filter_map(|life| {
        let (from, ..) = life.exited.as_ref()?;
        let ready = record.generations.iter().filter(|next| next.started_t >= *from);
        Some((*from, ready.filter_map(|next| Some(next.started_t + next.ready_after_s?)).reduce(f64::min)?))
    });
    let health = record.series.get(UP).map(|up| up.stretches(0.0, record.now)).unwrap_or_default();
    let unhealthy = health.into_iter().filter(|(_, to, up)| *up < 1.0 && *to < record.now).map(|(from, to, _)| (from, to));
    let mut spans: Vec<(f64, f64)> = faults.chain(lives).chain(unhealthy).collect();
    spans.sort_by(|a, b| a.0.total_cmp(&b.0));
    spans.into_iter().fold(Vec::new(), |mut merged: Vec<(f64, f64)>, span| {
        match merged.last_mut().filter(|last| span.0 <= last.1) {
            Some(last) => last.1 = last.1.max(span.1),
            None => merged.push(span),
        }
        merged
    })
}

/// What could not be read while the target was away is asked for until it times out, even if the target is back by then.
fn settled((from, to): (f64, f64), away: &[(f64, f64)]) -> (f64, f64) {
    let back = away.iter().find(|(begin, end)| (*begin..=*end).contains(&from)).map(|(_, end)| *end);
    (back.map_or(from, |back| back + ASKED_FOR_S).min(to), to)
}

/// How much of a stretch lies outside of these.
fn outside((from, to): (f64, f64), spans: &[(f64, f64)]) -> f64 {
    let covered: f64 = spans.iter().map(|(begin, end)| (end.min(to) - begin.max(from)).max(0.0)).sum();
    (to - from - covered).max(0.0)
}

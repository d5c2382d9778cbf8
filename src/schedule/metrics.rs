//! What Prometheus may ask the scheduler: made anew from the store each time, so that a restart loses nothing.

use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::file::Schedule;
use super::store::{State, Store};

type Float = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Of {
    experiment: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Counted {
    experiment: String,
    outcome: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kept {
    state: String,
}

/// The exposition text.
///
/// # Errors
/// The memory cannot be read.
pub fn render(schedule: &Schedule, store: &Store, reload_failed: bool, now: Timestamp) -> rusqlite::Result<String> {
    let mut registry = Registry::default();
    let family = Family::<Of, Float>::default;
    let (verdict, passed, exit, next, running) = (family(), family(), family(), family(), family());
    let (since, patience) = (family(), family());
    let open = store.open_ones()?;
    for job in &schedule.jobs {
        let of = Of { experiment: job.name().to_owned() };
        let seconds = |t: Timestamp| t.as_millisecond() as f64 / 1e3;
        if let Some(told) = store.told(job.name())? {
            since.get_or_create(&of).set(seconds(told.first));
        }
        if let Some(silent_after) = job.entry.silent_after {
            patience.get_or_create(&of).set(silent_after.0.as_secs_f64());
        }
        if let Some(last) = store.last_ended(job.name(), &["passed", "failed"])? {
            verdict.get_or_create(&of).set(last.ended.map_or(0.0, seconds));
        }
        if let Some(last) = store.last_ended(job.name(), &["passed"])? {
            passed.get_or_create(&of).set(last.ended.map_or(0.0, seconds));
        }
        if let Some(last) = store.last_ended(job.name(), &[])? {
            exit.get_or_create(&of).set(last.exit_code.map_or(-1.0, f64::from));
        }
        if let Some(due) = job.calendar.after(now) {
            next.get_or_create(&of).set(seconds(due));
        }
        let is_on = open.iter().any(|one| one.entry == job.name() && one.state != State::Waiting);
        running.get_or_create(&of).set(f64::from(u8::from(is_on)));
    }
    registry.register("chaos_schedule_since_timestamp_seconds", "When the scheduler first knew it", since);
    registry.register("chaos_schedule_silent_after_seconds", "No verdict for longer than this is silence", patience);
    registry.register("chaos_schedule_last_verdict_timestamp_seconds", "End of the last run that passed or failed", verdict);
    registry.register("chaos_schedule_last_pass_timestamp_seconds", "End of the last run that passed", passed);
    registry.register("chaos_schedule_last_exit_code", "Exit code of the last run; -1 where it had none", exit);
    registry.register("chaos_schedule_next_due_timestamp_seconds", "When it is due next", next);
    registry.register("chaos_schedule_running", "1 while it runs", running);
    let runs = Family::<Counted, Counter>::default();
    for (experiment, outcome, count) in store.counts()? {
        runs.get_or_create(&Counted { experiment, outcome }).inc_by(count);
    }
    registry.register("chaos_schedule_occurrences", "Occurrences by outcome; skipped ones were left out", runs);
    let letters = Family::<Kept, Gauge>::default();
    for (state, count) in store.outbox()? {
        letters.get_or_create(&Kept { state }).set(count as i64);
    }
    registry.register("chaos_schedule_notices", "Notices: sent, pending, given_up", letters);
    let reload: Gauge = Gauge::default();
    reload.set(i64::from(!reload_failed));
    registry.register("chaos_schedule_last_reload_successful", "0 while the file on disk is refused", reload);
    let mut text = String::new();
    // Writing into a String does not fail.
    let _ = encode(&mut text, &registry);
    Ok(text)
}

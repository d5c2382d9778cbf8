//! What is worth telling: a failure when it begins, its end, and silence. Each once.

use jiff::Timestamp;

use super::file::Schedule;
use super::keeper::later;
use super::store::{BROKEN, COULD_NOT_START, Letter, Occurrence, Store, TIMED_OUT, Told};
use crate::notify::{Notice, Occasion};

/// Looks at everything that has ended since the last look, and at how long each entry has been silent.
///
/// # Errors
/// The memory cannot be used.
pub fn look(schedule: &Schedule, store: &Store, now: Timestamp) -> rusqlite::Result<()> {
    for one in store.untold()? {
        let job = schedule.jobs.iter().find(|job| job.name() == one.entry);
        let again = job.filter(|job| one.outcome.as_deref() == Some(COULD_NOT_START) && one.attempt <= job.entry.retries);
        match again {
            Some(job) => store.retry(&one, later(now, job.entry.retry_after.0))?,
            None => tell(schedule, store, &one, now)?,
        }
    }
    schedule.jobs.iter().try_for_each(|job| silence(schedule, store, job, now))
}

/// What an outcome is to those who are told; `None` is well.
fn occasion(outcome: &str) -> Option<Occasion> {
    match outcome {
        "passed" => None,
        "failed" => Some(Occasion::Failure),
        "inconclusive" => Some(Occasion::Inconclusive),
        "stuck" => Some(Occasion::LeftBroken),
        _ => Some(Occasion::Error),
    }
}

fn tell(schedule: &Schedule, store: &Store, one: &Occurrence, now: Timestamp) -> rusqlite::Result<()> {
    let outcome = one.outcome.as_deref().unwrap_or_default();
    let before = store.told(&one.entry)?.and_then(|told| told.outcome).filter(|told| told != "passed");
    let why = one.why.as_deref().unwrap_or_default();
    let (occasion, now_told) = match (occasion(outcome), &before) {
        (None, None) => (None, Some("passed".to_owned())),
        (None, Some(_)) => (Some(Occasion::Recovery), Some("passed".to_owned())),
        // Nothing was proven: what was told before still holds.
        (Some(Occasion::Inconclusive), Some(_)) => (None, None),
        // Another check that fails is news.
        (Some(Occasion::Failure), _) => (Some(Occasion::Failure), Some(format!("failed: {why}"))),
        (Some(other), _) => (Some(other), Some(other.word().to_owned())),
    };
    let is_news = now_told != before;
    let mut letters = match occasion.filter(|_| is_news) {
        Some(occasion) => letters(schedule, &notice(schedule, one, occasion, before.clone())),
        None => Vec::new(),
    };
    if let (Some(Occasion::Recovery), Some(before)) = (occasion, &before) {
        // Nobody is told of the end of something that he was not told of.
        let knows =
            |letter: &Letter| schedule.notify.iter().any(|n| n.name.value == letter.channel && n.on.contains(&of_told(before)));
        letters.retain(knows);
    }
    let told = now_told.as_deref().filter(|_| is_news).map(|told| (told, now));
    store.tell(one, told, &letters, now)
}

/// The occasion of what was last told of an entry.
fn of_told(told: &str) -> Occasion {
    match told {
        "inconclusive" => Occasion::Inconclusive,
        "left_broken" => Occasion::LeftBroken,
        told if told.starts_with("failed") => Occasion::Failure,
        _ => Occasion::Error,
    }
}

fn notice(schedule: &Schedule, one: &Occurrence, occasion: Occasion, before: Option<String>) -> Notice {
    let outcome = one.outcome.clone().unwrap_or_default();
    let why = one.why.as_ref().filter(|why| !why.is_empty()).map_or_else(String::new, |why| format!(": {why}"));
    let text = match (occasion, outcome.as_str()) {
        (Occasion::Recovery, _) => format!("{} passes again (it was: {})", one.entry, before.as_deref().unwrap_or("not told")),
        (_, TIMED_OUT) => format!("{} took too long and was stopped{why}", one.entry),
        (_, BROKEN) => format!("{} ended without a verdict{why}", one.entry),
        (_, COULD_NOT_START) => format!("{} could not start, {} times{why}", one.entry, one.attempt),
        (_, outcome) => format!("{} {}{why}", one.entry, outcome.replace('_', " ")),
    };
    Notice {
        id: format!("chaos-{}-{}-{}", one.entry, one.due.as_millisecond(), one.attempt),
        occasion,
        entry: one.entry.clone(),
        text,
        outcome,
        exit_code: one.exit_code,
        due: Some(one.due.to_string()),
        ended: one.ended.map(|t| t.to_string()),
        run: one.run_id.as_ref().map(|run| schedule.reports.join(run).display().to_string()),
        run_id: one.run_id.clone(),
    }
}

fn silence(schedule: &Schedule, store: &Store, job: &super::file::Job, now: Timestamp) -> rusqlite::Result<()> {
    let Some(patience) = job.entry.silent_after else { return Ok(()) };
    let Some(told) = store.told(job.name())? else { return Ok(()) };
    let last = store.last_ended(job.name(), &["passed", "failed"])?.and_then(|one| one.ended);
    let since = last.unwrap_or(told.first);
    if later(since, patience.0) > now || is_told(&told, since) {
        return Ok(());
    }
    let notice = Notice {
        id: format!("chaos-{}-silence-{}", job.name(), since.as_millisecond()),
        occasion: Occasion::Silence,
        entry: job.name().to_owned(),
        text: match last {
            Some(last) => format!("{}: no verdict since {last}, longer than {}", job.name(), patience),
            None => format!("{}: no verdict yet, longer than {} since {since}", job.name(), patience),
        },
        outcome: String::new(),
        exit_code: None,
        due: None,
        ended: last.map(|t| t.to_string()),
        run: None,
        run_id: None,
    };
    store.tell_silence(job.name(), since, &letters(schedule, &notice), now)
}

fn is_told(told: &Told, since: Timestamp) -> bool {
    told.silence_since.is_some_and(|at| at >= since)
}

/// When silence would next be worth telling.
pub fn next_silence(schedule: &Schedule, store: &Store, now: Timestamp) -> rusqlite::Result<Option<Timestamp>> {
    let mut next: Option<Timestamp> = None;
    for job in &schedule.jobs {
        let (Some(patience), Some(told)) = (job.entry.silent_after, store.told(job.name())?) else { continue };
        let last = store.last_ended(job.name(), &["passed", "failed"])?.and_then(|one| one.ended);
        let at = later(last.unwrap_or(told.first), patience.0);
        if at > now {
            next = Some(next.map_or(at, |n| n.min(at)));
        }
    }
    Ok(next)
}

/// One letter for each channel that wants to know.
fn letters(schedule: &Schedule, notice: &Notice) -> Vec<Letter> {
    let wants = schedule.notify.iter().filter(|channel| channel.wants(notice));
    wants
        .map(|channel| Letter {
            id: notice.id.clone(),
            channel: channel.name.value.clone(),
            body: serde_json::to_string(notice).unwrap_or_default(),
            tries: 0,
        })
        .collect()
}

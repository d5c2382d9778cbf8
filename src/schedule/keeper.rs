//! What is to be done now: a function of the schedule, of what is remembered, and of the moment. It starts nothing itself.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::file::{Job, Missed, Put, Schedule, TIMEOUT};
use super::store::{Occurrence, State, Store};

/// A start later than this was missed; one that is earlier is only slow.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(60);
/// A run that was started writes down itself when it began: so soon it is looked at again, for its deadline counts from there.
const BEGINS_WITHIN: Duration = Duration::from_secs(1);
/// Of more missed moments than this of one entry, the older are not even written down.
const MOST_MISSED: usize = 10_000;

/// What is to be done now.
#[derive(Debug, Default, PartialEq)]
pub struct Step {
    /// To be started; they are claimed.
    pub start: Vec<Occurrence>,
    /// Running, by a process that another scheduler has started.
    pub adopt: Vec<Occurrence>,
    /// They have taken too long.
    pub stop: Vec<Occurrence>,
    /// When to look again, if nothing happens before.
    pub next: Option<Timestamp>,
}

pub struct Keeper {
    pub schedule: Schedule,
    pub store: Arc<Store>,
}

impl Keeper {
    pub fn job(&self, entry: &str) -> Option<&Job> {
        self.schedule.jobs.iter().find(|job| job.name() == entry)
    }

    /// Looks at the moment, writes down what has become due, and says what is to be done. `in_hand` are those that this
    /// scheduler already looks after.
    ///
    /// # Errors
    /// The memory cannot be used.
    pub fn step(&self, now: Timestamp, in_hand: &HashSet<i64>) -> rusqlite::Result<Step> {
        let mut seen: HashMap<&str, Timestamp> = HashMap::new();
        for job in &self.schedule.jobs {
            seen.insert(job.name(), self.note_due(job, now)?);
        }
        let mut step =
            Step { next: self.schedule.jobs.iter().filter_map(|job| job.calendar.after(now)).min(), ..Step::default() };
        let open = self.store.open_ones()?;
        let mut busy: HashMap<String, String> = HashMap::new();
        for one in open.iter().filter(|one| one.state != State::Waiting) {
            busy.insert(one.target.clone(), one.entry.clone());
            self.look_after(one, now, in_hand, &mut step);
        }
        for one in open.iter().filter(|one| one.state == State::Waiting) {
            // Its moment was known, and its start fell into a time without a scheduler.
            let is_missed = seen.get(one.entry.as_str()).is_some_and(|seen| one.start > *seen) && is_late(one, now);
            if is_missed && self.job(&one.entry).is_some_and(|job| job.entry.missed == Missed::Skip) {
                self.store.skip(one.id, now, "missed")?;
                continue;
            }
            self.consider(one, now, &open, &mut busy, &mut step)?;
        }
        Ok(step)
    }

    fn look_after(&self, one: &Occurrence, now: Timestamp, in_hand: &HashSet<i64>, step: &mut Step) {
        match (one.state, in_hand.contains(&one.id)) {
            // The scheduler before us may have started a process that has not come this far: the first of both runs.
            (State::Claimed, false) => step.start.push(one.clone()),
            (State::Running, false) => step.adopt.push(one.clone()),
            _ => {}
        }
        let Some(began) = one.began else { return wake(step, later(now, BEGINS_WITHIN)) };
        // An entry that is no longer there has left no time of its own.
        let deadline = later(began, self.job(&one.entry).map_or(TIMEOUT.0, |job| job.entry.timeout.0));
        match deadline <= now {
            true => step.stop.push(one.clone()),
            false => wake(step, deadline),
        }
    }

    /// Writes down every moment that has come since the last look; when that was.
    fn note_due(&self, job: &Job, now: Timestamp) -> rusqlite::Result<Timestamp> {
        let seen = self.store.seen(job.name(), &job.calendar.text(), now)?;
        let mut due: VecDeque<Timestamp> = VecDeque::new();
        for moment in job.calendar.between(seen, now) {
            if due.len() == MOST_MISSED {
                due.pop_front();
            }
            due.push_back(moment);
        }
        if due.is_empty() && seen >= now {
            return Ok(seen);
        }
        let mut new: Vec<Occurrence> = due.into_iter().map(|due| fresh(job, due)).collect();
        let last_late = new.iter().rposition(|one| is_late(one, now));
        for (at, one) in new.iter_mut().enumerate().filter(|(_, one)| is_late(one, now)) {
            let too_old = later(one.start, job.entry.missed_within.0) < now;
            let why = match job.entry.missed {
                _ if too_old => "missed, too long ago",
                Missed::Skip => "missed",
                Missed::Once if Some(at) != last_late => "missed, a later one stands for it",
                Missed::Once | Missed::All => continue,
            };
            (one.state, one.why, one.ended) = (State::Skipped, Some(why.to_owned()), Some(now));
        }
        self.store.add(job.name(), now, &new)?;
        Ok(seen)
    }

    /// One that waits for its start, or for its target.
    fn consider(
        &self,
        one: &Occurrence,
        now: Timestamp,
        open: &[Occurrence],
        busy: &mut HashMap<String, String>,
        step: &mut Step,
    ) -> rusqlite::Result<()> {
        let Some(job) = self.job(&one.entry) else { return self.store.skip(one.id, now, "no longer scheduled") };
        if one.start > now {
            wake(step, one.start);
            return Ok(());
        }
        let newer = |other: &&Occurrence| other.entry == one.entry && other.due > one.due && other.start <= now;
        if job.entry.missed != Missed::All && open.iter().any(|other| other.state == State::Waiting && newer(&other)) {
            return self.store.skip(one.id, now, "it had to wait until the next was due");
        }
        if let Some((name, end)) = self.schedule.blackout(now) {
            return match job.entry.in_blackout {
                Put::Skip => self.store.skip(one.id, now, &format!("blackout: {name}")),
                Put::Wait => {
                    wake(step, end);
                    Ok(())
                }
            };
        }
        match (busy.get(&one.target), job.entry.overlap) {
            (Some(other), Put::Skip) => self.store.skip(one.id, now, &format!("{} was busy with {other}", one.target)),
            (Some(_), Put::Wait) => Ok(()),
            (None, _) => {
                if self.store.claim(one.id)? {
                    busy.insert(one.target.clone(), one.entry.clone());
                    step.start.push(Occurrence { state: State::Claimed, ..one.clone() });
                    wake(step, later(now, BEGINS_WITHIN));
                }
                Ok(())
            }
        }
    }
}

fn is_late(one: &Occurrence, now: Timestamp) -> bool {
    later(one.start, TOLERANCE.unsigned_abs()) < now
}

fn fresh(job: &Job, due: Timestamp) -> Occurrence {
    Occurrence {
        id: 0,
        entry: job.name().to_owned(),
        due,
        attempt: 1,
        start: job.calendar.start_of(due),
        target: job.target.clone(),
        state: State::Waiting,
        process: None,
        began: None,
        ended: None,
        outcome: None,
        exit_code: None,
        run_id: None,
        why: None,
    }
}

pub fn later(moment: Timestamp, by: std::time::Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| moment.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

fn wake(step: &mut Step, at: Timestamp) {
    step.next = Some(step.next.map_or(at, |next| next.min(at)));
}

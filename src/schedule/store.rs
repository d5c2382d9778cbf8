//! What the scheduler must not forget: each occurrence and how far it has come, and what is still to be told.
//!
//! An occurrence is written down before its process is started, and the process that runs it takes it over here before it
//! touches anything. Whoever is second finds it taken: a run that is started twice happens once.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{private, secret};

/// The database's name within the folder of reports.
pub const FILE: &str = "schedule.db";
const VERSION: i64 = 1;

const TABLES: &str = "
    CREATE TABLE entries (
        name TEXT PRIMARY KEY, calendar TEXT NOT NULL, first_ms INTEGER NOT NULL, seen_ms INTEGER NOT NULL,
        told TEXT, told_ms INTEGER, silence_ms INTEGER
    ) STRICT;
    CREATE TABLE occurrences (
        id INTEGER PRIMARY KEY, entry TEXT NOT NULL, due_ms INTEGER NOT NULL, attempt INTEGER NOT NULL,
        start_ms INTEGER NOT NULL, target TEXT NOT NULL, state TEXT NOT NULL, process TEXT, began_ms INTEGER, ended_ms INTEGER,
        outcome TEXT, exit_code INTEGER, run_id TEXT, why TEXT, told INTEGER NOT NULL DEFAULT 0,
        UNIQUE (entry, due_ms, attempt)
    ) STRICT;
    CREATE INDEX open_occurrences ON occurrences (state) WHERE state IN ('waiting', 'claimed', 'running');
    CREATE INDEX untold_occurrences ON occurrences (ended_ms) WHERE told = 0 AND state = 'ended';
    CREATE INDEX occurrences_by_entry ON occurrences (entry, state, ended_ms);
    CREATE TABLE outbox (
        id TEXT NOT NULL, channel TEXT NOT NULL, body TEXT NOT NULL, made_ms INTEGER NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
        next_ms INTEGER NOT NULL, state TEXT NOT NULL, error TEXT, PRIMARY KEY (id, channel)
    ) STRICT;
";

const COLUMNS: &str =
    "id, entry, due_ms, attempt, start_ms, target, state, process, began_ms, ended_ms, outcome, exit_code, run_id, why";

/// An outcome: nothing was sent and nothing was broken, it may be tried again.
pub const COULD_NOT_START: &str = "could_not_start";
/// An outcome: it took too long, and was stopped.
pub const TIMED_OUT: &str = "timed_out";
/// An outcome: its process ended without a word.
pub const BROKEN: &str = "broken";

/// How far an occurrence has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Until its start, or until its target is free.
    Waiting,
    /// A process is being started for it.
    Claimed,
    /// A process has taken it over.
    Running,
    Ended,
    /// It was left out; `why` says the reason.
    Skipped,
}

impl State {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Waiting, "waiting"),
        (Self::Claimed, "claimed"),
        (Self::Running, "running"),
        (Self::Ended, "ended"),
        (Self::Skipped, "skipped"),
    ];

    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(state, _)| *state == self).map_or("", |(_, word)| word)
    }

    fn of(word: &str) -> Self {
        Self::ALL.iter().find(|(_, w)| *w == word).map_or(Self::Skipped, |(state, _)| *state)
    }
}

/// One moment of one entry.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Occurrence {
    pub id: i64,
    pub entry: String,
    pub due: Timestamp,
    /// From 1.
    pub attempt: u32,
    pub start: Timestamp,
    pub target: String,
    pub state: State,
    pub process: Option<String>,
    pub began: Option<Timestamp>,
    pub ended: Option<Timestamp>,
    pub outcome: Option<String>,
    pub exit_code: Option<u8>,
    pub run_id: Option<String>,
    pub why: Option<String>,
}

/// How a run came out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ending {
    /// As result.json has it; or one of [`COULD_NOT_START`], [`TIMED_OUT`], [`BROKEN`].
    pub outcome: String,
    pub exit_code: Option<u8>,
    pub run_id: Option<String>,
    /// The checks that failed, or the reason.
    pub why: Option<String>,
}

/// What was last told of an entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub outcome: Option<String>,
    pub at: Option<Timestamp>,
    /// The verdict, or the beginning, after which silence was told.
    pub silence_since: Option<Timestamp>,
    /// When the entry was first seen.
    pub first: Timestamp,
}

/// Something to be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Letter {
    pub id: String,
    pub channel: String,
    pub body: String,
    pub tries: u32,
}

pub struct Store {
    db: Mutex<Connection>,
}

type Db<T> = Result<T, rusqlite::Error>;

impl Store {
    /// Opens the memory in a folder of reports, which is made if need be.
    ///
    /// # Errors
    /// It cannot be used; it is not made anew, since then every run would be forgotten.
    pub fn open(reports: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(reports).map_err(|e| format!("{} cannot be made: {e}", reports.display()))?;
        Self::open_file(&reports.join(FILE))
    }

    /// # Errors
    /// As of [`Store::open`].
    pub fn open_file(path: &Path) -> Result<Self, String> {
        Self::connect(path).map_err(|e| {
            format!(
                "the schedule's memory {} cannot be used: {e}; if it is broken move it away, then every entry begins anew",
                path.display()
            )
        })
    }

    fn connect(path: &Path) -> Db<Self> {
        private::touch(path).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
        let mut db = Connection::open(path)?;
        db.busy_timeout(Duration::from_secs(20))?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        let change = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let version: i64 = change.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match version {
            0 => change.execute_batch(&format!("{TABLES} PRAGMA user_version = {VERSION};"))?,
            VERSION => {}
            other => return Err(rusqlite::Error::InvalidParameterName(format!("it is of version {other}, not {VERSION}"))),
        }
        change.commit()?;
        Ok(Self { db: Mutex::new(db) })
    }

    fn db(&self) -> MutexGuard<'_, Connection> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Up to when an entry's moments have been looked at. A new entry, or one with other moments, begins now.
    ///
    /// # Errors
    /// The database cannot be used; so everywhere here.
    pub fn seen(&self, entry: &str, calendar: &str, now: Timestamp) -> Db<Timestamp> {
        let db = self.db();
        let known: Option<(String, i64)> = db
            .query_row("SELECT calendar, seen_ms FROM entries WHERE name = ?1", [entry], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        if let Some((_, seen)) = known.filter(|(old, _)| old == calendar) {
            return moment(seen);
        }
        db.execute(
            "INSERT INTO entries (name, calendar, first_ms, seen_ms) VALUES (?1, ?2, ?3, ?3)
             ON CONFLICT (name) DO UPDATE SET calendar = ?2, seen_ms = ?3",
            params![entry, calendar, now.as_millisecond()],
        )?;
        Ok(now)
    }

    /// Writes down the moments up to `until`, all at once with how far was looked.
    pub fn add(&self, entry: &str, until: Timestamp, new: &[Occurrence]) -> Db<()> {
        let mut db = self.db();
        let change = db.transaction()?;
        for one in new {
            change.execute(
                "INSERT OR IGNORE INTO occurrences (entry, due_ms, attempt, start_ms, target, state, why, ended_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    one.entry,
                    one.due.as_millisecond(),
                    one.attempt,
                    one.start.as_millisecond(),
                    one.target,
                    one.state.word(),
                    one.why,
                    one.ended.map(Timestamp::as_millisecond),
                ],
            )?;
        }
        change
            .execute("UPDATE entries SET seen_ms = max(seen_ms, ?2) WHERE name = ?1", params![entry, until.as_millisecond()])?;
        change.commit()
    }

    /// Everything that has not ended, in the order in which it starts.
    pub fn open_ones(&self) -> Db<Vec<Occurrence>> {
        let query = format!(
            "SELECT {COLUMNS} FROM occurrences WHERE state IN ('waiting', 'claimed', 'running') ORDER BY start_ms, entry, due_ms"
        );
        self.db().prepare_cached(&query)?.query_map([], occurrence)?.collect()
    }

    pub fn get(&self, id: i64) -> Db<Option<Occurrence>> {
        let query = format!("SELECT {COLUMNS} FROM occurrences WHERE id = ?1");
        self.db().prepare_cached(&query)?.query_row([id], occurrence).optional()
    }

    /// All of an entry, the oldest first.
    pub fn of_entry(&self, entry: &str) -> Db<Vec<Occurrence>> {
        let query = format!("SELECT {COLUMNS} FROM occurrences WHERE entry = ?1 ORDER BY due_ms, attempt");
        self.db().prepare_cached(&query)?.query_map([entry], occurrence)?.collect()
    }

    /// The latest of an entry that ended.
    pub fn last_ended(&self, entry: &str, outcomes: &[&str]) -> Db<Option<Occurrence>> {
        let any = if outcomes.is_empty() { String::new() } else { format!("AND outcome IN ('{}')", outcomes.join("','")) };
        let query = format!(
            "SELECT {COLUMNS} FROM occurrences WHERE entry = ?1 AND state = 'ended' {any} ORDER BY ended_ms DESC LIMIT 1"
        );
        self.db().prepare_cached(&query)?.query_row([entry], occurrence).optional()
    }

    /// How many of each entry ended with each outcome, or were left out.
    pub fn counts(&self) -> Db<Vec<(String, String, u64)>> {
        self.db()
            .prepare_cached("SELECT entry, coalesce(outcome, state), count(*) FROM occurrences WHERE state IN ('ended', 'skipped') GROUP BY 1, 2")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?.unsigned_abs())))?
            .collect()
    }

    pub fn skip(&self, id: i64, now: Timestamp, why: &str) -> Db<()> {
        let query = "UPDATE occurrences SET state = 'skipped', why = ?2, ended_ms = ?3 WHERE id = ?1 AND state = 'waiting'";
        self.db().execute(query, params![id, why, now.as_millisecond()]).map(drop)
    }

    /// A process will be started for it; written down before that.
    pub fn claim(&self, id: i64) -> Db<bool> {
        let query = "UPDATE occurrences SET state = 'claimed' WHERE id = ?1 AND state IN ('waiting', 'claimed')";
        Ok(self.db().execute(query, [id])? == 1)
    }

    /// A process takes the occurrence over; false for every one but the first.
    pub fn begin(&self, id: i64, process: &str, now: Timestamp) -> Db<bool> {
        let query = "UPDATE occurrences SET state = 'running', process = ?2, began_ms = ?3 WHERE id = ?1 AND state = 'claimed'";
        Ok(self.db().execute(query, params![id, process, now.as_millisecond()])? == 1)
    }

    /// A run is over, once.
    pub fn finish(&self, id: i64, ending: &Ending, now: Timestamp) -> Db<bool> {
        let why = ending.why.as_deref().map(secret::masked);
        let query = "UPDATE occurrences SET state = 'ended', outcome = ?2, exit_code = ?3, run_id = ?4, why = ?5, ended_ms = ?6
             WHERE id = ?1 AND state IN ('claimed', 'running')";
        let values = params![id, ending.outcome, ending.exit_code, ending.run_id, why, now.as_millisecond()];
        Ok(self.db().execute(query, values)? == 1)
    }

    /// Says better how it came out, as long as nobody was told.
    pub fn rename_outcome(&self, id: i64, outcome: &str) -> Db<()> {
        let query = "UPDATE occurrences SET outcome = ?2 WHERE id = ?1 AND state = 'ended' AND told = 0";
        self.db().execute(query, params![id, outcome]).map(drop)
    }

    /// What could not start is put up again; that is nothing to tell yet.
    pub fn retry(&self, of: &Occurrence, at: Timestamp) -> Db<()> {
        let mut db = self.db();
        let change = db.transaction()?;
        change.execute("UPDATE occurrences SET told = 1 WHERE id = ?1", [of.id])?;
        change.execute(
            "INSERT OR IGNORE INTO occurrences (entry, due_ms, attempt, start_ms, target, state) VALUES (?1, ?2, ?3, ?4, ?5, 'waiting')",
            params![of.entry, of.due.as_millisecond(), of.attempt + 1, at.as_millisecond(), of.target],
        )?;
        change.commit()
    }

    /// What has ended and has not been looked at for notices, the oldest first.
    pub fn untold(&self) -> Db<Vec<Occurrence>> {
        let query = format!("SELECT {COLUMNS} FROM occurrences WHERE state = 'ended' AND told = 0 ORDER BY ended_ms, id");
        self.db().prepare_cached(&query)?.query_map([], occurrence)?.collect()
    }

    pub fn told(&self, entry: &str) -> Db<Option<Told>> {
        let row = |row: &Row<'_>| {
            let at = |column| row.get::<_, Option<i64>>(column)?.map(moment).transpose();
            Ok(Told { outcome: row.get(0)?, at: at(1)?, silence_since: at(2)?, first: moment(row.get(3)?)? })
        };
        let query = "SELECT told, told_ms, silence_ms, first_ms FROM entries WHERE name = ?1";
        self.db().prepare_cached(query)?.query_row([entry], row).optional()
    }

    /// An ended occurrence has been looked at: the letters that follow go into the outbox in the same step.
    pub fn tell(&self, of: &Occurrence, told: Option<(&str, Timestamp)>, letters: &[Letter], now: Timestamp) -> Db<()> {
        let mut db = self.db();
        let change = db.transaction()?;
        change.execute("UPDATE occurrences SET told = 1 WHERE id = ?1", [of.id])?;
        if let Some((outcome, at)) = told {
            let query = "UPDATE entries SET told = ?2, told_ms = ?3 WHERE name = ?1";
            change.execute(query, params![of.entry, outcome, at.as_millisecond()])?;
        }
        post(&change, letters, now)?;
        change.commit()
    }

    /// Silence since a moment was told, so that it is told once.
    pub fn tell_silence(&self, entry: &str, since: Timestamp, letters: &[Letter], now: Timestamp) -> Db<()> {
        let mut db = self.db();
        let change = db.transaction()?;
        change.execute("UPDATE entries SET silence_ms = ?2 WHERE name = ?1", params![entry, since.as_millisecond()])?;
        post(&change, letters, now)?;
        change.commit()
    }

    /// What is to be sent by now.
    pub fn letters(&self, now: Timestamp) -> Db<Vec<Letter>> {
        self.db()
            .prepare_cached(
                "SELECT id, channel, body, tries FROM outbox WHERE state = 'pending' AND next_ms <= ?1 ORDER BY made_ms",
            )?
            .query_map([now.as_millisecond()], |row| {
                Ok(Letter { id: row.get(0)?, channel: row.get(1)?, body: row.get(2)?, tries: row.get(3)? })
            })?
            .collect()
    }

    /// When the next letter is due.
    pub fn next_letter(&self) -> Db<Option<Timestamp>> {
        let query = "SELECT min(next_ms) FROM outbox WHERE state = 'pending'";
        let at: Option<i64> = self.db().prepare_cached(query)?.query_row([], |row| row.get(0))?;
        at.map(moment).transpose()
    }

    /// A letter was taken, or was not; then it is tried again at `next`, or given up.
    pub fn sent(&self, letter: &Letter, result: Result<(), (&str, Option<Timestamp>)>) -> Db<()> {
        let (state, error, next) = match result {
            Ok(()) => ("sent", None, None),
            Err((error, Some(next))) => ("pending", Some(secret::masked(error)), Some(next)),
            Err((error, None)) => ("given_up", Some(secret::masked(error)), None),
        };
        let query = "UPDATE outbox SET state = ?3, error = ?4, next_ms = coalesce(?5, next_ms), tries = tries + 1
             WHERE id = ?1 AND channel = ?2";
        self.db().execute(query, params![letter.id, letter.channel, state, error, next.map(Timestamp::as_millisecond)]).map(drop)
    }

    /// How many letters are in each state.
    pub fn outbox(&self) -> Db<Vec<(String, u64)>> {
        self.db()
            .prepare_cached("SELECT state, count(*) FROM outbox GROUP BY state")?
            .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?
            .collect()
    }
}

fn post(db: &Connection, letters: &[Letter], now: Timestamp) -> Db<()> {
    for letter in letters {
        db.execute(
            "INSERT OR IGNORE INTO outbox (id, channel, body, made_ms, next_ms, state) VALUES (?1, ?2, ?3, ?4, ?4, 'pending')",
            params![letter.id, letter.channel, letter.body, now.as_millisecond()],
        )?;
    }
    Ok(())
}

fn moment(ms: i64) -> Db<Timestamp> {
    Timestamp::from_millisecond(ms).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}

fn occurrence(row: &Row<'_>) -> Db<Occurrence> {
    let at = |column: usize| row.get::<_, Option<i64>>(column)?.map(moment).transpose();
    Ok(Occurrence {
        id: row.get(0)?,
        entry: row.get(1)?,
        due: moment(row.get(2)?)?,
        attempt: row.get(3)?,
        start: moment(row.get(4)?)?,
        target: row.get(5)?,
        state: State::of(&row.get::<_, String>(6)?),
        process: row.get(7)?,
        began: at(8)?,
        ended: at(9)?,
        outcome: row.get(10)?,
        exit_code: row.get(11)?,
        run_id: row.get(12)?,
        why: row.get(13)?,
    })
}

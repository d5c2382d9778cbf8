//! Every run in a small database beside the runs. It holds nothing that the runs' folders do not: it can be made anew from
//! them, and it is whenever it cannot be read.

mod score;
mod trend;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};

use crate::journal;
use crate::private;
use crate::report::result::RunResult;
use crate::run::outcome::Outcome;
use crate::seed::fnv;
use crate::text::word;

pub use score::{Score, score};
pub use trend::{Change, Point, Series, changes};

/// The database's name within the folder of reports.
pub const FILE: &str = "history.db";
/// A database of another version is made anew.
const VERSION: i64 = 3;

const TABLES: &str = "
    CREATE TABLE runs (
        run_id TEXT PRIMARY KEY, folder TEXT NOT NULL UNIQUE, experiment TEXT NOT NULL, target TEXT NOT NULL,
        started_ms INTEGER NOT NULL, duration_s REAL NOT NULL, outcome TEXT NOT NULL, exit_code INTEGER NOT NULL,
        seed TEXT NOT NULL, reason TEXT, overrides TEXT NOT NULL, file TEXT NOT NULL
    ) STRICT;
    CREATE INDEX runs_by_time ON runs (started_ms);
    CREATE INDEX runs_by_group ON runs (experiment, target, overrides, started_ms);
    CREATE TABLE checks (
        run_id TEXT NOT NULL REFERENCES runs ON DELETE CASCADE, name TEXT NOT NULL, kind TEXT NOT NULL, verdict TEXT NOT NULL,
        PRIMARY KEY (run_id, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE figures (
        run_id TEXT NOT NULL REFERENCES runs ON DELETE CASCADE, name TEXT NOT NULL, value REAL NOT NULL,
        PRIMARY KEY (run_id, name)
    ) STRICT, WITHOUT ROWID;
";

/// One run, in a line.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Run {
    pub run_id: String,
    pub folder: PathBuf,
    pub experiment: String,
    pub target: String,
    pub started_at: String,
    pub duration_s: f64,
    pub outcome: String,
    pub exit_code: u8,
    pub seed: String,
    pub reason: Option<String>,
    /// What the command line changed, but for the seed.
    pub overrides: String,
    /// Another text of the experiment, seed aside, has another of these.
    pub file: String,
}

/// Runs that can be compared over time: one experiment on one target, changed in the same way by the command line.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Group {
    pub experiment: String,
    pub target: String,
    pub overrides: String,
}

const COLUMNS: &str =
    "run_id, folder, experiment, target, started_ms, duration_s, outcome, exit_code, seed, reason, overrides, file";

/// Which runs are meant.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub experiment: Option<String>,
    pub outcome: Option<Outcome>,
    pub target: Option<String>,
    pub overrides: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// A check of that name did not pass.
    pub failed_check: Option<String>,
    /// The latest so many.
    pub limit: Option<u32>,
}

pub struct History {
    db: Connection,
    reports: PathBuf,
    /// Folders of runs without a result: they are running, or were broken off.
    pub unfinished: Vec<PathBuf>,
}

impl History {
    /// Opens the history beside the runs, and takes over whatever runs it does not know yet.
    ///
    /// # Errors
    /// The folder cannot be read, or the database cannot be written.
    pub fn open(reports: &Path) -> Result<Self, String> {
        let path = reports.join(FILE);
        let mut history = match Self::connect(&path, reports) {
            Ok(history) => history,
            // A broken file is worth nothing: what it held lies in the folders beside it.
            Err(error) if is_broken(&error) => {
                for name in ["", "-wal", "-shm"] {
                    let _ = std::fs::remove_file(reports.join(format!("{FILE}{name}")));
                }
                Self::connect(&path, reports).map_err(|e| format!("{} cannot be used: {e}", path.display()))?
            }
            Err(error) => return Err(format!("{} cannot be used: {error}", path.display())),
        };
        history.take_over()?;
        Ok(history)
    }

    fn connect(path: &Path, reports: &Path) -> rusqlite::Result<Self> {
        private::touch(path).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
        let db = Connection::open(path)?;
        db.busy_timeout(std::time::Duration::from_secs(10))?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "foreign_keys", true)?;
        let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version != VERSION {
            db.execute_batch(
                "BEGIN IMMEDIATE; DROP TABLE IF EXISTS figures; DROP TABLE IF EXISTS checks; DROP TABLE IF EXISTS runs;",
            )?;
            db.execute_batch(TABLES)?;
            db.execute_batch(&format!("PRAGMA user_version = {VERSION}; COMMIT;"))?;
        }
        Ok(Self { db, reports: reports.to_owned(), unfinished: Vec::new() })
    }

    /// Adds the runs whose folders are there and not known, and forgets those whose folders are gone.
    fn take_over(&mut self) -> Result<(), String> {
        let known = self.folders().map_err(|e| e.to_string())?;
        let there = folders_in(&self.reports, &known).map_err(|e| format!("{} cannot be read: {e}", self.reports.display()))?;
        let failed = |e: rusqlite::Error| format!("the history cannot be written: {e}");
        let transaction = self.db.transaction().map_err(failed)?;
        for gone in known.iter().filter(|folder| !there.contains(*folder)) {
            transaction.execute("DELETE FROM runs WHERE folder = ?1", [gone]).map_err(failed)?;
        }
        let mut unfinished = Vec::new();
        for folder in there.iter().filter(|folder| !known.contains(*folder)) {
            let path = self.reports.join(folder);
            match RunResult::read(&path) {
                Ok(result) => insert(&transaction, folder, &digest(&path), &result).map_err(failed)?,
                Err(_) => unfinished.push(path),
            }
        }
        unfinished.sort();
        self.unfinished = unfinished;
        transaction.commit().map_err(failed)
    }

    fn folders(&self) -> rusqlite::Result<HashSet<String>> {
        self.db.prepare("SELECT folder FROM runs")?.query_map([], |row| row.get(0))?.collect()
    }

    /// The runs that fit, the latest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn runs(&self, filter: &Filter) -> Result<Vec<Run>, String> {
        let text = |text: &Option<String>| text.clone().map(Value::from);
        let ms = |at: Option<Timestamp>| at.map(|at| at.as_millisecond().into());
        let all = [
            ("experiment = ?", text(&filter.experiment)),
            ("target = ?", text(&filter.target)),
            ("overrides = ?", text(&filter.overrides)),
            ("outcome = ?", filter.outcome.map(|outcome| word(outcome).into())),
            ("started_ms >= ?", ms(filter.since)),
            ("started_ms < ?", ms(filter.until)),
            (
                "EXISTS (SELECT 1 FROM checks WHERE checks.run_id = runs.run_id AND name = ? AND verdict <> 'passed')",
                text(&filter.failed_check),
            ),
        ];
        // Only what is asked for stands in the query: then an index can serve it.
        let asked = all.into_iter().filter_map(|(condition, value)| Some((condition, value?)));
        let (mut conditions, mut values): (Vec<&str>, Vec<Value>) = asked.unzip();
        conditions.push("TRUE");
        values.push(filter.limit.unwrap_or(u32::MAX).into());
        let conditions = conditions.join(" AND ");
        let query = format!("SELECT {COLUMNS} FROM runs WHERE {conditions} ORDER BY started_ms DESC, run_id LIMIT ?");
        let read = || -> rusqlite::Result<Vec<Run>> {
            let mut statement = self.db.prepare_cached(&query)?;
            statement.query_map(params_from_iter(values), |row| self.run(row))?.collect()
        };
        read().map_err(|e| format!("the history cannot be read: {e}"))
    }

    fn run(&self, row: &Row<'_>) -> rusqlite::Result<Run> {
        let started: i64 = row.get(4)?;
        let folder: String = row.get(1)?;
        Ok(Run {
            run_id: row.get(0)?,
            folder: self.reports.join(folder),
            experiment: row.get(2)?,
            target: row.get(3)?,
            started_at: Timestamp::from_millisecond(started).map_or_else(|_| String::new(), |t| t.to_string()),
            duration_s: row.get(5)?,
            outcome: row.get(6)?,
            exit_code: row.get(7)?,
            seed: row.get(8)?,
            reason: row.get(9)?,
            overrides: row.get(10)?,
            file: row.get(11)?,
        })
    }

    /// The run whose id or folder begins so; none where there is none.
    ///
    /// # Errors
    /// Several do, or the database cannot be read.
    pub fn find(&self, begin: &str) -> Result<Option<Run>, String> {
        let failed = |e: rusqlite::Error| format!("the history cannot be read: {e}");
        let mut statement = self
            .db
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM runs WHERE substr(run_id, 1, length(?1)) = ?1 OR substr(folder, 1, length(?1)) = ?1
                 ORDER BY started_ms DESC LIMIT 2"
            ))
            .map_err(failed)?;
        let found: Vec<Run> = statement.query_map([begin], |row| self.run(row)).and_then(Iterator::collect).map_err(failed)?;
        match found.as_slice() {
            [first, second] => Err(format!("`{begin}` may mean {} or {}: give more of it", first.run_id, second.run_id)),
            other => Ok(other.first().cloned()),
        }
    }

    /// Every figure of a group's latest runs over time, the oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn series(&self, of: &Group, latest: u32) -> Result<Vec<Series>, String> {
        let runs = "SELECT run_id, started_ms FROM (
                SELECT run_id, started_ms FROM runs WHERE experiment = ?1 AND target = ?2 AND overrides = ?3
                ORDER BY started_ms DESC, run_id DESC LIMIT ?4)
             ORDER BY started_ms, run_id";
        let read = || -> rusqlite::Result<BTreeMap<String, Vec<Point>>> {
            let mut all: BTreeMap<String, Vec<Point>> = BTreeMap::new();
            let mut runs = self.db.prepare_cached(runs)?;
            let mut figures = self.db.prepare_cached("SELECT name, value FROM figures WHERE run_id = ?1")?;
            let mut of = runs.query(params![of.experiment, of.target, of.overrides, latest])?;
            while let Some(run) = of.next()? {
                let (id, at_ms): (Arc<str>, i64) = (run.get(0)?, run.get(1)?);
                let mut rows = figures.query([&id])?;
                while let Some(row) = rows.next()? {
                    let point = (id.clone(), at_ms, row.get(1)?);
                    match all.get_mut(row.get_ref(0)?.as_str()?) {
                        Some(points) => points.push(point),
                        None => drop(all.insert(row.get(0)?, vec![point])),
                    }
                }
            }
            Ok(all)
        };
        let all = read().map_err(|e| format!("the history cannot be read: {e}"))?;
        Ok(all.into_iter().map(|(name, points)| Series { name, points }).collect())
    }

    /// What has run, of this experiment or of all, the latest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn groups(&self, experiment: Option<&str>) -> Result<Vec<Group>, String> {
        let query = "SELECT experiment, target, overrides FROM runs WHERE ?1 IS NULL OR experiment = ?1
             GROUP BY experiment, target, overrides ORDER BY max(started_ms) DESC";
        let group = |row: &Row<'_>| Ok(Group { experiment: row.get(0)?, target: row.get(1)?, overrides: row.get(2)? });
        let read = || self.db.prepare_cached(query)?.query_map([experiment], group)?.collect::<rusqlite::Result<Vec<Group>>>();
        read().map_err(|e| format!("the history cannot be read: {e}"))
    }
}

/// Of the experiment as it ran, but for its seed.
fn digest(folder: &Path) -> String {
    let text = std::fs::read_to_string(folder.join("experiment.yaml")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("seed:")).collect();
    format!("{:016x}", fnv(lines.join("\n").as_bytes()))
}

/// The folder of a run: its path, or the beginning of its id among the runs in `reports`.
///
/// # Errors
/// A sentence: there is none, or there are several.
pub fn folder(run: &str, reports: &Path) -> Result<PathBuf, String> {
    let path = PathBuf::from(run);
    if path.join("result.json").is_file() {
        return Ok(path);
    }
    let none = || format!("no run in {} begins with `{run}`; `chaos list` names them", reports.display());
    if !reports.is_dir() {
        return Err(none());
    }
    History::open(reports)?.find(run)?.map(|run| run.folder).ok_or_else(none)
}

/// The file is no database, or none that can be read; not one that somebody else is just using.
fn is_broken(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    error.sqlite_error_code().is_some_and(|code| [DatabaseCorrupt, NotADatabase].contains(&code))
}

/// The folders of runs, and of runs within suites, relative to the folder of reports.
fn folders_in(reports: &Path, known: &HashSet<String>) -> std::io::Result<HashSet<String>> {
    let is_run = |path: &Path| path.join("result.json").is_file() || path.join(journal::FILE).is_file();
    let mut there = HashSet::new();
    for entry in std::fs::read_dir(reports)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if known.contains(&name) || is_run(&entry.path()) {
            there.insert(name);
            continue;
        }
        // A file, or something that cannot be read, is no suite.
        let inside = std::fs::read_dir(entry.path()).into_iter().flatten().flatten();
        there.extend(inside.filter(|run| is_run(&run.path())).map(|run| format!("{name}/{}", run.file_name().to_string_lossy())));
    }
    Ok(there)
}

fn insert(db: &Connection, folder: &str, file: &str, result: &RunResult) -> rusqlite::Result<()> {
    let started: i64 = result.started_at.parse::<Timestamp>().map_or(0, Timestamp::as_millisecond);
    // Two folders of one run: a copy. The first counts.
    let added = db.execute(
        "INSERT OR IGNORE INTO runs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            result.run_id,
            folder,
            result.experiment,
            result.target,
            started,
            result.duration_s,
            word(result.outcome),
            result.exit_code,
            result.seed.to_string(),
            result.reason,
            result.overrides.iter().filter(|o| !o.starts_with("--seed ")).cloned().collect::<Vec<_>>().join(" "),
            file,
        ],
    )?;
    if added == 0 {
        return Ok(());
    }
    let mut check = db.prepare_cached("INSERT OR IGNORE INTO checks VALUES (?1, ?2, ?3, ?4)")?;
    for c in &result.checks {
        check.execute(params![result.run_id, c.name, c.kind, word(c.verdict)])?;
    }
    let mut figure = db.prepare_cached("INSERT OR IGNORE INTO figures VALUES (?1, ?2, ?3)")?;
    for (name, value) in figures(result) {
        figure.execute(params![result.run_id, name, value])?;
    }
    Ok(())
}

/// What is followed over time, in the experiment's own times.
pub fn figures(result: &RunResult) -> Vec<(String, f64)> {
    let own = |s: f64| s / result.time_scale;
    let jobs = &result.jobs;
    let mut all = vec![
        ("jobs.completed".to_owned(), jobs.completed as f64),
        ("jobs.rejected".to_owned(), jobs.rejected as f64),
        ("jobs.failed".to_owned(), (jobs.failed + jobs.shed) as f64),
        ("jobs.unknown".to_owned(), jobs.unknown as f64),
        ("jobs.lost".to_owned(), (jobs.lost + jobs.duplicated + jobs.mismatched) as f64),
    ];
    let latency = &result.latency;
    for (name, value) in [("latency.p50_s", latency.p50_s), ("latency.p95_s", latency.p95_s), ("latency.p99_s", latency.p99_s)] {
        all.extend(value.map(|s| (name.to_owned(), own(s))));
    }
    if let Some(tokens) = &result.tokens {
        all.extend(tokens.first_p50_s.map(|s| ("tokens.first_p50_s".to_owned(), own(s))));
        all.extend(tokens.per_second.map(|rate| ("tokens.per_second".to_owned(), rate * result.time_scale)));
    }
    all.extend(result.checks.iter().filter_map(|check| Some((format!("{}.took_s", check.name), own(check.took_s?)))));
    all.extend(result.uptime.map(|share| ("uptime".to_owned(), share)));
    all.extend(result.resources.iter().map(|(name, r)| (format!("{name}.peak"), r.peak)));
    all.retain(|(_, value)| value.is_finite());
    all
}

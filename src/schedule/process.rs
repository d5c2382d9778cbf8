//! Runs as processes of their own. They outlive the scheduler: a restart of it stops no run.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use super::daemon::Runner;
use super::file::Job;
use super::store::{BROKEN, COULD_NOT_START, Ending, FILE, Occurrence, State, Store};
use crate::exit::Exit;
use crate::report::result::RunResult;
use crate::run::outcome::Outcome;
use crate::runtime::proc_stat;
use crate::text::word;
use crate::{private, secret};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A run that is stopped puts everything back; after this long it is killed, and its guardian puts back.
const STOP_WITHIN: Duration = Duration::from_secs(120);
/// Of what a failed start said, this much is kept.
const LONGEST_WORD: usize = 300;

/// A process, such that another one with the same number is not taken for it.
pub fn identity(pid: u32) -> Option<String> {
    proc_stat(pid).filter(|(state, _)| *state != 'Z').map(|(_, started)| format!("{pid}:{started}"))
}

fn lives(process: &str) -> Option<Pid> {
    let pid: u32 = process.split(':').next()?.parse().ok()?;
    (identity(pid).as_deref() == Some(process)).then(|| Pid::from_raw(pid.cast_signed()))
}

/// Which occurrence a process of `chaos run` belongs to, as it is given on its command line: DATABASE#NUMBER.
#[derive(Debug, Clone)]
pub struct Ticket {
    database: PathBuf,
    id: i64,
}

impl std::str::FromStr for Ticket {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (database, id) = text.rsplit_once('#').ok_or("expected DATABASE#NUMBER")?;
        Ok(Self { database: database.into(), id: id.parse().map_err(|_| "expected DATABASE#NUMBER")? })
    }
}

impl Ticket {
    /// Takes the occurrence over, before anything is touched.
    ///
    /// # Errors
    /// Another process was first, or the memory cannot be used.
    pub fn begin(&self) -> Result<Store, String> {
        let store = Store::open_file(&self.database)?;
        let process = identity(std::process::id()).ok_or("this process cannot be told from others")?;
        match store.begin(self.id, &process, Timestamp::now()) {
            Ok(true) => Ok(store),
            Ok(false) => Err("another process has taken this occurrence over".to_owned()),
            Err(error) => Err(format!("the schedule's memory cannot be written: {error}")),
        }
    }

    /// Says how it came out.
    pub fn finish(&self, store: &Store, ending: &Ending) {
        if let Err(error) = store.finish(self.id, ending, Timestamp::now()) {
            // The scheduler sees the process end, and says that it broke off.
            tracing::error!("the schedule's memory cannot be written: {error}");
        }
    }
}

/// How a run that came to its result counts.
pub fn ending(result: &RunResult) -> Ending {
    let not_passed = |c: &&crate::report::result::CheckResult| c.verdict == crate::check::Ruling::Failed;
    let failed: Vec<&str> = result.checks.iter().filter(not_passed).map(|c| c.name.as_str()).collect();
    let untouched = result.jobs.submitted == 0 && result.faults.iter().all(|fault| fault.injected_at_s.is_none());
    let outcome = match result.outcome {
        Outcome::Error if result.exit_code == Exit::Stuck.code() => "stuck".to_owned(),
        Outcome::Error if untouched => COULD_NOT_START.to_owned(),
        other => word(other),
    };
    Ending {
        outcome,
        exit_code: Some(result.exit_code),
        run_id: Some(result.run_id.clone()),
        why: result.reason.clone().or_else(|| (!failed.is_empty()).then(|| failed.join(", "))),
    }
}

/// Starts `chaos run` for each occurrence.
pub struct Processes {
    program: PathBuf,
    reports: PathBuf,
    store: Arc<Store>,
    stopping: Mutex<HashSet<i64>>,
}

impl Processes {
    /// # Errors
    /// This program cannot be found.
    pub fn new(store: Arc<Store>, reports: &Path) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|e| format!("this program cannot be found: {e}"))?;
        Ok(Self { program, reports: reports.to_owned(), store, stopping: Mutex::default() })
    }

    /// Starts the process and waits for its end; on failure the reason.
    async fn start(&self, one: &Occurrence, job: &Job) -> Result<(), String> {
        let log = self.log_of(one);
        let folder = log.parent().unwrap_or(&self.reports);
        private::folder(folder).map_err(|e| format!("{} cannot be made: {e}", folder.display()))?;
        let file = private::options().create(true).append(true).open(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let errors = file.try_clone().map_err(|e| e.to_string())?;
        let mut child = tokio::process::Command::new(&self.program)
            .arg("run")
            .arg(&job.file)
            .arg("--reports")
            .arg(&self.reports)
            .arg("--scheduled")
            .arg(format!("{}#{}", self.reports.join(FILE).display(), one.id))
            .args(job.entry.args.iter())
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            // A Ctrl-C at the scheduler's terminal is not for the run.
            .process_group(0)
            .spawn()
            .map_err(|e| format!("{} cannot be started: {e}", self.program.display()))?;
        child.wait().await.map_err(|e| e.to_string())?;
        Ok(())
    }

    fn end(&self, one: &Occurrence, outcome: &str, why: String) {
        let ending = Ending { outcome: outcome.to_owned(), why: Some(why), ..Ending::default() };
        if let Err(error) = self.store.finish(one.id, &ending, Timestamp::now()) {
            tracing::error!("the schedule's memory cannot be written: {error}");
        }
    }

    /// Where the output of an occurrence's process goes.
    fn log_of(&self, one: &Occurrence) -> PathBuf {
        let name = format!("{}-{}-{}.log", one.entry, one.due.strftime("%Y%m%dT%H%M%SZ"), one.attempt);
        self.reports.join("schedule-logs").join(name)
    }

    /// What a run that came to its result has said is in its folder.
    fn tidy(&self, one: &Occurrence) {
        let has_result = |now: &Occurrence| now.state == State::Ended && now.exit_code.is_some() && now.run_id.is_some();
        if self.state(one).is_some_and(|now| has_result(&now)) {
            // A log that stays costs a few bytes.
            let _ = std::fs::remove_file(self.log_of(one));
        }
    }

    fn state(&self, one: &Occurrence) -> Option<Occurrence> {
        self.store.get(one.id).inspect_err(|e| tracing::error!("the schedule's memory cannot be read: {e}")).ok().flatten()
    }
}

fn last_words(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let last = text.split(|byte| *byte == b'\n').rev().find(|line| !line.trim_ascii().is_empty()).unwrap_or_default();
    secret::head(last, LONGEST_WORD)
}

#[async_trait]
impl Runner for Processes {
    async fn run(&self, one: &Occurrence, job: &Job) {
        let started = self.start(one, job).await;
        match self.state(one) {
            Some(now) if now.state == State::Claimed => {
                let why = started.err().unwrap_or_else(|| last_words(&self.log_of(one)));
                self.end(one, COULD_NOT_START, why);
            }
            // Broken off; or somebody else's process was first, and runs.
            Some(now) if now.state == State::Running => self.watch(&now).await,
            _ => self.tidy(one),
        }
    }

    async fn watch(&self, one: &Occurrence) {
        loop {
            // Looked at in this order: what ends between the two looks has written its end before.
            let alive = one.process.as_deref().and_then(lives).is_some();
            match self.state(one) {
                Some(now) if now.state == State::Running && !alive => {
                    return self.end(one, BROKEN, "its process ended without a word".to_owned());
                }
                Some(now) if now.state == State::Running => tokio::time::sleep(LOOK_EVERY).await,
                _ => return self.tidy(one),
            }
        }
    }

    fn stop(&self, one: &Occurrence) {
        let Some(process) = one.process.clone() else { return };
        if !self.stopping.lock().unwrap_or_else(PoisonError::into_inner).insert(one.id) {
            return;
        }
        tokio::spawn(async move {
            let send = |what: Signal| lives(&process).map(|pid| signal::kill(pid, what));
            let _ = send(Signal::SIGTERM);
            tokio::time::sleep(STOP_WITHIN).await;
            // It has had its time; its guardian puts back what is left.
            let _ = send(Signal::SIGKILL);
        });
    }
}

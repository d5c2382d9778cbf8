//! Writes the journal. An event is in the file before what it announces is done.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::Value as Json;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::event::{Event, JobNo, Line};
use super::record::Record;
use super::salvage;
use crate::clock::Clock;
use crate::secret::Redactor;

/// A process that was killed takes a moment to be gone.
const DIES_WITHIN: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// No line is longer.
const LONGEST_LINE: u64 = 64 << 20;

/// The journal of a running run, and the record that it adds up to so far; cheap to clone.
#[derive(Clone)]
pub struct Journal {
    inner: Arc<Mutex<Inner>>,
    clock: Clock,
    /// Cancelled when the journal can no longer be written: the run must stop and revert.
    pub broken: CancellationToken,
}

struct Inner {
    file: Option<File>,
    record: Record,
    redactor: Redactor,
    watchers: Vec<UnboundedSender<Line>>,
    error: Option<String>,
}

impl Journal {
    /// Creates the file, which must not exist.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(path: &Path, clock: Clock, redactor: Redactor) -> io::Result<Self> {
        let file = File::options().create_new(true).append(true).open(path)?;
        // For as long as this process lives, so that nobody else goes on with it.
        file.lock()?;
        Ok(Self::over(Some(file), clock, redactor))
    }

    /// A journal without a file, for tests in simulated time.
    pub fn in_memory(clock: Clock) -> Self {
        Self::over(None, clock, Redactor::default())
    }

    /// Goes on with the journal of a run whose process is gone.
    ///
    /// # Errors
    /// A sentence: the run still lives, or its journal cannot be used.
    pub async fn take_over(path: &Path) -> Result<Self, String> {
        let failed = |e: io::Error| format!("{} cannot be used: {e}", path.display());
        let mut file = File::options().read(true).append(true).open(path).map_err(failed)?;
        let deadline = tokio::time::Instant::now() + DIES_WITHIN;
        while let Err(error) = file.try_lock() {
            if tokio::time::Instant::now() >= deadline {
                return Err(match error {
                    TryLockError::WouldBlock => {
                        format!("{} is being written: the run, or its guardian, is still at work", path.display())
                    }
                    TryLockError::Error(error) => failed(error),
                });
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        drop_cut_line(&mut file).map_err(failed)?;
        let record = salvage::record(path);
        // The time that has passed since, by the wall clock; never before what the journal has seen.
        let began: Option<jiff::Timestamp> = record.began.parse().ok();
        let ago_s = began.map_or(record.now, |began| jiff::Timestamp::now().duration_since(began).as_secs_f64().max(record.now));
        let clock = Clock::started_ago(Duration::try_from_secs_f64(ago_s).unwrap_or_default());
        let journal = Self::over(Some(file), clock, Redactor::default());
        journal.lock().record = record;
        Ok(journal)
    }

    pub fn clock(&self) -> Clock {
        self.clock
    }

    fn over(file: Option<File>, clock: Clock, redactor: Redactor) -> Self {
        let inner = Inner { file, record: Record::default(), redactor, watchers: Vec::new(), error: None };
        Self { inner: Arc::new(Mutex::new(inner)), clock, broken: CancellationToken::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Appends an event and returns when the kernel has it. A journal that cannot be written cancels `broken`.
    pub fn emit(&self, event: Event) {
        self.append(|_| event);
    }

    /// Appends the first event of a new job and returns the number that it got.
    pub fn emit_job(&self, event: impl FnOnce(JobNo) -> Event) -> JobNo {
        let mut number = 0;
        self.append(|record| {
            number = record.jobs.len() as JobNo;
            event(number)
        });
        number
    }

    fn append(&self, event: impl FnOnce(&Record) -> Event) {
        // Taken before the lock: a reader who holds it must not make a job look slower than it was.
        let t = self.clock.now_s();
        let mut inner = self.lock();
        let event = event(&inner.record);
        let line = Line { t, event };
        let line = inner.write(line);
        inner.record.apply(&line);
        inner.watchers.retain(|watcher| watcher.send(line.clone()).is_ok());
        if inner.error.is_some() {
            self.broken.cancel();
        }
    }

    /// As `emit`, and returns when the disk has it: for what must survive the machine.
    pub fn emit_synced(&self, event: Event) {
        self.emit(event);
        let mut inner = self.lock();
        if let Some(Err(error)) = inner.file.as_ref().map(File::sync_data) {
            inner.error = Some(error.to_string());
            self.broken.cancel();
        }
    }

    /// Whether a secret is in this data, which would be masked on its way to the disk.
    pub fn hides(&self, data: &Json) -> bool {
        let mut masked = data.clone();
        self.lock().redactor.json(&mut masked);
        masked != *data
    }

    /// Reads the record as it stands.
    pub fn read<T>(&self, look: impl FnOnce(&Record) -> T) -> T {
        look(&self.lock().record)
    }

    /// A copy of the record with the present moment as its end, to be looked at while events go on coming.
    pub fn snapshot(&self) -> Record {
        self.read_now(Record::clone)
    }

    /// The record with the present moment as its end.
    pub fn read_now<T>(&self, look: impl FnOnce(&Record) -> T) -> T {
        let mut inner = self.lock();
        inner.record.now = inner.record.now.max(self.clock.now_s());
        look(&inner.record)
    }

    /// Sends every further event to `watcher`.
    pub fn watch(&self, watcher: UnboundedSender<Line>) {
        self.lock().watchers.push(watcher);
    }

    /// Lets every watcher know that nothing more will come.
    pub fn close_watchers(&self) {
        self.lock().watchers.clear();
    }

    /// Why the journal can no longer be written.
    pub fn error(&self) -> Option<String> {
        self.lock().error.clone()
    }
}

/// A process that was killed may have been in the middle of a line.
fn drop_cut_line(file: &mut File) -> io::Result<()> {
    let (length, mut end) = (file.seek(SeekFrom::End(0))?, Vec::new());
    file.seek(SeekFrom::Start(length.saturating_sub(LONGEST_LINE)))?;
    file.read_to_end(&mut end)?;
    let cut = end.iter().rev().take_while(|byte| **byte != b'\n').count();
    if cut > 0 { file.set_len(length - cut as u64) } else { Ok(()) }
}

impl Inner {
    /// Writes the line; what comes back has its secrets masked and is what every reader sees.
    fn write(&mut self, line: Line) -> Line {
        let (line, bytes) = match self.readable(line) {
            Ok(whole) => whole,
            Err((t, why)) => {
                // What the run cannot do without ends it; anything else is told instead.
                let text = format!("an event was left out of the journal: {why}. Please report this: it is a mistake in chaos");
                let line = Line { t, event: Event::Note { text } };
                let bytes = serde_json::to_vec(&line).unwrap_or_default();
                (line, bytes)
            }
        };
        let result = self.file.as_mut().map_or(Ok(()), |file| file.write_all(&[bytes.as_slice(), b"\n"].concat()));
        if let Err(error) = result {
            self.error.get_or_insert_with(|| error.to_string());
        }
        line
    }

    /// The line as it will be read back, and its text; or when it was, and why it could not be read back.
    fn readable(&mut self, line: Line) -> Result<(Line, Vec<u8>), (f64, String)> {
        let t = line.t;
        let failed = |e: serde_json::Error| (t, e.to_string());
        if !self.redactor.is_empty() {
            let mut value = serde_json::to_value(&line).map_err(failed)?;
            self.redactor.json(&mut value);
            let bytes = serde_json::to_vec(&value).map_err(failed)?;
            return Ok((self.checked(serde_json::from_value(value), &line).map_err(failed)?, bytes));
        }
        let bytes = serde_json::to_vec(&line).map_err(failed)?;
        // A number that is not finite is written as `null`, which is no number: only a line with one needs a look.
        let essential = matches!(line.event, Event::RunStarted { .. } | Event::FaultPrepared { .. });
        if essential || bytes.windows(4).any(|w| w == b"null") {
            self.checked(serde_json::from_slice(&bytes), &line).map_err(failed)?;
        }
        Ok((line, bytes))
    }

    /// A run whose plan or undo could not be read again must not go on.
    fn checked(&mut self, read: serde_json::Result<Line>, line: &Line) -> serde_json::Result<Line> {
        read.inspect_err(|why| {
            if matches!(line.event, Event::RunStarted { .. } | Event::FaultPrepared { .. }) {
                self.error.get_or_insert_with(|| format!("what it must hold could not be read again: {why}"));
            }
        })
    }
}

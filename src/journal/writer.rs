//! Writes the journal. An event is in the file before what it announces is done.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::event::{Event, JobNo, Line};
use super::record::Record;
use crate::clock::Clock;
use crate::secret::Redactor;

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
        Ok(Self::over(Some(file), clock, redactor))
    }

    /// A journal without a file, for tests in simulated time.
    pub fn in_memory(clock: Clock) -> Self {
        Self::over(None, clock, Redactor::default())
    }

    /// Goes on from a record that was read back, without writing: for reverting a run that is over.
    pub fn resume(record: Record, clock: Clock) -> Self {
        let journal = Self::over(None, clock, Redactor::default());
        journal.lock().record = record;
        journal
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

    /// Reads the record as it stands.
    pub fn read<T>(&self, look: impl FnOnce(&Record) -> T) -> T {
        look(&self.lock().record)
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

impl Inner {
    /// Writes the line; what comes back has its secrets masked and is what every reader sees.
    fn write(&mut self, mut line: Line) -> Line {
        let written = if self.redactor.is_empty() {
            serde_json::to_vec(&line)
        } else {
            serde_json::to_value(&line).and_then(|mut value| {
                self.redactor.json(&mut value);
                line = serde_json::from_value(value.clone())?;
                serde_json::to_vec(&value)
            })
        };
        let result = written.map_err(io::Error::from).and_then(|mut bytes| {
            bytes.push(b'\n');
            self.file.as_mut().map_or(Ok(()), |file| file.write_all(&bytes))
        });
        if let Err(error) = result {
            self.error.get_or_insert_with(|| error.to_string());
        }
        line
    }
}

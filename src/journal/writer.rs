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
use super::undo::Left;
use crate::clock::Clock;
use crate::{crash, private, secret};

const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Who puts things back later than this after the start believes no clock.
const MONTH_S: f64 = 30.0 * 86_400.0;

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
    /// Gets the lines that are about putting things back, too.
    copy: Option<File>,
    record: Record,
    watchers: Vec<UnboundedSender<Line>>,
    error: Option<String>,
    /// Of the two files, whether the last line may be there by half: the next one must not become a part of it.
    is_cut: [bool; 2],
    is_closed: bool,
}

impl Journal {
    /// Creates the file, which must not exist.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(path: &Path, clock: Clock) -> io::Result<Self> {
        let file = private::options().create_new(true).append(true).open(path)?;
        // For as long as this process lives, so that nobody else goes on with it.
        file.lock()?;
        Ok(Self::over(Some(file), clock))
    }

    /// A journal without a file, for tests in simulated time.
    pub fn in_memory(clock: Clock) -> Self {
        Self::over(None, clock)
    }

    /// From now on every line that is about putting things back goes to this file too.
    pub fn copy_to(&self, file: File) {
        self.lock().copy = Some(file);
    }

    /// Goes on with the journal of a run whose process is gone, and with the copy of it. A process that was killed takes a
    /// moment to be gone: it is waited for so long. `left` says what the run has left; it is asked when nobody writes any more.
    ///
    /// # Errors
    /// A sentence: the run still lives, or its journal cannot be used.
    pub async fn take_over(
        path: &Path,
        copy: Option<&Path>,
        dies_within: Duration,
        left: impl FnOnce() -> Left,
    ) -> Result<Self, String> {
        let file = locked(path, dies_within).await?;
        // Whoever saw that nothing is left removes the copy; the journal goes on without it.
        let copy = match copy.filter(|copy| copy.exists()) {
            Some(copy) => {
                locked(copy, dies_within).await.map(Some).or_else(|error| if copy.exists() { Err(error) } else { Ok(None) })?
            }
            None => None,
        };
        let record = salvage::record(path, left());
        let ago_s = seconds_since_start(&record, jiff::Timestamp::now());
        let clock = Clock::started_ago(Duration::try_from_secs_f64(ago_s).unwrap_or_default());
        let journal = Self::over(Some(file), clock);
        journal.lock().record = record;
        journal.lock().copy = copy;
        Ok(journal)
    }

    pub fn clock(&self) -> Clock {
        self.clock
    }

    fn over(file: Option<File>, clock: Clock) -> Self {
        let inner = Inner {
            file,
            copy: None,
            record: Record::default(),
            watchers: Vec::new(),
            error: None,
            is_cut: [false; 2],
            is_closed: false,
        };
        Self { inner: Arc::new(Mutex::new(inner)), clock, broken: CancellationToken::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The run is over: nothing more belongs to it.
    pub fn close(&self) {
        self.lock().is_closed = true;
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
        // What somebody still does who was not waited for is no part of the run: its reports are made.
        if inner.is_closed {
            return;
        }
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
        // A busy disk takes seconds: meanwhile the others go on writing.
        let both = |inner: &Inner| inner.file.iter().chain(&inner.copy).map(File::try_clone).collect::<io::Result<Vec<File>>>();
        let files = both(&self.lock());
        let synced = match files {
            Ok(files) => files.iter().try_for_each(File::sync_data),
            // No descriptor is left.
            Err(_) => {
                let inner = self.lock();
                inner.file.iter().chain(&inner.copy).try_for_each(File::sync_data)
            }
        };
        if let Err(error) = synced {
            self.lock().error.get_or_insert_with(|| error.to_string());
            self.broken.cancel();
        }
    }

    /// Whether a secret is in this data, which would be masked on its way to the disk.
    pub fn hides(&self, data: &Json) -> bool {
        let mut masked = data.clone();
        secret::known().json(&mut masked);
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

/// By the wall clock, which may have been set meanwhile: never before what the journal has seen, and within a month.
fn seconds_since_start(record: &Record, now: jiff::Timestamp) -> f64 {
    let began: Option<jiff::Timestamp> = record.began.parse().ok();
    let by_clock = began.map(|began| now.duration_since(began).as_secs_f64()).filter(|ago_s| *ago_s < MONTH_S);
    by_clock.unwrap_or(record.now).max(record.now)
}

/// A journal of a process that is gone, to go on with.
async fn locked(path: &Path, dies_within: Duration) -> Result<File, String> {
    let failed = |e: io::Error| format!("{} cannot be used: {e}", path.display());
    let mut file = File::options().read(true).append(true).open(path).map_err(failed)?;
    let deadline = tokio::time::Instant::now() + dies_within;
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
    end_last_line(&mut file).map_err(failed)?;
    Ok(file)
}

/// A process that was killed may have been in the middle of a line, which is cut off, or before its end, which is written.
fn end_last_line(file: &mut File) -> io::Result<()> {
    let (length, mut end) = (file.seek(SeekFrom::End(0))?, Vec::new());
    file.seek(SeekFrom::Start(length.saturating_sub(LONGEST_LINE)))?;
    file.read_to_end(&mut end)?;
    let cut = end.iter().rev().take_while(|byte| **byte != b'\n').count();
    match &end[end.len() - cut..] {
        [] => Ok(()),
        line if serde_json::from_slice::<serde_json::Map<String, Json>>(line).is_ok() => {
            // On a full disk it goes: what was prepared is put back without it.
            file.write_all(b"\n").or_else(|_| file.set_len(length - cut as u64))
        }
        _ => file.set_len(length - cut as u64),
    }
}

impl Inner {
    /// Writes the line; what comes back has its secrets masked and is what every reader sees.
    fn write(&mut self, line: Line) -> Line {
        let (line, bytes) = match self.readable(line) {
            Ok(whole) => whole,
            Err((t, why)) => {
                // What the run cannot do without ends it; anything else is told instead.
                let why = secret::masked(&why);
                let text = format!("an event was left out of the journal: {why}. Please report this: it is a mistake in chaos");
                let line = Line { t, event: Event::Note { text } };
                let bytes = serde_json::to_vec(&line).unwrap_or_default();
                (line, bytes)
            }
        };
        let whole = [b"\n", bytes.as_slice(), b"\n"].concat();
        let copy = self.copy.as_mut().filter(|_| line.event.is_about_undo());
        // One that cannot be written keeps nothing from the other.
        let [cut, copy_cut] = &mut self.is_cut;
        let write = |place: &str, file: &mut File, cut: &mut bool| {
            let written = crash::write_all(place, file, if *cut { &whole } else { &whole[1..] });
            *cut = written.is_err();
            written
        };
        let journal = self.file.as_mut().map_or(Ok(()), |file| write("journal", file, cut));
        let copied = copy.map_or(Ok(()), |file| write("copy", file, copy_cut));
        if let Err(error) = journal.and(copied) {
            self.error.get_or_insert_with(|| error.to_string());
        }
        line
    }

    /// The line as it will be read back, and its text; or when it was, and why it could not be read back.
    fn readable(&mut self, line: Line) -> Result<(Line, Vec<u8>), (f64, String)> {
        let t = line.t;
        let failed = |e: serde_json::Error| (t, e.to_string());
        if let Some(masked) = secret::known().typed(&line).map_err(failed)? {
            let bytes = serde_json::to_vec(&masked).map_err(failed)?;
            return Ok((self.checked(serde_json::from_value(masked), &line).map_err(failed)?, bytes));
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
                self.error.get_or_insert_with(|| secret::masked(&format!("what it must hold could not be read again: {why}")));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The battery of the machine's clock was empty, or somebody set it: the run goes on from where it was.
    #[test]
    fn a_clock_that_was_set_meanwhile_is_not_believed() {
        let record = |began: &str| {
            let mut record = Record::default();
            (record.began, record.now) = (began.to_owned(), 40.0);
            record
        };
        let now: jiff::Timestamp = "2026-01-01T00:02:00Z".parse().unwrap();
        for (began, ago_s) in [
            ("2026-01-01T00:00:00Z", 120.0),
            ("2026-01-01T01:00:00Z", 40.0),
            ("1970-01-01T00:00:07Z", 40.0),
            ("2020-01-01T00:00:00Z", 40.0),
            ("no time at all", 40.0),
        ] {
            assert_eq!(seconds_since_start(&record(began), now), ago_s, "{began}");
        }
    }

    #[tokio::test]
    async fn a_copy_that_is_gone_does_not_keep_anybody_from_the_journal() {
        let around = tempfile::tempdir().unwrap();
        let (path, copy) = (around.path().join("events.jsonl"), around.path().join("undo/run-1/events.jsonl"));
        std::fs::write(&path, "{\"t\":1.0,\"event\":{\"note\":{\"text\":\"x\"}}}\n").unwrap();
        let journal = Journal::take_over(&path, Some(&copy), Duration::ZERO, Left::default).await.unwrap();
        journal.emit(Event::Note { text: "taken over".into() });
        assert!(std::fs::read_to_string(&path).unwrap().contains("taken over"));
        std::fs::remove_file(&path).unwrap();
        let Err(error) = Journal::take_over(&path, None, Duration::ZERO, Left::default).await else {
            panic!("there is no journal")
        };
        assert!(error.contains("cannot be used"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_dies_slowly_on_a_busy_machine_is_waited_for() {
        let around = tempfile::tempdir().unwrap();
        let path = around.path().join("events.jsonl");
        std::fs::write(&path, "{\"t\":1.0,\"event\":{\"note\":{\"text\":\"x\"}}}\n").unwrap();
        let dying = || {
            let held = File::open(&path).unwrap();
            held.lock().unwrap();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(20)).await;
                drop(held);
            })
        };
        let _dying = dying();
        let Err(error) = Journal::take_over(&path, None, Duration::from_secs(2), Left::default).await else {
            panic!("it is still held")
        };
        assert!(error.contains("still at work"), "{error}");
        Journal::take_over(&path, None, Duration::from_secs(60), Left::default).await.unwrap();
    }
}

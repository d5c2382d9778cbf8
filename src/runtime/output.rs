//! What the target prints: all of it into `target.log`, and the lines that match a pattern into the journal.

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use crate::driver::template::bounded;
use crate::journal::event::Event;
use crate::journal::writer::Journal;
use crate::observe::logs::{LogMatcher, readable};

/// A log line is cut at this many bytes.
pub const LONGEST_LINE: usize = 4096;
/// The log file stops growing here; matching lines are still written to the journal.
const MOST_LOG: u64 = 64 << 20;

/// Where the lines of the target go; cheap to clone.
#[derive(Clone)]
pub struct Output {
    journal: Journal,
    matcher: Arc<LogMatcher>,
    log: Arc<Mutex<LogFile>>,
}

struct LogFile {
    file: Option<File>,
    written: u64,
}

impl Output {
    pub fn new(journal: Journal, matcher: LogMatcher, file: Option<File>) -> Self {
        Self { journal, matcher: Arc::new(matcher), log: Arc::new(Mutex::new(LogFile { file, written: 0 })) }
    }

    /// One line, masked, of that life of the process.
    pub fn take(&self, line: &str, generation: u32) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).append(line);
        for pattern in self.matcher.matching(line) {
            let line = bounded(&readable(line));
            self.journal.emit(Event::LogLine { pattern: pattern.to_owned(), line, generation });
        }
    }
}

impl LogFile {
    fn append(&mut self, line: &str) {
        self.written += line.len() as u64 + 1;
        if self.written > MOST_LOG {
            return;
        }
        // A full disk must not end the run here: the journal notices it and says so.
        let _ = self.file.as_mut().map(|file| writeln!(file, "{line}"));
    }
}

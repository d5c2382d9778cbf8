//! What the target prints: all of it into `target.log`, and the lines that match a pattern into the journal.

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use crate::driver::template::bounded;
use crate::journal::event::Event;
use crate::journal::writer::Journal;
use crate::observe::logs::LogMatcher;

/// A log line is cut at this many bytes: an error may stand behind the whole of a request, or of a model's configuration.
pub const LONGEST_LINE: usize = 256 << 10;
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
        // Colours are for eyes, and what was drawn over with a carriage return was a line of its own.
        for line in anstream::adapter::strip_str(line).to_string().split('\r').filter(|line| !line.is_empty()) {
            for (pattern, line) in self.matcher.matching(line) {
                self.journal.emit(Event::LogLine { pattern: pattern.to_owned(), line: bounded(&line), generation });
            }
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

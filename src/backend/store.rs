//! The durable queue: an append-only log of accepted and ended jobs.
//!
//! A line is handed to the kernel before the client hears of it, so the queue survives the death of the process
//! (SIGKILL included), though not a power cut: it is not synced to the disk.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::job::{Request, State};
use crate::private;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    Accepted { number: u64, request: Request },
    Started { number: u64 },
    Ended { number: u64, state: State, error: Option<String>, attempts: u32, batch: u32 },
}

pub struct Store {
    file: File,
}

impl Store {
    /// Opens the log and returns what it holds. A line cut off by a crash is left out.
    ///
    /// # Errors
    /// When the folder or file cannot be created or read.
    pub fn open(folder: &Path) -> io::Result<(Self, Vec<Entry>)> {
        private::folder(folder)?;
        let path = folder.join("queue.jsonl");
        let mut file = private::options().create(true).append(true).read(true).open(&path)?;
        let mut entries = Vec::new();
        let mut whole = true;
        for line in BufReader::new(File::open(&path)?).split(b'\n') {
            let line = line?;
            whole = match serde_json::from_slice(&line) {
                Ok(entry) => {
                    entries.push(entry);
                    true
                }
                Err(_) => line.is_empty(),
            };
        }
        if !whole {
            file.write_all(b"\n")?;
        }
        Ok((Self { file }, entries))
    }

    /// # Errors
    /// When the log cannot be written; the job must then be refused.
    pub fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        self.file.write_all(&line)
    }
}

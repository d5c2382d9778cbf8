//! From what was recorded of an incident to an experiment that shows it again.
//!
//! Each reader takes one kind of record apart into [`Fact`]s; [`timeline`] puts them on one line of time and groups what is one
//! event; [`write`] makes the experiment. A new kind of record is one file with a reader, and one line in [`read`].

pub(crate) mod access;
pub(crate) mod docker;
mod lines;
pub(crate) mod logs;
pub(crate) mod prometheus;
mod stamp;
mod structured;
mod timeline;
mod write;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Map, Value as Json};

pub use stamp::given as moment;
pub use timeline::Incident;
pub use write::{TRACE, Target, Written, write};

/// A larger record is cut out by the time window first.
const MOST_BYTES: u64 = 1 << 30;

/// Something that was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    pub at: Timestamp,
    pub what: What,
    /// `file:line`.
    pub source: String,
    /// The line itself, cut.
    pub text: String,
}

/// A request that may have asked for a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Post {
    pub path: String,
    /// What is known of the job's size.
    pub job: Map<String, Json>,
    pub status: Option<u16>,
    pub known_by: Clock,
}

/// How exactly a moment is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    Moment,
    Second,
    /// Between two samples of a counter.
    Counter,
}

/// What was recorded.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    Posted(Post),
    /// A request that asks for no job.
    Other {
        status: Option<u16>,
    },
    /// The server came up.
    Started,
    /// The last that was heard of a server that was started again later.
    LastSign,
    /// The server ended by itself or by somebody's hand.
    Ended {
        killed: bool,
    },
    /// The server ended, and nothing is left that says how.
    Gone,
    /// The kernel or the engine killed it for its memory.
    OomKilled,
    /// The GPU's memory was exhausted.
    GpuOutOfMemory,
    /// Clients lost their connections.
    Disconnected,
}

/// The files, by kind.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    pub access: Vec<PathBuf>,
    pub logs: Vec<PathBuf>,
    pub docker_events: Vec<PathBuf>,
    pub docker_inspect: Vec<PathBuf>,
    pub prometheus: Vec<PathBuf>,
}

/// What was read, and what could not be.
#[derive(Debug, Default)]
pub struct Read {
    pub facts: Vec<Fact>,
    /// Worth a question in the experiment.
    pub doubts: Vec<String>,
    /// Lines that are not of the kind that was looked for.
    pub unread: usize,
    /// Names of containers that something is told of.
    pub containers: BTreeSet<String>,
}

/// Which requests submit a job.
#[derive(Debug, Clone, Default)]
pub struct Submission {
    /// Their path; without it the path that is posted to most often.
    pub path: Option<String>,
}

/// Reads every file.
///
/// # Errors
/// A file that cannot be read, or in which nothing is of its kind.
pub fn read(sources: &Sources, submission: &Submission) -> Result<Read, String> {
    let mut all = Read::default();
    let kinds: [(&[PathBuf], Reader); 5] = [
        (&sources.access, access::read),
        (&sources.logs, logs::read),
        (&sources.docker_events, docker::events),
        (&sources.docker_inspect, docker::inspect),
        (&sources.prometheus, prometheus::read),
    ];
    for (files, reader) in kinds {
        for file in files {
            let size = std::fs::metadata(file).map_err(|e| format!("{} cannot be read: {e}", file.display()))?.len();
            if size > MOST_BYTES {
                return Err(format!(
                    "{} has {size} bytes, more than {MOST_BYTES}: cut out the time of the incident",
                    file.display()
                ));
            }
            let bytes = std::fs::read(file).map_err(|e| format!("{} cannot be read: {e}", file.display()))?;
            let text = String::from_utf8_lossy(&bytes);
            let read = reader(&name_of(file), &text)?;
            all.facts.extend(read.facts);
            all.doubts.extend(read.doubts);
            all.containers.extend(read.containers);
            // A log that holds both is read as both.
            if read.unread > 0 && !sources.logs.contains(file) {
                let (lines, name) = (read.unread, name_of(file));
                all.doubts
                    .push(format!("{lines} lines of {name} are no requests that can be read; were there arrivals among them?"));
            }
        }
    }
    access::choose(&mut all, submission);
    all.facts.sort_by_key(|fact| fact.at);
    Ok(all)
}

type Reader = fn(&str, &str) -> Result<Read, String>;

fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned())
}

/// The longest piece of a line that is quoted.
const QUOTED: usize = 160;

fn quote(line: &str) -> String {
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(QUOTED).collect::<String>().trim().to_owned()
}

//! The guardian: a second process of ours that puts things back when the run's own process disappears without a goodbye.
//!
//! ```text
//! chaos run ── socket ──▶ chaos guardian      (a session of its own)
//!      └─────── journal ───────┘
//! ```

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::leftover::Leftover;
use super::takeover;
use crate::journal::FILE;
use crate::journal::event::{Event, Level};
use crate::journal::writer::Journal;
use crate::private;

const GOODBYE: &[u8] = b"bye";
/// Milliseconds, where the machine has a core for it.
const STARTS_WITHIN: Duration = Duration::from_secs(30);
/// On a busy machine a process that was killed may take long to be gone; nobody else puts things back.
const DIES_WITHIN: Duration = Duration::from_secs(60);
/// A guardian that dies again and again is not started for ever.
const MOST_STARTS: u32 = 20;

/// Watches over a run from now on. Dropping it without `dismiss` is what the death of the run looks like.
pub struct Guardian {
    task: tokio::task::JoinHandle<()>,
    dismiss: tokio_util::sync::CancellationToken,
}

impl Guardian {
    /// Starts the process and returns when it watches.
    ///
    /// # Errors
    /// When it cannot be started: then nothing may be broken.
    pub async fn start(leftover: &Leftover, journal: &Journal) -> Result<Self, String> {
        let (socket, pid) = spawn(leftover).await?;
        let detail = format!("process {pid} puts things back should this one disappear");
        journal.emit(Event::Preflight { what: "guardian".into(), level: Level::Ok, detail });
        let dismiss = tokio_util::sync::CancellationToken::new();
        let task = tokio::spawn(keep(socket, leftover.clone(), journal.clone(), dismiss.clone()));
        Ok(Self { task, dismiss })
    }

    /// The run is over and has put back what it could: the guardian may go.
    pub async fn dismiss(self) {
        self.dismiss.cancel();
        // It has been told; whether its process is gone already does not matter.
        let _ = self.task.await;
    }
}

/// Holds the socket; a guardian that dies is replaced.
async fn keep(mut socket: UnixStream, leftover: Leftover, journal: Journal, dismiss: tokio_util::sync::CancellationToken) {
    for _ in 0..MOST_STARTS {
        let mut byte = [0];
        tokio::select! {
            () = dismiss.cancelled() => {
                // If it is gone there is nobody to tell.
                let _ = socket.write_all(GOODBYE).await;
                return;
            }
            _ = socket.read(&mut byte) => {}
        }
        journal.emit(Event::Note { text: "the guardian has disappeared; another one is started".into() });
        match spawn(&leftover).await {
            Ok((next, _)) => socket = next,
            Err(why) => return journal.emit(Event::Note { text: format!("there is no guardian any more: {why}") }),
        }
    }
}

async fn spawn(leftover: &Leftover) -> Result<(UnixStream, u32), String> {
    let folder = &leftover.folder;
    let failed = |e: std::io::Error| format!("the guardian cannot be started: {e}");
    let (ours, theirs) = StdStream::pair().map_err(failed)?;
    // A folder that is gone meanwhile does not keep another guardian from watching.
    let log = private::options().create(true).append(true).open(folder.join("guardian.log"));
    let log = log.or_else(|_| File::options().append(true).open("/dev/null")).map_err(failed)?;
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command
        .arg("guardian")
        .arg(folder)
        .args(&leftover.copy)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(log.try_clone().map_err(failed)?)
        .stderr(log);
    // What ends the run's terminal or its group does not end the guardian.
    let child = chaos_children::in_own_session(&mut command).spawn().map_err(failed)?;
    let pid = child.id();
    // It is waited for by whoever inherits it; as long as we live, by us.
    std::thread::spawn(move || {
        let mut child = child;
        child.wait()
    });
    ours.set_nonblocking(true).map_err(failed)?;
    let mut socket = UnixStream::from_std(ours).map_err(failed)?;
    let mut byte = [0];
    match tokio::time::timeout(STARTS_WITHIN, socket.read_exact(&mut byte)).await {
        Ok(Ok(_)) => Ok((socket, pid)),
        _ => Err(format!("the guardian (process {pid}) does not answer; see guardian.log")),
    }
}

/// The guardian itself: waits for the run to say goodbye or to disappear, and puts things back in the second case.
///
/// # Errors
/// When things could not be put back.
pub fn watch(folder: &Path, copy: Option<PathBuf>) -> Result<String, String> {
    // Opened before anything is broken: what becomes of the folder afterwards does not take them away.
    let traces = Traces::open(folder, copy)?;
    chaos_children::ignore_signals().map_err(|e| e.to_string())?;
    let mut socket = StdStream::from(std::io::stdin().as_fd().try_clone_to_owned().map_err(|e| e.to_string())?);
    // A run that is gone already cannot be told that somebody watches; that it is gone is read next.
    let _ = socket.write_all(b"!");
    let mut said = Vec::new();
    // An error means the same as the end: nobody is there any more.
    let _ = socket.read_to_end(&mut said);
    if said == GOODBYE {
        return Ok(String::new());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(takeover::put_back(
        &traces.leftover(),
        "the run's process has disappeared without a goodbye; its guardian puts things back",
        DIES_WITHIN,
    ))
}

/// Where a run's traces were when its guardian began to watch, held open.
struct Traces {
    folder: PathBuf,
    journal: File,
    copy: Option<(PathBuf, File)>,
}

impl Traces {
    fn open(folder: &Path, copy: Option<PathBuf>) -> Result<Self, String> {
        let open = |path: &Path| File::open(path).map_err(|e| format!("{} cannot be read: {e}", path.display()));
        let journal =
            open(&folder.join(FILE)).or_else(|error| copy.as_ref().map_or(Err(error), |copy| open(&copy.join(FILE))))?;
        // A run that died before anything was done has lost its copy already, if another one has looked around since.
        let copy = copy.filter(|copy| copy.exists()).map(|copy| open(&copy.join(FILE)).map(|file| (copy, file))).transpose()?;
        Ok(Self { folder: folder.to_owned(), journal, copy })
    }

    /// Where they are now. A folder that was moved is followed; lines that were deleted are read through what is held open.
    fn leftover(&self) -> Leftover {
        let copy = self.copy.as_ref().filter(|(copy, file)| is_same(&copy.join(FILE), file)).map(|(copy, _)| copy.clone());
        if is_same(&self.folder.join(FILE), &self.journal) {
            return Leftover { folder: self.folder.clone(), journal: None, copy };
        }
        let held = handle(&self.journal);
        let moved = std::fs::read_link(&held).ok().filter(|path| path.ends_with(FILE) && is_same(path, &self.journal));
        match moved.as_deref().and_then(Path::parent) {
            Some(folder) => Leftover { folder: folder.to_owned(), journal: None, copy },
            // The copy is preferred: whoever looks later finds it.
            None => Leftover { folder: self.folder.clone(), journal: copy.is_none().then_some(held), copy },
        }
    }
}

fn is_same(path: &Path, file: &File) -> bool {
    let of = |known: std::fs::Metadata| (known.dev(), known.ino());
    path.metadata().ok().map(of) == file.metadata().ok().map(of)
}

/// A name for a file that is held open, whatever became of its own.
fn handle(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

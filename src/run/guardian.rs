//! The guardian: a second process of ours that puts things back when the run's own process disappears without a goodbye.
//!
//! ```text
//! chaos run ── socket ──▶ chaos guardian      (a session of its own)
//!      └─────── journal ───────┘
//! ```

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::takeover;
use crate::journal::event::{Event, Level};
use crate::journal::writer::Journal;

const GOODBYE: &[u8] = b"bye";
const STARTS_WITHIN: Duration = Duration::from_secs(5);
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
    pub async fn start(folder: &Path, journal: &Journal) -> Result<Self, String> {
        let (socket, pid) = spawn(folder).await?;
        let detail = format!("process {pid} puts things back should this one disappear");
        journal.emit(Event::Preflight { what: "guardian".into(), level: Level::Ok, detail });
        let dismiss = tokio_util::sync::CancellationToken::new();
        let task = tokio::spawn(keep(socket, folder.to_owned(), journal.clone(), dismiss.clone()));
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
async fn keep(mut socket: UnixStream, folder: PathBuf, journal: Journal, dismiss: tokio_util::sync::CancellationToken) {
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
        match spawn(&folder).await {
            Ok((next, _)) => socket = next,
            Err(why) => return journal.emit(Event::Note { text: format!("there is no guardian any more: {why}") }),
        }
    }
}

async fn spawn(folder: &Path) -> Result<(UnixStream, u32), String> {
    let failed = |e: std::io::Error| format!("the guardian cannot be started: {e}");
    let (ours, theirs) = StdStream::pair().map_err(failed)?;
    let log = File::options().create(true).append(true).open(folder.join("guardian.log")).map_err(failed)?;
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command
        .arg("guardian")
        .arg(folder)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(log.try_clone().map_err(failed)?)
        .stderr(log);
    // SAFETY: between fork and exec only setsid is called, which is async-signal-safe.
    unsafe {
        // A session of its own: what ends the run's terminal or its group does not end the guardian.
        command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(std::io::Error::from));
    }
    let child = command.spawn().map_err(failed)?;
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
pub fn watch(folder: &Path) -> Result<String, String> {
    for ignored in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: ignoring a signal installs no handler, so there is no code that could be unsafe to run.
        unsafe { signal::signal(ignored, signal::SigHandler::SigIgn) }.map_err(|e| e.to_string())?;
    }
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
        folder,
        "the run's process has disappeared without a goodbye; its guardian puts things back",
    ))
}

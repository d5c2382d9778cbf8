//! What a run may change belongs to it until it has put everything back: two runs never break the same thing.
//!
//! A claim is a small file for each resource in the state folder. It is locked while the run lives, and names the run's folder
//! for as long as something may still be broken. Beside it a socket without a file, which the kernel gives to one process of the
//! machine alone: so runs see each other though they keep their state in different folders.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::leftover::Leftover;
use crate::crash;
use crate::journal::undo::Left;
use crate::seed::fnv;
use crate::state;

/// In the state folder.
const CLAIMS: &str = "claims";

const GUARDIAN_BEGINS_WITHIN: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[derive(Serialize, Deserialize)]
struct Claim {
    resource: String,
    /// The run's folder.
    run: PathBuf,
    process: u32,
}

/// The claims of one run.
pub struct Claims {
    state: PathBuf,
    leftover: Leftover,
    held: Mutex<Vec<Held>>,
}

/// One claimed resource.
struct Held {
    file: File,
    /// `None` where the machine gives none: then the file alone tells.
    _socket: Option<UnixListener>,
}

impl Claims {
    pub fn of(leftover: Leftover, state: PathBuf) -> Self {
        Self { state, leftover, held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, Vec<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims every resource, or none.
    ///
    /// # Errors
    /// Another run is at work on one of them, or has left it broken; the sentence says what to do.
    pub fn take(&self, resources: &[String]) -> Result<(), String> {
        state::private(&self.state.join(CLAIMS))?;
        let taken = resources.iter().map(|resource| self.take_one(resource)).collect::<Result<Vec<Held>, String>>();
        // The lock is not held while what was taken earlier is given back.
        let taken = taken.inspect_err(|_| self.give_back())?;
        self.held().extend(taken);
        crash::point("claimed");
        Ok(())
    }

    fn take_one(&self, resource: &str) -> Result<Held, String> {
        let path = self.state.join(CLAIMS).join(format!("{:016x}.json", fnv(resource.as_bytes())));
        let failed = |e: io::Error| format!("the claim {} cannot be used: {e}", path.display());
        let mut file = state::open(&path).map_err(failed)?;
        let locked = file.try_lock();
        let found = match read(&mut file) {
            // Whoever holds it may be writing it just now.
            Err(_) if locked.is_err() => None,
            found => found.map_err(|why| unreadable(&path, &why))?.filter(|claim| claim.run != self.leftover.folder),
        };
        match (locked, found) {
            (Err(TryLockError::WouldBlock), found) => {
                let who = found
                    .map_or_else(|| "another run".to_owned(), |c| format!("run {} (process {})", c.run.display(), c.process));
                return Err(format!("{who} is at work on {resource}: wait until it is over"));
            }
            (Err(TryLockError::Error(e)), _) => return Err(failed(e)),
            (Ok(()), Some(claim)) => {
                if let Some(why) = what_is_left(&Leftover::of(&claim.run, &self.state).left()) {
                    let run = claim.run.display();
                    return Err(format!("run {run} {why} ({resource}). Put it back first, with: chaos revert {run}"));
                }
            }
            (Ok(()), None) => {}
        }
        let socket = socket_of(resource)?;
        let claim = Claim { resource: resource.to_owned(), run: self.leftover.folder.clone(), process: std::process::id() };
        let text = serde_json::to_vec(&claim).map_err(|e| failed(e.into()))?;
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| crash::write_all("claim", &mut file, &text))
            .and_then(|()| file.sync_data());
        if let Err(error) = written {
            // Half a claim would be taken for a damaged one. Nothing is broken yet.
            let _ = file.set_len(0);
            return Err(failed(error));
        }
        Ok(Held { file, _socket: socket })
    }

    /// Nothing of this run is broken any more: its claims are given up.
    pub fn give_back(&self) {
        for held in self.held().drain(..) {
            // An old claim that cannot be emptied is harmless: its run has nothing open.
            let _ = held.file.set_len(0);
        }
    }

    /// As `give_back`, and the copy of what would have put things back goes too.
    pub fn release(&self) {
        self.give_back();
        self.leftover.forget();
    }

    /// Who puts things back for a run that is gone holds what it held, as far as nobody else has it already.
    pub fn resume(&self) {
        let mine = self.mine().into_iter().map(|(file, claim)| Held { file, _socket: socket_of(&claim.resource).ok().flatten() });
        self.held().extend(mine);
    }

    /// A run that is over has nothing broken any more: whatever claims name it are emptied.
    pub fn forget(&self) {
        for (file, _) in self.mine() {
            // As above: harmless where it fails.
            let _ = file.set_len(0);
        }
        self.release();
    }

    /// The claims that name this run and that no other process holds, locked.
    fn mine(&self) -> Vec<(File, Claim)> {
        let claim = |path: PathBuf| {
            let mut file = state::open(&path).ok()?;
            file.try_lock().ok()?;
            let claim = read(&mut file).ok()?.filter(|claim| claim.run.file_name() == self.leftover.run_id())?;
            Some((file, claim))
        };
        files(&self.state).filter_map(claim).collect()
    }

    /// Looks whether an earlier run has left something that may be about anything, or of which nobody can tell what it is about.
    /// The guardian of a run that has just died is given the time to begin.
    ///
    /// # Errors
    /// There is such a run; the sentence says what to do.
    pub async fn look_around(&self) -> Result<(), String> {
        let deadline = Instant::now() + GUARDIAN_BEGINS_WITHIN;
        loop {
            match self.is_clear_around() {
                Err(_) if Instant::now() < deadline => tokio::time::sleep(LOOK_AGAIN).await,
                told => return told,
            }
        }
    }

    fn is_clear_around(&self) -> Result<(), String> {
        for leftover in Leftover::all(&self.state) {
            let left = leftover.left();
            let Some(why) = what_is_left(&left) else {
                // It came to its end between its last line and the removal of its copy.
                leftover.forget();
                continue;
            };
            if Leftover::concerns_all(&left) {
                let run = leftover.folder.display();
                return Err(format!(
                    "run {run} {why}, and it may be about anything. Put it back first, with: chaos revert {run}"
                ));
            }
        }
        Ok(())
    }
}

/// The socket that stands for a resource on this machine (in one network namespace). Whoever dies gives it back.
fn socket_of(resource: &str) -> Result<Option<UnixListener>, String> {
    let name = format!("chaos-claim-{:016x}", fnv(resource.as_bytes()));
    match SocketAddr::from_abstract_name(name).and_then(|address| UnixListener::bind_addr(&address)) {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(format!(
            "another run on this machine is at work on {resource}, with its state in another folder: wait until it is over"
        )),
        Err(_) => Ok(None),
    }
}

/// The claims that were ever made.
fn files(state: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(state.join(CLAIMS)).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// `None` of one that was given up: it is empty.
///
/// # Errors
/// It cannot be read: whose it is, and so what is broken there, cannot be told.
fn read(file: &mut File) -> Result<Option<Claim>, String> {
    let mut text = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut text)).map_err(|e| e.to_string())?;
    // One that was never written as a whole, before anything was done: a loss of power leaves its length.
    if text.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    serde_json::from_slice(&text).map(Some).map_err(|e| e.to_string())
}

/// What is said of such a claim.
fn unreadable(path: &Path, why: &str) -> String {
    format!(
        "the claim {} is damaged ({why}): which run made it, and whether that left something broken, cannot be told. Put back what is known, with: chaos revert; look at the target; and then remove that file",
        path.display()
    )
}

/// Claims of runs that are over which cannot be read: what is said of each.
pub fn damaged(state: &Path) -> Vec<String> {
    let of_one = |path: PathBuf| {
        let mut file = File::open(&path).ok()?;
        file.try_lock_shared().ok()?;
        read(&mut file).err().map(|why| unreadable(&path, &why))
    };
    files(state).filter_map(of_one).collect()
}

/// Something that this run did has not been put back, or may not have been. A run of which no trace is left can tell nothing,
/// and blocks nobody.
fn what_is_left(left: &Left) -> Option<String> {
    match &left.unreadable {
        _ if left.is_clear() => None,
        Some(why) if left.open.is_empty() => Some(format!("may have left something broken: {why}")),
        _ => Some("has left something broken".to_owned()),
    }
}

/// The runs that are over and have left something broken, or may have.
pub fn unfinished(state: &Path) -> Vec<Leftover> {
    let claims = files(state).filter_map(|path| {
        let mut file = File::open(path).ok()?;
        // One that can be locked belongs to no run that lives.
        file.try_lock_shared().ok()?;
        read(&mut file).ok()?
    });
    let mut runs = Leftover::all_at_rest(state);
    runs.extend(claims.map(|claim| Leftover::of(&claim.run, state)));
    runs.retain(|run| what_is_left(&run.left()).is_some());
    runs.sort_by(|a, b| a.folder.cmp(&b.folder));
    runs.dedup_by(|a, b| a.folder == b.folder);
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        // The socket is the machine's: names that no other test of this machine uses.
        list.iter().map(|w| format!("{w} of test {}", std::process::id())).collect()
    }

    fn claims(around: &Path, state: &str, run: &str) -> Claims {
        let state = around.join(state);
        Claims::of(Leftover::of(&around.join(run), &state), state)
    }

    #[test]
    fn two_runs_do_not_claim_the_same_thing_and_a_refused_one_keeps_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let claims = |run: &str| claims(folder.path(), "state", run);
        let (first, second) = (claims("a"), claims("b"));
        first.take(&words(&["container 1"])).unwrap();
        let error = second.take(&words(&["container 2", "container 1"])).unwrap_err();
        assert!(error.contains("run ") && error.contains("/a") && error.contains("container 1"), "{error}");
        claims("c").take(&words(&["container 2"])).unwrap();
        first.give_back();
        second.take(&words(&["container 1"])).unwrap();
    }

    #[test]
    fn runs_that_keep_their_state_in_different_folders_see_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (claims(folder.path(), "home", "a"), claims(folder.path(), "elsewhere", "b"));
        first.take(&words(&["port 1"])).unwrap();
        let error = second.take(&words(&["port 1"])).unwrap_err();
        assert!(error.contains("another run") && error.contains("port 1"), "{error}");
        first.give_back();
        second.take(&words(&["port 1"])).unwrap();
    }
}

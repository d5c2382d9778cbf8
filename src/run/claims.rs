//! What a run may change belongs to it until it has put everything back: two runs never break the same thing.
//!
//! A claim is a small file for each resource in the state folder. It is locked while the run lives, and names the run's folder
//! for as long as something may still be broken.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::journal::undo;
use crate::seed::fnv;

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
    run: PathBuf,
    held: Mutex<Vec<File>>,
}

/// Where claims are kept: `CHAOS_STATE_DIR`, else `chaos` in the user's state folder.
pub fn state_folder() -> PathBuf {
    let of = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    of("CHAOS_STATE_DIR")
        .or_else(|| of("XDG_STATE_HOME").map(|p| p.join("chaos")))
        .or_else(|| of("HOME").map(|p| p.join(".local/state/chaos")))
        .unwrap_or_else(|| std::env::temp_dir().join("chaos-state"))
        .join("claims")
}

impl Claims {
    pub fn of(run: &Path, state: PathBuf) -> Self {
        Self { state, run: std::path::absolute(run).unwrap_or_else(|_| run.to_owned()), held: Mutex::default() }
    }

    /// Claims every resource, or none.
    ///
    /// # Errors
    /// Another run is at work on one of them, or has left it broken; the sentence says what to do.
    pub fn take(&self, resources: &[String]) -> Result<(), String> {
        std::fs::create_dir_all(&self.state)
            .map_err(|e| format!("{} cannot be made: {e}; choose another folder with CHAOS_STATE_DIR", self.state.display()))?;
        let taken = resources.iter().map(|resource| self.take_one(resource)).collect::<Result<Vec<File>, String>>();
        match taken {
            Ok(files) => {
                self.held.lock().unwrap_or_else(PoisonError::into_inner).extend(files);
                Ok(())
            }
            Err(why) => {
                self.give_back();
                Err(why)
            }
        }
    }

    fn take_one(&self, resource: &str) -> Result<File, String> {
        let path = self.state.join(format!("{:016x}.json", fnv(resource.as_bytes())));
        let failed = |e: std::io::Error| format!("the claim {} cannot be used: {e}", path.display());
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        let locked = file.try_lock();
        let found = read(&mut file).filter(|claim| claim.run != self.run);
        match (locked, found) {
            (Err(TryLockError::WouldBlock), found) => {
                let who = found
                    .map_or_else(|| "another run".to_owned(), |c| format!("run {} (process {})", c.run.display(), c.process));
                return Err(format!("{who} is at work on {resource}: wait until it is over"));
            }
            (Err(TryLockError::Error(e)), _) => return Err(failed(e)),
            (Ok(()), Some(claim)) => {
                if let Some(why) = what_is_left(&claim.run) {
                    let run = claim.run.display();
                    return Err(format!("run {run} {why} ({resource}). Put it back first, with: chaos revert {run}"));
                }
            }
            (Ok(()), None) => {}
        }
        let claim = Claim { resource: resource.to_owned(), run: self.run.clone(), process: std::process::id() };
        let text = serde_json::to_vec(&claim).map_err(|e| failed(e.into()))?;
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(&text))
            .and_then(|()| file.sync_data())
            .map_err(failed)?;
        Ok(file)
    }

    /// Nothing of ours is broken any more: the claims are given up.
    pub fn give_back(&self) {
        for file in self.held.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // An old claim that cannot be emptied is harmless: its run has nothing open.
            let _ = file.set_len(0);
        }
    }
}

impl Claims {
    /// A run that is over has nothing broken any more: whatever claims name it are emptied.
    pub fn forget(&self) {
        for entry in std::fs::read_dir(&self.state).into_iter().flatten().flatten() {
            let Ok(mut file) = File::options().read(true).write(true).open(entry.path()) else { continue };
            if file.try_lock().is_ok() && read(&mut file).is_some_and(|claim| claim.run == self.run) {
                // As above: harmless where it fails.
                let _ = file.set_len(0);
            }
        }
    }
}

fn read(file: &mut File) -> Option<Claim> {
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).ok()?;
    serde_json::from_str(&text).ok()
}

/// Something that this run did has not been put back, or may not have been. A run whose folder is gone can tell nothing, and
/// blocks nobody.
fn what_is_left(run: &Path) -> Option<String> {
    let left = undo::left(run);
    match &left.unreadable {
        _ if left.is_clear() => None,
        Some(why) if left.open.is_empty() => Some(format!("may have left something broken: {why}")),
        _ => Some("has left something broken".to_owned()),
    }
}

/// The runs that are over and have left something broken, or may have.
pub fn unfinished(state: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(state).into_iter().flatten().flatten().map(|entry| entry.path());
    let claims = files.filter_map(|path| {
        let mut file = File::open(path).ok()?;
        // One that can be locked belongs to no run that lives.
        file.try_lock_shared().ok()?;
        read(&mut file)
    });
    let mut runs: Vec<PathBuf> = claims.map(|claim| claim.run).filter(|run| what_is_left(run).is_some()).collect();
    runs.sort();
    runs.dedup();
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_do_not_claim_the_same_thing_and_a_refused_one_keeps_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let claims = |run: &str| Claims::of(&folder.path().join(run), folder.path().join("claims"));
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let (first, second) = (claims("a"), claims("b"));
        first.take(&words(&["container 1"])).unwrap();
        let error = second.take(&words(&["container 2", "container 1"])).unwrap_err();
        assert!(error.contains("run ") && error.contains("/a") && error.contains("container 1"), "{error}");
        claims("c").take(&words(&["container 2"])).unwrap();
        first.give_back();
        second.take(&words(&["container 1"])).unwrap();
    }
}

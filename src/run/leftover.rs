//! What a run has left, wherever that can still be read: in its folder, or in the copy that the state folder keeps of each line
//! that is about putting things back.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::fault::FaultSpec;
use crate::journal::FILE;
use crate::journal::undo::{self, Left};
use crate::{private, state};

/// In the state folder: one folder for each run that has something to put back.
const COPIES: &str = "undo";
/// In it, beside the lines: where the run's own folder is.
const FOLDER: &str = "folder";

/// A process that was killed is gone by then.
const DIES_WITHIN: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A run, and where its traces are.
#[derive(Debug, Clone, PartialEq)]
pub struct Leftover {
    /// The run's folder, which may be gone.
    pub folder: PathBuf,
    /// Its journal, where that is not in the folder any more.
    pub journal: Option<PathBuf>,
    /// The copy, if there is one.
    pub copy: Option<PathBuf>,
}

impl Leftover {
    /// The run of a folder, which may be gone.
    pub fn of(folder: &Path, state: &Path) -> Self {
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let copy = folder.file_name().map(|run_id| state.join(COPIES).join(run_id)).filter(|copy| copy.is_dir());
        Self { folder, journal: None, copy }
    }

    /// What the run is called, wherever its folder is now.
    pub fn run_id(&self) -> Option<&std::ffi::OsStr> {
        self.copy.as_deref().unwrap_or(&self.folder).file_name()
    }

    /// Makes the place for the copy, before anything is done. The file comes back locked, for the journal to write to.
    ///
    /// # Errors
    /// A sentence: without the copy nothing may be broken.
    pub fn begin(folder: &Path, state: &Path) -> Result<(Self, File), String> {
        let failed = |e: io::Error| format!("what puts things back cannot be kept in {}: {e}", state.display());
        let mut leftover = Self::of(folder, state);
        let name = leftover.folder.file_name().ok_or("the run's folder has no name")?.to_string_lossy().into_owned();
        let copies = state::private(&state.join(COPIES))?;
        // Whoever finds it finds it whole, and locked.
        let hidden = state::private(&copies.join(format!(".{name}")))?;
        private::write(&hidden.join(FOLDER), leftover.folder.as_os_str().as_encoded_bytes()).map_err(failed)?;
        let file = state::open(&hidden.join(FILE)).map_err(failed)?;
        file.lock().map_err(failed)?;
        let copy = copies.join(&name);
        fs::rename(&hidden, &copy).map_err(failed)?;
        File::open(&copies).and_then(|folder| folder.sync_all()).map_err(failed)?;
        leftover.copy = Some(copy);
        Ok((leftover, file))
    }

    /// Everything of which there is a copy and which belongs to no run that lives.
    pub fn all(state: &Path) -> Vec<Self> {
        let mut all: Vec<Self> = Self::copies(state).filter(|found| !found.is_alive()).collect();
        all.sort_by(|a, b| a.folder.cmp(&b.folder));
        all
    }

    /// As above. A process that was just killed holds its files for a moment longer, and looks alive: that is waited for.
    pub fn all_at_rest(state: &Path) -> Vec<Self> {
        let deadline = Instant::now() + DIES_WITHIN;
        while Instant::now() < deadline && Self::copies(state).any(|found| found.is_alive()) {
            std::thread::sleep(LOOK_AGAIN);
        }
        Self::all(state)
    }

    fn copies(state: &Path) -> impl Iterator<Item = Self> {
        let entries = fs::read_dir(state.join(COPIES)).into_iter().flatten().flatten();
        let shown = entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
        shown.map(|entry| Self::at(&entry.path()))
    }

    fn at(copy: &Path) -> Self {
        use std::os::unix::ffi::OsStringExt;
        let told = fs::read(copy.join(FOLDER)).ok().filter(|bytes| !bytes.is_empty());
        let folder = told.map_or_else(|| copy.to_owned(), |bytes| PathBuf::from(std::ffi::OsString::from_vec(bytes)));
        Self { folder, journal: None, copy: Some(copy.to_owned()) }
    }

    /// The lines of the copy; whoever saw that nothing is left may have removed it meanwhile.
    fn copied(&self) -> Option<PathBuf> {
        self.copy.as_ref().map(|copy| copy.join(FILE)).filter(|path| path.exists())
    }

    /// The run, or who puts things back for it, is at work.
    fn is_alive(&self) -> bool {
        self.copied()
            .and_then(|path| File::open(path).ok())
            .is_some_and(|f| matches!(f.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Nothing is known of such a run.
    pub fn is_unknown(&self) -> bool {
        !self.folder.is_dir() && self.copy.is_none() && self.journal.is_none()
    }

    /// The journal to go on with, and the copy that is to follow it.
    pub fn journals(&self) -> (PathBuf, Option<PathBuf>) {
        let copy = self.copied();
        let own = self.journal.clone().unwrap_or_else(|| self.folder.join(FILE));
        match copy {
            Some(copy) if !own.exists() => (copy, None),
            copy => (own, copy),
        }
    }

    /// The folder that reports go to: it is there, and the journal is its own.
    pub fn reports(&self) -> Option<&Path> {
        (self.journal.is_none() && self.folder.join(FILE).exists()).then_some(self.folder.as_path())
    }

    /// What is left, by the copy and by the journal, as far as they are there: each may have lost what the other one has.
    pub fn left(&self) -> Left {
        let own = self.journal.as_deref().unwrap_or(&self.folder);
        // The first line is on the disk before anything is done.
        let copy = self.copied().filter(|path| path.metadata().is_ok_and(|known| known.len() > 0));
        let has_own = self.journal.is_some() || self.folder.join(FILE).exists();
        match copy {
            Some(copy) if has_own => undo::left_by_both(own, &copy),
            Some(copy) => undo::left(&copy),
            None => undo::left(own),
        }
    }

    /// It can be about any target, or nobody can tell what it is about: nothing may be begun beside it.
    pub fn concerns_all(left: &Left) -> bool {
        let about_anything = |open: &undo::Open| open.kind.is_empty() || FaultSpec::outlives_target(&open.kind);
        !left.is_clear() && (left.unreadable.is_some() || left.open.iter().any(about_anything))
    }

    /// Nothing is left of it: the copy is not needed any more.
    pub fn forget(&self) {
        if let Some(copy) = &self.copy {
            // One that cannot be removed says, too, that everything was put back.
            let _ = fs::remove_dir_all(copy);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const STARTED: &str = r#"{"t":0.0,"event":{"run_started":{"plan":{}}}}"#;
    const PREPARED: &str = r#"{"t":1.0,"event":{"fault_prepared":{"fault":"x","kind":"exec","undo":{},"sum":0}}}"#;
    const INJECTING: &str = r#"{"t":1.1,"event":{"fault_injecting":{"fault":"x","planned_t":1.0}}}"#;

    fn begun(around: &Path) -> (Leftover, File) {
        let run = around.join("reports/run-1");
        fs::create_dir_all(&run).unwrap();
        Leftover::begin(&run, around).unwrap()
    }

    /// A process that was killed closes its files a moment later: until then the run looks alive.
    #[test]
    fn a_run_that_is_just_dying_is_found() {
        let around = tempfile::tempdir().unwrap();
        let (leftover, mut file) = begun(around.path());
        writeln!(file, "{STARTED}\n{PREPARED}\n{INJECTING}").unwrap();
        let dies = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(150));
            drop(file);
        });
        assert_eq!(Leftover::all_at_rest(around.path()), [leftover]);
        dies.join().unwrap();
    }

    #[test]
    fn a_run_whose_folder_is_gone_is_found_by_its_copy() {
        let around = tempfile::tempdir().unwrap();
        let (leftover, mut file) = begun(around.path());
        writeln!(file, "{STARTED}\n{PREPARED}\n{INJECTING}").unwrap();
        assert_eq!(Leftover::all(around.path()), [], "the run lives");
        drop(file);
        fs::remove_dir_all(&leftover.folder).unwrap();
        let all = Leftover::all(around.path());
        assert_eq!(all.as_slice(), std::slice::from_ref(&leftover));
        assert_eq!(Leftover::of(Path::new(&leftover.folder), around.path()), leftover);
        let left = all[0].left();
        assert_eq!(left.open.len(), 1);
        assert!(Leftover::concerns_all(&left), "an exec may be about anything");
        all[0].forget();
        assert_eq!(Leftover::all(around.path()), []);
    }

    #[test]
    fn a_copy_that_nothing_was_written_to_tells_of_nothing() {
        let around = tempfile::tempdir().unwrap();
        let (leftover, file) = begun(around.path());
        drop(file);
        fs::remove_dir_all(&leftover.folder).unwrap();
        assert!(Leftover::all(around.path())[0].left().is_clear());
    }

    #[test]
    fn a_damaged_copy_and_a_whole_journal_tell_what_either_knows() {
        let around = tempfile::tempdir().unwrap();
        let (leftover, mut file) = begun(around.path());
        writeln!(file, "{STARTED}\n{PREPARED}\ngarbage").unwrap();
        fs::write(leftover.folder.join(FILE), format!("{STARTED}\n{PREPARED}\n{INJECTING}\n")).unwrap();
        let left = leftover.left();
        assert_eq!((left.open.len(), left.unreadable.is_none()), (1, true), "the journal is whole");
        fs::write(leftover.folder.join(FILE), "garbage\n").unwrap();
        let left = leftover.left();
        assert_eq!((left.open.len(), left.unreadable.is_some()), (1, true), "{left:?}");
    }
}

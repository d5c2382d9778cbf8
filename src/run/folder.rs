//! A run's folder: made, and held with some disk space in reserve, before anything is broken.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::journal::FILE;
use crate::private;
use crate::seed::fnv;

/// Kept free so that the reports can be written even if the disk fills up meanwhile.
const RESERVE_BYTES: usize = 8 << 20;
const RESERVE: &str = ".reserve";

pub struct Folder {
    pub path: PathBuf,
    pub run_id: String,
}

impl Folder {
    /// Makes `reports/<UTC time>-<name>-<short id>/` and proves that it can be written.
    ///
    /// # Errors
    /// A sentence that names the folder.
    pub fn create(reports: &Path, name: &str, now: Timestamp) -> Result<Self, String> {
        let stamp = now.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ").to_string();
        let short = fnv(format!("{}/{}", now.as_nanosecond(), std::process::id()).as_bytes()) & 0x00ff_ffff;
        let run_id = format!("{stamp}-{name}-{short:06x}");
        let path = reports.join(&run_id);
        let failed = |what: &str, e: io::Error| format!("{what} {}: {e}", path.display());
        private::folder(&path).map_err(|e| failed("cannot make the run's folder", e))?;
        reserve(&path.join(RESERVE)).map_err(|e| failed("cannot write to the run's folder", e)).inspect_err(|_| {
            // Nothing has begun: an empty folder would only puzzle.
            let _ = fs::remove_dir_all(&path);
        })?;
        Ok(Self { path, run_id })
    }

    /// Gives the reserved space back, for the reports.
    pub fn release_reserve(&self) {
        release_reserve(&self.path);
    }
}

/// The run is over: its reserved space is for its reports.
pub fn release_reserve(run: &Path) {
    // If it cannot be removed the reports may not fit; writing them says so.
    let _ = fs::remove_file(run.join(RESERVE));
}

/// As `release_reserve`, for a run whose process has died without it. What a run still holds for itself is left to it.
pub fn release_left_reserve(run: &Path) {
    let is_over = File::open(run.join(FILE)).is_ok_and(|journal| journal.try_lock_shared().is_ok());
    if is_over {
        release_reserve(run);
    }
}

fn reserve(path: &Path) -> io::Result<()> {
    let mut file = private::create_new(path)?;
    let block = [0x5a; 64 << 10];
    for _ in 0..RESERVE_BYTES / block.len() {
        file.write_all(&block)?;
    }
    file.sync_all()
}

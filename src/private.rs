//! Files and folders that nobody but their user can read, whatever the umask is.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::crash;

const FOLDER: u32 = 0o700;
const FILE: u32 = 0o600;

/// Makes a folder; what is above it is made as usual, and what is there is left as it is.
///
/// # Errors
/// It cannot be made.
pub fn folder(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(FOLDER).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        // A umask that takes away the user's own rights is given them back.
        made => made.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(FOLDER))),
    }
}

/// As `File::options()`, for a file that is the user's alone if it is made.
pub fn options() -> OpenOptions {
    let mut options = File::options();
    options.mode(FILE);
    options
}

/// Makes a file that must not exist.
///
/// # Errors
/// It exists, or cannot be made.
pub fn create_new(path: &Path) -> io::Result<File> {
    options().write(true).create_new(true).open(path)
}

/// Writes a file; one that is there is overwritten, and closed to others.
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> io::Result<()> {
    let mut file = options().write(true).create(true).truncate(true).open(path)?;
    close(&file)?;
    crash::write_all("file", &mut file, content.as_ref())
}

/// A file that is written piece by piece.
pub struct Stream(File);

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        crash::write_all("file", &mut self.0, bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// As `write`, for what is not there as a whole.
///
/// # Errors
/// It cannot be opened.
pub fn stream(path: &Path) -> io::Result<BufWriter<Stream>> {
    let file = options().write(true).create(true).truncate(true).open(path)?;
    close(&file)?;
    Ok(BufWriter::new(Stream(file)))
}

/// Makes an empty file if there is none, and closes it to others: for whoever opens it in a way of its own, such as a database.
///
/// # Errors
/// It cannot be made, or belongs to somebody else.
pub fn touch(path: &Path) -> io::Result<()> {
    options().append(true).create(true).open(path).and_then(|file| close(&file))
}

/// Copies a file.
///
/// # Errors
/// It cannot be read, or the copy cannot be written.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut copy = options().write(true).create(true).truncate(true).open(to)?;
    close(&copy)?;
    io::copy(&mut File::open(from)?, &mut copy).map(drop)
}

fn close(file: &File) -> io::Result<()> {
    if file.metadata()?.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    file.set_permissions(fs::Permissions::from_mode(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_the_users_alone_and_what_is_above_it_is_left() {
        let around = tempfile::tempdir().unwrap();
        fs::set_permissions(around.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let run = around.path().join("run");
        folder(&run).unwrap();
        folder(&run).unwrap();
        assert_eq!((mode(around.path()), mode(&run)), (0o755, FOLDER));
        let file = run.join("file");
        fs::write(&file, "open").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        write(&file, "closed").unwrap();
        copy(&file, &run.join("copy")).unwrap();
        let mut stream = stream(&run.join("stream")).unwrap();
        stream.write_all(b"piece by piece").and_then(|()| stream.flush()).unwrap();
        touch(&run.join("empty")).unwrap();
        drop(create_new(&run.join("new")).unwrap());
        assert!(["file", "copy", "empty", "new", "stream"].iter().all(|name| mode(&run.join(name)) == FILE));
        assert_eq!(fs::read_to_string(run.join("copy")).unwrap(), "closed");
    }
}

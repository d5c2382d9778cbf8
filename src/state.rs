//! Where chaos keeps what must outlive a run: its claims, and a copy of what puts things back.
//!
//! It is a folder of the user's own, and never one that others can write to: whoever could foresee a name in it could have chaos
//! write through a link of theirs.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::libc::{O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW};
use nix::unistd::{Uid, User};
use ring::rand::{SecureRandom, SystemRandom};

/// In the state folder: what encrypts that part of an undo which nobody else may read.
const KEY: &str = "key";
const KEY_BYTES: usize = 32;

const REMEDY: &str = "name a folder of your own with CHAOS_STATE_DIR";

/// The state folder, made if it is not there: `CHAOS_STATE_DIR`; else the `StateDirectory` of a systemd unit; else `chaos` in
/// `XDG_STATE_HOME` or in `.local/state` of the home folder; else `/var/lib/chaos` for root, and `/run/user/UID/chaos`.
///
/// # Errors
/// There is none that is the user's own; the sentence says why, and what to do.
pub fn folder() -> Result<PathBuf, String> {
    if let Some(named) = variable("CHAOS_STATE_DIR") {
        let path = std::path::absolute(&named).map_err(|e| format!("CHAOS_STATE_DIR cannot be used: {e}"))?;
        return private(&path);
    }
    let mut why = Vec::new();
    for path in candidates() {
        match private(&path) {
            Ok(path) => return Ok(path),
            Err(error) => why.push(error),
        }
    }
    let why = if why.is_empty() { "this user has no home folder".to_owned() } else { why.join("; ") };
    Err(format!("there is no folder for what chaos must remember ({why}): {REMEDY}"))
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn candidates() -> Vec<PathBuf> {
    let uid = Uid::effective();
    // A relative path in these means something else in each folder that chaos is started in.
    let absolute = |name| variable(name).filter(|path| path.is_absolute());
    let of_unit = std::env::var("STATE_DIRECTORY").ok().and_then(|list| list.split(':').next().map(PathBuf::from));
    // Without HOME the same user still has the same home folder.
    let home = || User::from_uid(uid).ok().flatten().map(|user| user.dir).filter(|dir| dir.is_dir() && dir != Path::new("/"));
    let at_home = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").or_else(home).map(|home| home.join(".local/state")));
    let of_root = uid.is_root().then(|| PathBuf::from("/var/lib/chaos"));
    let while_logged_in = Some(PathBuf::from(format!("/run/user/{uid}"))).filter(|path| path.is_dir());
    [
        of_unit.filter(|path| path.is_absolute()),
        at_home.map(|path| path.join("chaos")),
        of_root,
        while_logged_in.map(|path| path.join("chaos")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Makes a folder that only this user can look into, or checks that it is one.
///
/// # Errors
/// It is somebody else's, a link, or in a folder where others could exchange it.
pub fn private(path: &Path) -> Result<PathBuf, String> {
    let failed = |e: io::Error| format!("{} cannot be used: {e}; {REMEDY}", path.display());
    let refused = |why: &str| format!("{} is not used: {why}; {REMEDY}", path.display());
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed)?;
        let around = fs::metadata(parent).map_err(failed)?;
        if around.mode() & 0o022 != 0 && around.mode() & 0o1000 == 0 && around.uid() != Uid::effective().as_raw() {
            return Err(refused("others may exchange what is in the folder above it"));
        }
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let folder = File::options()
        .read(true)
        .custom_flags(O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC)
        .open(path)
        .map_err(|e| if is_link(path) { refused("it is a symbolic link") } else { failed(e) })?;
    let known = folder.metadata().map_err(failed)?;
    if !is_mine(&known) {
        return Err(refused(&format!("it belongs to user {}", known.uid())));
    }
    if known.mode() & 0o077 != 0 {
        folder.set_permissions(fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(path.to_owned())
}

/// Opens a file of the state folder to read and write it, and makes it if it is not there.
///
/// # Errors
/// It is a link, no plain file, or somebody else's.
pub fn open(path: &Path) -> io::Result<File> {
    let file =
        File::options().read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(O_NOFOLLOW).open(path)?;
    let known = file.metadata()?;
    match known.is_file() && is_mine(&known) && known.nlink() == 1 {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is not a plain file of this user")),
    }
}

/// The key of the state folder, made at its first use.
///
/// # Errors
/// It cannot be made, or is damaged.
pub fn key(state: &Path) -> Result<[u8; KEY_BYTES], String> {
    let path = state.join(KEY);
    let failed = |e: io::Error| format!("the key {} cannot be used: {e}", path.display());
    let mut file = open(&path).map_err(failed)?;
    // Whoever comes second finds the whole of it.
    file.lock().map_err(failed)?;
    let mut key = Vec::new();
    file.read_to_end(&mut key).map_err(failed)?;
    if key.is_empty() {
        let mut new = [0; KEY_BYTES];
        SystemRandom::new().fill(&mut new).map_err(|_| failed(io::Error::other("this machine gives no random numbers")))?;
        file.write_all(&new).and_then(|()| file.sync_all()).map_err(failed)?;
        File::open(state).and_then(|folder| folder.sync_all()).map_err(failed)?;
        return Ok(new);
    }
    key.try_into().map_err(|_| format!("the key {} is damaged: {KEY_BYTES} bytes are expected", path.display()))
}

/// As [`key`], for what was encrypted with it: a new one would open nothing.
///
/// # Errors
/// It is not there, or is damaged.
pub fn known_key(state: &Path) -> Result<[u8; KEY_BYTES], String> {
    let path = state.join(KEY);
    if path.metadata().is_ok_and(|known| known.len() > 0) {
        return key(state);
    }
    Err(format!(
        "the key that it was encrypted with, {}, is not there: name the state folder that the run had with CHAOS_STATE_DIR",
        path.display()
    ))
}

fn is_link(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|known| known.is_symlink())
}

fn is_mine(known: &Metadata) -> bool {
    known.uid() == Uid::effective().as_raw()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_folder_is_made_for_its_user_alone_and_an_open_one_is_closed() {
        let around = tempfile::tempdir().unwrap();
        let path = around.path().join("a/b");
        assert_eq!(private(&path).unwrap(), path);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        private(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_link_is_never_followed() {
        let around = tempfile::tempdir().unwrap();
        let (victim, link) = (around.path().join("victim"), around.path().join("link"));
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, &link).unwrap();
        assert!(open(&link).is_err());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        let (folder, to_folder) = (around.path().join("folder"), around.path().join("to-folder"));
        fs::create_dir(&folder).unwrap();
        symlink(&folder, &to_folder).unwrap();
        let error = private(&to_folder).unwrap_err();
        assert!(error.contains("symbolic link") && error.contains("CHAOS_STATE_DIR"), "{error}");
        let second_name = around.path().join("second-name");
        fs::hard_link(&victim, &second_name).unwrap();
        assert!(open(&second_name).is_err(), "a second name of another file");
    }
}

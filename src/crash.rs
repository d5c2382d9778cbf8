//! Points at which a test ends the process, as a kill at that moment would: named as the steps of the model in `tests/all/model.rs`.
//! And places where the disk fails it. A test says in `FAILPOINTS` at which (`prepared=return`, `journal=20*off->return(28)`); a
//! release has none of them (build.rs).

use std::io::{self, Write};

/// The process ends here where a test wants it so: nothing is unwound, flushed or said.
pub fn point(_name: &str) {
    #[cfg(crash_points)]
    fail::fail_point!(_name, |_| {
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    });
}

/// Writes all of it. Where a test wants the disk to fail it does so with this error's number, or with `half` in the middle.
///
/// # Errors
/// It cannot be written.
pub fn write_all(_place: &str, to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    #[cfg(crash_points)]
    fail::fail_point!(_place, |how| match how.as_deref() {
        Some("half") => to.write_all(&bytes[..bytes.len() / 2]).and(Err(io::ErrorKind::StorageFull.into())),
        how => Err(io::Error::from_raw_os_error(how.and_then(|number| number.parse().ok()).unwrap_or_default())),
    });
    to.write_all(bytes)
}

/// Where a test names points, they are armed until what comes back is dropped.
pub fn arm() -> Option<impl Drop> {
    cfg!(crash_points).then(fail::FailScenario::setup)
}

//! Exit codes. They are part of the interface.

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Every check passed.
    Passed = 0,
    /// A check failed.
    Failed = 1,
    /// The file or the command line is wrong.
    Usage = 2,
    /// A guard stopped the run.
    Guard = 3,
    /// It could not be run: target unreachable, preflight failed.
    CannotRun = 4,
    /// Something could not be put back.
    Stuck = 5,
    /// Nothing failed, but a check could not be decided.
    Inconclusive = 6,
    /// Interrupted, and put back.
    Interrupted = 130,
}

impl Exit {
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

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

    /// The one with this code; `CannotRun` for a code that is none of ours.
    pub fn from_code(code: u8) -> Self {
        let all = [Self::Passed, Self::Failed, Self::Usage, Self::Guard, Self::Stuck, Self::Inconclusive, Self::Interrupted];
        all.into_iter().find(|exit| exit.code() == code).unwrap_or(Self::CannotRun)
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

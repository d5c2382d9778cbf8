//! All of `chaos` that needs `unsafe`: how its child processes begin, and which signals do not end one of ours.

#![deny(unsafe_op_in_unsafe_fn)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::{self, SigHandler, Signal};

/// What asks a process to end: from a terminal, a supervisor, a connection that is gone.
const ASK: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// From now on none of the signals that ask a process to end does anything to this one.
///
/// # Errors
/// When the system refuses.
pub fn ignore_signals() -> io::Result<()> {
    for asked in ASK {
        // SAFETY: ignoring a signal installs no handler, so there is no code that could be unsafe to run.
        unsafe { signal::signal(asked, SigHandler::SigIgn)? };
    }
    Ok(())
}

/// The child gets a session of its own: what ends our terminal or our group does not end it.
pub fn in_own_session(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec only setsid is called, which is async-signal-safe.
    unsafe { command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(io::Error::from)) }
}

/// The child is killed when its parent dies, and can be asked to end although its parent ignores that.
pub fn dies_with_parent(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec only async-signal-safe system calls are made: prctl and sigaction.
    unsafe {
        command.pre_exec(|| {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            for inherited in ASK {
                signal::signal(inherited, SigHandler::SigDfl)?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(command: &mut Command) -> String {
        String::from_utf8_lossy(&command.output().expect("sh runs").stdout).trim().to_owned()
    }

    /// The bits of the signals that a process ignores, as the kernel tells them.
    fn ignored(status: &str) -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("the kernel tells");
        u64::from_str_radix(line.trim(), 16).expect("bits")
    }

    #[test]
    fn a_child_in_its_own_session_leads_it() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$; cut -d' ' -f6 /proc/$$/stat"]);
        let leads = |said: &str| said.lines().next() == said.lines().nth(1);
        let (usual, own) = (said(&mut command), said(in_own_session(&mut command)));
        assert!(!leads(&usual) && leads(&own), "{usual}, {own}");
    }

    #[test]
    fn what_we_ignore_our_child_does_not() {
        ignore_signals().expect("signals can be ignored");
        let bits = ASK.iter().fold(0, |bits, asked| bits | 1 << (*asked as u64 - 1));
        let own = std::fs::read_to_string("/proc/self/status").expect("the kernel tells");
        assert_eq!(ignored(&own) & bits, bits);
        let mut command = Command::new("cat");
        command.arg("/proc/self/status");
        assert_eq!(ignored(&said(&mut command)) & bits, bits, "a child inherits it");
        assert_eq!(ignored(&said(dies_with_parent(&mut command))) & bits, 0);
    }
}

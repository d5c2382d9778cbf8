//! Commands of the user's, and their end: nothing of one that was cut short may go on once things are put back.
//!
//! Each has a process group of its own, and carries a mark in its environment that its children inherit, though they leave the
//! group: so another process of ours finds all of them too.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::Command;

use crate::driver::template::bounded;
use crate::observe::procfs;
use crate::run::world::World;
use crate::runtime::proc_stat;

/// The environment variable that marks what belongs to a fault.
const MARK: &str = "CHAOS_ACT";
/// What is asked to end has this long before it is killed.
const GRACE: Duration = Duration::from_millis(500);
/// ... and this long to be gone then.
const GONE_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Hardly an environment is larger, in bytes.
const AT_ONCE: usize = 128 << 10;
/// A program that begins has its environment by then; some never have one.
const BEGINS_WITHIN: Duration = Duration::from_millis(250);

/// What marks the commands of this fault in this run.
pub fn mark(world: &World, name: &str) -> String {
    format!("{}/{name}", world.journal.read(|record| record.run_id.clone()))
}

/// Whether it exited with 0, and its last words. When its time is over, or nobody waits for it any more, its group is killed.
pub async fn execute(command: &[String], shell: bool, mark: Option<&str>, within: Duration) -> Result<(bool, String), String> {
    let words: Vec<&str> = if shell { vec!["sh", "-c"] } else { Vec::new() };
    let words: Vec<&str> = words.into_iter().chain(command.iter().map(String::as_str)).collect();
    let Some((program, arguments)) = words.split_first() else { return Err("there is no command".to_owned()) };
    let mut command_line = Command::new(program);
    command_line.args(arguments).envs(mark.map(|mark| (MARK, mark)));
    command_line.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    let running = command_line.spawn().map_err(|e| format!("`{program}` cannot be run: {e}"))?;
    let mut group = Group(running.id());
    let output = tokio::time::timeout(within, running.wait_with_output())
        .await
        .map_err(|_| format!("`{}` took longer than {} s", command.join(" "), within.as_secs_f64()))?
        .map_err(|e| format!("`{program}` cannot be waited for: {e}"))?;
    // What it has left running in the background is its effect, which its `revert` ends.
    group.0 = None;
    let said = String::from_utf8_lossy(if output.stderr.is_empty() { &output.stdout } else { &output.stderr }).trim().to_owned();
    Ok((output.status.success(), bounded(&format!("({}) {said}", output.status))))
}

/// A process group that is killed when it is dropped.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // It may be gone already.
            let _ = killpg(Pid::from_raw(leader.cast_signed()), Signal::SIGKILL);
        }
    }
}

/// Ends every process that carries the mark, and returns when all are seen gone: how many there were.
///
/// # Errors
/// Some are still there; the sentence names them.
pub async fn end_all(mark: &str) -> Result<usize, String> {
    let found = marked_surely(mark).await;
    if found.is_empty() {
        return Ok(0);
    }
    send(&found, Signal::SIGTERM);
    let began = tokio::time::Instant::now();
    loop {
        let left = marked_surely(mark).await;
        if left.is_empty() {
            return Ok(found.len());
        }
        if began.elapsed() > GONE_WITHIN {
            let pids: Vec<String> = left.iter().map(u32::to_string).collect();
            return Err(format!("its command cannot be ended: process {} is still there", pids.join(", ")));
        }
        // Those that were started meanwhile too.
        if began.elapsed() > GRACE {
            send(&left, Signal::SIGKILL);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn send(pids: &[u32], signal: Signal) {
    for pid in pids {
        // Whoever cannot be ended is found again, and named.
        let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
    }
}

/// As below. A process that is just beginning another program has no environment for a moment: whoever has none is looked at again.
async fn marked_surely(mark: &str) -> Vec<u32> {
    let began = tokio::time::Instant::now();
    loop {
        let (found, bare) = look(mark);
        if !found.is_empty() || bare == 0 || began.elapsed() > BEGINS_WITHIN {
            return found;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// All of it where it fits: what is read in pieces is cut off by the beginning of another program. Whole, it ends with a NUL.
fn environment<'a>(place: &Path, room: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
    let mut file = File::open(place.join("environ"))?;
    let mut length = 0;
    loop {
        if room.len() - length < AT_ONCE {
            room.resize(length + AT_ONCE, 0);
        }
        match file.read(&mut room[length..])? {
            0 => return Ok(&room[..length]),
            more => length += more,
        }
    }
}

/// The processes that live and carry the mark, as far as their environment may be read; and how many have none.
fn look(mark: &str) -> (Vec<u32>, usize) {
    let wanted = format!("{MARK}={mark}");
    let (mut found, mut bare, mut room) = (Vec::new(), 0, vec![0; AT_ONCE]);
    for pid in procfs::pids() {
        let place = Path::new("/proc").join(pid.to_string());
        let Ok(environment) = environment(&place, &mut room) else { continue };
        let lives = || proc_stat(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'));
        if environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes()) {
            found.extend(lives().then_some(pid));
        } else if environment.last() != Some(&0) && std::fs::read_link(place.join("exe")).is_ok() && lives() {
            // The kernel's own threads have no program.
            bare += 1;
        }
    }
    (found, bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        vec![text.to_owned()]
    }

    #[tokio::test]
    async fn what_leaves_its_group_and_ignores_signals_is_ended_all_the_same() {
        let mark = format!("test-{}", std::process::id());
        let command = words("trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 60; true' & sleep 60; true");
        let running = execute(&command, true, Some(&mark), Duration::from_secs(60));
        tokio::select! {
            done = running => panic!("it ends by itself: {done:?}"),
            // Two shells and what each has started: the inner one has left the group by then.
            () = async { while look(&mark).0.len() < 4 { tokio::time::sleep(LOOK_EVERY).await } } => {}
        }
        assert!(end_all(&mark).await.unwrap() >= 2);
        assert_eq!(marked_surely(&mark).await, Vec::<u32>::new());
        assert_eq!(end_all(&mark).await, Ok(0));
    }

    /// Seen in the middle of it a process has neither the old environment nor the new one.
    #[tokio::test]
    async fn who_begins_one_program_after_another_is_found_each_time() {
        let mark = format!("exec-{}", std::process::id());
        let again = "n=$0; [ $n = 0 ] && exec sleep 60; exec sh -c \"$1\" $((n-1)) \"$1\"";
        let begun = Command::new("sh").args(["-c", again, "400", again]).env(MARK, &mark).kill_on_drop(true).spawn().unwrap();
        for _ in 0..60 {
            assert_eq!(marked_surely(&mark).await, [begun.id().unwrap()]);
        }
    }

    #[tokio::test]
    async fn what_takes_too_long_is_ended_with_its_children() {
        let mark = format!("late-{}", std::process::id());
        let error = execute(&words("sleep 60; true"), true, Some(&mark), Duration::from_millis(300)).await.unwrap_err();
        assert!(error.contains("took longer than 0.3 s"), "{error}");
        tokio::time::timeout(Duration::from_secs(5), async {
            while !marked_surely(&mark).await.is_empty() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn what_a_command_leaves_in_the_background_stays_until_its_revert() {
        let mark = format!("background-{}", std::process::id());
        let (done, said) =
            execute(&words("sleep 60 >/dev/null 2>&1 &"), true, Some(&mark), Duration::from_secs(5)).await.unwrap();
        assert!(done, "{said}");
        assert_eq!(marked_surely(&mark).await.len(), 1);
        assert_eq!(end_all(&mark).await, Ok(1));
    }
}

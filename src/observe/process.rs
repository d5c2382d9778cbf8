//! Memory and CPU of a process and of all that it has started: a server's work is done, and its memory lost, in its workers.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use sysinfo::{Pid, Process, ProcessRefreshKind, ProcessesToUpdate, System};

use super::procfs;

/// To count what is shared the kernel walks through all of a process' pages: no more than this share of the time.
const SHARE_OF_TIME: u32 = 100;

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Of one process what is resident (RSS). Of several what each has by itself and its part of what they share (PSS): added
    /// up, their RSS would count what a worker has from its parent once for each.
    pub rss_bytes: u64,
    /// Of one core, since the last reading.
    pub cpu_percent: f64,
}

/// Reads the same process again and again; only that one and its descendants, since reading all of them is a hundred times dearer.
pub struct Meter {
    /// `None` where the system cannot be asked.
    system: Option<System>,
    root: u32,
    known: Vec<Pid>,
    shared: Shared,
}

/// How much of each process' memory is counted in others'.
#[derive(Default)]
struct Shared {
    /// It has had children: from then on all are counted in one way, so that one that comes and goes makes no step.
    is_tree: bool,
    excess: HashMap<Pid, u64>,
    next: Option<Instant>,
    told: u64,
}

impl Default for Meter {
    fn default() -> Self {
        Self { system: System::new().ok(), root: 0, known: Vec::new(), shared: Shared::default() }
    }
}

impl Meter {
    /// `None` when there is no such process.
    pub fn read(&mut self, root: u32) -> Option<Usage> {
        if self.root != root {
            (self.root, self.shared) = (root, Shared::default());
        }
        let pids: Vec<Pid> = procfs::tree_of(root).into_iter().map(Pid::from_u32).collect();
        // Those that have ended meanwhile are asked about, too, and forgotten.
        let known: BTreeSet<Pid> = pids.iter().chain(&self.known).copied().collect();
        let known: Vec<Pid> = known.into_iter().collect();
        let what = ProcessRefreshKind::nothing().with_memory().with_cpu();
        let system = self.system.as_mut()?;
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&known), true, what);
        system.process(Pid::from_u32(root))?;
        let tree: Vec<(Pid, &Process)> = pids.iter().filter_map(|pid| Some((*pid, system.process(*pid)?))).collect();
        let rss: Vec<(Pid, u64)> = tree.iter().map(|(pid, process)| (*pid, process.memory())).collect();
        let cpu_percent = tree.iter().map(|(_, process)| f64::from(process.cpu_usage())).sum();
        let rss_bytes = self.shared.without(&rss, Instant::now(), |pid| procfs::pss_bytes(pid.as_u32()));
        self.known = pids;
        Some(Usage { rss_bytes, cpu_percent })
    }

    /// This process.
    pub fn of_self() -> Usage {
        static METER: OnceLock<Mutex<Meter>> = OnceLock::new();
        let mut meter = METER.get_or_init(Mutex::default).lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        meter.read(std::process::id()).unwrap_or_default()
    }
}

impl Shared {
    /// The memory of all of them, each page once. The first is the root.
    fn without(&mut self, rss: &[(Pid, u64)], now: Instant, pss: impl Fn(Pid) -> Option<u64>) -> u64 {
        self.is_tree |= rss.len() > 1;
        let root = rss.first().map_or(0, |(_, bytes)| *bytes);
        if !self.is_tree {
            return root;
        }
        let has_changed = rss.len() != self.excess.len() || rss.iter().any(|(pid, _)| !self.excess.contains_key(pid));
        if self.next.is_none_or(|next| now >= next) {
            let began = Instant::now();
            // One that has ended holds nothing. Another user's cannot be asked: what is shared would be counted once for each.
            let excess = |(pid, rss): &(Pid, u64)| match pss(*pid) {
                Some(pss) => Some((*pid, rss.saturating_sub(pss))),
                None => procfs::has_ended(pid.as_u32()).then_some((*pid, *rss)),
            };
            let all: Option<HashMap<Pid, u64>> = rss.iter().map(excess).collect();
            self.excess = all.unwrap_or_default();
            self.next = Some(now + began.elapsed().max(Duration::from_millis(1)) * SHARE_OF_TIME);
        } else if has_changed && !self.excess.is_empty() {
            // Who shares with whom is not known anew yet.
            return self.told;
        }
        self.told = match self.excess.is_empty() {
            true => root,
            false => rss.iter().map(|(pid, bytes)| bytes.saturating_sub(self.excess.get(pid).copied().unwrap_or(0))).sum(),
        };
        self.told
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Child, Command, Stdio};

    use super::*;

    const MIB: u64 = 1 << 20;

    /// Ended and waited for, however the test ends.
    struct Server(Child);

    impl Drop for Server {
        fn drop(&mut self) {
            _ = self.0.kill();
            _ = self.0.wait();
        }
    }

    #[test]
    fn what_is_shared_is_asked_for_seldom_and_known_or_left_out() {
        let (mut shared, begin) = (Shared::default(), Instant::now());
        let pid = Pid::from_u32;
        let (parent, worker) = ((pid(1), 80 * MIB), (pid(2), 80 * MIB));
        let asked = std::cell::Cell::new(0);
        let half = |_: Pid| {
            asked.set(asked.get() + 1);
            Some(40 * MIB)
        };
        assert_eq!(shared.without(&[parent], begin, half), 80 * MIB);
        assert_eq!(shared.without(&[parent, worker], begin, half), 80 * MIB, "the same pages");
        assert_eq!(asked.get(), 2);
        // A third one comes and goes: nothing is asked, nothing moves.
        let soon = begin + Duration::from_millis(10);
        assert_eq!(shared.without(&[parent, worker, (pid(3), 80 * MIB)], soon, half), 80 * MIB);
        assert_eq!(shared.without(&[parent], soon, half), 80 * MIB, "the worker has ended, and its part is the parent's");
        assert_eq!(shared.without(&[parent, (pid(2), 90 * MIB)], soon, half), 90 * MIB, "what grows is seen at once");
        assert_eq!(asked.get(), 2);
        let later = begin + Duration::from_secs(3600);
        assert_eq!(shared.without(&[parent], later, |_| Some(80 * MIB)), 80 * MIB);
        // One that may not be looked at: the root alone. One that is there no more: all others.
        let me = (pid(std::process::id()), 70 * MIB);
        let gone = (pid(u32::MAX / 4), 30 * MIB);
        let may = |at: Pid| (at != me.0 && at != gone.0).then_some(40 * MIB);
        assert_eq!(Shared::default().without(&[parent, worker, me], begin, may), 80 * MIB);
        assert_eq!(Shared::default().without(&[parent, worker, gone], begin, may), 80 * MIB, "two halves");
        assert_eq!(Shared::default().without(&[parent, (pid(2), 100 * MIB), gone], begin, may), 80 * MIB);
    }

    #[test]
    fn what_workers_hold_is_counted_and_what_they_share_once() {
        // 64 MiB that both have, since a fork copies no page; then 64 MiB of the child's own.
        const SCRIPT: &str = "import os, sys\n\
            held = bytearray(64 << 20)\n\
            held[::4096] = b'x' * len(held[::4096])\n\
            print('held', flush=True); sys.stdin.readline()\n\
            r, w = os.pipe()\n\
            if os.fork() == 0:\n\
            \x20   os.close(w); print('shared', flush=True); sys.stdin.readline()\n\
            \x20   own = bytearray(64 << 20)\n\
            \x20   own[::4096] = b'x' * len(own[::4096])\n\
            \x20   print('own', flush=True); os.read(r, 1); os._exit(0)\n\
            os.wait()\n";
        let Ok(child) = Command::new("python3")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
        else {
            return eprintln!("left out: there is no python3");
        };
        let mut server = Server(child);
        let (mut said, mut tell) = (BufReader::new(server.0.stdout.take().unwrap()), server.0.stdin.take().unwrap());
        let (mut meter, mut read) = (Meter::default(), Vec::new());
        for expected in ["held", "shared", "own"] {
            let mut line = String::new();
            said.read_line(&mut line).unwrap();
            assert_eq!(line.trim(), expected);
            meter.shared.next = None;
            read.push(meter.read(server.0.id()).unwrap().rss_bytes);
            tell.write_all(b"\n").unwrap();
        }
        let about = |bytes: u64, mib: u64| (bytes as f64 / MIB as f64 - mib as f64).abs() < 24.0;
        assert!(about(read[0], 64 + 8), "{read:?}");
        assert!(about(read[1], 64 + 8), "the same pages, seen from two processes: {read:?}");
        assert!(about(read[2], 128 + 8), "{read:?}");
    }
}

//! What the kernel tells of this machine and its processes, read from `/proc` and from cgroups. What a machine does not have is
//! `None`, never an error.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use nix::time::{ClockId, clock_gettime};

/// A process tree of more threads than this is not followed to its end.
const MOST_THREADS: usize = 4_096;

/// Microseconds in which somebody waited for a resource, since the machine started: of `/proc/pressure/NAME`, line `some`.
pub fn pressure_us(name: &str) -> Option<u64> {
    stalled_us(&fs::read_to_string(format!("/proc/pressure/{name}")).ok()?)
}

fn stalled_us(text: &str) -> Option<u64> {
    let some = text.lines().find(|line| line.starts_with("some"))?;
    some.split_whitespace().find_map(|field| field.strip_prefix("total="))?.parse().ok()
}

/// The machine's CPU time since its start, in ticks, over all CPUs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CpuTicks {
    pub all: u64,
    /// Neither idle nor stolen.
    pub busy: u64,
    pub idle: u64,
    /// Given to other machines by the hypervisor.
    pub stolen: u64,
    pub cpus: u64,
}

pub fn cpu_ticks() -> Option<CpuTicks> {
    ticks(&fs::read_to_string("/proc/stat").ok()?)
}

fn ticks(text: &str) -> Option<CpuTicks> {
    let cpus = text.lines().filter(|l| l.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())));
    let cpus = cpus.count() as u64;
    let all = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // user nice system idle iowait irq softirq steal; the guests' time is part of the users'.
    let fields: Vec<u64> = all.split_whitespace().take(8).map_while(|f| f.parse().ok()).collect();
    let at = |place: usize| fields.get(place).copied().unwrap_or(0);
    let (sum, idle, stolen) = (fields.iter().sum::<u64>(), at(3) + at(4), at(7));
    (fields.len() >= 4).then_some(CpuTicks { all: sum, busy: sum - idle - stolen, idle, stolen, cpus: cpus.max(1) })
}

/// Nanoseconds that a thread ran, and that it waited for a CPU.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Ran {
    pub ran_ns: u64,
    pub waited_ns: u64,
}

fn ran(schedstat: &str) -> Option<Ran> {
    let mut fields = schedstat.split_whitespace().map(str::parse);
    Some(Ran { ran_ns: fields.next()?.ok()?, waited_ns: fields.next()?.ok()? })
}

/// A process and its descendants, itself first.
pub fn tree_of(root: u32) -> Vec<u32> {
    let (mut found, mut at, mut threads) = (vec![root], 0, 0);
    while let Some(pid) = found.get(at).copied() {
        at += 1;
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            threads += 1;
            if threads > MOST_THREADS {
                return found;
            }
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()) {
                // One whose parent's thread ends meanwhile may be seen twice.
                if !found.contains(&child) {
                    found.push(child);
                }
            }
        }
    }
    found
}

/// A process' own memory and its part of what it shares (`Pss`). `None` for another user's, or where the kernel does not tell.
pub fn pss_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let pss = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = pss.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// It is gone, or only waits for its parent to take note of that.
pub fn has_ended(pid: u32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|stat| {
        let (_, behind) = stat.rsplit_once(") ")?;
        behind.chars().next()
    });
    matches!(state, None | Some('Z' | 'X'))
}

/// Every thread of a process and of its children, by process and thread.
pub fn threads_of(root: u32) -> HashMap<(u32, u32), Ran> {
    let (mut found, mut left) = (HashMap::new(), vec![root]);
    while let Some(pid) = left.pop() {
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for task in tasks.flatten() {
            let Some(tid) = task.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            if found.len() >= MOST_THREADS || found.contains_key(&(pid, tid)) {
                continue;
            }
            if let Some(ran) = fs::read_to_string(task.path().join("schedstat")).ok().and_then(|text| ran(&text)) {
                found.insert((pid, tid), ran);
            }
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            left.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    found
}

/// For how many seconds this machine has been suspended since it was started; `None` where it does not say.
pub fn suspended_s() -> Option<f64> {
    let now = |clock| clock_gettime(clock).ok().map(|t| t.tv_sec() as f64 + t.tv_nsec() as f64 / 1e9);
    Some(now(ClockId::CLOCK_BOOTTIME)? - now(ClockId::CLOCK_MONOTONIC)?)
}

/// Every process of this machine, as far as it is shown.
pub fn pids() -> impl Iterator<Item = u32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// What a control group was allowed, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Quota {
    pub used_us: u64,
    /// In which its threads were held back because it had used its share.
    pub throttled_us: u64,
}

/// The control group of a process, as the kernel writes it.
pub fn cgroup_of(pid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()
}

/// What a group's CPU share came to, by its description. `None` where it has no such share.
pub fn quota(cgroup: &str) -> Option<Quota> {
    let folders = places(cgroup);
    folders.iter().find_map(|folder| {
        let stat = fs::read_to_string(folder.join("cpu.stat")).ok()?;
        let used = fs::read_to_string(folder.join("cpuacct.usage")).ok().and_then(|text| text.trim().parse().ok());
        quota_in(&stat, used)
    })
}

fn quota_in(stat: &str, used_ns: Option<u64>) -> Option<Quota> {
    let field = |name: &str| stat.lines().find_map(|l| l.strip_prefix(name)?.trim().parse::<u64>().ok());
    let throttled_us = field("throttled_usec ").or_else(|| field("throttled_time ").map(|ns| ns / 1_000))?;
    let used_us = field("usage_usec ").or_else(|| used_ns.map(|ns| ns / 1_000))?;
    Some(Quota { used_us, throttled_us })
}

/// Where the files of a group may lie: of version 2, of version 1, and inside of a container, which sees its own as the root.
fn places(cgroup: &str) -> Vec<PathBuf> {
    let root = PathBuf::from("/sys/fs/cgroup");
    let mut places = Vec::new();
    for line in cgroup.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let path = path.trim_start_matches('/');
        match controllers {
            "" => places.extend([root.join(path), root.clone()]),
            named if named.split(',').any(|c| c == "cpu") => {
                places.extend([root.join(named).join(path), root.join("cpu").join(path), root.join(named)]);
            }
            _ => {}
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        let text = "some avg10=0.00 avg60=0.25 avg300=1.51 total=109889503\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(stalled_us(text), Some(109_889_503));
        let text = "cpu  100 10 50 800 20 5 5 10 3 0\ncpu0 1 2\ncpu1 3 4\nintr 5\n";
        assert_eq!(ticks(text), Some(CpuTicks { all: 1000, busy: 170, idle: 820, stolen: 10, cpus: 2 }));
        assert_eq!(ran("918848 12 1\n"), Some(Ran { ran_ns: 918_848, waited_ns: 12 }));
        let of_two = "usage_usec 500\nuser_usec 400\nnr_throttled 3\nthrottled_usec 70\n";
        assert_eq!(quota_in(of_two, None), Some(Quota { used_us: 500, throttled_us: 70 }));
        assert_eq!(quota_in("nr_throttled 3\nthrottled_time 70000\n", Some(9_000)), Some(Quota { used_us: 9, throttled_us: 70 }));
    }

    #[test]
    fn what_is_not_there_is_none() {
        assert_eq!((stalled_us("x"), ticks("cpu 1\n"), ran("a b")), (None, None, None));
        assert_eq!(quota_in("usage_usec 5\n", None), None);
        assert_eq!(pressure_us("no-such-thing"), None);
        assert!(threads_of(0).is_empty());
    }

    #[test]
    fn a_group_is_looked_for_where_it_may_be() {
        let version_2: Vec<String> = places("0::/a/b\n").iter().map(|p| p.display().to_string()).collect();
        assert_eq!(version_2, ["/sys/fs/cgroup/a/b", "/sys/fs/cgroup"]);
        let version_1: Vec<String> = places("4:memory:/m\n3:cpu,cpuacct:/c\n").iter().map(|p| p.display().to_string()).collect();
        assert_eq!(version_1[0], "/sys/fs/cgroup/cpu,cpuacct/c");
    }

    #[test]
    fn this_process_has_threads() {
        if std::path::Path::new("/proc/self/schedstat").exists() {
            assert!(!threads_of(std::process::id()).is_empty());
        }
    }
}

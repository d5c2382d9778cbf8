//! What this machine and chaos itself went through while they measured: series `machine.*` and `chaos.*`. They are evidence
//! about the measurement, not about the target (`check/noise.rs` judges by them). What a machine does not tell has no series.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::lateness::Sleeper;
use super::listening;
use super::procfs::{self, CpuTicks, Quota, Ran};
use crate::journal::event::Event;
use crate::plan::RuntimePlan;
use crate::run::world::World;

/// The time between two samples: each tells of the time since the one before.
pub const EVERY: Duration = Duration::from_millis(250);
/// How often a process is looked for that nobody here has started.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The worst lateness of a sleeping thread and of a task of chaos' own loop, in milliseconds.
pub const LATE: &str = "chaos.late_ms";
/// For how many seconds the machine has been suspended since the run began: the clock of the run stands still meanwhile.
pub const SUSPENDED: &str = "chaos.suspended_s";
/// CPU time of chaos itself, in percent of one CPU.
pub const OWN_CPU: &str = "chaos.cpu_percent";
/// CPU time of all but the target and chaos, as far as no CPU stood idle meanwhile, in percent of one CPU: who waits while one is
/// idle is not waiting for them. Only where the target's processes can be seen.
pub const OTHERS_CPU: &str = "machine.others_cpu_percent";
/// CPU time of the target with its children while others used some, in percent of one CPU.
pub const TARGET_CPU: &str = "machine.target_cpu_percent";
/// For how long threads of chaos were ready to run and had no CPU: the sum over all of them, in percent of the time.
pub const OWN_DELAYED: &str = "chaos.delayed_percent";
/// The same of the threads of the target and of its children.
pub const DELAYED: &str = "machine.delayed_percent";
/// CPU time that the hypervisor gave to other machines, in percent of all CPUs'.
pub const STEAL: &str = "machine.steal_percent";
/// For how long chaos' control group was held back for what others than the target had used of its share, in percent of the
/// time. Only where the target is in the same group: the limit of a target's own group is its own affair.
pub const THROTTLED: &str = "machine.throttled_percent";
/// In which some process waited for the resource, in percent of the time.
pub const PRESSURE: [(&str, &str); 3] = [
    ("machine.cpu_pressure_percent", "cpu"),
    ("machine.memory_pressure_percent", "memory"),
    ("machine.io_pressure_percent", "io"),
];

/// Percentages are written in steps, so that a quiet machine has nothing to tell.
const STEP: f64 = 1.0;
/// Those below are as good as none.
const NOTHING: f64 = 3.0;
/// CPU time varies all the time, and is read from ticks of 10 ms.
const CPU_STEP: f64 = 10.0;
/// Every thread is late by a little.
const NOTHING_MS: f64 = 5.0;

/// The two clocks are not read at the same instant.
const NOTHING_S: f64 = 0.5;

/// Everything that is counted from one sample to the next.
struct Reading {
    at: Instant,
    cpu: Option<CpuTicks>,
    pressure: [Option<u64>; 3],
    target: Option<HashMap<(u32, u32), Ran>>,
    chaos: HashMap<(u32, u32), Ran>,
    quota: Option<Quota>,
}

struct Watch {
    world: World,
    sleeper: Sleeper,
    /// What was known of it at the beginning.
    suspended_s: Option<f64>,
    cgroup: Option<String>,
    /// The target's process, where the runtime does not know it.
    found: Option<(Instant, Option<u32>)>,
    readings: Vec<Reading>,
    last: BTreeMap<&'static str, f64>,
}

/// Samples until stopped.
pub async fn run(world: World, stop: CancellationToken) {
    let cgroup = procfs::cgroup_of(std::process::id());
    let (sleeper, suspended_s) = (Sleeper::start(), procfs::suspended_s());
    let mut watch = Watch { world, sleeper, suspended_s, cgroup, found: None, readings: Vec::new(), last: BTreeMap::new() };
    loop {
        let sampled = Instant::now();
        watch.sample();
        while sampled.elapsed() < EVERY {
            tokio::select! {
                () = watch.sleeper.nap() => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

impl Watch {
    fn sample(&mut self) {
        let reading = self.read();
        let mut values = BTreeMap::from([(LATE, above(self.sleeper.worst_ms(), NOTHING_MS, STEP))]);
        if let Some((before, now)) = self.suspended_s.zip(procfs::suspended_s()) {
            values.insert(SUSPENDED, above(now - before, NOTHING_S, STEP));
        }
        if let Some(before) = self.readings.last() {
            before.told(&reading, &mut values);
        }
        // Ticks are coarse: CPU time is taken over the last two samples.
        if let Some(before) = self.readings.first() {
            before.cpu_time(&reading, &mut values);
        }
        self.readings.push(reading);
        if self.readings.len() > 2 {
            self.readings.remove(0);
        }
        values.retain(|name, value| value.is_finite() && self.last.get(name) != Some(value));
        if !values.is_empty() {
            self.last.extend(values.iter().map(|(name, value)| (*name, *value)));
            let values: BTreeMap<String, f64> = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            self.world.journal.emit(Event::Sample { values: values.into() });
        }
    }

    fn read(&mut self) -> Reading {
        let target = self.target_pid();
        let was_seen = self.readings.last().is_some_and(|reading| reading.target.is_some());
        let same_group = target.is_some_and(|pid| procfs::cgroup_of(pid).is_some_and(|of| Some(of) == self.cgroup));
        Reading {
            at: Instant::now(),
            cpu: procfs::cpu_ticks(),
            pressure: PRESSURE.map(|(_, name)| procfs::pressure_us(name)),
            // A target that has ended does nothing, until the next one is started.
            target: target.map(procfs::threads_of).filter(|threads| !threads.is_empty()).or_else(|| was_seen.then(HashMap::new)),
            chaos: own_threads(),
            quota: self.cgroup.as_deref().filter(|_| same_group).and_then(procfs::quota),
        }
    }

    fn target_pid(&mut self) -> Option<u32> {
        let known = self.world.runtime.pid();
        if known.is_some() || self.world.plan.runtime != RuntimePlan::None {
            return known;
        }
        let port = self.world.plan.local_port()?;
        if let Some((_, pid)) = self.found.filter(|(at, _)| at.elapsed() < LOOK_EVERY) {
            return pid;
        }
        let pid = listening::process_on(port).filter(|pid| *pid != std::process::id());
        self.found = Some((Instant::now(), pid));
        pid
    }
}

/// Of this process alone: its children are the target's holder and the guardian.
fn own_threads() -> HashMap<(u32, u32), Ran> {
    let own = std::process::id();
    let mut threads = procfs::threads_of(own);
    threads.retain(|(pid, _), _| *pid == own);
    threads
}

impl Reading {
    fn told(&self, now: &Self, values: &mut BTreeMap<&'static str, f64>) {
        let wall_s = now.at.duration_since(self.at).as_secs_f64().max(1e-3);
        let wall_us = wall_s * 1e6;
        for ((name, _), (before, after)) in PRESSURE.iter().zip(self.pressure.iter().zip(&now.pressure)) {
            if let (Some(before), Some(after)) = (before, after) {
                values.insert(name, percent(after.saturating_sub(*before) as f64 / wall_us));
            }
        }
        let chaos = spent(&self.chaos, &now.chaos, wall_s);
        let target = self.target.as_ref().zip(now.target.as_ref()).map(|(before, after)| spent(before, after, wall_s));
        values.insert(OWN_DELAYED, percent(chaos.waited_ns as f64 / 1e3 / wall_us));
        if let Some(target) = target {
            values.insert(DELAYED, percent(target.waited_ns as f64 / 1e3 / wall_us));
        }
        if let Some((before, after)) = self.cpu.zip(now.cpu).filter(|(before, after)| after.all > before.all) {
            let stolen = after.stolen.saturating_sub(before.stolen) as f64;
            values.insert(STEAL, percent(stolen / (after.all - before.all) as f64));
        }
        if let Some((before, after)) = self.quota.zip(now.quota) {
            let used_us = after.used_us.saturating_sub(before.used_us) as f64;
            let others_us = (used_us - target.unwrap_or_default().ran_ns as f64 / 1e3).max(0.0);
            let throttled_us = (after.throttled_us.saturating_sub(before.throttled_us) as f64).min(wall_us);
            values.insert(THROTTLED, percent(throttled_us.min(others_us) / wall_us));
        }
    }

    /// Who used how much of the CPUs.
    fn cpu_time(&self, now: &Self, values: &mut BTreeMap<&'static str, f64>) {
        let wall_s = now.at.duration_since(self.at).as_secs_f64().max(1e-3);
        let own_s = spent(&self.chaos, &now.chaos, wall_s).ran_ns as f64 / 1e9;
        values.insert(OWN_CPU, cpu_percent(own_s / wall_s));
        let target = self.target.as_ref().zip(now.target.as_ref()).map(|(before, after)| spent(before, after, wall_s));
        if let (Some(target), Some((before, after))) = (target, self.cpu.zip(now.cpu)) {
            // A tick's length follows from how many there were, whatever the kernel calls a second.
            let tick_s = wall_s * after.cpus as f64 / after.all.saturating_sub(before.all).max(1) as f64;
            let busy_s = after.busy.saturating_sub(before.busy) as f64 * tick_s;
            let idle_s = after.idle.saturating_sub(before.idle) as f64 * tick_s;
            let target_s = target.ran_ns as f64 / 1e9;
            let others = cpu_percent((busy_s - own_s - target_s - idle_s).max(0.0) / wall_s);
            values.insert(OTHERS_CPU, others);
            values.insert(TARGET_CPU, if others > 0.0 { cpu_percent(target_s / wall_s) } else { 0.0 });
        }
    }
}

/// What all threads did between two readings. One that is new did all of it since, unless it did more than there was time for; of
/// one that has ended the rest is unknown.
fn spent(before: &HashMap<(u32, u32), Ran>, after: &HashMap<(u32, u32), Ran>, wall_s: f64) -> Ran {
    let possible = |ran: &Ran| (ran.ran_ns + ran.waited_ns) as f64 / 1e9 <= wall_s;
    after.iter().fold(Ran::default(), |sum, (thread, ran)| {
        let Some(old) = before.get(thread).copied().or_else(|| possible(ran).then(Ran::default)) else { return sum };
        Ran {
            ran_ns: sum.ran_ns + ran.ran_ns.saturating_sub(old.ran_ns),
            waited_ns: sum.waited_ns + ran.waited_ns.saturating_sub(old.waited_ns),
        }
    })
}

fn percent(share: f64) -> f64 {
    above(share * 100.0, NOTHING, STEP)
}

fn cpu_percent(share: f64) -> f64 {
    above(share * 100.0, CPU_STEP / 2.0, CPU_STEP)
}

fn above(value: f64, nothing: f64, step: f64) -> f64 {
    if value < nothing { 0.0 } else { (value / step).round() * step }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threads(of: &[(u32, u64, u64)]) -> HashMap<(u32, u32), Ran> {
        of.iter().map(|(tid, ran_ns, waited_ns)| ((1, *tid), Ran { ran_ns: *ran_ns, waited_ns: *waited_ns })).collect()
    }

    fn reading(at: Instant, cpu: CpuTicks, target: &[(u32, u64, u64)]) -> Reading {
        let (target, chaos) = (Some(threads(target)), threads(&[(1, 0, 0)]));
        Reading { at, cpu: Some(cpu), pressure: [Some(0), None, None], target, chaos, quota: None }
    }

    #[test]
    fn a_targets_own_work_is_not_the_others() {
        let (begin, second) = (Instant::now(), 1_000_000_000);
        let before = reading(begin, CpuTicks { all: 1000, busy: 500, idle: 500, stolen: 0, cpus: 2 }, &[(7, 0, 0)]);
        let after = reading(
            begin + Duration::from_secs(1),
            CpuTicks { all: 1200, busy: 690, idle: 506, stolen: 4, cpus: 2 },
            &[(7, second, second / 2), (8, second / 2, 0)],
        );
        let mut values = BTreeMap::new();
        before.told(&after, &mut values);
        before.cpu_time(&after, &mut values);
        // 1.9 s were used, of which the target 1.5; for 0.06 s a CPU was idle.
        assert_eq!((values[OTHERS_CPU], values[TARGET_CPU]), (30.0, 150.0));
        assert_eq!((values[DELAYED], values[STEAL], values[OWN_CPU]), (50.0, 0.0, 0.0));
        assert!(!values.contains_key(THROTTLED) && !values.contains_key("machine.io_pressure_percent"));
    }

    #[test]
    fn a_thread_that_is_new_to_us_may_be_old() {
        let known = threads(&[(1, 100, 100)]);
        let later = threads(&[(1, 150, 100), (2, 400_000_000, 0), (3, 9_000_000_000, 0)]);
        assert_eq!(spent(&known, &later, 1.0), Ran { ran_ns: 400_000_050, waited_ns: 0 });
    }

    #[test]
    fn little_is_nothing() {
        assert_eq!((percent(0.029), percent(0.126), cpu_percent(0.04), cpu_percent(0.14)), (0.0, 13.0, 0.0, 10.0));
    }
}

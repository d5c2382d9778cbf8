//! The attack on the promise that nothing is left broken: runs are killed at moments drawn from a seed, with every kind of fault
//! that changes something, and everything must be as it was. `CHAOS_KILLS=1000` (and `CHAOS_DOUBLE_KILLS=200`, where the guardian
//! dies too and `chaos revert` has to do it) is the whole attack; the tests do a slice of it. `CHAOS_SEED` begins elsewhere.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::docker::{Backend, engine};
use crate::common::machine::said;
use crate::common::{chaos, often_by, only_folder, processes_with, stretched, wait_for};

/// Everything is as before so long after the death of `chaos`, on a machine that is not overloaded: the longest grace time and
/// command, and a margin.
const BACK_WITHIN: Duration = Duration::from_secs(8);
/// Each look is a few processes of Docker's client.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const WORKERS: u64 = 4;

/// A target and two neighbours, each of which one fault breaks, and a file that a command of the user's makes.
struct Yard {
    backends: [Backend; 3],
    before: Vec<String>,
    folder: tempfile::TempDir,
}

/// Of each set one is drawn; `NAME` stands for the container and `MARKER` for the file.
const TARGET: [&str; 4] = [
    "memory_limit: { between: WHEN, to: 300MiB, for: 60s }",
    "cpu_limit: { between: WHEN, cpus: 0.5, for: 60s }",
    "disconnect: { between: WHEN, for: 60s }",
    "websocket_drop: { between: WHEN, how: reset, listeners: all, away: 60s }",
];
const FIRST: [&str; 4] = [
    "pause: { between: WHEN, for: 60s, containers: { container: NAME } }",
    "pids_limit: { between: WHEN, to: 64, for: 60s, containers: { container: NAME } }",
    "fill_disk: { between: WHEN, path: /data, size: 8MiB, for: 60s, containers: { container: NAME } }",
    "exec_inside: { between: WHEN, command: [/chaos, --version], revert: [/chaos, --version], for: 60s, containers: { container: NAME } }",
];
const SECOND: [&str; 4] = [
    "stop: { between: WHEN, for: 60s, grace: 2s, containers: { container: NAME } }",
    "kill: { between: WHEN, for: 60s, containers: { container: NAME } }",
    "restart: { between: WHEN, grace: 2s, containers: { container: NAME } }",
    "remove: { between: WHEN, for: 60s, containers: { container: NAME } }",
];
/// One that is done at once, and slow ones that break things only after a while: as they come, in a session of their own, deaf to
/// SIGTERM.
const COMMANDS: [&str; 4] = [
    "touch MARKER",
    "sleep 1.5; touch MARKER",
    "setsid sh -c \"sleep 1.5; touch MARKER\"; true",
    "trap : TERM; sleep 1.5; sleep 0.1; touch MARKER",
];

impl Yard {
    fn new() -> Self {
        let options = ["--label", "chaos.allow=true", "--memory", "512m", "--cpus", "2", "--volume", "/data"];
        // Only what Compose has made may be removed.
        let of_compose = ["--label", "com.docker.compose.project=attacked", "--label", "com.docker.compose.service=api"];
        let backends = [0, 1, 2].map(|at| {
            let options = if at == 2 { [&options[..], &of_compose].concat() } else { options.to_vec() };
            Backend::start(&options, &["--speed", "400", "--slots", "6"])
        });
        let before = backends.iter().map(Backend::state).collect();
        Self { backends, before, folder: tempfile::tempdir().unwrap() }
    }

    fn marker(&self) -> PathBuf {
        self.folder.path().join("marker")
    }

    /// The experiment of this seed.
    fn experiment(&self, rng: &mut ChaCha8Rng) -> PathBuf {
        let mut draw = |all: &[&str], at: usize| {
            let fault = (*all.choose(rng).unwrap_or(&all[0])).to_owned();
            fault.replace("WHEN", "100ms..2s").replace("NAME", &self.backends[at].name)
        };
        let containers = [draw(&TARGET, 0), draw(&FIRST, 1), draw(&SECOND, 2)];
        let command = draw(&COMMANDS, 0).replace("MARKER", &self.marker().display().to_string());
        let marker = self.marker().display().to_string();
        let text = format!(
            "version: 1\nname: attacked\ntarget: {{ url: \"{}\", runtime: {{ docker: {{ container: {} }} }} }}\n\
             load: [{{ name: users, users: 2, think: 50ms..100ms, listen: websocket }}]\nfaults:\n\
             \x20 - {}\n\x20 - {}\n\x20 - {}\n\
             \x20 - exec: {{ between: 100ms..2s, for: 60s, shell: true, command: ['{command}'], revert: ['rm -f {marker}'], proof: ['test -e {marker}'] }}\n\
             checks: [{{ no_crash: {{}} }}]\n",
            self.backends[0].url(),
            self.backends[0].name,
            containers[0],
            containers[1],
            containers[2],
        );
        let file = self.folder.path().join("attacked.yaml");
        std::fs::write(&file, text).unwrap();
        file
    }

    fn is_as_before(&self) -> bool {
        let state = self.backends.iter().map(Backend::state_now);
        state.eq(self.before.iter().cloned().map(Some)) && !self.marker().exists() && filled(&self.backends[1]) == 0
    }

    fn difference(&self) -> String {
        let now: Vec<Option<String>> = self.backends.iter().map(Backend::state_now).collect();
        let (marker, filled) = (self.marker().exists(), filled(&self.backends[1]));
        format!("before {:#?}, now {now:#?}, marker {marker}, {filled} bytes of zeros", self.before)
    }
}

/// How large the file of `fill_disk` is, from the header of the archive that Docker's client makes of it.
fn filled(backend: &Backend) -> u64 {
    let mut copy = Command::new("docker")
        .args(["cp", &format!("{}:/data/.chaos-fill", backend.name), "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut header = [0; 512];
    let there = copy.stdout.as_mut().unwrap().read_exact(&mut header).is_ok();
    let _ = copy.kill();
    copy.wait().unwrap();
    let digits: String = header[124..136].iter().map(|byte| char::from(*byte)).filter(char::is_ascii_digit).collect();
    if there { u64::from_str_radix(&digits, 8).unwrap_or(0) } else { 0 }
}

/// A run under attack.
struct Attack<'a> {
    yard: &'a Yard,
    seed: u64,
    text: String,
    child: Child,
    home: tempfile::TempDir,
}

impl<'a> Attack<'a> {
    /// Returns within the time in which all faults are prepared, injected, looked at and held: when a drawn number of them has
    /// begun, and a drawn time later. So there are moments of each kind, however slow the machine is.
    fn begin(yard: &'a Yard, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let home = tempfile::tempdir().unwrap();
        let file = yard.experiment(&mut rng);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::create_dir(home.path().join("reports")).unwrap();
        let mut command = chaos();
        command.env("CHAOS_STATE_DIR", home.path().join("state")).args(["run", "--quiet", "--seed", &seed.to_string()]);
        command.arg("--reports").arg(home.path().join("reports")).arg(file);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let attack = Self { yard, seed, text, child, home };
        wait_for("the run's start", Duration::from_secs(60), || attack.journal().contains("\"phase\":\"baseline\""));
        let (begun, later) = (rng.random_range(0..=4), Duration::from_millis(rng.random_range(0..2_000)));
        wait_for("the faults' beginning", Duration::from_secs(60), || attack.begun() >= begun);
        std::thread::sleep(later);
        attack
    }

    fn folder(&self) -> PathBuf {
        only_folder(&self.home.path().join("reports"))
    }

    fn journal(&self) -> String {
        std::fs::read_to_string(self.folder().join("events.jsonl")).unwrap_or_default()
    }

    /// How many of its faults have begun, or never will.
    fn begun(&self) -> usize {
        let journal = self.journal();
        ["\"fault_injecting\"", "\"fault_skipped\""].iter().map(|event| journal.matches(event).count()).sum()
    }

    fn trouble(&self) -> String {
        format!("seed {}: {}\n{}\n{}", self.seed, self.yard.difference(), self.text, self.journal())
    }

    /// The run dies; the guardian has everything as before in time, tells it, and ends. How many faults were at work.
    fn killed(mut self) -> usize {
        self.child.kill().unwrap();
        let killed = Instant::now();
        self.child.wait().unwrap();
        let broken = faults_of(&self.journal(), "fault_injecting");
        while !self.yard.is_as_before() {
            assert!(killed.elapsed() < stretched(BACK_WITHIN), "{}", self.trouble());
            std::thread::sleep(LOOK_AGAIN);
        }
        wait_for("the guardian's end", Duration::from_secs(60), || processes_of(&self.folder()).is_empty());
        assert!(self.yard.is_as_before(), "later: {}", self.trouble());
        // Some more than once: what may still take effect is looked for and put back again.
        let (reverted, prepared) = (faults_of(&self.journal(), "fault_reverted"), faults_of(&self.journal(), "fault_prepared"));
        assert!(broken.is_subset(&reverted), "each is put back and told: {}", self.trouble());
        // What was only prepared is looked at, too: nothing says that it was not used.
        assert!(reverted.is_subset(&prepared), "{}", self.trouble());
        let result = std::fs::read_to_string(self.folder().join("result.json")).unwrap_or_default();
        assert!(result.contains("disappeared without a goodbye"), "{result}\n{}", self.trouble());
        let after = self.revert();
        assert!(after.0 && after.1.contains("nothing is left to put back"), "{}\n{}", after.1, self.trouble());
        broken.len()
    }

    /// The run and its guardian die; what is left is said, and put back by hand. Whether anything was broken.
    fn killed_with_its_guardian(mut self) -> bool {
        let guardians = || processes_of(&self.folder()).into_iter().filter(|pid| *pid != self.child.id()).collect::<Vec<u32>>();
        // Which of the two dies first is drawn too; the guardian is held, so that it can do nothing between.
        for pid in guardians() {
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGSTOP);
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        for pid in processes_of(&self.folder()) {
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        }
        wait_for("the end of both", Duration::from_secs(30), || processes_of(&self.folder()).is_empty());
        let was_broken = !self.yard.is_as_before();
        let (succeeded, said) = self.revert();
        assert!(succeeded, "{said}\n{}", self.trouble());
        assert!(!was_broken || said.contains("put back"), "it says `{said}`: {}", self.trouble());
        assert!(!was_broken || !said.starts_with("nothing is left"), "it says `{said}`: {}", self.trouble());
        // A slow command that nobody ended would break it later.
        let acting = processes_with(&format!("touch {}", self.yard.marker().display()));
        assert_eq!(acting, Vec::<u32>::new(), "its command is still at work: {}", self.trouble());
        assert!(self.yard.is_as_before(), "{said}\n{}", self.trouble());
        was_broken
    }

    fn revert(&self) -> (bool, String) {
        let mut command = chaos();
        let output = command.env("CHAOS_STATE_DIR", self.home.path().join("state")).arg("revert").output().unwrap();
        (output.status.success(), said(&output))
    }
}

impl Drop for Attack<'_> {
    fn drop(&mut self) {
        // It is dead already, but for one whose test has failed before that.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The faults of which the journal tells this event.
fn faults_of(journal: &str, event: &str) -> BTreeSet<String> {
    let lines = journal.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let names = lines.filter_map(|line| line.get("event")?.get(event)?.get("fault")?.as_str().map(str::to_owned));
    names.collect()
}

fn processes_of(folder: &Path) -> Vec<u32> {
    processes_with(&folder.to_string_lossy())
}

/// Each worker has a yard of its own, and takes the next seed until there is none left.
fn attack<T: Send>(rounds: u64, once: impl Fn(&Yard, u64) -> T + Sync) -> Vec<T> {
    let (first, next) = (often_by("CHAOS_SEED", 1, 1), AtomicU64::new(0));
    let worker = || {
        let yard = Yard::new();
        let mut done = Vec::new();
        loop {
            let round = next.fetch_add(1, Ordering::Relaxed);
            if round >= rounds {
                return done;
            }
            done.push(once(&yard, first + round));
            if rounds > 100 && round % 50 == 0 {
                eprintln!("{round} of {rounds}");
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS.min(rounds)).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

#[test]
fn whenever_a_run_is_killed_nothing_is_left_broken() {
    if !engine("killing chaos at random moments") {
        return;
    }
    let broken = attack(often_by("CHAOS_KILLS", 24, 200), |yard, seed| Attack::begin(yard, seed).killed());
    // The kills must have hit runs with everything broken, and with less; a few tell nothing of that.
    assert!(broken.len() < 20 || broken.contains(&4) && broken.iter().any(|n| *n < 3), "{broken:?}");
}

#[test]
fn whenever_both_are_killed_revert_finds_what_is_left() {
    if !engine("killing chaos and its guardian at random moments") {
        return;
    }
    let broken = attack(often_by("CHAOS_DOUBLE_KILLS", 8, 50), |yard, seed| {
        Attack::begin(yard, seed + 100_000).killed_with_its_guardian()
    });
    assert!(broken.len() < 10 || broken.iter().any(|was| *was), "{broken:?}");
}

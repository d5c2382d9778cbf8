//! The scheduler in simulated time: a week with two time zones, a change of the clocks, a blackout, overlap and crashes.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chaos::notify::{Notice, Notify};
use chaos::schedule::daemon::{Carrier, Daemon, Runner, Wall};
use chaos::schedule::file::{self, Job, Schedule};
use chaos::schedule::keeper::Keeper;
use chaos::schedule::store::{COULD_NOT_START, Ending, Occurrence, State, Store};
use jiff::{SignedDuration, Timestamp};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::common::often;

const EXPERIMENT: &str = "version: 1\nname: tiny\ntarget: {url: embedded}\nload: {users: 1, jobs: 1}\nduration: 10s\nchecks: [{all_jobs_complete: {within: 30s}}]\n";

fn schedule(folder: &Path, text: &str) -> Schedule {
    crate::common::gives_way();
    std::fs::write(folder.join("tiny.yaml"), EXPERIMENT).unwrap();
    let path = folder.join("schedule.yaml");
    std::fs::write(&path, text).unwrap();
    file::load(&path, &|_| None).unwrap_or_else(|diags| panic!("{}", diags.render(false)))
}

/// When a run began, and when it ended.
type Runs = Arc<Mutex<Vec<(String, Timestamp, Timestamp, Timestamp)>>>;
/// How long an entry's runs take, and how they come out, one after another; the last stays.
type Script = BTreeMap<&'static str, (u64, Vec<&'static str>)>;

/// Runs that take their time, and go on when the scheduler is gone.
#[derive(Clone)]
struct Simulated {
    store: Arc<Store>,
    wall: Wall,
    runs: Runs,
    script: Arc<Script>,
    begun: Arc<Mutex<BTreeMap<String, usize>>>,
    /// What starts the next run panics.
    panics: Arc<AtomicBool>,
}

impl Simulated {
    async fn carry_out(self, one: Occurrence) {
        assert!(!self.panics.swap(false, Ordering::Relaxed), "this is a test of what becomes of a panic");
        // As a process needs some time until it has taken the occurrence over.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let began = (self.wall)();
        if !self.store.begin(one.id, &format!("{}", one.id), began).unwrap() {
            return;
        }
        let (seconds, outcomes) = &self.script[one.entry.as_str()];
        let at = {
            let mut begun = self.begun.lock().unwrap();
            let at = begun.entry(one.entry.clone()).or_default();
            *at += 1;
            *at - 1
        };
        let outcome = outcomes[at.min(outcomes.len() - 1)];
        tokio::time::sleep(Duration::from_secs(*seconds)).await;
        let ended = (self.wall)();
        self.runs.lock().unwrap().push((one.entry.clone(), one.due, began, ended));
        let why = (outcome == "failed").then(|| "all_jobs_complete".to_owned());
        let ending = Ending { outcome: outcome.to_owned(), why, ..Ending::default() };
        assert!(self.store.finish(one.id, &ending, ended).unwrap());
    }
}

#[async_trait]
impl Runner for Simulated {
    async fn run(&self, one: &Occurrence, _: &Job) {
        let process = tokio::spawn(self.clone().carry_out(one.clone()));
        process.await.unwrap();
        if let Some(now) = self.store.get(one.id).unwrap().filter(|now| now.state == State::Running) {
            self.watch(&now).await;
        }
    }

    async fn watch(&self, one: &Occurrence) {
        while self.store.get(one.id).unwrap().is_some_and(|now| now.state == State::Running) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn stop(&self, _: &Occurrence) {}
}

/// Takes every letter, or refuses the first few.
#[derive(Default)]
struct Letters {
    taken: Mutex<Vec<(String, String)>>,
    refuse: Mutex<u32>,
}

#[async_trait]
impl Carrier for Letters {
    async fn carry(&self, channel: &Notify, notice: &Notice) -> Result<(), String> {
        let mut refuse = self.refuse.lock().unwrap();
        if *refuse > 0 {
            *refuse -= 1;
            return Err("closed".to_owned());
        }
        self.taken.lock().unwrap().push((channel.name.value.clone(), format!("{}: {}", notice.occasion, notice.text)));
        Ok(())
    }
}

struct Stage {
    schedule: Schedule,
    store: Arc<Store>,
    runner: Simulated,
    letters: Arc<Letters>,
    wall: Wall,
}

impl Stage {
    fn set(folder: &Path, text: &str, from: &str, script: Script) -> Self {
        let schedule = schedule(folder, text);
        let (from, start): (Timestamp, _) = (from.parse().unwrap(), tokio::time::Instant::now());
        let wall: Wall = Arc::new(move || from + SignedDuration::try_from(start.elapsed()).unwrap());
        let store = Arc::new(Store::open(&schedule.reports).unwrap());
        let runner = Simulated {
            store: store.clone(),
            wall: wall.clone(),
            runs: Arc::default(),
            script: Arc::new(script),
            begun: Arc::default(),
            panics: Arc::default(),
        };
        Self { schedule, store, runner, letters: Arc::default(), wall }
    }

    fn start(&self) -> JoinHandle<()> {
        let (runner, letters) = (Arc::new(self.runner.clone()), self.letters.clone());
        let daemon = Daemon::new(self.schedule.clone(), self.store.clone(), runner, letters, self.wall.clone());
        let (keep, reloads) = mpsc::channel(1);
        tokio::spawn(async move {
            daemon.serve(reloads, CancellationToken::new()).await;
            drop(keep);
        })
    }

    /// As SIGKILL does it: at once.
    async fn crash(&self, daemon: JoinHandle<()>) {
        daemon.abort();
        assert!(daemon.await.unwrap_err().is_cancelled());
    }

    async fn until(&self, moment: &str) {
        let moment: Timestamp = moment.parse().unwrap();
        tokio::time::sleep(moment.duration_since((self.wall)()).try_into().unwrap()).await;
    }

    /// The runs of an entry, the earliest first, each of another moment.
    fn runs(&self, entry: &str) -> Vec<(Timestamp, Timestamp, Timestamp)> {
        let all = self.runner.runs.lock().unwrap();
        let mut runs: Vec<_> = all.iter().filter(|run| run.0 == entry).map(|run| (run.1, run.2, run.3)).collect();
        runs.sort();
        let moments: HashSet<Timestamp> = runs.iter().map(|run| run.0).collect();
        assert_eq!(moments.len(), runs.len(), "{entry} ran twice for one moment");
        runs
    }

    fn skipped(&self, entry: &str, why: &str) -> usize {
        let all = self.store.of_entry(entry).unwrap();
        all.iter().filter(|one| one.state == State::Skipped && one.why.as_deref().is_some_and(|w| w.contains(why))).count()
    }
}

const WEEK: &str = r#"
version: 1
time_zone: Europe/Berlin
blackouts:
  - {name: launch, from: "2026-10-22T12:00:00Z", until: "2026-10-23T00:00:00Z"}
experiments:
  - {name: nightly, run: tiny.yaml, cron: "30 2 * * *", target: a}
  - {name: after-it, run: tiny.yaml, cron: "45 2 * * *", target: a}
  - {name: hourly, run: tiny.yaml, cron: "0 * * * *", time_zone: America/New_York, jitter: 5m}
  - {name: office, run: tiny.yaml, cron: "0 9 * * MON-FRI", time_zone: America/New_York, in_blackout: wait}
  - {name: itself, run: tiny.yaml, cron: "*/30 * * * *", overlap: skip, missed: skip}
"#;

fn week() -> Script {
    [("nightly", 3600), ("after-it", 600), ("hourly", 600), ("office", 600), ("itself", 2400)]
        .map(|(name, seconds)| (name, (seconds, vec!["passed"])))
        .into()
}

#[tokio::test(start_paused = true)]
async fn a_week_runs_every_experiment_exactly_as_often_as_it_should() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::set(folder.path(), WEEK, "2026-10-20T23:59:30Z", week());
    let daemon = stage.start();
    stage.until("2026-10-24T10:17:00Z").await;
    stage.crash(daemon).await;
    stage.until("2026-10-24T13:43:00Z").await;
    let daemon = stage.start();
    stage.until("2026-10-27T23:59:30Z").await;
    stage.crash(daemon).await;
    // Those that had begun end.
    tokio::time::sleep(Duration::from_secs(3600)).await;

    // Each night once, the one of 25 hours too.
    let nights = stage.runs("nightly");
    let due: Vec<String> = nights.iter().map(|run| run.0.to_string()).collect();
    assert_eq!(due.len(), 7);
    assert_eq!(due[3..6], ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    // The same target: never at once, and none lost.
    let after = stage.runs("after-it");
    assert_eq!(after.len(), 7);
    assert!(nights.iter().zip(&after).all(|(night, after)| night.2 <= after.1), "{nights:?} {after:?}");
    // 168 hours, 12 of them in the blackout; of three missed ones the last.
    assert_eq!(stage.runs("hourly").len(), 168 - 12 - 2);
    assert_eq!((stage.skipped("hourly", "blackout: launch"), stage.skipped("hourly", "a later one")), (12, 2));
    // Wednesday to Friday, Monday, Tuesday; Thursday's waits until the blackout is over.
    let office = stage.runs("office");
    assert_eq!(office.len(), 5);
    assert_eq!(office[1].0.to_string(), "2026-10-22T13:00:00Z");
    assert_eq!(office[1].1.as_second() - "2026-10-23T00:00:00Z".parse::<Timestamp>().unwrap().as_second(), 2);
    // Every half hour, 40 minutes long: every other one finds itself at work.
    assert_eq!(stage.runs("itself").len(), 168 - 12 - 3);
    assert_eq!((stage.skipped("itself", "busy"), stage.skipped("itself", "missed")), (168 - 12 - 3 - 1, 7));
}

/// Crashes at any moment, between claim and beginning too.
#[tokio::test(start_paused = true)]
async fn a_hundred_crashes_lose_and_double_nothing() {
    for seed in 0..often(2, 5) {
        let folder = tempfile::tempdir().unwrap();
        let text = "version: 1\nexperiments:\n  - {name: often, run: tiny.yaml, cron: '*/5 * * * *'}\n  - {name: long, run: tiny.yaml, cron: '3 * * * *'}\n";
        let script = [("often", (20, vec!["passed"])), ("long", (1500, vec!["passed"]))].into();
        let stage = Stage::set(folder.path(), text, "2026-11-01T00:01:00Z", script);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut daemon = stage.start();
        for _ in 0..100 {
            // Mostly around the moments at which something is started.
            let now = (stage.wall)();
            let to_next = 300 - now.as_second() % 300;
            tokio::time::sleep(Duration::from_millis((to_next * 1000 + rng.random_range(-500..8000)) as u64)).await;
            stage.crash(daemon).await;
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..30_000))).await;
            daemon = stage.start();
        }
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let end = (stage.wall)();
        stage.crash(daemon).await;
        tokio::time::sleep(Duration::from_secs(1600)).await;
        for (entry, job) in ["often", "long"].iter().zip(&stage.schedule.jobs) {
            let due = job.calendar.between("2026-11-01T00:01:00Z".parse().unwrap(), end - SignedDuration::from_secs(5)).count();
            let runs = stage.runs(entry).len();
            assert!((due..=due + 1).contains(&runs), "seed {seed}, {entry}: {runs} runs of {due}");
        }
    }
}

/// A defect of the scheduler itself costs no run, and holds up no target.
#[tokio::test(start_paused = true)]
async fn a_panic_on_the_way_to_a_run_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let text = "version: 1\nexperiments: [{name: often, run: tiny.yaml, cron: '*/5 * * * *'}]\n";
    let stage = Stage::set(folder.path(), text, "2026-11-01T00:01:00Z", [("often", (20, vec!["passed"]))].into());
    stage.runner.panics.store(true, Ordering::Relaxed);
    let daemon = stage.start();
    stage.until("2026-11-01T00:12:00Z").await;
    stage.crash(daemon).await;
    assert!(!stage.runner.panics.load(Ordering::Relaxed));
    assert_eq!(stage.runs("often").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_told_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"
version: 1
experiments:
  - {name: flaky, run: tiny.yaml, cron: "0 * * * *", silent_after: 3h}
  - {name: fussy, run: tiny.yaml, cron: "0 0 * * *", retries: 2, retry_after: 5m}
  - {name: doubtful, run: tiny.yaml, cron: "0 * * * *"}
notify:
  - {name: ops, command: {run: ["true"]}}
  - {name: all, on: [failure, inconclusive], only: [flaky], command: {run: ["true"]}}
"#;
    let outcomes = vec!["passed", "failed", "failed", "inconclusive", "failed", "passed", "passed", "inconclusive"];
    // Of what is not told, the end is not told either.
    let doubtful = ("doubtful", (60, vec!["inconclusive", "passed"]));
    let script =
        [doubtful, ("flaky", (60, outcomes)), ("fussy", (5, vec![COULD_NOT_START, COULD_NOT_START, "passed", COULD_NOT_START]))];
    let stage = Stage::set(folder.path(), text, "2026-11-01T00:30:00Z", script.into());
    *stage.letters.refuse.lock().unwrap() = 3;
    let mut daemon = stage.start();
    for hour in 2..40 {
        stage.until(&format!("2026-11-0{}T{:02}:10:00Z", 1 + hour / 24, hour % 24)).await;
        stage.crash(daemon).await;
        daemon = stage.start();
    }
    stage.until("2026-11-03T12:00:00Z").await;
    stage.crash(daemon).await;
    let taken = stage.letters.taken.lock().unwrap();
    let of = |channel: &str| taken.iter().filter(|(c, _)| c == channel).map(|(_, text)| text.clone()).collect::<Vec<String>>();
    // It fails at 2:00, again at 3:00, proves nothing at 4:00, fails at 5:00, passes at 6:00 and 7:00, and then proves nothing.
    let ops = of("ops");
    assert_eq!(ops[0], "failure: flaky failed: all_jobs_complete");
    assert_eq!(ops[1], "recovery: flaky passes again (it was: failed: all_jobs_complete)");
    assert!(ops[2].starts_with("silence: flaky: no verdict since 2026-11-01T07:01:02Z"), "{ops:#?}");
    // The second night passes at its third attempt; the third does not.
    assert_eq!(ops[3], "error: fussy could not start, 3 times");
    assert_eq!(ops.len(), 4, "{ops:#?}");
    assert_eq!(of("all"), ["failure: flaky failed: all_jobs_complete", "inconclusive: flaky inconclusive"]);
    let fussy: Vec<(u32, Option<String>)> =
        stage.store.of_entry("fussy").unwrap().into_iter().map(|one| (one.attempt, one.outcome)).collect();
    let attempt = |n: u32, outcome: &str| (n, Some(outcome.to_owned()));
    assert_eq!(fussy[..3], [attempt(1, COULD_NOT_START), attempt(2, COULD_NOT_START), attempt(3, "passed")]);
    assert_eq!(fussy.len(), 6);
}

#[test]
fn what_the_arguments_change_counts() {
    let folder = tempfile::tempdir().unwrap();
    let text = "version: 1\nexperiments:\n  - {name: a, run: tiny.yaml, cron: '0 3 * * *', args: [--url, 'http://127.0.0.1:9/']}\n  - {name: b, run: tiny.yaml, cron: '0 3 * * *', args: [--url, 'http://127.0.0.1:9', --seed, '7']}\n  - {name: c, run: tiny.yaml, cron: '0 3 * * *'}\n";
    let schedule = schedule(folder.path(), text);
    let targets: Vec<&str> = schedule.jobs.iter().map(|job| job.target.as_str()).collect();
    assert_eq!(targets, ["http://127.0.0.1:9", "http://127.0.0.1:9", "embedded:c"]);
}

/// Nothing of a year in which nobody was there is run more than once, and no more is written down than can be read.
#[test]
fn a_year_of_absence_is_caught_up_with_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let text = "version: 1\nexperiments: [{name: often, run: tiny.yaml, cron: '* * * * *'}]\n";
    let schedule = schedule(folder.path(), text);
    let keeper = Keeper { store: Arc::new(Store::open(&schedule.reports).unwrap()), schedule };
    let step = |at: &str| keeper.step(at.parse().unwrap(), &HashSet::new()).unwrap();
    assert!(step("2026-01-01T00:00:30Z").start.is_empty());
    let due: Vec<String> = step("2027-01-01T00:00:30Z").start.iter().map(|one| one.due.to_string()).collect();
    assert_eq!(due, ["2027-01-01T00:00:00Z"]);
    assert_eq!(keeper.store.of_entry("often").unwrap().len(), 10_000);
}

/// A start that was put off, and fell into the time in which nobody was there.
#[test]
fn a_start_put_off_is_missed_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let text = "version: 1\nexperiments:\n  - {name: skips, run: tiny.yaml, cron: '0 * * * *', jitter: 30m, missed: skip}\n  - {name: once, run: tiny.yaml, cron: '0 * * * *', jitter: 30m}\n";
    let schedule = schedule(folder.path(), text);
    let keeper = Keeper { store: Arc::new(Store::open(&schedule.reports).unwrap()), schedule };
    let step = |at: &str| keeper.step(at.parse().unwrap(), &HashSet::new()).unwrap();
    step("2026-01-01T00:30:00Z");
    assert!(step("2026-01-01T01:00:00Z").start.is_empty());
    let started: Vec<String> = step("2026-01-01T01:59:00Z").start.iter().map(|one| one.entry.clone()).collect();
    assert_eq!(started, ["once"]);
    let skipped = keeper.store.of_entry("skips").unwrap();
    assert_eq!(skipped.iter().map(|one| (one.state, one.why.as_deref())).collect::<Vec<_>>(), [(State::Skipped, Some("missed"))]);
}

/// An entry that was taken out of the file while its run hangs.
#[test]
fn a_run_whose_entry_is_gone_has_a_deadline_too() {
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str| format!("version: 1\nexperiments: [{{name: {name}, run: tiny.yaml, cron: '0 * * * *'}}]\n");
    let schedule = schedule(folder.path(), &of("gone"));
    let store = Arc::new(Store::open(&schedule.reports).unwrap());
    let mut keeper = Keeper { store: store.clone(), schedule };
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    keeper.step(at("2026-01-01T00:30:00Z"), &HashSet::new()).unwrap();
    let one = keeper.step(at("2026-01-01T01:00:00Z"), &HashSet::new()).unwrap().start.remove(0);
    assert!(store.begin(one.id, "1:1", at("2026-01-01T01:00:01Z")).unwrap());
    keeper.schedule = self::schedule(folder.path(), &of("other"));
    let early = keeper.step(at("2026-01-01T04:59:00Z"), &HashSet::from([one.id])).unwrap();
    assert!(early.stop.is_empty() && early.next.is_some_and(|next| next <= at("2026-01-01T05:00:01Z")));
    let late = keeper.step(at("2026-01-01T05:00:02Z"), &HashSet::from([one.id])).unwrap();
    assert_eq!(late.stop.iter().map(|stopped| stopped.id).collect::<Vec<_>>(), [one.id]);
}

#[test]
fn a_wrong_file_names_every_place() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.yaml"), "version: 1\nname: x\n").unwrap();
    std::fs::write(folder.path().join("tiny.yaml"), EXPERIMENT).unwrap();
    let text = "version: 1\ntime_zone: Mars/Base\nlisten: here\nexperiments:\n  - {name: a, run: nowhere.yaml, cron: '61 * * * *'}\n  - {name: b, run: bad.yaml, cron: '0 0 30 2 *'}\n  - {name: c, run: bad.yaml, cron: '0 3 * * *', missde: skip}\n  - {name: d, run: tiny.yaml, cron: '0 3 * * *', args: [--reports, x]}\n  - {name: e, run: tiny.yaml, cron: '0 3 * * *', args: [--set, 'faults=7']}\nblackouts: [{name: x, from: 2026-01-02, until: 2026-01-01}, {name: y}]\nnotify: [{name: n, slack: {url: nope}}, {name: m}]\n";
    let path = folder.path().join("schedule.yaml");
    std::fs::write(&path, text).unwrap();
    let shown = file::load(&path, &|_| None).unwrap_err().render(false);
    for part in [
        "Mars/Base",
        "`here` is no address",
        "61 * * * *",
        "it never comes",
        "`missde`",
        "unexpected argument '--reports'",
        "tiny.yaml --set faults=7",
        "ends before it begins",
        "no clear time",
        "`n` cannot be used",
        "`m` cannot be used",
    ] {
        assert!(shown.contains(part), "{part} is not in:\n{shown}");
    }
}

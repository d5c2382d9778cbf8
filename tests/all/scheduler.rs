//! The scheduler as it is started: killed again and again, reloaded, asked for its figures; and each way to tell somebody.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::common::{chaos, free_port, get, real, stretched};
use chaos::schedule::file;
use chaos::schedule::store::{State, Store};
use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::{RngExt, SeedableRng};

const EXPERIMENT: &str = "version: 1\nname: tiny\nseed: 1\ntime_scale: 0.01\ntarget: {url: embedded}\nload: {users: 1, jobs: 1}\nchecks: [{all_jobs_complete: {within: 1h}}]\n";

fn write(folder: &Path, text: &str) -> std::path::PathBuf {
    std::fs::write(folder.join("tiny.yaml"), EXPERIMENT).unwrap();
    let path = folder.join("schedule.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

/// A scheduler that does not outlive its test.
struct Scheduler(Child);

impl Scheduler {
    fn start(file: &Path) -> Self {
        let mut command = chaos();
        command.args(["schedule", "run"]).arg(file).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).unwrap();
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// In a few seconds, and then for a minute not again.
fn soon() -> String {
    format!("{} * * * * *", (Timestamp::now().as_second() + 6) % 60)
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        let waited = start.elapsed();
        assert!(waited < stretched(Duration::from_secs(90)), "not within {waited:.1?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_scheduler_killed_twenty_times_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(
        folder.path(),
        "version: 1\nexperiments:\n  - {name: a, run: tiny.yaml, cron: '*/4 * * * * *', missed: all}\n  - {name: b, run: tiny.yaml, cron: '1-59/5 * * * * *', missed: all, jitter: 2s}\n",
    );
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(6);
    for _ in 0..20 {
        let scheduler = Scheduler::start(&file);
        std::thread::sleep(Duration::from_millis(rng.random_range(200..3000)));
        scheduler.signal(Signal::SIGKILL);
    }
    let store = Store::open(&folder.path().join("reports")).unwrap();
    let last_kill = Timestamp::now();
    let _scheduler = Scheduler::start(&file);
    let schedule = file::load(&file, &|_| None).unwrap();
    for job in &schedule.jobs {
        let all = eventually("every run up to the last kill has ended", || {
            let all = store.of_entry(job.name()).unwrap();
            let is_past = all.last().is_some_and(|one| one.due > last_kill);
            let up_to: Vec<_> = all.into_iter().filter(|one| one.due <= last_kill).collect();
            (is_past && up_to.iter().all(|one| one.state == State::Ended)).then_some(up_to)
        });
        let first = all.first().unwrap().due;
        let due: Vec<Timestamp> = job.calendar.between(first - SignedDuration::from_millis(1), last_kill).collect();
        assert_eq!(all.iter().map(|one| one.due).collect::<Vec<_>>(), due, "{}", job.name());
        assert!(all.len() >= 5, "{}", all.len());
        let mut folders: Vec<&str> = all.iter().map(|one| one.run_id.as_deref().unwrap_or("none")).collect();
        assert!(all.iter().all(|one| one.outcome.as_deref() == Some("passed")), "{all:#?}");
        folders.sort_unstable();
        folders.dedup();
        assert_eq!(folders.len(), all.len(), "each has a run of its own");
    }
    // And no run that nobody knows of.
    let known: usize = ["a", "b"].iter().map(|e| store.of_entry(e).unwrap().iter().filter(|o| o.began.is_some()).count()).sum();
    let on_disk =
        std::fs::read_dir(&schedule.reports).unwrap().flatten().filter(|e| e.file_name().to_string_lossy().contains("-tiny-"));
    let on_disk = on_disk.count();
    assert!(on_disk <= known, "{on_disk} folders, {known} occurrences that began");
}

#[test]
fn it_serves_figures_reloads_and_refuses_a_bad_file() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let of = |name: &str| {
        format!("version: 1\nlisten: {address}\nexperiments:\n  - {{name: {name}, run: tiny.yaml, cron: '*/2 * * * * *'}}\n")
    };
    let file = write(folder.path(), &of("first"));
    let ready = folder.path().join("notify.sock");
    let socket = std::os::unix::net::UnixDatagram::bind(&ready).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(300))).unwrap();
    let mut command = chaos();
    command.args(["schedule", "run"]).arg(&file).env("NOTIFY_SOCKET", &ready).stderr(Stdio::null());
    let scheduler = Scheduler(command.spawn().unwrap());
    let told = || {
        let mut buffer = [0; 256];
        let n = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    };
    assert!(told().contains("READY=1"));
    assert_eq!(get(&address, "/health").unwrap(), "ok\n");
    let figure = |name: &str| {
        let text = get(&address, "/metrics")?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.rsplit_once(' ')?.1.parse::<f64>().ok()
    };
    let at = eventually("a verdict", || figure(r#"chaos_schedule_last_pass_timestamp_seconds{experiment="first"}"#));
    let ago = Timestamp::now().as_second() as f64 - at;
    assert!(ago.abs() < stretched(Duration::from_secs(60)).as_secs_f64(), "{at}, {ago} s ago");
    assert_eq!(figure(r#"chaos_schedule_last_exit_code{experiment="first"}"#), Some(0.0));

    std::fs::write(&file, "version: 1\nexperiments: [{name: broken}]\n").unwrap();
    scheduler.signal(Signal::SIGHUP);
    assert!(told().contains("RELOADING=1"));
    assert!(told().contains("READY=1"));
    assert_eq!(figure("chaos_schedule_last_reload_successful"), Some(0.0));
    let count = || figure(r#"chaos_schedule_occurrences_total{experiment="first",outcome="passed"}"#);
    let before = count().unwrap();
    eventually("the old schedule goes on", || count().filter(|n| *n > before));

    std::fs::write(&file, of("second")).unwrap();
    scheduler.signal(Signal::SIGHUP);
    eventually("the new schedule", || figure(r#"chaos_schedule_last_pass_timestamp_seconds{experiment="second"}"#));
    assert_eq!(figure("chaos_schedule_last_reload_successful"), Some(1.0));

    // A second one on the same memory is refused.
    let second = chaos().args(["schedule", "run"]).arg(&file).output().unwrap();
    assert_eq!(second.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another scheduler"));
    let mut scheduler = scheduler;
    scheduler.signal(Signal::SIGTERM);
    assert!(scheduler.0.wait().unwrap().success());
}

#[test]
fn a_run_that_takes_too_long_is_stopped_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("told");
    // Once within the test: a second run would go on after it.
    let cron = soon();
    let file = write(
        folder.path(),
        &format!(
            "version: 1\nexperiments:\n  - {{name: slow, run: slow.yaml, cron: '{cron}', timeout: 5s}}\nnotify:\n  - {{name: me, command: {{run: [sh, -c, 'cat >> {0}; echo >> {0}']}}}}\n",
            told.display()
        ),
    );
    let slow = "version: 1\nname: slow\ntarget: {url: embedded}\nload: {users: 1}\nduration: 10m\nchecks: [{all_jobs_complete: {within: 30s}}]\n";
    std::fs::write(folder.path().join("slow.yaml"), slow).unwrap();
    let (_scheduler, began) = (Scheduler::start(&file), Instant::now());
    let text = eventually("a notice", || std::fs::read_to_string(&told).ok().filter(|text| text.contains('\n')));
    let notice: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(notice["outcome"], "timed_out");
    assert_eq!(notice["occasion"], "error");
    let run = notice["run"].as_str().unwrap();
    let result: serde_json::Value = serde_json::from_slice(&std::fs::read(Path::new(run).join("result.json")).unwrap()).unwrap();
    assert_eq!(result["outcome"], "interrupted");
    // Due within 6 s, stopped 5 s later: not when something else is due, or when the scheduler looks anyway.
    assert!(began.elapsed() < stretched(Duration::from_secs(40)), "{:.0?}", began.elapsed());
}

#[test]
fn only_a_run_that_could_not_start_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    // All attempts belong to the first moment.
    let cron = soon();
    let file = write(
        folder.path(),
        &format!(
            "version: 1\nexperiments:\n  - {{name: nobody, run: nobody.yaml, cron: '{cron}', retries: 2, retry_after: 1s}}\n  - {{name: fails, run: fails.yaml, cron: '{cron}', retries: 2, retry_after: 1s}}\n"
        ),
    );
    let nobody = EXPERIMENT.replace("{url: embedded}", &format!("{{url: \"http://127.0.0.1:{}\"}}", free_port()));
    std::fs::write(folder.path().join("nobody.yaml"), nobody).unwrap();
    let fails = EXPERIMENT
        .replace("{url: embedded}", "{url: embedded, backend: {defects: [accepted-then-dropped]}}")
        .replace("jobs: 1", "jobs: 12");
    std::fs::write(folder.path().join("fails.yaml"), fails).unwrap();
    let _scheduler = Scheduler::start(&file);
    let store = Store::open(&folder.path().join("reports")).unwrap();
    let first = |entry: &str| {
        let all = store.of_entry(entry).unwrap();
        let due = all.first()?.due;
        Some(
            all.into_iter()
                .filter(|one| one.due == due && one.state == State::Ended)
                .map(|one| (one.attempt, one.outcome.unwrap()))
                .collect::<Vec<_>>(),
        )
    };
    let attempts = eventually("three attempts", || first("nobody").filter(|all| all.len() == 3));
    assert!(attempts.iter().all(|(_, outcome)| outcome == "could_not_start"), "{attempts:?}");
    assert_eq!(eventually("its end", || first("fails").filter(|all| !all.is_empty())), [(1, "failed".to_owned())]);
    // What it said is in the run's folder.
    let logs = || std::fs::read_dir(folder.path().join("reports/schedule-logs")).unwrap().flatten().map(|e| e.file_name());
    let due = store.of_entry("fails").unwrap()[0].due.strftime("fails-%Y%m%dT%H%M%SZ").to_string();
    eventually("the log's end", || (!logs().any(|name| name.to_string_lossy().starts_with(&due))).then_some(()));
    let status = |more: &[&str]| {
        let out = chaos().args(["schedule", "status"]).arg(&file).args(more).output().unwrap();
        (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr))
    };
    let text = status(&[]).1;
    assert!(text.contains("could_not_start") && text.contains("all_jobs_complete"), "{text}");
    let all: serde_json::Value = serde_json::from_str(&status(&["--format", "json"]).1).unwrap();
    assert!(all.as_array().unwrap().iter().any(|one| one["entry"] == "fails" && one["outcome"] == "failed"), "{all:#}");
    std::fs::write(folder.path().join("other.yaml"), std::fs::read_to_string(&file).unwrap() + "reports: other\n").unwrap();
    let never = chaos().args(["schedule", "status"]).arg(folder.path().join("other.yaml")).output().unwrap();
    assert_eq!(never.status.code(), Some(4));
    assert!(!folder.path().join("other").exists(), "looking makes nothing");
}

/// Takes connections and hands over what each said; `speak` answers.
fn listen(speak: fn(TcpStream) -> String) -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (said, heard) = mpsc::channel();
    std::thread::spawn(move || listener.incoming().flatten().try_for_each(|stream| said.send(speak(stream)).ok()));
    (port, heard)
}

fn http(stream: TcpStream) -> String {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut all, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some((name, value)) = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
            assert!(!name.is_empty());
            length = value.trim().parse().unwrap();
        }
        all.push_str(&line);
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let mut stream = stream;
    write!(stream, "HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    all + &String::from_utf8(body).unwrap()
}

/// Enough SMTP to take one mail.
fn smtp(mut stream: TcpStream) -> String {
    let reader = BufReader::new(stream.try_clone().unwrap());
    write!(stream, "220 test\r\n").unwrap();
    let (mut all, mut in_data) = (String::new(), false);
    for line in reader.lines().map_while(Result::ok) {
        all.push_str(&line);
        all.push('\n');
        let answer = match line.as_str() {
            "." => {
                in_data = false;
                "250 taken"
            }
            _ if in_data => continue,
            "DATA" => {
                in_data = true;
                "354 go on"
            }
            "QUIT" => "221 bye",
            _ => "250 ok",
        };
        write!(stream, "{answer}\r\n").unwrap();
        if line == "QUIT" || line == "." {
            break;
        }
    }
    all
}

#[test]
fn every_channel_tells_of_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let ((hook, hooked), (chat, chatted), (mail, mailed)) = (listen(http), listen(http), listen(smtp));
    let told = folder.path().join("told");
    let file = write(
        folder.path(),
        &format!(
            r#"
version: 1
experiments: [{{name: bad, run: bad.yaml, cron: "*/3 * * * * *"}}]
notify:
  - {{name: hook, webhook: {{url: "http://127.0.0.1:{hook}/x", secret: "${{secret:HOOK}}", body: {{summary: "{{{{text}}}}", code: "{{{{exit_code}}}}"}}}}}}
  - {{name: chat, slack: {{url: "http://127.0.0.1:{chat}/y", text: "<b> {{{{text}}}}"}}}}
  - {{name: mail, email: {{server: "smtp://127.0.0.1:{mail}", from: chaos@example.org, to: [a@example.org, "B <b@example.org>"]}}}}
  - {{name: program, command: {{run: [sh, -c, 'echo "$CHAOS_OCCASION $CHAOS_TEXT" >> {}']}}}}
"#,
            told.display()
        ),
    );
    let bad = EXPERIMENT
        .replace("{url: embedded}", "{url: embedded, backend: {defects: [accepted-then-dropped]}}")
        .replace("jobs: 1", "jobs: 12");
    let bad = bad.replace("name: tiny", "name: bad");
    std::fs::write(folder.path().join("bad.yaml"), bad).unwrap();
    let with_secret = |command: &str| {
        let mut all = chaos();
        all.args(["schedule", command]).arg(&file).env("HOOK", "a-long-secret").stderr(Stdio::null());
        all
    };
    let wait = Duration::from_secs(300);
    // Before anything happens it can be seen whether everybody can be told.
    assert_eq!(with_secret("tell").status().unwrap().code(), Some(0));
    assert!(hooked.recv_timeout(wait).unwrap().contains("nothing has happened"));
    assert!(chatted.recv_timeout(wait).unwrap().contains("this is a test of the channel chat"));
    assert!(mailed.recv_timeout(wait).unwrap().contains("this is a test of the channel mail"));
    std::fs::remove_file(&told).unwrap();
    let _scheduler = Scheduler(with_secret("run").spawn().unwrap());
    let hooked = hooked.recv_timeout(wait).unwrap();
    let headers: BTreeMap<String, &str> =
        hooked.lines().filter_map(|l| l.split_once(": ")).map(|(k, v)| (k.to_ascii_lowercase(), v)).collect();
    let body = hooked.split_once("\r\n\r\n").unwrap().1;
    let signed = format!("{}.{}.{body}", headers["webhook-id"], headers["webhook-timestamp"]);
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"a-long-secret");
    let tag = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, &headers["webhook-signature"][3..]).unwrap();
    ring::hmac::verify(&key, signed.as_bytes(), &tag).unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body, serde_json::json!({ "summary": "bad failed: all_jobs_complete", "code": 1 }));
    assert!(chatted.recv_timeout(wait).unwrap().contains("&lt;b&gt; bad failed: all_jobs_complete"));
    let mail = mailed.recv_timeout(wait).unwrap();
    for part in
        ["RCPT TO:<a@example.org>", "RCPT TO:<b@example.org>", "Subject: chaos: bad failed: all_jobs_complete", "Outcome: failed"]
    {
        assert!(mail.contains(part), "{part} is not in\n{mail}");
    }
    eventually("the program", || {
        std::fs::read_to_string(&told).ok().filter(|t| t.starts_with("failure bad failed: all_jobs_complete"))
    });
    // It goes on failing: nobody is told again.
    let store = Store::open(&folder.path().join("reports")).unwrap();
    eventually("two more failures", || {
        (store.of_entry("bad").unwrap().iter().filter(|o| o.state == State::Ended).count() >= 3).then_some(())
    });
    assert!(hooked_again(&chatted));
    assert_eq!(std::fs::read_to_string(&told).unwrap().lines().count(), 1);
}

fn hooked_again(channel: &mpsc::Receiver<String>) -> bool {
    matches!(channel.try_recv(), Err(mpsc::TryRecvError::Empty))
}

#[test]
fn a_schedule_is_checked_and_exported() {
    let folder = tempfile::tempdir().unwrap();
    let text = "version: 1\ntime_zone: Europe/Berlin\nblackouts: [{name: freeze, cron: '0 0 24 12 *', for: 3d}]\nexperiments:\n  - {name: nightly, run: tiny.yaml, cron: '30 2 * * MON-FRI', jitter: 10m, args: [--seed, '7']}\n  - {name: either, run: tiny.yaml, cron: '*/15 8-9 1,15 * SUN', missed: skip, overlap: skip}\n";
    let file = write(folder.path(), text);
    let run = |args: &[&str]| {
        let out = chaos().arg("schedule").arg(args[0]).arg(&file).args(&args[1..]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    let shown = run(&["check", "--from", "2026-12-22T12:00:00Z", "--next", "3"]);
    assert!(shown.contains("Wed 2026-12-23 02:3") && shown.contains("blackout: freeze, left out"), "{shown}");
    let units = run(&["export", "--systemd"]);
    for part in [
        "OnCalendar=Mon,Tue,Wed,Thu,Fri *-*-* 02:30:00 Europe/Berlin",
        "RandomizedDelaySec=600",
        "Persistent=true",
        "OnCalendar=*-*-01,15 08,09:00,15,30,45:00 Europe/Berlin",
        "OnCalendar=Sun *-*-* 08,09:00,15,30,45:00 Europe/Berlin",
        "\"--seed\" \"7\"",
        "# not here: the blackout `freeze`",
    ] {
        assert!(units.contains(part), "{part} is not in\n{units}");
    }
    same_as_systemd(&file, &units);
    let shown: serde_json::Value =
        serde_json::from_str(&run(&["check", "--from", "2026-12-22T12:00:00Z", "--format", "json"])).unwrap();
    assert_eq!(shown[0]["starts"][1]["blackout"], serde_json::json!(["freeze", "skip"]), "{shown:#}");
    let lines = run(&["export", "--cron"]);
    assert!(lines.contains("CRON_TZ=Europe/Berlin\n30 2 * * MON-FRI mkdir -p "), "{lines}");
    assert!(lines.contains("# not here: jitter") && lines.contains("--nonblock"), "{lines}");
    // The line does what it says, as a cron would run it.
    let line = lines.lines().find_map(|line| line.strip_prefix("30 2 * * MON-FRI ")).unwrap().replace("\\%", "%");
    let program = Path::new(env!("CARGO_BIN_EXE_chaos")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let state = tempfile::tempdir().unwrap();
    let mut cron = shell(&line);
    cron.env("PATH", path).env("CHAOS_STATE_DIR", state.path()).env_remove("RUST_LOG").stdin(Stdio::null());
    let status = cron.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success(), "{line}: {status}");
    let runs = std::fs::read_dir(folder.path().join("reports")).unwrap().flatten();
    assert_eq!(runs.filter(|e| e.path().join("result.json").exists()).count(), 1);
    let objects = run(&["export", "--kubernetes", "--image", "me/chaos:1"]);
    for part in ["kind: CronJob", "timeZone: Europe/Berlin", "concurrencyPolicy: Forbid", "backoffLimit: 0", "image: me/chaos:1"]
    {
        assert!(objects.contains(part), "{part} is not in\n{objects}");
    }
}

fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    command
}

/// systemd reads the exported calendars, and finds the moments that we find.
fn same_as_systemd(file: &Path, units: &str) {
    if !real("systemd-analyze", "the exported units and calendars, read by systemd") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let written =
        chaos().args(["schedule", "export", "--systemd"]).arg(file).arg("--output").arg(folder.path()).output().unwrap();
    let names = String::from_utf8(written.stdout).unwrap();
    let verified = Command::new("systemd-analyze").arg("verify").args(names.lines()).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(verified.status.success() && !said.contains(".timer") && !said.contains(".service"), "{said}");
    let schedule = file::load(file, &|_| None).unwrap();
    for job in &schedule.jobs {
        let timer = units.split("# chaos-").find(|unit| unit.starts_with(&format!("{}.timer", job.name()))).unwrap();
        let calendars: Vec<&str> = timer.lines().filter_map(|line| line.strip_prefix("OnCalendar=")).collect();
        let base = "2026-11-24T00:00:00Z";
        let output = Command::new("systemd-analyze")
            .args(["calendar", "--iterations=40", "--base-time=2026-11-24 00:00:00 UTC"])
            .args(&calendars)
            .env("TZ", "UTC")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout);
        let moment = |line: &str| {
            let (_, rest) = line.split_once(": ")?;
            let stamp = line.contains("UTC").then(|| rest.trim().get(4..23))??;
            format!("{}Z", stamp.replace(' ', "T")).parse::<Timestamp>().ok()
        };
        let mut theirs: Vec<Timestamp> = text
            .lines()
            .filter(|l| l.contains("elapse:") || l.contains("Iter.") || l.contains("Iteration"))
            .filter_map(moment)
            .collect();
        theirs.sort();
        theirs.dedup();
        let ours: Vec<Timestamp> = job.calendar.between(base.parse().unwrap(), Timestamp::MAX).take(30).collect();
        assert!(theirs.len() >= 30, "{text}");
        assert_eq!(theirs[..30], ours, "{}", job.name());
    }
}

//! Containers for real: each fault happens and is undone, permission is asked for, and nothing is mistaken for another.
//! Where no engine answers the tests say so; with `CHAOS_TEST_REAL=1` that is a failure.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::common::docker::{Backend, docker, engine};
use crate::common::{Run, chaos, finished, free_port, only_folder, run, stretched, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// One of the experiments of this repository, four times faster, against this container.
fn experiment(name: &str, backend: &Backend, more: &[&str]) -> Run {
    let file = format!("experiments/docker/{name}.yaml");
    let container = format!("target.runtime.docker.container={}", backend.name);
    let (url, patience) = (backend.url(), patience(&file));
    let mut arguments = vec![file.as_str(), "--set", &container, "--url", &url, "--time-scale", "0.25"];
    arguments.extend(patience.iter().flat_map(|setting| ["--set", setting.as_str()]));
    arguments.extend(more);
    run(&arguments)
}

/// What these experiments say of latency, and of memory beside jobs that end sooner or later, holds on a machine that does
/// nothing else: here the other tests come and go.
fn patience(file: &str) -> Vec<String> {
    const SETTINGS: [(&str, &str); 4] = [
        ("time_to_recover", "tolerance=100%"),
        ("cold_warm", "to_within=100%"),
        ("health_is_honest", "silence=5s"),
        ("restarts_cleanly", "memory_to_within=50%"),
    ];
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let (_, checks) = text.split_once("\nchecks:\n").unwrap();
    let setting = |(at, line): (usize, &str)| {
        let (check, setting) = SETTINGS.iter().find(|(check, _)| line.contains(&format!("- {check}:")))?;
        Some(format!("checks.{at}.{check}.{setting}"))
    };
    checks.lines().enumerate().filter_map(setting).collect()
}

/// The speed that fits a time scale of 0.25.
const FAST: &[&str] = &["--speed", "400", "--slots", "6"];

fn with(defect: &str) -> Vec<&str> {
    [FAST, &["--defect", defect]].concat()
}

/// A quarter of that: whenever the fault comes, jobs are under way.
const BUSY: &[&str] = &["--speed", "100", "--slots", "6"];

/// The experiment passes on a healthy backend, which is afterwards as before, and finds the defect by one of these checks.
fn tells_apart(name: &str, backend: &[&str], defect: &str, checks: &[&str]) {
    if !engine(name) {
        return;
    }
    let healthy = Backend::allowed(backend);
    let before = healthy.state();
    let done = experiment(name, &healthy, &[]);
    assert!(done.is_healthy_but_for(&[]), "{}", done.trouble());
    assert_eq!(healthy.state(), before);
    let defective = Backend::allowed(&[backend, &["--defect", defect]].concat());
    let done = experiment(name, &defective, &[]);
    assert!(checks.iter().any(|check| done.finds(check)), "{defect}: {}", done.trouble());
}

#[test]
fn a_restart_is_survived_and_lost_jobs_are_found() {
    tells_apart("restart", BUSY, "jobs-lost-on-restart", &["all_jobs_complete"]);
}

#[test]
fn a_kill_under_load_is_survived_and_jobs_done_twice_are_found() {
    tells_apart("kill-under-load", BUSY, "jobs-run-twice", &["no_duplicate_work"]);
}

#[test]
fn the_kernels_out_of_memory_killer_is_survived_and_lost_jobs_are_found() {
    tells_apart("oom-kill", BUSY, "jobs-lost-on-restart", &["all_jobs_complete"]);
}

#[test]
fn a_pause_is_survived_and_a_job_that_vanishes_is_found() {
    tells_apart("pause", FAST, "accepted-then-dropped", &["all_jobs_complete"]);
}

#[test]
fn a_lost_network_is_survived_and_a_job_that_vanishes_is_found() {
    tells_apart("disconnect", FAST, "accepted-then-dropped", &["all_jobs_complete"]);
}

#[test]
fn a_backend_that_ignores_sigterm_serves_on_for_the_whole_grace_time_and_is_told() {
    if !engine("ignoring SIGTERM in a container") {
        return;
    }
    let backend = Backend::allowed(&with("ignores-sigterm"));
    let grace = 4.0;
    let done = experiment("restart", &backend, &["--set", &format!("faults.0.restart.grace={grace}s")]);
    assert!(done.finds("restarts_cleanly"), "{}", done.trouble());
    let observed = check(&done, "restarts_cleanly")["observed"].as_str().unwrap_or_default().to_owned();
    assert!(observed.contains("did not end when asked to"), "{observed}");
    // It was down from its death on, not from the moment when it was asked to end: however long the new start takes.
    let down: f64 = observed.split("down for ").nth(1).and_then(|s| s.split(' ').next()?.parse().ok()).unwrap_or(99.0);
    let asked = done.result["faults"][0]["injected_at_s"].as_f64().unwrap();
    let ready = last_ready(&done);
    assert!(down < ready - asked - grace / 2.0, "{observed}; asked at {asked}, ready again at {ready}");
}

/// When the target's process was seen ready for the last time.
fn last_ready(run: &Run) -> f64 {
    let journal = std::fs::read_to_string(run.folder.join("events.jsonl")).unwrap();
    let line = journal.lines().rfind(|line| line.contains("{\"process\":{\"event\":{\"ready\"")).expect("it was ready");
    serde_json::from_str::<serde_json::Value>(line).unwrap()["t"].as_f64().unwrap()
}

fn check(run: &Run, name: &str) -> serde_json::Value {
    run.result["checks"].as_array().and_then(|all| all.iter().find(|c| c["name"] == name)).cloned().unwrap_or_default()
}

/// A short experiment with these faults against these containers.
fn write(folder: &Path, backend: &Backend, docker: &str, faults: &str) -> String {
    let text = format!(
        "version: 1\nname: short\ntarget: {{ url: \"{}\", runtime: {{ docker: {{ {docker} }} }} }}\nload: [{{ name: users, users: 4, think: 20ms..100ms }}]\nfaults: [{faults}]\nchecks: [{{ no_crash: {{}} }}, {{ all_jobs_complete: {{ within: 30s }} }}]\n",
        backend.url()
    );
    let path = folder.join("short.yaml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn short(backend: &Backend, docker: &str, faults: &str) -> Run {
    let folder = tempfile::tempdir().unwrap();
    run(&[&write(folder.path(), backend, docker, faults)])
}

fn proof(run: &Run, fault: &str) -> String {
    check(run, &format!("fault {fault}")).to_string()
}

#[test]
fn limits_are_lowered_in_the_kernel_and_set_back_with_and_without_one_before() {
    if !engine("limits of containers") {
        return;
    }
    let limited = Backend::allowed(FAST);
    let free = Backend::start(&["--label", "chaos.allow=true"], FAST);
    let faults = "{ memory_limit: { at: 500ms, to: 200MiB, for: 1s } }, { cpu_limit: { at: 500ms, cpus: 0.5, for: 1s } }, { pids_limit: { at: 500ms, to: 64, for: 1s } }";
    for backend in [&limited, &free] {
        let done = short(backend, &format!("container: {}", backend.name), faults);
        assert_eq!(done.code, Some(0), "{}", done.trouble());
        for (fault, seen) in [("memory_limit", "200MiB"), ("cpu_limit", "periods"), ("pids_limit", "64")] {
            assert!(proof(&done, fault).contains(seen), "{}", proof(&done, fault));
        }
    }
    assert!(limited.state().contains("memory 536870912/1073741824 pids none cpus 0/0"), "{}", limited.state());
    // The engine's figure for "none" after it has been set once; the kernel's is what counts.
    assert!(free.state().contains("memory 0/0 pids none cpus 0/0"), "{}", free.state());
    let stats = docker(&["stats", "--no-stream", "--format", "{{.MemUsage}}", &free.name]);
    assert!(stats.contains("GiB"), "no limit means all of the machine's: {stats}");
}

#[test]
fn a_folder_is_filled_and_emptied() {
    if !engine("filling a volume") {
        return;
    }
    let backend = Backend::allowed(FAST);
    let done = short(
        &backend,
        &format!("container: {}", backend.name),
        "{ fill_disk: { at: 500ms, path: /data, size: 5MiB, for: 1s } }",
    );
    assert_eq!(done.code, Some(0), "{}", done.trouble());
    assert!(proof(&done, "fill_disk").contains("5MiB of 5MiB lie in /data"), "{}", proof(&done, "fill_disk"));
    let archive = Command::new("docker").args(["cp", &format!("{}:/data/.chaos-fill", backend.name), "-"]).output().unwrap();
    assert!(archive.stdout.len() < 4096, "{} bytes are left", archive.stdout.len());
}

#[test]
fn a_container_without_permission_is_not_touched_and_the_message_says_how_to_permit_it() {
    if !engine("permission") {
        return;
    }
    let backend = Backend::start(&[], FAST);
    let folder = tempfile::tempdir().unwrap();
    let began = backend.inspect("{{.State.StartedAt}}");
    let file = write(folder.path(), &backend, &format!("container: {}", backend.name), "{ kill: { at: 1s } }");
    let done = run(&[&file]);
    assert_eq!(done.code, Some(4), "{}", done.trouble());
    let remedy = format!("--allow {}", backend.name);
    assert!(done.stderr.contains(&remedy) && done.stderr.contains("chaos.allow=true"), "{}", done.stderr);
    assert_eq!(backend.inspect("{{.State.StartedAt}}"), began);
    // What the message says is what permits it; what is protected stays untouched even then.
    let done = run(&[&file, "--allow", &backend.name]);
    assert_eq!(done.code, Some(0), "{}", done.trouble());
    assert_ne!(backend.inspect("{{.State.StartedAt}}"), began);
    let protected = format!("target.runtime.docker.protect=[{}]", backend.name);
    let done = run(&[&file, "--allow", &backend.name, "--set", &protected]);
    assert!(done.code == Some(4) && done.stderr.contains("is protected"), "{}", done.trouble());
}

#[test]
fn a_selector_that_matches_more_than_expected_stops_before_the_first_fault() {
    if !engine("selectors") {
        return;
    }
    let role = format!("chaos.test.role={}p{}", std::process::id(), free_port());
    let label = ["--label", "chaos.allow=true", "--label", role.as_str()];
    let pair = [Backend::start(&label, FAST), Backend::start(&label, FAST)];
    let began: Vec<String> = pair.iter().map(|b| b.inspect("{{.State.StartedAt}}")).collect();
    let done = short(&pair[0], &format!("label: {role}"), "{ kill: { at: 500ms } }");
    assert!(done.code == Some(4) && done.stderr.contains("at most 1"), "{}", done.trouble());
    assert_eq!(pair.iter().map(|b| b.inspect("{{.State.StartedAt}}")).collect::<Vec<_>>(), began);
    // With the right number both are broken, one after the other; with half of them, one: the same one for the same seed.
    let both = "{ kill: { at: 500ms, for: 300ms, containers: { order: rolling, gap: 500ms } } }";
    let done = short(&pair[0], &format!("label: {role}, at_most: 2"), both);
    assert!(proof(&done, "kill").contains("\"verdict\":\"passed\""), "{}", done.trouble());
    let half = "{ pause: { at: 500ms, for: 300ms, containers: { share: 50% } } }";
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), &pair[0], &format!("label: {role}, at_most: 2"), half);
    let chosen = |_: u32| {
        let done = run(&[&file, "--seed", "5"]);
        let text = std::fs::read_to_string(done.folder.join("events.jsonl")).unwrap();
        pair.iter().map(|b| text.contains(&format!("\"name\":\"{}\",\"action\":\"pause\"", b.name))).collect::<Vec<bool>>()
    };
    let (first, second) = (chosen(1), chosen(2));
    assert_eq!(first, second);
    assert_eq!(first.iter().filter(|hit| **hit).count(), 1, "{first:?}");
}

#[test]
fn a_container_that_somebody_replaces_is_followed_and_an_impostor_is_not() {
    if !engine("replaced containers") {
        return;
    }
    let labels =
        ["--label", "chaos.allow=true", "--label", "com.docker.compose.project=p", "--label", "com.docker.compose.service=s"];
    let backend = Backend::start(&labels, FAST);
    let (old, volume) = (backend.inspect("{{.Id}}"), backend.inspect("{{range .Mounts}}{{.Name}}{{end}}"));
    let made = short(&backend, &format!("container: {}", backend.name), "{ remove: { at: 500ms, for: 300ms } }");
    assert!(made.verdict("fault remove") == "passed", "{}", made.trouble());
    assert_ne!(backend.inspect("{{.Id}}"), old);
    let note = std::fs::read_to_string(made.folder.join("report.md")).unwrap();
    assert!(note.contains("was removed, and is followed"), "{note}");
    // The volume of the first one is the second one's: jobs that were accepted before are known after.
    assert_eq!(made.verdict("all_jobs_complete"), "passed", "{}", made.trouble());
    // The second one knows it by its name, and so the engine leaves it behind.
    drop(backend);
    docker(&["volume", "rm", "--force", &volume]);
    // One that Compose did not make cannot be made again as it was: it is not removed.
    let plain = Backend::allowed(FAST);
    let refused = short(&plain, &format!("container: {}", plain.name), "{ remove: { at: 500ms, for: 300ms } }");
    assert!(proof(&refused, "remove").contains("was not made by Compose"), "{}", refused.trouble());
    assert_eq!(plain.inspect("{{.State.Running}}"), "true");
}

#[test]
fn without_an_engine_the_run_ends_with_one_sentence_and_nothing_else_needs_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.yaml");
    let text = "version: 1\nname: x\ntarget: { url: \"http://127.0.0.1:9\", runtime: { docker: { container: x, host: \"unix:///nowhere.sock\" } } }\nload: [{ users: 1 }]\nfaults: [{ kill: { at: 1s } }]\nchecks: [{ no_crash: {} }]\n";
    std::fs::write(&file, text).unwrap();
    let done = run(&[file.to_str().unwrap()]);
    assert_eq!(done.code, Some(4), "{}", done.trouble());
    assert!(
        done.stderr.contains("no container engine answers at unix:///nowhere.sock") && done.stderr.contains("DOCKER_HOST"),
        "{}",
        done.stderr
    );
    let plan = chaos().arg("plan").arg(&file).output().unwrap();
    assert!(plan.status.success() && String::from_utf8_lossy(&plan.stdout).contains("sends SIGKILL"), "{plan:?}");
}

#[test]
fn two_runs_on_the_same_container_exclude_each_other() {
    if !engine("two runs at a time") {
        return;
    }
    let backend = Backend::allowed(FAST);
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), &backend, &format!("container: {}", backend.name), "{ pause: { at: 2s, for: 1s } }");
    let reports = tempfile::tempdir().unwrap();
    // The first one is at work until it is told to end, however long the second takes to start.
    let first = chaos()
        .args(["run", &file, "--set", "duration=10m", "--reports"])
        .arg(reports.path())
        .args(["--format", "json"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let journal = || std::fs::read_to_string(only_folder(reports.path()).join("events.jsonl")).unwrap_or_default();
    wait_for("the first run's load", Duration::from_secs(30), || journal().contains("submitting"));
    let second = run(&[&file]);
    wait_for("the first run's fault", Duration::from_secs(30), || journal().contains("\"fault_over\""));
    kill(Pid::from_raw(first.id().cast_signed()), Signal::SIGTERM).unwrap();
    let first = finished(first.wait_with_output().unwrap(), reports);
    assert!(second.code == Some(4) && second.stderr.contains("is at work on"), "{}", second.trouble());
    assert_eq!((first.code, first.verdict("fault pause")), (Some(130), "passed"), "{}", first.trouble());
    let third = run(&[&file]);
    assert!(third.is_healthy_but_for(&[]), "the claim is given up at the end: {}", third.trouble());
}

/// A way to the engine that can be cut: a Unix socket of ours in front of the engine's.
struct Relay {
    path: std::path::PathBuf,
    _folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    open: tokio::sync::watch::Sender<bool>,
}

impl Relay {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.sock");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let open = tokio::sync::watch::Sender::new(true);
        let listener = runtime.block_on(async { tokio::net::UnixListener::bind(&path) }).unwrap();
        let gate = open.clone();
        runtime.spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut gate = gate.subscribe();
                tokio::spawn(async move {
                    if !*gate.borrow_and_update() {
                        return;
                    }
                    let Ok(mut far) = tokio::net::UnixStream::connect("/var/run/docker.sock").await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = gate.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { path, _folder: folder, runtime, open }
    }
}

#[test]
fn an_engine_that_goes_away_and_comes_back_is_waited_for() {
    if !engine("an engine that goes away") || !Path::new("/var/run/docker.sock").exists() {
        return;
    }
    let backend = Backend::allowed(FAST);
    let before = backend.state();
    let relay = Relay::start();
    let host = format!("container: {}, host: \"unix://{}\"", backend.name, relay.path.display());
    let folder = tempfile::tempdir().unwrap();
    // The way is cut while the pause lasts, also where this test is slow to see it.
    let faults = format!("{{ pause: {{ at: 500ms, for: {}ms }} }}", stretched(Duration::from_secs(3)).as_millis());
    let file = write(folder.path(), &backend, &host, &faults);
    let reports = tempfile::tempdir().unwrap();
    let child = chaos()
        .args(["run", &file, "--reports"])
        .arg(reports.path())
        .args(["--format", "json"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let journal = || std::fs::read_to_string(only_folder(reports.path()).join("events.jsonl")).unwrap_or_default();
    wait_for("the pause", Duration::from_secs(30), || journal().contains("\"when\":\"during\""));
    relay.open.send_replace(false);
    wait_for("the revert in vain", Duration::from_secs(30), || journal().contains("fault_reverting"));
    assert_eq!(backend.inspect("{{.State.Status}}"), "paused");
    relay.open.send_replace(true);
    let done = finished(child.wait_with_output().unwrap(), reports);
    assert_eq!(backend.state(), before);
    // Whether it was paused all the time nobody could see; everything else is known.
    let told = proof(&done, "pause");
    assert_eq!(done.verdict("fault pause"), "inconclusive", "{}", done.trouble());
    assert!(told.contains("the engine cannot be reached") && !told.contains("not seen put back"), "{told}");
    relay.runtime.shutdown_background();
    let _ = std::io::stdout().flush();
}

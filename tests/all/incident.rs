//! An incident with a hidden schedule of faults is brought back from the backend's own log and metrics alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::docker::{Backend, docker, engine};
use crate::common::{Ending, wait_for};
use serde_json::{Value as Json, json};

/// Users, a burst, a flood that exhausts the memory, and a kill.
const HIDDEN: &str = r#"
version: 1
name: hidden
seed: 11
target: {url: embedded, backend: {speed: 100, defects: [jobs-lost-on-restart]}}
load: [{users: 3, think: 100ms..400ms, for: 14s}]
duration: 14s
faults:
  - burst: {at: 2s, jobs: 6}
  - flood: {at: 4s, jobs: 8, job: {width: 1024, height: 1024}}
  - restart: {at: 6500ms, how: kill, down: 500ms}
checks: [{all_jobs_complete: {within: 60s}}]
"#;

fn chaos(folder: &Path) -> Command {
    let mut command = crate::common::chaos();
    command.current_dir(folder);
    command
}

fn result(reports: &Path) -> (PathBuf, Json) {
    let run = std::fs::read_dir(reports).unwrap().flatten().map(|e| e.path()).find(|p| p.join("result.json").exists()).unwrap();
    let json = serde_json::from_slice(&std::fs::read(run.join("result.json")).unwrap()).unwrap();
    (run, json)
}

fn verdict(result: &Json, check: &str) -> String {
    let checks = result["checks"].as_array().unwrap();
    checks.iter().find(|c| c["name"] == check).unwrap()["verdict"].as_str().unwrap().to_owned()
}

/// What a Prometheus beside the backend would answer: the samples of a few series.
fn scrape(log: &Path, series: &mut [(Json, &str, Vec<Json>)]) {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let Some((_, rest)) = text.split_once("listening on http://") else { return };
    let address: String = rest.chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect();
    let now = jiff::Timestamp::now().as_millisecond() as f64 / 1e3;
    let body = crate::common::get(&address, "/metrics");
    for (_, name, values) in series {
        let value = match (&body, *name) {
            (body, "up") => Some(if body.is_some() { "1".to_owned() } else { "0".to_owned() }),
            (Some(body), name) => body.lines().find(|l| l.starts_with(name)).and_then(|l| l.split(' ').nth(1)).map(str::to_owned),
            (None, _) => None,
        };
        values.extend(value.map(|value| json!([now, value])));
    }
}

fn record(folder: &Path) -> (PathBuf, PathBuf) {
    std::fs::write(folder.join("hidden.yaml"), HIDDEN).unwrap();
    let mut run = chaos(folder).args(["run", "hidden.yaml", "-q", "--reports", "then"]).stdout(Stdio::null()).spawn().unwrap();
    let named = |name: &'static str| (json!({ "__name__": name }), name, Vec::new());
    let mut series = [named("up"), named("process_start_time_seconds"), named("gpu_out_of_memory_total")];
    while run.try_wait().unwrap().is_none() {
        let log =
            std::fs::read_dir(folder.join("then")).into_iter().flatten().flatten().map(|e| e.path().join("target.log")).next();
        if let Some(log) = log {
            scrape(&log, &mut series);
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    let result: Vec<Json> = series.iter().map(|(metric, _, values)| json!({ "metric": metric, "values": values })).collect();
    let range = folder.join("range.json");
    let answer = json!({ "status": "success", "data": { "resultType": "matrix", "result": result } });
    std::fs::write(&range, answer.to_string()).unwrap();
    let (run, then) = self::result(&folder.join("then"));
    assert_eq!(verdict(&then, "all_jobs_complete"), "failed");
    (run.join("target.log"), range)
}

#[test]
fn a_hidden_schedule_is_brought_back_from_logs_and_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (log, range) = record(folder);
    let made = chaos(folder)
        .arg("incident")
        .arg("--access-log")
        .arg(&log)
        .arg("--log")
        .arg(&log)
        .arg("--prometheus")
        .arg(&range)
        .args(["--output", "again"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(said.contains("1 restart,") && said.contains("QUESTION") && said.contains("run it with"), "{said}");
    let text = std::fs::read_to_string(folder.join("again/experiment.yaml")).unwrap();
    for part in ["# from target.log:", "# from range.json:", "how: kill", "oom_outcome", "all_jobs_complete"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let trace = std::fs::read_to_string(folder.join("again/arrivals.jsonl")).unwrap();
    assert_eq!(trace.lines().filter(|line| line.contains("\"width\":1024")).count(), 8, "the flood");
    // The same defect is found by the same check; a healthy backend passes it.
    for (reports, defect, expected) in [("now", Some("jobs-lost-on-restart"), "failed"), ("healthy", None, "passed")] {
        let mut run = chaos(folder);
        run.args(["run", "again/experiment.yaml", "-q", "--reports", reports, "--set", "target.backend.speed=100"]);
        // A machine that other tests keep busy is no liar, and starts a backend as slowly as it likes.
        run.args(["--set", "checks.2.health_is_honest.silence=5s", "--set", "checks.3.restarts_cleanly.ready_within_factor=100"]);
        run.args(defect.iter().flat_map(|defect| ["--defect", defect]));
        run.stdout(Stdio::null()).status().unwrap();
        let (run, result) = result(&folder.join(reports));
        assert_eq!(verdict(&result, "all_jobs_complete"), expected, "{text}\n{}", run.display());
        assert_eq!(result["jobs"]["submitted"], trace.lines().count());
        // It is the backend, and not the traffic.
        let failed = result["checks"].as_array().unwrap().iter().filter(|c| c["verdict"] == "failed").count();
        assert_eq!(failed > 0, defect.is_some(), "{:#}", result["checks"]);
        // Enough in its folder to be run again, wherever that is.
        let moved = folder.join(format!("{reports}-moved"));
        std::fs::rename(&run, &moved).unwrap();
        assert!(chaos(folder).args(["validate"]).arg(moved.join("experiment.yaml")).status().unwrap().success());
    }
}

#[test]
fn what_tells_nothing_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x"), "hello\n").unwrap();
    std::fs::write(folder.path().join("get"), "1.1.1.1 - - [24/Nov/2026:00:00:01 +0000] \"GET / HTTP/1.1\" 200 1\n").unwrap();
    for (kind, file, part) in [
        ("--access-log", "x", "no line is one of an access log"),
        ("--access-log", "none", "cannot be read"),
        ("--access-log", "get", "no job was submitted"),
        ("--docker-events", "x", "no event"),
        ("--prometheus", "x", "query_range"),
    ] {
        let made = chaos(folder.path()).args(["incident", kind, file, "--output", "out"]).output().unwrap();
        assert_eq!(made.status.code(), Some(2));
        let error = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(error.contains(part), "{error}");
        assert!(!folder.path().join("out").exists());
    }
}

/// nginx before ComfyUI: the driver knows where jobs are posted to, and the gateway when nobody was there.
#[test]
fn a_gateways_log_and_a_drivers_path_are_enough() {
    let folder = tempfile::tempdir().unwrap();
    let line = |second: u32, request: &str, status: u16| {
        format!("10.0.0.1 - - [24/Nov/2026:03:00:{second:02} +0000] \"{request} HTTP/1.1\" {status} 31 \"-\" \"x\"\n")
    };
    let mut access: String = (0..40).map(|s| line(s, "POST /metrics/push", 200) + &line(s, "POST /metrics/push", 200)).collect();
    access.extend((0..40).map(|s| line(s, "POST /prompt", if (20..24).contains(&s) { 502 } else { 200 })));
    std::fs::write(folder.path().join("access.log"), access).unwrap();
    let log = "2026-11-24T03:00:00Z To see the GUI go to: http://0.0.0.0:8188\n2026-11-24T03:00:18Z got prompt\n2026-11-24T03:00:24Z To see the GUI go to: http://0.0.0.0:8188\n";
    std::fs::write(folder.path().join("comfy.log"), log).unwrap();
    let events = [("die", 20), ("start", 23)].map(|(action, second)| {
        format!("{{\"Type\":\"container\",\"Action\":\"{action}\",\"Actor\":{{\"Attributes\":{{\"name\":\"comfy\",\"exitCode\":\"137\"}}}},\"time\":{}}}\n", 1_795_489_200 + second)
    });
    std::fs::write(folder.path().join("events.jsonl"), events.concat()).unwrap();
    let make = |output: &str, more: &[&str]| {
        let mut command = chaos(folder.path());
        command.args(["incident", "--access-log", "access.log", "--log", "comfy.log", "--driver", "comfyui"]);
        let made = command.args(["--url", "http://127.0.0.1:8188", "--output", output]).args(more).output().unwrap();
        let text = std::fs::read_to_string(folder.path().join(output).join("experiment.yaml")).unwrap();
        let said = String::from_utf8_lossy(&made.stdout).into_owned();
        // What `chaos validate` would refuse is not done yet.
        let is_ready = said.contains("run it with");
        assert_eq!(made.status.code(), Some(if is_ready { 0 } else { 2 }), "{}", String::from_utf8_lossy(&made.stderr));
        (said, text)
    };
    let (said, text) = make("a", &[]);
    assert!(said.contains("40 arrivals, 1 restart,") && text.contains("at: 20.000s, how: kill, down: 4.000s"), "{said}\n{text}");
    assert!(text.contains("from access.log:101") && !text.contains("posted to most often"), "{text}");
    // Nothing is known of what it runs in: the file says so, and what is missing before it can run.
    assert!(said.contains("it needs your hand") && text.contains("QUESTION what does the target run in?"), "{said}\n{text}");
    let (said, text) = make("b", &["--docker-events", "events.jsonl"]);
    assert!(said.contains("run it with") && text.contains("container: \"comfy\""), "{said}\n{text}");
}

/// What the engine tells of a container, written down as it comes: it keeps its last 256 events only, and each health check
/// of each test's container is three of them.
struct Told {
    _listener: Ending,
    path: PathBuf,
}

impl Told {
    fn since(begin: &str, container: &str, path: PathBuf) -> Self {
        let filter = format!("container={container}");
        let listener = Command::new("docker")
            .args(["events", "--since", begin, "--filter", &filter, "--format", "{{json .}}"])
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&path).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { _listener: Ending(listener), path }
    }

    fn wait_for(&self, action: &str, times: usize) {
        let word = format!("\"Action\":\"{action}\"");
        let told = || std::fs::read_to_string(&self.path).unwrap().matches(&word).count();
        wait_for(&format!("{action} to be told {times} times"), Duration::from_secs(30), || told() >= times);
    }
}

/// A kill by hand and one by the kernel, from what a real engine tells of them.
#[test]
fn what_an_engine_tells_becomes_restarts() {
    if !engine("an incident from a real engine's events, log and inspection") {
        return;
    }
    let backend = Backend::allowed(&["--speed", "500"]);
    let folder = tempfile::tempdir().unwrap();
    let told = Told::since(&jiff::Timestamp::now().to_string(), &backend.name, folder.path().join("events.jsonl"));
    let experiment = format!(
        "version: 1\nname: seen\ntarget: {{ url: \"{}\" }}\nload: [{{ rate: 5/s, for: 3s }}]\nchecks: [{{ all_jobs_complete: {{}} }}]\n",
        backend.url()
    );
    std::fs::write(folder.path().join("x.yaml"), experiment).unwrap();
    let path = folder.path().join("x.yaml");
    let send = || crate::common::run(&[path.to_str().unwrap()]).result["jobs"]["submitted"].as_u64().unwrap();
    let mut sent = send();
    docker(&["kill", "--signal", "KILL", &backend.name]);
    wait_for("its end", Duration::from_secs(30), || backend.inspect("{{.State.Running}}") == "false");
    docker(&["start", &backend.name]);
    backend.wait_until_healthy();
    sent += send();
    let fault = format!(
        "target: {{ url: \"{}\", runtime: {{docker: {{container: {}}}}} }}\nfaults: [{{memory_limit: {{at: 1s, until_oom: true, within: 2m, for: 1s}}}}]",
        backend.url(),
        backend.name
    );
    // Users for as long as it takes: without jobs the container asks for no memory.
    let oom = std::fs::read_to_string(&path).unwrap().replace("rate: 5/s, for: 3s", "users: 6");
    let oom = oom.replace(&format!("target: {{ url: \"{}\" }}", backend.url()), &fault);
    let oom_path = folder.path().join("oom.yaml");
    std::fs::write(&oom_path, oom).unwrap();
    let done = crate::common::run(&[oom_path.to_str().unwrap()]);
    assert_eq!(done.verdict("fault memory_limit"), "passed", "{}", done.trouble());
    sent += done.result["jobs"]["accepted"].as_u64().unwrap();
    backend.wait_until_healthy();
    sent += send();
    ["die", "start"].iter().for_each(|action| told.wait_for(action, 2));
    drop(told);
    let put = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    put("inspect.json", docker(&["inspect", &backend.name]));
    put("server.log", docker(&["logs", "--timestamps", &backend.name]));
    let made = chaos(folder.path())
        .args(["incident", "--access-log", "server.log", "--docker-events", "events.jsonl", "--docker-inspect", "inspect.json"])
        .args(["--output", "again"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stdout).into_owned() + &String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success() && said.contains("2 restarts"), "{said}");
    let arrivals = std::fs::read_to_string(folder.path().join("again/arrivals.jsonl")).unwrap().lines().count() as u64;
    assert!(arrivals >= sent, "{arrivals} of at least {sent}");
    let text = std::fs::read_to_string(folder.path().join("again/experiment.yaml")).unwrap();
    for part in ["events.jsonl:", "from inspect.json", "how: kill", "oom", "memory limit of 536870912 bytes"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    // One of them for memory: the other was somebody's hand.
    assert!(text.contains("restart-2 was a kill for memory") && !text.contains("restart-1 was a kill for memory"), "{text}");
}

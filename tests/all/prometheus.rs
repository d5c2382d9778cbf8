//! `docker/prometheus` and `docker/grafana`, with a real Prometheus on the host: every rule is loaded and sees its series,
//! every panel has something to draw, and what is wrong with the backend becomes an alert.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{Ending, chaos, free_port, get, real, stretched, wait_for};
use serde_json::Value as Json;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docker")
}

/// A Prometheus with the shipped configuration, looking at `backend` each second.
struct Prometheus {
    _process: Ending,
    _data: tempfile::TempDir,
    address: String,
}

impl Prometheus {
    fn start(backend: &str) -> Self {
        let shipped = std::fs::read_to_string(folder().join("prometheus/prometheus.yml")).unwrap();
        let ours = shipped.replace("backend:5000", backend).replace("interval: 5s", "interval: 1s");
        assert_ne!(shipped, ours);
        Self::with(&ours, "rules.yml")
    }

    fn with(configuration: &str, rules: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join("prometheus.yml"), configuration).unwrap();
        std::fs::copy(folder().join("prometheus").join(rules), data.path().join(rules)).unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}/prometheus.yml", data.path().display()))
            .arg(format!("--storage.tsdb.path={}/data", data.path().display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { _process: Ending(process), _data: data, address }
    }

    /// What its API answers under `data`; null while it does not answer.
    fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Json {
        let mut url = reqwest::Url::parse(&format!("http://{}/api/v1/{path}", self.address)).unwrap();
        url.query_pairs_mut().extend_pairs(parameters);
        let target = format!("{}?{}", url.path(), url.query().unwrap_or_default());
        let answer = get(&self.address, &target).and_then(|text| serde_json::from_str::<Json>(&text).ok());
        answer.map_or(Json::Null, |json| json["data"].clone())
    }

    fn query(&self, expression: &str) -> Vec<Json> {
        self.ask("query", &[("query", expression)])["result"].as_array().cloned().unwrap_or_default()
    }

    fn is_firing(&self, alert: &str) -> bool {
        let all = self.ask("alerts", &[]);
        all["alerts"]
            .as_array()
            .is_some_and(|all| all.iter().any(|a| a["labels"]["alertname"] == alert && a["state"] == "firing"))
    }
}

fn backend(arguments: &[&str]) -> (Ending, String) {
    backend_at("127.0.0.1:0", arguments)
}

fn backend_at(listen: &str, arguments: &[&str]) -> (Ending, String) {
    let mut child = chaos()
        .args(["backend", "--speed", "500", "--listen", listen])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines.find_map(|l| l.unwrap().split_once("listening on http://").map(|(_, a)| a.trim().to_owned())).unwrap();
    // Whoever closes the pipe breaks the program that still writes to it.
    std::thread::spawn(move || lines.for_each(drop));
    (Ending(child), address)
}

#[test]
fn every_alert_fires_when_it_must_and_is_silent_when_it_must() {
    if !real("promtool", "the alert rules' own tests") {
        return;
    }
    for arguments in [
        ["check", "config", "prometheus/prometheus.yml"],
        ["test", "rules", "prometheus/rules.test.yml"],
        ["test", "rules", "prometheus/schedule.rules.test.yml"],
    ] {
        let output = Command::new("promtool").args(arguments).current_dir(folder()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
    for (name, least) in [("rules", 20), ("schedule.rules", 6)] {
        let read = |file: String| std::fs::read_to_string(folder().join("prometheus").join(file)).unwrap();
        let (rules, tests) = (read(format!("{name}.yml")), read(format!("{name}.test.yml")));
        let alerts: Vec<&str> = rules.lines().filter_map(|l| l.trim().strip_prefix("- alert: ")).collect();
        assert!(alerts.len() > least, "{alerts:?}");
        for alert in alerts {
            assert!(tests.contains(&format!("alertname=\"{alert}\"}}', value: ")), "no test makes {alert} fire");
        }
    }
}

#[test]
fn a_real_prometheus_sees_every_series_and_an_out_of_memory_becomes_an_alert() {
    if !real("prometheus", "the shipped rules and dashboard in a real Prometheus") {
        return;
    }
    let (backend_process, address) = backend(&["--defect", "oom-no-retry", "--vram", "16GiB"]);
    let prometheus = Prometheus::start(&address);
    wait_for("the first scrape", Duration::from_secs(30), || prometheus.query("up{job=\"backend\"} == 1").len() == 1);
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    let experiment = format!(
        "version: 1\nname: seen\ntarget: {{ url: \"http://{address}\" }}\nload: [{{ users: 3, think: 50ms, for: 10s }}]\nfaults: [{{ flood: {{ at: 6s, jobs: 12 }} }}]\nchecks: [{{ all_jobs_complete: {{}} }}]\n"
    );
    std::fs::write(file.path(), experiment).unwrap();
    let done = crate::common::run(&[file.path().to_str().unwrap()]);
    assert_eq!(done.code, Some(1), "{}", done.trouble());
    wait_for("the alert", Duration::from_secs(30), || prometheus.is_firing("GpuOutOfMemory"));

    // A group that has not been evaluated yet is of unknown health.
    wait_for("each rule to be evaluated", Duration::from_secs(30), || {
        !prometheus.ask("rules", &[]).to_string().contains("\"unknown\"")
    });
    let rules = prometheus.ask("rules", &[]);
    let all: Vec<&Json> = rules["groups"].as_array().unwrap().iter().flat_map(|g| g["rules"].as_array().unwrap()).collect();
    assert!(all.len() > 25 && all.iter().all(|rule| rule["health"] == "ok"), "{rules:#}");
    let plan = include_str!("../plan-metrics.txt");
    for family in plan.lines() {
        let any = format!("count({{__name__=~\"{family}(_bucket)?\",job=\"backend\"}})");
        wait_for(&format!("{family} to be scraped"), Duration::from_secs(30), || prometheus.query(&any).len() == 1);
    }
    let dashboard = std::fs::read(folder().join("grafana/dashboards/backend.json")).unwrap();
    let dashboard: Json = serde_json::from_slice(&dashboard).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().flat_map(|p| p["targets"].as_array().unwrap());
    let mut drawn = 0;
    for expression in targets.map(|target| target["expr"].as_str().unwrap()) {
        wait_for(&format!("something to draw for {expression}"), Duration::from_secs(30), || {
            !prometheus.query(expression).is_empty()
        });
        drawn += 1;
    }
    assert!(drawn > 25, "{drawn}");

    drop(backend_process);
    wait_for("the end to be seen", Duration::from_secs(30), || prometheus.query("up{job=\"backend\"} == 0").len() == 1);
    let pending = || prometheus.ask("alerts", &[]).to_string().contains("BackendDown");
    wait_for("BackendDown to be pending", Duration::from_secs(30), pending);
}

#[test]
fn doctor_sees_whether_a_prometheus_scrapes_the_target() {
    if !real("prometheus", "`chaos doctor --prometheus`") {
        return;
    }
    let ((_scraped, address), (_other, elsewhere)) = (backend(&[]), backend(&[]));
    let prometheus = Prometheus::start(&address);
    wait_for("the first scrape", Duration::from_secs(30), || prometheus.query("up{job=\"backend\"} == 1").len() == 1);
    let folder = tempfile::tempdir().unwrap();
    let doctor = |target: &str| {
        let file = folder.path().join("x.yaml");
        let text = format!(
            "version: 1\nname: x\ntarget: {{ url: \"http://{target}\" }}\nload: [{{ users: 1 }}]\nchecks: [{{ all_jobs_complete: {{}} }}]\n"
        );
        std::fs::write(&file, text).unwrap();
        let url = format!("http://{}", prometheus.address);
        let output = chaos().args(["doctor", "--prometheus", &url, "--reports"]).arg(folder.path()).arg(&file).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, text) = doctor(&address);
    assert!(code == Some(0) && text.contains("ok      Prometheus") && text.contains("which is up"), "{text}");
    let (code, text) = doctor(&elsewhere);
    assert!(code == Some(4) && text.contains("FAILED  Prometheus") && text.contains("has the port"), "{text}");
}

/// A failure and a silence, from the scheduler's own figures.
#[test]
fn a_real_prometheus_tells_of_failures_and_of_silence() {
    if !real("prometheus", "the alerts about the scheduler in a real Prometheus") {
        return;
    }
    let reports = tempfile::tempdir().unwrap();
    let experiment = "version: 1\nname: x\nseed: 1\ntime_scale: 0.01\ntarget: {url: embedded, backend: {defects: [accepted-then-dropped]}}\nload: {users: 1, jobs: 12}\nchecks: [{all_jobs_complete: {within: 60s}}]\n";
    std::fs::write(reports.path().join("x.yaml"), experiment).unwrap();
    let listen = format!("127.0.0.1:{}", free_port());
    let schedule = format!(
        "version: 1\nlisten: {listen}\nexperiments:\n  - {{name: fails, run: x.yaml, cron: '*/5 * * * * *'}}\n  - {{name: silent, run: x.yaml, cron: '0 0 1 1 *', silent_after: 3s}}\n"
    );
    std::fs::write(reports.path().join("s.yaml"), schedule).unwrap();
    let mut command = chaos();
    command.args(["schedule", "run"]).arg(reports.path().join("s.yaml")).stderr(Stdio::null());
    let _scheduler = Ending(command.spawn().unwrap());
    let prometheus = Prometheus::with(
        &format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [schedule.rules.yml]\nscrape_configs: [{{job_name: chaos, static_configs: [{{targets: ['{listen}']}}]}}]\n"
        ),
        "schedule.rules.yml",
    );
    let fires = |alert: &str, experiment: &str| {
        let query = format!("ALERTS{{alertname=\"{alert}\",alertstate=\"firing\",experiment=\"{experiment}\"}}");
        prometheus.query(&query).len() == 1
    };
    wait_for("the silence to be an alert", Duration::from_secs(60), || fires("ChaosExperimentSilent", "silent"));
    wait_for("the failure to be an alert", Duration::from_secs(60), || fires("ChaosExperimentFailed", "fails"));
    assert!(!fires("ChaosExperimentSilent", "fails") && !fires("ChaosSchedulerDown", "fails"));
}

/// Restarts and arrivals from nothing but a range of a real Prometheus.
#[test]
fn an_incident_is_made_of_a_real_range() {
    if !real("prometheus", "`chaos incident` from a range of a real Prometheus") {
        return;
    }
    // It comes back at the same port, which meanwhile nobody else may get.
    let (first, address) = backend_at(&format!("127.0.0.1:{}", free_port()), &[]);
    let prometheus = Prometheus::start(&address);
    wait_for("the first scrape", Duration::from_secs(30), || prometheus.query("up{job=\"backend\"} == 1").len() == 1);
    let begin = jiff::Timestamp::now();
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    let experiment = format!(
        "version: 1\nname: seen\ntarget: {{ url: \"http://{address}\" }}\nload: [{{ rate: 4/s, for: 6s }}]\nchecks: [{{ all_jobs_complete: {{}} }}]\n"
    );
    std::fs::write(file.path(), experiment).unwrap();
    // Sent, and seen by Prometheus to the last one.
    let sent = || {
        let jobs = crate::common::run(&[file.path().to_str().unwrap()]).result["jobs"]["accepted"].as_u64().unwrap();
        let counted = format!("sum(http_requests_total{{job=\"backend\",method=\"POST\"}}) >= {jobs}");
        wait_for("the last one to be counted", Duration::from_secs(30), || !prometheus.query(&counted).is_empty());
        jobs
    };
    let before = sent();
    drop(first);
    wait_for("the end to be seen", Duration::from_secs(30), || prometheus.query("up{job=\"backend\"} == 0").len() == 1);
    let (_second, _) = backend_at(&address, &[]);
    wait_for("the start to be seen", Duration::from_secs(30), || prometheus.query("up{job=\"backend\"} == 1").len() == 1);
    let total = before + sent();
    let folder = tempfile::tempdir().unwrap();
    let names = "{__name__=~\"up|process_start_time_seconds|.*out_of_memory.*|websocket_connections_active|.*requests_total\"}";
    let end = jiff::Timestamp::now();
    let (from, until) = (begin.to_string(), end.to_string());
    let data = prometheus.ask("query_range", &[("query", names), ("start", &from), ("end", &until), ("step", "1")]);
    std::fs::write(folder.path().join("range.json"), serde_json::json!({ "data": data }).to_string()).unwrap();
    let made = chaos()
        .current_dir(folder.path())
        .args(["incident", "--prometheus", "range.json", "--output", "again"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stdout).into_owned() + &String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success() && said.contains("1 restart"), "{said}");
    let arrivals = std::fs::read_to_string(folder.path().join("again/arrivals.jsonl")).unwrap().lines().count() as u64;
    // The first sample of a series tells nothing of what came before it: of each backend two seconds, more on a busy machine.
    let untold = (16.0 * stretched(Duration::from_secs(1)).as_secs_f64()) as u64;
    assert!((total - untold.min(total / 2)..=total).contains(&arrivals), "{arrivals} of {total}: {said}");
}

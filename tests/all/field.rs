//! Situations that people reported, rebuilt: each test names the kind that it stands for.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::common::docker::{Backend, engine};
use crate::common::server::{Said, serve};
use crate::common::{chaos, free_port, only_folder, real, run, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A server that answers each job at once, and whose queue gauge is not a number now and then.
fn nan_in_the_queue() -> String {
    serve(|asked| -> Said {
        let json = |text: String| (200, "application/json", text);
        match asked.path.as_str() {
            "/generate" => {
                std::thread::sleep(Duration::from_millis(50));
                json(serde_json::json!({ "image": format!("an image of {}", asked.body) }).to_string())
            }
            "/metrics" => {
                // Two readers ask in turns; seldom enough that neither misses two in a row, nor a tenth of the time where a
                // busy machine leaves it only a few.
                let odd = ["NaN", "+Inf", "-Inf"][asked.count / 13 % 3];
                let depth = if asked.count.is_multiple_of(13) { odd.to_owned() } else { (asked.count % 2).to_string() };
                (
                    200,
                    "text/plain",
                    format!("# TYPE job_queue_size gauge\njob_queue_size {depth}\njobs_total {}\nbroken NaN\n", asked.count),
                )
            }
            _ => json("{}".to_owned()),
        }
    })
}

const DRIVER: &str = "version: 1
name: nanq
submit:
  steps: [{ path: /generate, json: { prompt: \"{{prompt}}\", seed: \"{{seed31}}\" }, accepted: [200] }]
  answer: result
result: { inline: /image, free_form: true }
queue: { path: /metrics, depth: \"metric job_queue_size\" }
metrics: { path: /metrics }
health: { path: /health }
";

/// Writes a driver and an experiment for it, and returns the experiment's path.
fn files(folder: &Path, url: &str, rest: &str) -> PathBuf {
    std::fs::write(folder.join("d.yaml"), DRIVER).unwrap();
    let text = format!("version: 1\nname: nanqueue\nseed: 1\ntarget:\n  driver: ./d.yaml\n  url: \"{url}\"\n{rest}");
    let path = folder.join("nan.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

/// Numbers that are none are gaps: the verdicts of the rest stand, and the journal can be read by every command.
#[test]
fn a_gauge_that_is_not_a_number_is_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let rest = "load: [{ users: 4, think: 20ms..60ms }]\nsample_every: 50ms\nduration: 3s\nfaults: [{ burst: { at: 1s, jobs: 8 } }]\nguards: [{ queue_depth: { above: 50 } }]\nchecks: [{ all_jobs_complete: { within: 60s } }, { queue_depth: { below: 30 } }]\n";
    let done = run(&[files(folder.path(), &nan_in_the_queue(), rest).to_str().unwrap()]);
    assert_eq!(done.verdict("all_jobs_complete"), "passed", "{}", done.trouble());
    assert!(done.is_healthy_but_for(&[]), "{}", done.trouble());
    let journal = std::fs::read_to_string(done.folder.join("events.jsonl")).unwrap();
    assert!(journal.contains("which is no number"), "the gap is told");
    assert!(!journal.contains("\"queue.depth\":null"));
    let again = chaos().args(["report", "--format", "json"]).arg(&done.folder).output().unwrap();
    let again: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again["checks"], done.result["checks"]);
    let findings = done.result["findings"].to_string();
    assert!(findings.contains("queue") && findings.contains("no number"), "{findings}");
}

/// The shortest file that anybody writes: a server that answers with its result, and no word about its health.
#[test]
fn a_target_without_a_health_endpoint_is_tested_and_nothing_is_said_of_its_health() {
    let url = serve(|asked| -> Said {
        let text = match asked.path.as_str() {
            "/generate" => serde_json::json!({ "text": format!("an answer to {}", asked.body) }),
            _ => return (404, "text/plain", "there is no such thing here".to_owned()),
        };
        (200, "application/json", text.to_string())
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short.yaml");
    let text = |checks: &str| {
        format!(
            "version: 1\nname: short\nseed: 1\ntarget: {{ driver: http, url: \"{url}\", with: {{ path: /generate, free_form: true }} }}\nload: [{{ users: 2, think: 20ms..60ms }}]\nduration: 2s\nfaults: [{{ burst: {{ at: 500ms, jobs: 4 }} }}]\nchecks: [{checks}]\n"
        )
    };
    std::fs::write(&path, text("{ all_jobs_complete: { within: 60s } }")).unwrap();
    let done = run(&[path.to_str().unwrap()]);
    assert_eq!(done.code, Some(0), "{}", done.trouble());
    std::fs::write(&path, text("{ uptime: { at_least: 99% } }, { health_is_honest: {} }")).unwrap();
    let done = run(&[path.to_str().unwrap()]);
    for check in ["uptime", "health_is_honest"] {
        let told = done.trouble().contains("the driver names no health endpoint");
        assert!(done.verdict(check) == "inconclusive" && told, "{check}: {}", done.trouble());
    }
}

/// The first test that anybody makes: one request, copied from a notebook, again and again, to a server that answers equal ones
/// equally. And its neighbour, which gives all the same answer whatever is asked.
#[test]
fn equal_requests_may_have_equal_results_and_different_ones_may_not() {
    let url = serve(|asked| -> Said {
        let of = |text: &str| (200, "application/json", serde_json::json!({ "image": format!("{text:0>4000}") }).to_string());
        match asked.path.as_str() {
            "/generate" => of(&chaos::seed::fnv(asked.body.as_bytes()).to_string()),
            "/always" => of("the same"),
            _ => (404, "text/plain", String::new()),
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fixed.yaml");
    let tried = |route: &str, body: &str, jobs: &str| {
        let text = format!(
            "version: 1\nname: fixed\nseed: 1\ntarget: {{ driver: http, url: \"{url}\", with: {{ path: {route}, inline: /image, body: {body} }} }}\nload: [{{ users: 2, think: 20ms..60ms, job: {jobs} }}]\nduration: 1500ms\nchecks: [{{ all_jobs_complete: {{ within: 60s }} }}]\n"
        );
        std::fs::write(&path, text).unwrap();
        let plan = chaos().arg("plan").arg(&path).output().unwrap();
        (run(&[path.to_str().unwrap()]), String::from_utf8_lossy(&plan.stdout).contains("the very same request"))
    };
    let (fixed, size, own) = ("{ prompt: a lighthouse, seed: 42 }", "{ w: \"{{width}}\" }", "{ prompt: \"{{prompt}}\" }");
    let (one, two) = ("{ width: 512 }", "[{ width: 512 }, { width: 768 }]");
    for (body, jobs, warns) in [(fixed, one, true), (fixed, two, true), (size, one, true), (size, two, false)] {
        let (done, warned) = tried("/generate", body, jobs);
        assert!(done.code == Some(0) && warned == warns, "{body} {jobs}, warned: {warned}: {}", done.trouble());
        assert!(done.result["findings"].to_string().contains("sent the very same input"), "{}", done.result["findings"]);
    }
    let (done, warned) = tried("/generate", own, one);
    assert!(done.code == Some(0) && !warned && done.result["jobs"]["mismatched"] == 0, "{}", done.trouble());
    for (body, jobs) in [(own, one), (size, two)] {
        let (done, _) = tried("/always", body, jobs);
        assert!(done.code == Some(1) && done.trouble().contains("with different inputs"), "{body}: {}", done.trouble());
    }
}

/// The same shortest file, for a server that only takes jobs: whoever took its answer for the result would call all of them
/// completed, and never ask what became of them.
#[test]
fn that_a_job_was_taken_is_not_its_result() {
    let url = serve(|asked| -> Said {
        let text = match asked.path.as_str() {
            "/queued" => r#"{"job_id": "a1", "status": "queued", "eta": 3}"#,
            "/named" => r#"{"ok": true, "data": {"id": 17}}"#,
            _ => r#"{"id": "a1", "status": "completed", "output": "a text that was asked for"}"#,
        };
        (200, "application/json", text.to_owned())
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short.yaml");
    for (route, more, code) in [("/queued", "", 6), ("/named", "", 6), ("/named", ", inline: /data/id", 0), ("/done", "", 0)] {
        let text = format!(
            "version: 1\nname: short\nseed: 1\ntarget: {{ driver: http, url: \"{url}\", with: {{ path: {route}, free_form: true{more} }} }}\nload: [{{ users: 2, think: 20ms..60ms }}]\nduration: 1500ms\nchecks: [{{ all_jobs_complete: {{ within: 60s }} }}]\n"
        );
        std::fs::write(&path, text).unwrap();
        let done = run(&[path.to_str().unwrap()]);
        assert_eq!(done.code, Some(code), "{route}{more}: {}", done.trouble());
        let told = done.result["findings"].to_string().contains("so it is no result");
        assert_eq!(done.verdict("all_jobs_complete") == "passed", code == 0, "{}", done.trouble());
        assert_eq!(told, code == 6, "{}", done.result["findings"]);
    }
}

/// A gateway that gives up waiting says nothing of the job: the backend may finish it. What the backend says itself is its own.
#[test]
fn a_gateways_word_is_not_the_backends() {
    let number = std::sync::atomic::AtomicU32::new(0);
    let url = serve(move |asked| -> Said {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (status, kind, text) = match asked.path.as_str() {
            "/524" => (524, "text/html", "<title>524: A timeout occurred</title>".to_owned()),
            "/504" => (504, "text/html", "<center><h1>504 Gateway Time-out</h1></center><hr><center>nginx</center>".to_owned()),
            "/own" => (504, "application/json", r#"{"detail": "the model did not answer in time"}"#.to_owned()),
            _ => (404, "text/plain", String::new()),
        };
        if number % 4 == 3 {
            return (status, kind, text);
        }
        (200, "application/json", serde_json::json!({ "image": format!("{number:0>4000}") }).to_string())
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.yaml");
    for (route, verdict) in [("/524", "inconclusive"), ("/504", "inconclusive"), ("/own", "failed")] {
        let text = format!(
            "version: 1\nname: gateway\nseed: 1\ntarget: {{ driver: http, url: \"{url}\", with: {{ path: {route}, inline: /image }} }}\nload: [{{ users: 2, think: 20ms..60ms }}]\nduration: 2s\nchecks: [{{ all_jobs_complete: {{ within: 60s }} }}]\n"
        );
        std::fs::write(&path, text).unwrap();
        let done = run(&[path.to_str().unwrap()]);
        let is_right =
            if verdict == "failed" { done.finds("all_jobs_complete") } else { done.verdict("all_jobs_complete") == verdict };
        assert!(is_right, "{route}: {}", done.trouble());
        let told = done.result["findings"].to_string().contains("came from a gateway in front of the backend");
        assert_eq!(told, verdict != "failed", "{route}: {}", done.result["findings"]);
    }
}

/// What stands behind a progress bar, a colour or a very long line is read, and it is the error that is quoted.
#[test]
fn an_error_is_seen_wherever_it_stands_in_what_is_printed() {
    let error = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB";
    let bar: String =
        (0..120).map(|step| format!("\r{:3}%|{:<20}| {step}/120", step * 100 / 120, "#".repeat(step / 6))).collect();
    let printed = [
        ("a bar, and the error in its line", format!("{bar}{error}\n"), 1),
        ("a bar that ends with a line of Windows", format!("{bar}\r\n{error}\r\n"), 1),
        ("colours inside of it", error.replace("out of", "\u{1b}[31mout\u{1b}[0m of") + "\n", 1),
        ("a request of 100 kB before it", format!("{{\"prompt\": \"{}\"}} {error}\n", "x".repeat(100_000)), 1),
        ("a bar alone", format!("{bar}\n"), 0),
    ];
    for (what, text, times) in printed {
        let folder = tempfile::tempdir().unwrap();
        let (log, path) = (folder.path().join("printed"), folder.path().join("x.yaml"));
        std::fs::write(&log, text).unwrap();
        let (port, binary) = (free_port(), env!("CARGO_BIN_EXE_chaos"));
        let text = format!(
            "version: 1\nname: printed\nseed: 1\ntarget:\n  url: http://127.0.0.1:{port}\n  runtime: {{ process: {{ command: [sh, -c, 'cat {} >&2; exec {binary} backend --speed 1000 --listen 127.0.0.1:{port}'] }} }}\nload: [{{ users: 1, think: 20ms..60ms }}]\nduration: 1s\nfaults: [{{ burst: {{ at: 300ms, jobs: 2 }} }}]\nchecks: [{{ no_oom: {{}} }}]\n",
            log.display()
        );
        std::fs::write(&path, text).unwrap();
        let done = run(&[path.to_str().unwrap()]);
        let expected = if times == 0 { "passed" } else { "failed" };
        assert_eq!(done.verdict("no_oom"), expected, "{what}: {}", done.trouble());
        let check = done.result["checks"].as_array().unwrap().iter().find(|check| check["name"] == "no_oom").unwrap().to_string();
        let quoted = check.contains("CUDA out of memory. Tried to allocate") && !check.contains("##");
        assert!(times == 0 || (check.contains("1 seen") && quoted), "{what}: {check}");
    }
}

/// A process that says nothing of its health is paused and restarted like any other.
#[test]
fn a_process_without_a_health_endpoint_is_paused_and_restarted() {
    if !real("python3", "a process without a health endpoint") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("server.py"), NO_HEALTH).unwrap();
    let port = free_port();
    let path = folder.path().join("short.yaml");
    let text = format!(
        "version: 1\nname: short\nseed: 1\ntarget:\n  driver: http\n  url: http://127.0.0.1:{port}\n  with: {{ path: /generate, free_form: true }}\n  runtime: {{ process: {{ command: [python3, server.py, '{port}'], cwd: {} }} }}\nload: [{{ users: 2, think: 20ms..60ms }}]\nfaults:\n  - pause: {{ at: 1s, for: 1s }}\n  - restart: {{ after: pause + 1s, how: kill }}\nchecks: [{{ no_crash: {{}} }}, {{ restarts_cleanly: {{}} }}]\n",
        folder.path().display()
    );
    std::fs::write(&path, text).unwrap();
    let done = run(&[path.to_str().unwrap()]);
    for proven in ["fault pause", "fault restart", "no_crash"] {
        assert_eq!(done.verdict(proven), "passed", "{proven}: {}", done.trouble());
    }
    assert_ne!(done.verdict("restarts_cleanly"), "failed", "{}", done.trouble());
}

const NO_HEALTH: &str = r#"
import http.server, json, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.say(200 if self.path == "/generate" else 404, {"text": "an answer to " + asked})

    def do_GET(self):
        self.say(404, {"detail": "Not Found"})

    def say(self, status, body):
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

/// The same, with a container paused and chaos killed meanwhile: the guardian can read what it has to put back.
#[test]
fn a_guardian_puts_back_whatever_the_target_counts() {
    if !engine("a pause beside a gauge that is not a number") {
        return;
    }
    let backend = Backend::allowed(&[]);
    let folder = tempfile::tempdir().unwrap();
    let rest = format!(
        "  runtime: {{ docker: {{ container: {} }} }}\nload: [{{ users: 4, think: 20ms..60ms }}]\nsample_every: 50ms\nduration: 60s\nfaults: [{{ pause: {{ at: 500ms, for: 50s }} }}]\nchecks: [{{ all_jobs_complete: {{ within: 10s }} }}]\n",
        backend.name
    );
    let file = files(folder.path(), &nan_in_the_queue(), &rest);
    let reports = folder.path().join("reports");
    std::fs::create_dir(&reports).unwrap();
    let mut child = chaos()
        .args(["run", "-q", "--reports"])
        .arg(&reports)
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let paused = || backend.inspect("{{.State.Paused}}") == "true";
    wait_for("the pause", Duration::from_secs(60), paused);
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    // Five seconds are promised.
    wait_for("the container to go on", Duration::from_secs(5), || !paused());
    let run = only_folder(&reports);
    // Its reports come one after the other; it has let go of the journal when it is done with the run.
    let let_go = || std::fs::File::open(run.join("events.jsonl")).is_ok_and(|journal| journal.try_lock().is_ok());
    wait_for("the guardian's end", Duration::from_secs(60), || run.join("result.json").exists() && let_go());
    let said = chaos().arg("revert").arg(&run).output().unwrap();
    assert_eq!(
        (said.status.code(), String::from_utf8_lossy(&said.stdout).contains("nothing is left")),
        (Some(0), true),
        "{said:?}"
    );
}

/// A journal whose undo cannot be read, or whose plan is of another version: it blocks and says so, or is put back; it is
/// never called in order.
#[test]
fn a_damaged_journal_blocks_until_somebody_has_looked() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    std::fs::create_dir(&run).unwrap();
    let marker = folder.path().join("marker");
    std::fs::write(&marker, "broken").unwrap();
    let undo = serde_json::json!({ "revert": ["rm", "-f", marker.to_str().unwrap()], "shell": false, "timeout": "30s" });
    let started = r#"{"t":0.0,"event":{"run_started":{"schema":1,"run_id":"r","version":"0.9","began":"2026-01-01T00:00:00Z","overrides":[],"host":"h","plan":{"of_tomorrow":1}}}}"#;
    let prepared =
        serde_json::json!({ "t": 1.0, "event": { "fault_prepared": { "fault": "exec", "kind": "exec", "undo": undo } } })
            .to_string();
    let injecting = r#"{"t":1.0,"event":{"fault_injecting":{"fault":"exec","planned_t":1.0}}}"#;
    let revert = |more: &[&str]| chaos().arg("revert").arg(&run).args(more).output().unwrap();
    // The undo is damaged.
    std::fs::write(run.join("events.jsonl"), [started, &prepared[..prepared.len() - 9], injecting, ""].join("\n")).unwrap();
    let said = revert(&[]);
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(5), "{text}");
    assert!(text.contains("line 2") && text.contains("--forget"), "{text}");
    assert!(marker.exists());
    let said = revert(&["--forget"]);
    assert_eq!(said.status.code(), Some(0), "{said:?}");
    // The plan is of another version, and the undo is not: it is put back.
    std::fs::write(run.join("events.jsonl"), [started, &prepared, injecting, ""].join("\n")).unwrap();
    let said = revert(&[]);
    let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(!marker.exists(), "{text}");
    assert_eq!(said.status.code(), Some(0), "{text}");
    assert!(text.contains("put back: exec"), "{text}");
    assert_eq!(revert(&[]).status.code(), Some(0), "again, harmless");
    // There is no journal any more.
    std::fs::remove_file(run.join("events.jsonl")).unwrap();
    let said = revert(&[]);
    assert_eq!(said.status.code(), Some(5), "{said:?}");
}

/// What was started is a shell that starts the server again whenever it ends: the shell is there to the end, and the server was not.
#[test]
fn a_server_that_crashes_under_its_wrapper_has_crashed() {
    let of = |defect: &str| {
        let (port, binary) = (free_port(), env!("CARGO_BIN_EXE_chaos"));
        let server = format!("{binary} backend --speed 1000 {defect} --listen 127.0.0.1:{port}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.yaml");
        let text = format!(
            "version: 1\nname: wrapped\nseed: 1\ntarget:\n  url: http://127.0.0.1:{port}\n  runtime: {{ process: {{ command: [sh, -c, 'while :; do {server}; sleep 0.3; done'] }} }}\nload: [{{ users: 2, think: 20ms..60ms }}]\nduration: 4s\nfaults: [{{ flood: {{ at: 1s, jobs: 12, job: {{ width: 1024, height: 1024 }} }} }}]\nchecks: [{{ no_crash: {{}} }}]\n"
        );
        std::fs::write(&path, text).unwrap();
        run(&[path.to_str().unwrap()])
    };
    let crashed = of("--defect oom-crashes-server");
    assert!(crashed.finds("no_crash"), "{}", crashed.trouble());
    let told = crashed.result["checks"].to_string();
    assert!(told.contains("it ended and was started again"), "{told}");
    let healthy = of("");
    assert_eq!(healthy.verdict("no_crash"), "passed", "{}", healthy.trouble());
}

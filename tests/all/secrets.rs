//! Twenty secrets in sixteen encodings through every way in: none is found in any file, on the terminal, or in the list of processes.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::secrets::{Detector, SECRETS, files, forms, program, quoted};
use crate::common::server::serve_routes;
use crate::common::{free_port, wait_for};
use chaos::experiment::decode::Decode;
use chaos::experiment::diagnostic::Diagnostics;
use chaos::experiment::node;
use chaos::fault::containers::Act;
use chaos::fault::remove::Remove;

/// Waits for a process, and looks at the command lines meanwhile.
fn watched(detector: &Detector, state: &Path, mut command: Command) -> (Output, usize) {
    let child = command.spawn().unwrap();
    let pid = u64::from(child.id());
    let reader = std::thread::spawn(move || child.wait_with_output().unwrap());
    let mut seen = 0;
    while crate::common::process_exists(pid) && !reader.is_finished() {
        seen = seen.max(detector.check_processes(state));
        std::thread::sleep(Duration::from_millis(5));
    }
    (reader.join().unwrap(), seen)
}

/// A backend that says everything that it ever heard, in the next encoding each time.
fn parrot() -> SocketAddr {
    let (said, forms) = (Arc::new(AtomicUsize::new(0)), Arc::new(forms()));
    let next = move || {
        let at = said.fetch_add(1, Ordering::SeqCst);
        // A filling moves the next secret over the place where texts are cut.
        (
            at,
            format!(
                "{}{}",
                "x".repeat(at * 37 % 620),
                (0..6).map(|more| forms[(at * 6 + more) % forms.len()].clone()).collect::<Vec<_>>().join(" ")
            ),
        )
    };
    let submit = {
        let next = next.clone();
        move || async move {
            let (at, text) = next();
            match at % 3 {
                0 => (StatusCode::INTERNAL_SERVER_ERROR, text).into_response(),
                1 => (StatusCode::BAD_REQUEST, Json(serde_json::json!({ "detail": text }))).into_response(),
                _ => Json(serde_json::json!({ "id": format!("{at}-{text}") })).into_response(),
            }
        }
    };
    let status = {
        let next = next.clone();
        move || async move {
            let (at, text) = next();
            let state = if at % 2 == 0 { "failed" } else { "running" };
            Json(serde_json::json!({ "state": state, "stage": text, "error": next().1 }))
        }
    };
    let anything = move || async move { format!("{{\"depth\": \"{}\"}}", next().1) };
    let routes = Router::new()
        .route("/jobs", post(submit))
        .route("/status", get(status))
        .route("/health", get(|| async { "ok" }))
        .fallback(get(anything.clone()).post(anything).put(|| async { StatusCode::IM_A_TEAPOT }));
    serve_routes(routes)
}

#[test]
fn nothing_of_a_target_that_echoes_every_secret_is_written_anywhere() {
    let (detector, address) = (Detector::new(), parrot());
    let (folder, state, reports) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let body: Vec<String> = (0..SECRETS.len()).map(|at| format!("k{at}: {}", quoted(at))).collect();
    let headers: Vec<String> = [5, 10, 11, 18, 19].iter().map(|at| format!("x-key-{at}: {}", quoted(*at))).collect();
    let driver = format!(
        "version: 1\nname: parrot\nheaders: {{ {} }}\nauth: {{ basic: {{ user: me, password: {} }} }}\nsubmit:\n  steps: [{{ path: /jobs, json: {{ {} }} }}]\n  id: /id\n\
         status: {{ path: \"/status?id={{{{id}}}}&key={}\", state: /state, states: {{ done: completed, failed: failed, running: running }}, stage: /stage, error: /error, every: 50ms }}\n\
         queue: {{ path: /queue, depth: /depth }}\nhealth: {{ path: /health }}\nmetrics: {{ path: /metrics }}\n",
        headers.join(", "),
        quoted(0),
        body.join(", "),
        "${secret:SWEEP_SECRET_11}",
    );
    std::fs::write(folder.path().join("parrot.yaml"), driver).unwrap();
    let file = folder.path().join("x.yaml");
    let text = format!(
        "version: 1\nname: x\ndescription: {}\ntarget: {{ driver: ./parrot.yaml, url: \"http://u:${{secret:SWEEP_SECRET_11}}@{address}\" }}\n\
         load: [{{ users: 8, for: 4s, think: 0s..10ms, listen: poll, job: {{ width: 64, height: 64 }} }}]\n\
         faults: [{{ http: {{ at: 1s, for: 1s, send: {{ path: /break, json: {{ a: {} }} }}, proof: {{ path: /proof, pointer: /depth, is: {} }} }} }}]\n\
         checks: [{{ all_jobs_complete: {{ within: 2s }} }}]\n",
        quoted(1),
        quoted(2),
        quoted(3),
    );
    std::fs::write(&file, text).unwrap();
    for command in [vec!["validate"], vec!["plan"], vec!["plan", "--format", "json"], vec!["doctor", "--patience", "2s"]] {
        let mut all = program(state.path());
        all.args(&command).arg(&file);
        if command[0] == "doctor" {
            all.arg("--reports").arg(reports.path());
        }
        detector.check_output(&command.join(" "), &all.output().unwrap());
    }
    let mut run = program(state.path());
    run.args(["run", "-vv", "--reports"]).arg(reports.path()).arg(&file);
    let (output, _) = watched(&detector, state.path(), run);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(1 | 6)), "{:?} {said}", output.status);
    detector.check_output("run", &output);
    assert!(detector.check_folder(reports.path()) >= 9, "{:?}", files(reports.path()));
    detector.check_folder(state.path());
    let journal = std::fs::read_to_string(crate::common::only_folder(reports.path()).join("events.jsonl")).unwrap();
    // Each form once at the least; on a machine at ease it is many times as many.
    let masked = journal.matches("***").count();
    assert!(masked >= forms().len(), "the parrot was not heard: {masked}");
    for command in [vec!["list", "--reports"], vec!["trend", "--reports"]] {
        let output = program(state.path()).args(&command).arg(reports.path()).output().unwrap();
        detector.check_output(command[0], &output);
    }
    detector.check_folder(reports.path());
}

#[test]
fn nothing_that_a_process_or_a_command_prints_is_written_and_what_is_written_is_private() {
    let detector = Detector::new();
    let (folder, state, reports) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let all = forms();
    let mut lines: Vec<String> = all.clone();
    // Lines that are far too long, with a secret over each place at which one may be cut.
    lines.extend((0..120).map(|at| format!("{}{} {}", "x".repeat(4096 - at), all[at % all.len()], all.join(" "))));
    lines.push(format!("CUDA out of memory {}", all.join(" ")));
    std::fs::write(folder.path().join("echo"), lines.join("\n") + "\n").unwrap();
    let env: Vec<String> = (0..SECRETS.len()).map(|at| format!("K{at}: {}", quoted(at))).collect();
    let (port, binary, echo) = (free_port(), env!("CARGO_BIN_EXE_chaos"), folder.path().join("echo").display().to_string());
    let say = "printf \\\"%s \\\" \\\"$SWEEP_SECRET_00\\\" \\\"$SWEEP_SECRET_01\\\" \\\"$SWEEP_SECRET_03\\\" \\\"$SWEEP_SECRET_07\\\" \\\"$SWEEP_SECRET_06\\\"";
    let text = format!(
        "version: 1\nname: x\ntarget:\n  url: http://127.0.0.1:{port}\n  runtime:\n    process:\n      command: [sh, -c, 'cat {echo}; cat {echo} >&2; printf \"%s\\n\" \"$K7\" \"$K3\"; exec {binary} backend --speed 1000 --listen 127.0.0.1:{port}']\n      ready_within: 5m\n      env: {{ {} }}\n\
         load: [{{ users: 1, for: 2s, job: {{ width: 64, height: 64 }} }}]\n\
         faults:\n  - exec: {{ at: 300ms, for: 300ms, shell: true, command: \"{say}\", proof: \"{say}; exit 1\", revert: \"{say}; cat {echo}\" }}\n  - exec: {{ name: bad, at: 600ms, shell: true, command: \"cat {echo} >&2; exit 7\", revert: \"true\" }}\n\
         checks: [{{ no_crash: {{}} }}]\n",
        env.join(", "),
    );
    let file = folder.path().join("x.yaml");
    std::fs::write(&file, text).unwrap();
    let mut run = program(state.path());
    run.args(["run", "-v", "--reports"]).arg(reports.path()).arg(&file);
    let (output, seen) = watched(&detector, state.path(), run);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(1 | 6)), "{:?} {said}", output.status);
    assert!(seen >= 4, "run, guardian, holder, target: {seen}");
    detector.check_output("run", &output);
    detector.check_folder(reports.path());
    detector.check_folder(state.path());
    let run = crate::common::only_folder(reports.path());
    let log = std::fs::read_to_string(run.join("target.log")).unwrap();
    assert!(log.matches("***").count() >= 2 * all.len(), "{}", log.matches("***").count());
    assert!(std::fs::read_to_string(run.join("events.jsonl")).unwrap().contains("CUDA out of memory ***"));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&run), 0o700);
    for path in files(&run) {
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700), "{}", path.display());
    }
}

#[test]
fn a_guardian_masks_what_its_undo_prints() {
    let detector = Detector::new();
    let (folder, state, reports) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("echo"), forms().join("\n")).unwrap();
    let echo = folder.path().join("echo").display().to_string();
    let hidden: Vec<String> = (0..SECRETS.len()).map(|at| quoted(at).trim_matches('"').to_owned()).collect();
    let marker = folder.path().join("marker").display().to_string();
    let text = format!(
        "version: 1\nname: x\ndescription: \"{}\"\ntarget: {{ url: embedded }}\nload: [{{ users: 1, for: 60s }}]\n\
         faults: [{{ exec: {{ at: 200ms, for: 50s, shell: true, command: \"touch {marker}\", revert: \"rm -f {marker}; cat {echo} >&2; exit 1\" }} }}]\nchecks: [{{ no_crash: {{}} }}]\n",
        hidden.join(" "),
    );
    let file = folder.path().join("x.yaml");
    std::fs::write(&file, text).unwrap();
    let mut run = program(state.path());
    run.args(["run", "--reports"]).arg(reports.path()).arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = run.spawn().unwrap();
    wait_for("the fault", Duration::from_secs(60), || Path::new(&marker).exists());
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    wait_for("the guardian's end", Duration::from_secs(60), || detector.check_processes(state.path()) == 0);
    let log = std::fs::read_to_string(crate::common::only_folder(reports.path()).join("guardian.log")).unwrap();
    assert!(log.contains("***"), "{log}");
    let output = program(state.path()).args(["revert"]).arg(crate::common::only_folder(reports.path())).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    detector.check_output("revert", &output);
    detector.check_folder(reports.path());
    detector.check_folder(state.path());
}

/// A backend with a switch that only who has the key can put back; whether it is broken.
fn locked(key: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let broken = Arc::new(AtomicUsize::new(0));
    let switch = broken.clone();
    let turn = move |to: usize, headers: HeaderMap| match headers.get("x-key").is_some_and(|given| given == key) {
        true => {
            switch.store(to, Ordering::SeqCst);
            StatusCode::OK
        }
        false => StatusCode::UNAUTHORIZED,
    };
    let back = turn.clone();
    let routes = Router::new()
        .route("/jobs", post(|| async { Json(serde_json::json!({ "id": "1" })) }))
        .route("/status", get(|| async { Json(serde_json::json!({ "state": "done" })) }))
        .route("/health", get(|| async { "ok" }))
        .route("/break", post(move |headers: HeaderMap| async move { turn(1, headers) }))
        .route("/restore", post(move |headers: HeaderMap| async move { back(0, headers) }));
    (serve_routes(routes), broken)
}

#[test]
fn a_guardian_has_the_credentials_that_the_journal_has_not() {
    let (address, broken) = locked(SECRETS[18]);
    let (folder, state, reports) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let driver = format!(
        "version: 1\nname: locked\nheaders: {{ x-key: {} }}\nsubmit: {{ steps: [{{ path: /jobs, json: {{ a: b }} }}], id: /id }}\n\
         status: {{ path: \"/status?id={{{{id}}}}\", state: /state, states: {{ done: completed }} }}\nhealth: {{ path: /health }}\n",
        quoted(18),
    );
    std::fs::write(folder.path().join("locked.yaml"), driver).unwrap();
    let file = folder.path().join("x.yaml");
    let text = format!(
        "version: 1\nname: x\ntarget: {{ driver: ./locked.yaml, url: \"http://{address}\" }}\nload: [{{ users: 1, for: 60s, job: {{ width: 64, height: 64 }} }}]\n\
         faults: [{{ http: {{ at: 200ms, for: 50s, send: {{ path: /break }}, revert: {{ path: /restore }} }} }}]\nchecks: [{{ no_crash: {{}} }}]\n"
    );
    std::fs::write(&file, text).unwrap();
    let mut run = program(state.path());
    run.args(["run", "--reports"]).arg(reports.path()).arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = run.spawn().unwrap();
    wait_for("the fault", Duration::from_secs(60), || broken.load(Ordering::SeqCst) == 1);
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    wait_for("the way back", Duration::from_secs(60), || broken.load(Ordering::SeqCst) == 0);
    let detector = Detector::new();
    wait_for("the guardian's end", Duration::from_secs(60), || detector.check_processes(state.path()) == 0);
    detector.check_folder(reports.path());
    detector.check_folder(state.path());
}

/// The state folder comes from the environment, and only a process of its own can have another one.
#[test]
fn a_removed_containers_environment_is_kept_encrypted() {
    const HERE: &str = "SWEEP_STATE";
    if std::env::var_os(HERE).is_none() {
        let state = tempfile::tempdir().unwrap();
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "secrets::a_removed_containers_environment_is_kept_encrypted", "--nocapture"]);
        let output = again.env(HERE, state.path()).env("CHAOS_STATE_DIR", state.path().join("state")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        // A name that no test has would be a success too.
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let container = serde_json::json!({
        "Id": "1", "Name": "/backend", "State": { "Running": true },
        "Config": { "Image": "backend", "Env": SECRETS.iter().map(|secret| format!("TOKEN={secret}")).collect::<Vec<_>>(),
            "Labels": { "com.docker.compose.project": "p", "com.docker.compose.service": "s" } },
        "HostConfig": {}, "NetworkSettings": { "Networks": {} },
    });
    let container = serde_json::from_value(container).unwrap();
    let mut diags = Diagnostics::default();
    let source = diags.add_source("remove", "for: 1s");
    let fault = Remove::decode(&node::parse(source, &mut diags).unwrap(), &mut diags).unwrap();
    let written = serde_json::to_value(fault.save(&container).unwrap()).unwrap();
    Detector::new().check("the undo", written.to_string().as_bytes());
    assert!(!written.to_string().contains("TOKEN"), "{written}");
    let read = |written: &serde_json::Value| serde_json::from_value::<<Remove as Act>::Saved>(written.clone());
    let whole = serde_json::to_value(&read(&written).unwrap().0).unwrap();
    assert_eq!(whole["body"]["Env"][3], format!("TOKEN={}", SECRETS[3]));
    assert_eq!(serde_json::to_value(&read(&whole).unwrap().0).unwrap(), whole, "as older versions wrote it");
    let key = Path::new(&std::env::var("CHAOS_STATE_DIR").unwrap()).join("key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::remove_file(&key).unwrap();
    let error = read(&written).err().unwrap().to_string();
    assert!(error.contains("key") && error.contains("is not there") && error.contains("CHAOS_STATE_DIR"), "{error}");
}

/// Each place where a secret would be shown, and what is said about it.
const REFUSED: [(&str, &str); 12] = [
    ("seed: SECRET", "a number cannot be a secret"),
    ("time_scale: SECRET", "a number cannot be a secret"),
    ("duration: SECRET", "cannot be a secret"),
    ("baseline: SECRET", "cannot be a secret"),
    ("name: SECRET", ""),
    ("target: { url: SECRET }", ""),
    ("target: { driver: SECRET }", ""),
    ("target: { runtime: SECRET }", "unknown runtime"),
    ("target: { url: \"http://127.0.0.1:9\", runtime: { process: { command: [x, SECRET] } } }", "list of processes"),
    ("faults: [{ exec: { at: 1s, shell: true, command: \"true\", revert: SECRET } }]", "$NAME"),
    ("faults: [{ exec: { at: 1s, command: [a, SECRET], proof: [b, SECRET] } }]", "list of processes"),
    ("faults: [{ exec_inside: { at: 1s, for: 1s, command: [a, SECRET] } }]", "list of processes"),
];

#[test]
fn errors_quote_no_secret_and_say_what_to_do() {
    let detector = Detector::new();
    let (folder, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = folder.path().join("x.yaml");
    let with = |lines: &str| {
        let parts = ["name: x", "target: { url: embedded }", "load: [{ users: 1 }]", "checks: [{ no_crash: {} }]"];
        let rest = parts.iter().filter(|part| !lines.starts_with(part.split_once(':').unwrap().0));
        format!("version: 1\n{lines}\n{}\n", rest.copied().collect::<Vec<_>>().join("\n"))
    };
    for (at, (lines, reason)) in REFUSED.iter().enumerate().cycle().take(SECRETS.len() * 2) {
        let secret = quoted((at * 7 + 3) % SECRETS.len());
        std::fs::write(&file, with(&lines.replace("SECRET", &secret))).unwrap();
        for format in ["text", "json"] {
            let output = program(state.path()).args(["validate", "--format", format]).arg(&file).output().unwrap();
            let text = String::from_utf8_lossy(if format == "json" { &output.stdout } else { &output.stderr }).into_owned();
            assert_eq!(output.status.code(), Some(2), "{lines}: {text}");
            assert!(text.contains(reason), "{lines}: {text}");
            detector.check_output(lines, &output);
        }
    }
    std::fs::write(&file, with("description: \"${secret:SWEEP_NOT_SET:-a-default}\"")).unwrap();
    let output = program(state.path()).arg("validate").arg(&file).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("has a default in the file"), "{output:?}");
}

#[test]
fn a_schedule_and_its_notices_tell_no_secret() {
    let detector = Detector::new();
    let (folder, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(
        folder.path().join("x.yaml"),
        "version: 1\nname: x\ntarget: { url: \"http://u:${secret:SWEEP_SECRET_11}@127.0.0.1:9\" }\nload: [{ users: 1 }]\nchecks: [{ no_crash: {} }]\n",
    )
    .unwrap();
    std::fs::write(folder.path().join("echo"), forms().join(" ")).unwrap();
    let file = folder.path().join("schedule.yaml");
    let all: Vec<String> = (0..SECRETS.len()).map(quoted).collect();
    let write = |entry: &str, run: &str| {
        let echo = folder.path().join("echo").display().to_string();
        let text = format!(
            "version: 1\nexperiments: [{{ name: one, run: x.yaml, {entry} }}]\nnotify:\n\
             \x20 - {{ name: hook, on: [error, failure], webhook: {{ url: \"http://127.0.0.1:9/${{secret:SWEEP_SECRET_11}}\", secret: {}, headers: {{ x-a: {} }}, body: {{ a: [{}] }} }} }}\n\
             \x20 - {{ name: chat, on: [error, failure], slack: {{ url: {} }} }}\n\
             \x20 - {{ name: mail, on: [error, failure], email: {{ server: \"smtp://u:${{secret:SWEEP_SECRET_11}}@127.0.0.1:9\", from: a@example.org, to: [b@example.org], text: {} }} }}\n\
             \x20 - {{ name: program, on: [error, failure], command: {{ run: [sh, -c, 'cat {echo} >&2; exit 1'{run}] }} }}\n",
            quoted(0),
            quoted(5),
            all.join(", "),
            "\"http://127.0.0.1:9/${secret:SWEEP_SECRET_19}\"",
            quoted(8),
        );
        std::fs::write(&file, text).unwrap();
    };
    let schedule = |command: &str| program(state.path()).args(["schedule", command]).arg(&file).output().unwrap();
    for (entry, run, reason) in [
        (format!("cron: {}", quoted(0)), "", "what a schedule shows"),
        (format!("cron: '* * * * *', args: [--seed, {}]", quoted(1)), "", "list of processes"),
        ("cron: '* * * * *'".to_owned(), ", SECRET", "list of processes"),
    ] {
        write(&entry, &run.replace("SECRET", &quoted(2)));
        let output = schedule("check");
        detector.check_output("schedule check", &output);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(reason), "{entry}: {}", String::from_utf8_lossy(&output.stderr));
    }
    write("cron: '* * * * * *', missed: skip", "");
    for command in ["check", "tell"] {
        let output = schedule(command);
        assert_eq!(output.status.code(), Some(if command == "check" { 0 } else { 4 }), "{output:?}");
        detector.check_output(command, &output);
    }
    let mut daemon = program(state.path()).args(["schedule", "run"]).arg(&file).spawn().unwrap();
    let database = folder.path().join("reports/schedule.db");
    let told = || {
        let db = rusqlite::Connection::open_with_flags(&database, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
        db.query_row("SELECT count(*) FROM outbox WHERE error IS NOT NULL", [], |row| row.get::<_, i64>(0)).ok()
    };
    wait_for("four channels that fail", Duration::from_secs(120), || {
        detector.check_processes(state.path());
        told().is_some_and(|count| count >= 4)
    });
    kill(Pid::from_raw(daemon.id().cast_signed()), Signal::SIGTERM).unwrap();
    let output = daemon.wait().map(|_| ()).and_then(|()| daemon.wait_with_output()).unwrap();
    // Its runs go on without it.
    wait_for("the end of its last run", Duration::from_secs(60), || detector.check_processes(state.path()) == 0);
    detector.check_output("schedule run", &output);
    detector.check_output("schedule status", &schedule("status"));
    detector.check_folder(&folder.path().join("reports"));
    detector.check_folder(state.path());
    let mode = std::fs::metadata(&database).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "{mode:o}");
}

#[test]
fn a_secret_that_is_a_word_of_the_journal_damages_nothing() {
    let (folder, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = folder.path().join("x.yaml");
    let text = "version: 1\nname: x\ndescription: \"${secret:WORD}\"\ntarget: { url: embedded }\nload: [{ name: load-1, users: 1, for: 1s, job: { width: 64, height: 64 } }]\nchecks: [{ all_jobs_complete: {} }]\n";
    std::fs::write(&file, text).unwrap();
    for word in ["detail", "run_started", "completed", "embedded", "answer", "reference"] {
        let reports = tempfile::tempdir().unwrap();
        let mut run = program(state.path());
        run.args(["run", "--format", "json", "--reports"]).arg(reports.path()).arg(&file).env("WORD", word);
        let done = crate::common::finished(run.output().unwrap(), reports);
        assert_eq!(done.code, Some(0), "{word}: {}", done.trouble());
        assert!(done.result["jobs"]["completed"].as_u64() > Some(0), "{word}: {}", done.result["jobs"]);
        let again = program(state.path()).arg("report").arg(&done.folder).output().unwrap();
        assert!(again.status.success(), "{word}: {}", String::from_utf8_lossy(&again.stderr));
    }
    std::fs::write(&file, text.replace("load-1", "shibboleth")).unwrap();
    let output = program(state.path()).arg("validate").arg(&file).env("WORD", "shibboleth").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("the name `***` holds a secret"), "{said}");
}

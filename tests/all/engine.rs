//! Whole runs against the embedded backend: real processes, real sockets, real time.

use std::time::Duration;

use crate::common::{chaos, free_port, only_folder, process_exists, run, stretched, wait_for};
use serde_json::Value as Json;

const FILE: &str = "experiments/gpu-oom.yaml";
/// Fewer jobs than the file asks for, so that a test takes seconds: a p50 takes 7 samples. Times are the file's, 400 times longer than the test's.
const SHORT: [&str; 12] = [
    "--set",
    "faults.0.flood.at=800s",
    "--set",
    "checks.5.latency_recovers.percentile=50",
    "--set",
    "checks.5.latency_recovers.to_within=60%",
    "--set",
    "checks.5.latency_recovers.within=2000s",
    "--set",
    "checks.4.queue_drains.within=2400s",
    "--set",
    "checks.3.all_jobs_complete.within=1600s",
];

/// What must go well, however busy the machine is: a baseline with jobs enough where each takes long, and deadlines that are
/// used up only where they are needed.
const PATIENT: [&str; 12] = [
    "--set",
    "load.0.think=0s..20s",
    "--set",
    "faults.0.flood.at=1200s",
    "--set",
    "checks.5.latency_recovers.to_within=100%",
    "--set",
    "checks.5.latency_recovers.within=8000s",
    "--set",
    "checks.4.queue_drains.within=8000s",
    "--set",
    "checks.3.all_jobs_complete.within=12000s",
];

/// On a busy machine the memory of so short a run is read too seldom for a level of it.
const FEW_SAMPLES: &str = "by itself it varies by";

fn short(more: &[&str]) -> crate::common::Run {
    run(&[&[FILE], &SHORT[..], more].concat())
}

fn patient(more: &[&str]) -> crate::common::Run {
    short(&[&PATIENT[..], more].concat())
}

#[test]
fn the_healthy_backend_passes_and_its_reports_are_rebuilt_byte_for_byte() {
    let done = patient(&[]);
    assert!(done.is_healthy_but_for(&[FEW_SAMPLES]), "{}", done.trouble());
    let jobs = &done.result["jobs"];
    assert_eq!(jobs["submitted"], jobs["completed"], "{jobs}");
    let schema: Json = serde_json::from_slice(&chaos().args(["schema", "result"]).output().unwrap().stdout).unwrap();
    let errors: Vec<String> =
        jsonschema::validator_for(&schema).unwrap().iter_errors(&done.result).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    let again = tempfile::tempdir().unwrap();
    let output = chaos().arg("report").arg(&done.folder).arg("--to").arg(again.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let files: Vec<_> = std::fs::read_dir(again.path()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(files.len(), 6, "{files:?}");
    for name in files {
        let (first, second) = (std::fs::read(done.folder.join(&name)).unwrap(), std::fs::read(again.path().join(&name)).unwrap());
        assert!(first == second, "{name:?} differs");
    }
    // The stored file repeats the run.
    let stored = done.folder.join("experiment.yaml");
    let plan = |file: &std::path::Path| chaos().arg("plan").arg(file).args(["--format", "json"]).output().unwrap().stdout;
    let original = chaos().args(["plan", FILE, "--format", "json"]).args(SHORT).args(PATIENT).output().unwrap().stdout;
    assert_eq!(String::from_utf8(plan(&stored)), String::from_utf8(original));
}

#[test]
fn planted_defects_are_found_by_the_right_check() {
    let expected = [
        ("oom-kills-queue", "all_jobs_complete", "failed"),
        ("oom-crashes-server", "no_crash", "failed"),
        ("oom-no-retry", "retried_smaller", "failed"),
        ("oom-fakes-success", "all_jobs_complete", "failed"),
        ("sheds-after-accept", "all_jobs_complete", "failed"),
        ("accepted-then-dropped", "all_jobs_complete", "failed"),
        ("wedged-after-oom", "queue_drains", "failed"),
    ];
    // A few at a time: a machine of two cores must not be what makes a run slow.
    for few in expected.chunks(3) {
        std::thread::scope(|scope| {
            for &(defect, check, verdict) in few {
                scope.spawn(move || {
                    let done = short(&["--defect", defect]);
                    assert_eq!(done.code, Some(1), "{defect}: {}", done.trouble());
                    assert_eq!(done.verdict(check), verdict, "{defect}: {}", done.trouble());
                });
            }
        });
    }
}

#[test]
fn a_flood_too_small_to_exhaust_the_memory_does_not_pass() {
    let done = short(&["--set", "faults.0.flood.jobs=2"]);
    assert!(done.finds("oom_seen"), "{}", done.trouble());
    let overrides: Vec<&str> = done.result["overrides"].as_array().unwrap().iter().filter_map(Json::as_str).collect();
    assert!(overrides.contains(&"--set faults.0.flood.jobs=2"), "{overrides:?}");
}

#[test]
fn a_restart_keeps_every_job_and_a_memory_only_queue_is_found_out() {
    let yaml = |how: &str| {
        format!(
            "version: 1\nname: restart\ntarget: {{ url: embedded, backend: {{ speed: 200 }} }}\nload: [{{ name: users, users: 8 }}]\nfaults: [{{ restart: {{ at: 1500ms, how: {how} }} }}]\nchecks:\n  - no_crash: {{}}\n  - all_jobs_complete: {{ within: 60s }}\n"
        )
    };
    for how in ["graceful", "kill"] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("restart.yaml");
        std::fs::write(&file, yaml(how)).unwrap();
        let file = file.to_str().unwrap();
        let healthy = run(&[file]);
        assert!(healthy.is_healthy_but_for(&[]), "{how}: {}", healthy.trouble());
        let during = healthy.result["faults"][0]["seen"]["during"].as_str().unwrap();
        assert!(during.contains("ended") && during.contains("was started"), "{during}");
        let lossy = run(&[file, "--defect", "jobs-lost-on-restart"]);
        assert!(lossy.finds("all_jobs_complete"), "{how}: {}", lossy.trouble());
    }
}

#[test]
fn a_pause_of_the_wrong_process_is_inconclusive() {
    // The command is a shell that stays in between: stopping it stops nobody who serves.
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let binary = env!("CARGO_BIN_EXE_chaos");
    let yaml = format!(
        "version: 1\nname: wrong\ntarget:\n  url: http://127.0.0.1:{port}\n  runtime: {{ process: {{ command: [sh, -c, '{binary} backend --speed 400 --listen 127.0.0.1:{port}; true'] }} }}\nload: [{{ name: users, users: 1 }}]\nfaults: [{{ pause: {{ at: 1s, for: 1s }} }}]\nchecks: [{{ all_jobs_complete: {{ within: 60s }} }}]\n"
    );
    let file = folder.path().join("wrong.yaml");
    std::fs::write(&file, yaml).unwrap();
    let done = run(&[file.to_str().unwrap()]);
    assert_eq!(done.code, Some(6), "{}", done.trouble());
    let proof = done.result["checks"][0]["observed"].as_str().unwrap();
    assert!(proof.contains("not the one that serves"), "{proof}");
    // The shell's child was not the holder's own child, and is gone all the same.
    let nobody = || std::net::TcpStream::connect(("127.0.0.1", port)).is_err();
    wait_for("the end of the target", Duration::from_secs(30), nobody);
}

#[test]
fn a_pause_really_stops_the_process_and_lets_it_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pause.yaml");
    std::fs::write(&file, "version: 1\nname: pause\ntarget: { url: embedded, backend: { speed: 400 } }\nload: [{ name: users, users: 2 }]\nfaults: [{ pause: { at: 1s, for: 2s } }]\nchecks: [{ no_crash: {} }, { all_jobs_complete: { within: 60s } }]\n").unwrap();
    let reports = tempfile::tempdir().unwrap();
    let child = chaos()
        .args(["run", "--format", "json", "--reports"])
        .arg(reports.path())
        .arg(&file)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the target", Duration::from_secs(60), || target_pid(reports.path()).is_some());
    let pid = target_pid(reports.path()).unwrap() as u32;
    let state = || chaos::runtime::proc_stat(pid).map(|(state, _)| state);
    // It is looked for from the start on: it must not be missed where the journal is read late.
    wait_for("the stop of the process", Duration::from_secs(60), || state() == Some('T'));
    assert!(journal_has(reports.path(), "fault_injecting"), "it was stopped by the fault");
    wait_for("the revert", Duration::from_secs(60), || journal_has(reports.path(), "fault_reverted"));
    wait_for("the process to go on", Duration::from_secs(30), || state() != Some('T'));
    let done = crate::common::finished(child.wait_with_output().unwrap(), reports);
    assert!(done.is_healthy_but_for(&[]), "{}", done.trouble());
    let fault = &done.result["faults"][0];
    let held = fault["reverted_at_s"].as_f64().unwrap() - fault["injected_at_s"].as_f64().unwrap();
    assert!((2.0..stretched(Duration::from_secs(4)).as_secs_f64()).contains(&held), "{held}");
}

#[test]
fn images_are_uploaded_and_results_recognised() {
    // An image takes long to make on a busy machine: a baseline for some of them.
    let at = "faults.0.flood.at=3600s";
    let done = patient(&["--set", "load.0.job.image=true", "--set", "load.0.listen=poll", "--set", at]);
    assert!(done.is_healthy_but_for(&[FEW_SAMPLES]), "{}", done.trouble());
    assert_eq!(done.result["jobs"]["invalid"], 0);
}

#[test]
fn a_bounded_queue_refuses_honestly_and_that_is_no_loss() {
    let done = patient(&["--set", "target.backend.queue=4", "--set", "faults.0.flood.jobs=30"]);
    assert!(done.result["jobs"]["rejected"].as_u64().unwrap() > 5, "{}", done.result["jobs"]);
    assert_eq!(done.verdict("all_jobs_complete"), "passed", "{}", done.trouble());
    assert_eq!(done.result["jobs"]["errors"], 0);
}

#[test]
fn a_target_that_is_there_already_is_driven_and_left_running() {
    let mut backend = chaos()
        .args(["backend", "--speed", "400", "--listen", "127.0.0.1:0"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(backend.stdout.take().unwrap()));
    let url = lines.find_map(|l| l.unwrap().split_once("listening on ").map(|(_, url)| url.trim().to_owned())).unwrap();
    // Its log goes on: where nobody reads it, a long run fills the pipe, and the backend stands still.
    std::thread::spawn(move || lines.for_each(drop));
    let done = patient(&["--url", &url, "--time-scale", "0.0025"]);
    assert!(done.is_healthy_but_for(&[]), "{}", done.trouble());
    assert!(backend.try_wait().unwrap().is_none(), "it was not ours to end");
    backend.kill().unwrap();
    backend.wait().unwrap();
}

#[test]
fn a_target_that_is_down_is_exit_4_in_a_sentence() {
    let began = std::time::Instant::now();
    let done = run(&[FILE, "--url", "http://127.0.0.1:9"]);
    assert_eq!(done.code, Some(4), "{}", done.trouble());
    assert!(began.elapsed() < stretched(Duration::from_secs(30)), "it is given up after a few seconds");
    assert!(done.result["reason"].as_str().unwrap().contains("cannot be used"), "{}", done.result["reason"]);
    assert!(!done.stderr.contains("panicked") && !done.stderr.contains("stack backtrace"), "{}", done.stderr);
    assert_eq!(done.result["jobs"]["submitted"], 0, "nothing was sent");
    let verdicts = done.result["checks"].as_array().unwrap();
    assert!(
        verdicts.iter().all(|c| c["verdict"] == "inconclusive"),
        "nothing can be said of a target that was never reached: {verdicts:?}"
    );
}

#[test]
fn reports_that_cannot_be_written_stop_it_before_anything_is_touched() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = chaos().args(["run", FILE, "--reports"]).arg(file.path().join("below-a-file")).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("nothing was touched") && text.contains("--reports"), "{text}");
}

/// The pid of the target of a running run, from its journal.
fn target_pid(reports: &std::path::Path) -> Option<u64> {
    let journal = std::fs::read_to_string(only_folder(reports).join("events.jsonl")).ok()?;
    journal
        .lines()
        .filter_map(|l| serde_json::from_str::<Json>(l).ok())
        .find_map(|l| l["event"]["process"]["event"]["started"]["pid"].as_u64())
}

fn journal_has(reports: &std::path::Path, word: &str) -> bool {
    std::fs::read_to_string(only_folder(reports).join("events.jsonl")).is_ok_and(|text| text.contains(word))
}

#[test]
fn interrupted_it_puts_everything_back_and_reports() {
    for (signal, name) in [
        (nix::sys::signal::Signal::SIGINT, "SIGINT"),
        (nix::sys::signal::Signal::SIGTERM, "SIGTERM"),
        (nix::sys::signal::Signal::SIGHUP, "SIGHUP"),
    ] {
        let reports = tempfile::tempdir().unwrap();
        let child = chaos()
            .args(["run", FILE, "--format", "json", "--reports"])
            .arg(reports.path())
            .args(SHORT)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        wait_for("the flood", Duration::from_secs(60), || journal_has(reports.path(), "fault_injected"));
        let pid = target_pid(reports.path()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), signal).unwrap();
        let done = crate::common::finished(child.wait_with_output().unwrap(), reports);
        assert_eq!(done.code, Some(130), "{name}: {}", done.trouble());
        assert_eq!(done.result["outcome"], "interrupted");
        assert!(done.result["reason"].as_str().unwrap().contains(name));
        assert_eq!(done.result["jobs"]["lost"], 0, "it was not the target that gave up");
        assert!(done.folder.join("report.html").exists());
        wait_for("the end of the backend", Duration::from_secs(30), || !process_exists(pid));
    }
}

#[test]
fn the_target_never_outlives_a_killed_chaos() {
    let reports = tempfile::tempdir().unwrap();
    let mut child = chaos()
        .args(["run", FILE, "--reports"])
        .arg(reports.path())
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the load", Duration::from_secs(60), || journal_has(reports.path(), "\"ended\""));
    let pid = target_pid(reports.path()).unwrap();
    assert!(process_exists(pid));
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("the end of the target", Duration::from_secs(30), || !process_exists(pid));
    // The guardian says what happened, and that it is no pass.
    let folder = only_folder(reports.path());
    let result = folder.join("result.json");
    // Its reports come one after the other; it has let go of the journal when it is done with the run.
    let let_go = || std::fs::File::open(folder.join("events.jsonl")).is_ok_and(|journal| journal.try_lock().is_ok());
    wait_for("the guardian's end", Duration::from_secs(60), || result.exists() && let_go());
    let result: Json = serde_json::from_slice(&std::fs::read(result).unwrap()).unwrap();
    assert_eq!(result["exit_code"], 4);
    assert!(result["reason"].as_str().unwrap().contains("disappeared without a goodbye"), "{}", result["reason"]);
    assert!(chaos().arg("report").arg(&folder).output().unwrap().status.success());
    let revert = chaos().arg("revert").arg(&folder).output().unwrap();
    assert!(revert.status.success());
}

#[test]
fn a_fault_whose_undo_holds_a_secret_is_not_injected() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.yaml");
    let yaml = "version: 1\nname: x\ntarget: { url: embedded }\nload: [{ users: 1 }]\nfaults: [{ http: { at: 300ms, send: { path: /x }, revert: { path: /y, json: { token: \"${secret:CHAOS_TEST_TOKEN}\" } }, proof: { path: /health, status: 200 } } }]\nchecks: [{ no_crash: {} }]\n";
    std::fs::write(&file, yaml).unwrap();
    let reports = tempfile::tempdir().unwrap();
    let mut command = chaos();
    command.env("CHAOS_TEST_TOKEN", "s3cr3t-token").args(["run", "--format", "json", "--reports"]).arg(reports.path()).arg(&file);
    let done = crate::common::finished(command.output().unwrap(), reports);
    assert_eq!(done.code, Some(6), "{}", done.trouble());
    assert!(done.trouble().contains("what puts it back holds a secret"), "{}", done.trouble());
    assert!(done.result["faults"][0]["injected_at_s"].is_null(), "{}", done.result["faults"]);
}

#[test]
fn secrets_reach_neither_journal_nor_report_nor_log() {
    let secret = "s3cr3t-\"quoted\"-token";
    let folder = tempfile::tempdir().unwrap();
    let driver = include_str!("../../src/driver/built_in/reference.yaml")
        .replace("  image_field: image\n", "  image_field: image\n  headers: { authorization: \"Bearer x\" }\n");
    std::fs::write(folder.path().join("mine.yaml"), driver).unwrap();
    let yaml = "version: 1\nname: secret\ndescription: \"token ${secret:CHAOS_TEST_TOKEN}\"\ntarget:\n  url: embedded\n  backend: { speed: 1000 }\nload: [{ users: 1, for: 1s }]\nchecks: [{ all_jobs_complete: {} }]\n";
    let file = folder.path().join("secret.yaml");
    std::fs::write(&file, yaml).unwrap();
    let reports = tempfile::tempdir().unwrap();
    let output = chaos()
        .args(["run", "-vv", "--reports"])
        .arg(reports.path())
        .arg(&file)
        .env("CHAOS_TEST_TOKEN", secret)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let inner = serde_json::to_string(secret).unwrap();
    let forms = [secret, inner.trim_matches('"')];
    let clean = |what: &str, text: &str| assert!(forms.iter().all(|form| !text.contains(form)), "{what} holds the secret");
    clean("the terminal", &String::from_utf8_lossy(&output.stderr));
    clean("the output", &String::from_utf8_lossy(&output.stdout));
    for entry in std::fs::read_dir(only_folder(reports.path())).unwrap().flatten().filter(|e| e.path().is_file()) {
        clean(&entry.file_name().to_string_lossy(), &String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()));
    }
    let stored = std::fs::read_to_string(only_folder(reports.path()).join("experiment.yaml")).unwrap();
    assert!(stored.contains("${secret:CHAOS_TEST_TOKEN}"), "{stored}");
}

#[test]
fn a_user_command_that_ignores_sigterm_is_killed_after_its_stop_grace() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let binary = env!("CARGO_BIN_EXE_chaos");
    let yaml = format!(
        "version: 1\nname: deaf\ntarget:\n  url: http://127.0.0.1:{port}\n  runtime: {{ process: {{ command: ['{binary}', backend, --speed, '1000', --defect, ignores-sigterm, --listen, '127.0.0.1:{port}'], stop_grace: 300ms }} }}\nload: [{{ users: 1, for: 1s }}]\nchecks: [{{ all_jobs_complete: {{ within: 60s }} }}]\n"
    );
    let file = folder.path().join("deaf.yaml");
    std::fs::write(&file, yaml).unwrap();
    let done = run(&[file.to_str().unwrap()]);
    assert!(done.is_healthy_but_for(&[]), "{}", done.trouble());
    let record = chaos::journal::reader::read(&done.folder).unwrap();
    let (ended, status, asked) = record.generations[0].exited.clone().unwrap();
    let waited = ended - record.phase_start(chaos::journal::event::Phase::Revert).unwrap();
    assert_eq!((status.as_str(), asked), ("SIGKILL", true));
    assert!((0.3..stretched(Duration::from_secs(3)).as_secs_f64()).contains(&waited), "{waited}");
}

#[test]
fn a_user_command_that_does_not_start_is_exit_4() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.yaml");
    for command in ["[/no/such/program]", "[sh, -c, 'echo last words; exit 3']"] {
        let yaml = format!(
            "version: 1\nname: x\ntarget: {{ url: 'http://127.0.0.1:9', runtime: {{ process: {{ command: {command}, ready_within: 2s }} }} }}\nload: [{{ users: 1 }}]\nchecks: [{{ no_crash: {{}} }}]\n"
        );
        std::fs::write(&file, yaml).unwrap();
        let done = run(&[file.to_str().unwrap()]);
        assert_eq!(done.code, Some(4), "{}", done.trouble());
        assert!(!done.stderr.contains("panicked"));
    }
}

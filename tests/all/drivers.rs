//! The built-in drivers against servers that are not ours: Gradio itself, and small servers made of published packages that
//! speak the documented protocols of ORFEAS, ComfyUI and OpenAI-compatible servers, bad habits included.
//!
//! They need a Python with `tests/backends/requirements.txt`: `CHAOS_TEST_PYTHON` names it, else `target/backends/bin/python`.

use std::path::PathBuf;

use crate::common::{Run, free_port, real_part, run};

pub fn python(what: &str) -> Option<PathBuf> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/backends/bin/python");
    let path = std::env::var_os("CHAOS_TEST_PYTHON").map_or(here, PathBuf::from);
    real_part(&path.display().to_string(), path.is_file(), what).then_some(path)
}

/// One server, what it is told, and what is done to it.
struct Case<'a> {
    driver: &'a str,
    server: &'a str,
    /// Of the server.
    arguments: &'a [&'a str],
    /// Of `target`.
    more: &'a str,
    load: &'a str,
    faults: &'a str,
    checks: &'a str,
}

const CASE: Case = Case { driver: "", server: "", arguments: &[], more: "", load: "", faults: "", checks: "" };

impl Case<'_> {
    /// The whole run; `None` where there is no Python for it.
    fn run(&self) -> Option<Run> {
        let python = python(&format!("the driver `{}` against {}", self.driver, self.server))?;
        let port = free_port();
        let arguments: String = self.arguments.iter().map(|a| format!(", \"{a}\"")).collect();
        let text = format!(
            "version: 1\nname: x\n\
             target:\n  driver: {driver}\n  url: http://127.0.0.1:{port}\n\
             \x20 runtime: {{ process: {{ command: [\"{python}\", tests/backends/{server}, --port, \"{port}\"{arguments}], stop_grace: 3s, ready_within: 5m }} }}\n{more}\n\
             load: [{load}]\nfaults: [{faults}]\nchecks: [{checks}]\n",
            driver = self.driver,
            python = python.display(),
            server = self.server,
            more = self.more,
            load = self.load,
            faults = self.faults,
            checks = self.checks,
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.yaml");
        std::fs::write(&file, text).unwrap();
        Some(run(&[file.to_str().unwrap(), "--quiet"]))
    }
}

fn count(run: &Run, class: &str) -> u64 {
    run.result["jobs"][class].as_u64().unwrap_or_else(|| panic!("{}", run.trouble()))
}

/// The verdicts of some checks, in order.
fn verdicts<'a>(run: &'a Run, names: &[&str]) -> Vec<&'a str> {
    names.iter().map(|name| run.verdict(name)).collect()
}

const ALL: &str = "{ all_jobs_complete: { within: 60s } }";
const IMAGES: &str = "{ users: 2, for: 5s, job: { width: 128, height: 128, image: true } }";

const ORFEAS: Case = Case { driver: "orfeas", server: "orfeas.py", load: IMAGES, checks: ALL, ..CASE };

#[test]
fn orfeas_is_followed_through_both_steps_to_its_result() {
    let Some(run) =
        (Case { checks: "{ all_jobs_complete: { within: 60s } }, { listeners_stable: {} }, { no_crash: {} }", ..ORFEAS }).run()
    else {
        return;
    };
    assert_eq!(run.code, Some(0), "{}", run.trouble());
    // Each of the two users more than once.
    assert!(count(&run, "completed") >= 4, "{}", run.result["jobs"]);
}

#[test]
fn orfeas_sheds_what_it_has_accepted() {
    let burst = "{ burst: { at: 1s, jobs: 20, job: { width: 128, height: 128 } } }";
    let checks = "{ all_jobs_complete: { within: 60s } }, { backpressure_is_honest: {} }, { no_crash: {} }";
    // The slots stay taken while the burst comes, also where that takes its time.
    let Some(run) = (Case { arguments: &["--work", "1.5"], faults: burst, checks, ..ORFEAS }).run() else { return };
    let seen = verdicts(&run, &["fault burst", "all_jobs_complete", "backpressure_is_honest", "no_crash"]);
    assert_eq!(seen, ["passed", "failed", "failed", "passed"], "{}", run.trouble());
    assert!(count(&run, "shed") >= 5 && count(&run, "failed") == 0, "{}", run.result["jobs"]);
}

#[test]
fn orfeas_calls_an_out_of_memory_a_success_and_is_found_out() {
    let checks = "{ all_jobs_complete: { within: 60s } }, { oom_seen: {} }, { oom_outcome: {} }";
    let Some(run) = (Case { arguments: &["--oom-every", "4"], checks, ..ORFEAS }).run() else { return };
    assert_eq!(
        verdicts(&run, &["all_jobs_complete", "oom_seen", "oom_outcome"]),
        ["failed", "passed", "failed"],
        "{}",
        run.trouble()
    );
    assert!(count(&run, "mismatched") >= 1, "{}", run.result["jobs"]);
}

#[test]
fn orfeas_loses_its_jobs_with_a_restart() {
    let load = "{ users: 3, for: 6s, job: { width: 128, height: 128, image: true } }";
    let checks = "{ all_jobs_complete: { within: 60s } }, { restarts_cleanly: {} }";
    // In the middle of each user's first job.
    let case = Case { arguments: &["--work", "4"], load, faults: "{ restart: { at: 2s } }", checks, ..ORFEAS };
    let Some(run) = case.run() else { return };
    assert_eq!(verdicts(&run, &["fault restart", "all_jobs_complete"]), ["passed", "failed"], "{}", run.trouble());
    assert!((1..=3).contains(&count(&run, "lost")), "{}", run.result["jobs"]);
    assert_eq!(count(&run, "accepted"), count(&run, "lost") + count(&run, "completed"), "{}", run.result["jobs"]);
}

#[test]
fn orfeas_tells_who_comes_back_in_time_and_nobody_who_comes_later() {
    let back = |faults: &str, work: &str| {
        let load = "{ users: 3, for: 5s, job: { width: 128, height: 128, image: true } }";
        let checks = "{ all_jobs_complete: { within: 60s } }, { reconnects: {} }";
        (Case { arguments: &["--work", work], load, faults, checks, ..ORFEAS }).run()
    };
    // In the middle of a job: there is time before it to send it, and after it to come back.
    let Some(early) = back("{ websocket_drop: { at: 1500ms, away: 200ms, reconnect: at_once } }", "4") else { return };
    assert_eq!(
        verdicts(&early, &["fault websocket_drop", "all_jobs_complete", "reconnects"]),
        ["passed"; 3],
        "{}",
        early.trouble()
    );
    let late = back("{ websocket_drop: { at: 1500ms, away: 200ms, back: after_end } }", "3").unwrap();
    // The jobs themselves went on, and polling made up for it.
    let seen = verdicts(&late, &["fault websocket_drop", "all_jobs_complete", "reconnects"]);
    assert_eq!(seen, ["passed", "passed", "failed"], "{}", late.trouble());
    assert!(late.trouble().contains("reconnects"), "{}", late.trouble());
}

#[test]
fn an_end_that_is_never_pushed_is_found_out() {
    let checks = "{ all_jobs_complete: { within: 60s } }, { listeners_stable: {} }";
    let Some(run) = (Case { arguments: &["--mute-end"], checks, ..ORFEAS }).run() else { return };
    assert!(run.verdict("all_jobs_complete") == "passed" && run.finds("listeners_stable"), "{}", run.trouble());
}

/// The three ways to connect, to a namespace, with binary attachments, acknowledgements and a subscription.
#[test]
fn socketio_in_all_its_ways() {
    let built_in = include_str!("../../src/driver/built_in/orfeas.yaml");
    for transport in ["websocket", "polling", "upgrade"] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mine.yaml");
        let more = format!(
            "socketio:\n  transport: {transport}\n  namespace: /jobs\n  subscribe: {{ event: subscribe, data: {{ job_id: \"{{{{id}}}}\" }} }}\n  id:"
        );
        let driver = built_in.replace("socketio:\n  id:", &more);
        assert_ne!(driver, built_in);
        std::fs::write(&file, driver).unwrap();
        let path = file.to_string_lossy().into_owned();
        // Longer than two of the server's pings, which come every 2 s and must be answered within 2 s.
        let load = "{ users: 2, for: 7s, job: { width: 128, height: 128, image: true } }";
        let checks = "{ all_jobs_complete: { within: 60s } }, { listeners_stable: {} }, { reconnects: {} }, { no_crash: {} }";
        // In the middle of the first job: its end comes after the return.
        let faults = "{ websocket_drop: { at: 2s, away: 100ms, reconnect: at_once } }";
        let arguments = ["--namespace", "/jobs", "--rich", "--work", "4"];
        let case = Case { driver: &path, arguments: &arguments, load, checks, faults, ..ORFEAS };
        let Some(run) = case.run() else { return };
        assert_eq!(run.code, Some(0), "{transport}: {}", run.trouble());
        let log = std::fs::read_to_string(run.folder.join("target.log")).unwrap();
        let acks = log.lines().filter(|line| line.contains("acknowledged")).count() as u64;
        // One for each end at least: what came before it may have been told before the subscription, or during the drop.
        assert!(acks >= count(&run, "completed"), "{transport}: {acks} acknowledgements came back");
    }
}

const COMFYUI: Case = Case {
    driver: "comfyui",
    server: "comfyui.py",
    load: "{ users: 3, for: 4s, job: { width: 64, height: 64 } }",
    checks: ALL,
    ..CASE
};

#[test]
fn comfyui_is_evicted_and_warm_again() {
    let load = "{ users: 3, for: 8s, job: { width: 64, height: 64 } }";
    // Loading takes four times as long as a job: that is told apart where each job takes its own time too.
    let checks = "{ all_jobs_complete: { within: 60s } }, { cold_warm: { to_within: 100% } }, { queue_drains: {} }, { listeners_stable: {} }";
    // A graph whose inputs are called as what is looked for in its outputs.
    let more = r#"  with: { workflow: { "0": { class_type: LoadTextFile, inputs: { filename: styles.csv, type: input, subfolder: x } }, "1": { class_type: EmptyImage, inputs: { width: "{{width}}", height: "{{height}}", color: "{{color}}" } }, "2": { class_type: SaveImage, inputs: { images: ["1", 0], filename_prefix: "{{mark}}" } } } }"#;
    let Some(run) = (Case { load, more, faults: "{ evict: { at: 4s } }", checks, ..COMFYUI }).run() else { return };
    assert_eq!(run.code, Some(0), "{}", run.trouble());
}

#[test]
fn comfyui_loses_jobs_and_only_its_lists_can_tell() {
    let Some(run) = (Case { arguments: &["--lose-every", "4"], ..COMFYUI }).run() else { return };
    assert!(run.finds("all_jobs_complete"), "{}", run.trouble());
    assert!(count(&run, "lost") >= 1 && count(&run, "failed") == 0, "{}", run.result["jobs"]);
}

#[test]
fn comfyui_has_its_queue_in_memory_and_a_kill_empties_it() {
    let case = Case {
        faults: "{ restart: { at: 1500ms, how: kill } }",
        load: "{ users: 4, for: 4s, job: { width: 64, height: 64 } }",
        ..COMFYUI
    };
    let Some(run) = case.run() else { return };
    assert_eq!(verdicts(&run, &["fault restart", "all_jobs_complete"]), ["passed", "failed"], "{}", run.trouble());
    assert!((1..=4).contains(&count(&run, "lost")), "{}", run.result["jobs"]);
}

#[test]
fn comfyui_tells_who_comes_back_unless_the_old_connection_still_looks_open() {
    let back = |how: &str| {
        // Away for as long as the server may take to notice, and back before the job's end.
        let faults = format!("{{ websocket_drop: {{ at: 1500ms, away: 1s, reconnect: at_once, how: {how} }} }}");
        let checks = "{ all_jobs_complete: { within: 60s } }, { reconnects: {} }";
        let load = "{ users: 1, for: 4s, job: { width: 64, height: 64 } }";
        (Case { arguments: &["--work", "4", "--load", "0"], load, faults: &faults, checks, ..COMFYUI }).run()
    };
    let names = ["fault websocket_drop", "all_jobs_complete", "reconnects"];
    let Some(closed) = back("reset") else { return };
    assert_eq!(verdicts(&closed, &names), ["passed"; 3], "{}", closed.trouble());
    // The server goes on sending to the old one: the job completes, and nobody is told.
    let half_open = back("half_open").unwrap();
    assert_eq!(verdicts(&half_open, &names), ["passed", "passed", "failed"], "{}", half_open.trouble());
}

#[test]
fn comfyui_names_its_out_of_memory() {
    let checks = "{ all_jobs_complete: { within: 60s } }, { oom_outcome: { allow: [failed] } }";
    let Some(run) = (Case { arguments: &["--oom-every", "5"], checks, ..COMFYUI }).run() else { return };
    // It tells no memory: whether it came back is open, and said to be.
    let seen = verdicts(&run, &["all_jobs_complete", "oom_outcome"]);
    assert_eq!(seen, ["failed", "inconclusive"], "{}", run.trouble());
    assert!(count(&run, "failed") >= 1, "{}", run.result["jobs"]);
}

const OPENAI: Case = Case {
    driver: "openai",
    server: "openai_sse.py",
    more: "  with: { model: small }",
    load: "{ users: 3, for: 4s, job: { tokens: 20 } }",
    checks: ALL,
    ..CASE
};

#[test]
fn an_openai_server_is_followed_token_by_token() {
    let more = "  with: { model: small, auth: { bearer: secret-of-mine }, queue: { path: /metrics, depth: metric vllm:num_requests_waiting } }";
    let checks = "{ all_jobs_complete: { within: 60s } }, { latency: { of: first_token, percentile: 50, below: 20s } }, { throughput: { of: tokens, at_least: 5/s } }";
    // Tokens so far apart that a busy machine reads each by itself.
    let arguments = ["--key", "secret-of-mine", "--gap", "0.03"];
    let Some(run) = (Case { arguments: &arguments, more, checks, ..OPENAI }).run() else { return };
    assert_eq!(run.code, Some(0), "{}", run.trouble());
    let tokens = &run.result["tokens"];
    assert_eq!(tokens["tokens"].as_u64(), Some(20 * count(&run, "completed")), "{tokens}");
    assert!(tokens["first_p50_s"].as_f64().unwrap() >= 0.1 && tokens["between_p50_s"].as_f64().unwrap() >= 0.01, "{tokens}");
}

#[test]
fn a_stream_without_its_end_is_a_failed_job() {
    // A connection that is broken off may take the last pieces with it.
    for (argument, reason) in [("--cut-every", "without a reason"), ("--break-every", "the stream broke after")] {
        let Some(run) = (Case { arguments: &[argument, "5"], ..OPENAI }).run() else { return };
        assert!(run.finds("all_jobs_complete"), "{}", run.trouble());
        assert!(count(&run, "failed") >= 1 && count(&run, "mismatched") == 0, "{}", run.result["jobs"]);
        assert!(run.result["checks"].to_string().contains(reason), "{}", run.result["checks"]);
    }
}

#[test]
fn a_stream_that_is_dropped_is_lost_and_an_open_refusal_is_honest() {
    let drop = "{ websocket_drop: { at: 1500ms } }";
    let checks = "{ all_jobs_complete: { within: 60s } }, { reconnects: {} }";
    // In the middle of each user's first stream, of 3 s.
    let Some(run) = (Case { arguments: &["--gap", "0.15"], faults: drop, checks, ..OPENAI }).run() else { return };
    assert_eq!(
        verdicts(&run, &["fault websocket_drop", "all_jobs_complete", "reconnects"]),
        ["passed", "failed", "failed"],
        "{}",
        run.trouble()
    );
    assert!((1..=3).contains(&count(&run, "failed")), "{}", run.result["jobs"]);
    let burst = "{ burst: { at: 1s, jobs: 20 } }";
    let checks = "{ all_jobs_complete: { within: 60s } }, { backpressure_is_honest: {} }";
    let run = (Case { arguments: &["--gap", "0.1"], faults: burst, checks, ..OPENAI }).run().unwrap();
    assert_eq!(run.code, Some(0), "{}", run.trouble());
    assert!(count(&run, "rejected") >= 10, "{}", run.result["jobs"]);
}

#[test]
fn a_kill_breaks_the_streams_off() {
    let case = Case { arguments: &["--gap", "0.1"], faults: "{ restart: { at: 1s, how: kill } }", ..OPENAI };
    let Some(run) = case.run() else { return };
    assert_eq!(verdicts(&run, &["fault restart", "all_jobs_complete"]), ["passed", "failed"], "{}", run.trouble());
    // Those under way, and perhaps some that were sent into its death.
    assert!((1..=6).contains(&count(&run, "failed")), "{}", run.result["jobs"]);
}

/// LiteLLM's proxy as it is published, with a key, through a restart.
#[test]
fn a_published_openai_server_is_driven_through_a_restart() {
    let key = "sk-a-key-of-the-tests-alone";
    let more = format!("  with: {{ model: small, health: /health/liveliness, auth: {{ bearer: {key} }} }}");
    // How long it takes to start is the machine's business: those that have nothing to do with its end come when it is back.
    let faults = "{ restart: { at: 1500ms, grace: 60s, ready_within: 5m } }, { burst: { after: restart + 1s, jobs: 4, job: { tokens: 20 } } }";
    let checks = "{ all_jobs_complete: { within: 60s, load: burst } }, { restarts_cleanly: { down_at_most: 5m, ready_within_factor: 10 } }, { throughput: { of: tokens, at_least: 0.2/s } }";
    let case = Case {
        server: "litellm_proxy.py",
        arguments: &["--key", key],
        more: &more,
        load: "{ users: 2, for: 2s, job: { tokens: 20 } }",
        faults,
        checks,
        ..OPENAI
    };
    let Some(run) = case.run() else { return };
    assert!(run.is_healthy_but_for(&[]), "{}", run.trouble());
    // Twenty of each job, and at least one of each user's came to its end.
    assert!(run.result["tokens"]["tokens"].as_u64() >= Some(40), "{}", run.result["tokens"]);
}

#[test]
fn images_come_with_the_answer() {
    let Some(run) = (Case { driver: "openai-images", ..OPENAI }).run() else { return };
    assert_eq!(run.code, Some(0), "{}", run.trouble());
    assert!(count(&run, "completed") >= 10, "{}", run.result["jobs"]);
}

const GRADIO: Case = Case { driver: "gradio", server: "gradio_app.py", load: "{ users: 2, for: 4s }", checks: ALL, ..CASE };

#[test]
fn gradio_is_followed_through_its_queue() {
    let checks = "{ all_jobs_complete: { within: 60s } }, { queue_drains: {} }, { no_crash: {} }";
    let Some(run) = (Case { load: "{ users: 4, for: 5s }", checks, ..GRADIO }).run() else { return };
    assert_eq!(run.code, Some(0), "{}", run.trouble());
}

#[test]
fn gradio_forgets_the_jobs_of_a_lost_stream_and_an_empty_queue_hides_it() {
    let checks = "{ all_jobs_complete: { within: 60s } }, { queue_drains: {} }, { reconnects: {} }";
    let case = Case { load: "{ users: 4, for: 5s }", faults: "{ websocket_drop: { at: 2s, away: 1s } }", checks, ..GRADIO };
    let Some(run) = case.run() else { return };
    let seen = verdicts(&run, &["fault websocket_drop", "all_jobs_complete", "queue_drains", "reconnects"]);
    assert_eq!(seen, ["passed", "failed", "passed", "failed"], "{}", run.trouble());
    // Those under way: one of them may have been told its end in the moment before.
    assert!((1..=4).contains(&count(&run, "lost")), "{}", run.result["jobs"]);
}

#[test]
fn gradio_loses_its_queue_with_a_restart_and_refuses_when_it_is_full() {
    let restart = "{ restart: { at: 1500ms, grace: 60s, ready_within: 5m } }";
    let Some(run) = (Case { load: "{ users: 4, for: 9s }", faults: restart, ..GRADIO }).run() else { return };
    assert_eq!(verdicts(&run, &["fault restart", "all_jobs_complete"]), ["passed", "failed"], "{}", run.trouble());
    assert!((1..=4).contains(&count(&run, "lost")), "{}", run.result["jobs"]);
    let burst = "{ burst: { at: 1s, jobs: 20 } }";
    let checks = "{ all_jobs_complete: { within: 60s } }, { backpressure_is_honest: {} }";
    // Few may wait, and long: also a burst that comes over a second or two finds no room.
    let arguments = ["--waiting", "4", "--work", "0.9"];
    let run = (Case { arguments: &arguments, load: "{ users: 1, for: 3s }", faults: burst, checks, ..GRADIO }).run().unwrap();
    // Refused, and not told when to come back.
    assert_eq!(verdicts(&run, &["all_jobs_complete", "backpressure_is_honest"]), ["passed", "failed"], "{}", run.trouble());
    assert!(count(&run, "rejected") >= 8, "{}", run.result["jobs"]);
}

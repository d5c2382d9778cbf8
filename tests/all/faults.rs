//! Every fault against the embedded backend: that it really happened, that it was really undone, and that a fault without
//! effect is never passed.

use crate::common::{Run, run};

/// Time enough on a machine that has much else to do: it is used up only where it is needed.
const COMPLETE: &str = "all_jobs_complete: { within: 60s }";

/// A short experiment with one fault, in real time.
fn yaml(listen: &str, fault: &str, checks: &str) -> String {
    // More users than slots: some job is always under way.
    format!(
        "version: 1\nname: fault\ntarget: {{ url: embedded, backend: {{ speed: 200, slots: 4 }} }}\nload: [{{ name: users, users: 6, think: 10ms..60ms, listen: {listen} }}]\nfaults: [{fault}]\nchecks: [{checks}]\n"
    )
}

fn carried_out(listen: &str, fault: &str, checks: &str) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fault.yaml");
    std::fs::write(&file, yaml(listen, fault, checks)).unwrap();
    run(&[file.to_str().unwrap()])
}

fn seen(done: &Run, when: &str) -> String {
    done.result["faults"][0]["seen"][when].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_burst_is_sent_at_once_and_worked_off() {
    let done = carried_out("websocket", "burst: { at: 1s, jobs: 20 }", COMPLETE);
    assert!(done.is_healthy_but_for(&[]), "{}", done.trouble());
    assert!(seen(&done, "during").contains("20 known to the target"), "{}", seen(&done, "during"));
    let record = chaos::journal::reader::read(&done.folder).unwrap();
    let sent: Vec<_> = record.jobs_of(Some("burst")).collect();
    // At once: none of them waits for the answer to another, of which on a busy machine the first come before the last are sent.
    let spans = || sent.iter().filter_map(|job| Some((job.submitting_t, job.answer.as_ref()?.0)));
    let under_way = |t: f64| spans().filter(|(from, until)| *from <= t && t < *until).count();
    let most = spans().map(|(from, _)| under_way(from)).max();
    assert!(sent.len() == 20 && most >= Some(10), "{} jobs, at most {most:?} unanswered at one moment", sent.len());
}

#[test]
fn a_spike_adds_users_for_a_while_and_takes_them_away_again() {
    let done = carried_out("poll", "spike: { at: 1s, users: 8, for: 1500ms }", COMPLETE);
    assert!(done.is_healthy_but_for(&[]), "{}", done.trouble());
    assert!(seen(&done, "during").contains("of its 8 users"), "{}", seen(&done, "during"));
    let record = chaos::journal::reader::read(&done.folder).unwrap();
    let over = record.fault("spike").unwrap().reverted.as_ref().unwrap().0;
    let late = record.jobs_of(Some("spike")).filter(|job| job.intended_t > over).count();
    assert_eq!(late, 0, "nobody of the spike sends after its end");
}

#[test]
fn a_dropped_websocket_is_gone_and_comes_back_whichever_way_it_was_lost() {
    std::thread::scope(|scope| {
        for how in ["close", "fin", "reset", "half_open", "stall"] {
            scope.spawn(move || {
                // Late enough that all of them are connected, though five runs begin at once.
                let fault = format!("websocket_drop: {{ at: 3s, how: {how}, away: 300ms }}");
                // A stalled connection is never lost: there is nothing to come back from.
                let checks =
                    if how == "stall" { COMPLETE } else { "reconnects: { within: 30s, update_within: 30s, end_within: 30s }" };
                let done = carried_out("websocket", &fault, checks);
                assert!(done.is_healthy_but_for(&[]), "{how}: {}", done.trouble());
                assert!(seen(&done, "during").contains("6 of 6"), "{how}: {}", seen(&done, "during"));
                assert!(seen(&done, "after").contains("6 listeners are connected again"), "{how}: {}", seen(&done, "after"));
            });
        }
    });
}

#[test]
fn a_drop_without_listeners_is_never_passed() {
    let done = carried_out("poll", "websocket_drop: { at: 1s }", COMPLETE);
    assert_eq!(done.code, Some(6), "{}", done.trouble());
}

#[test]
fn a_client_that_does_not_come_back_is_found_out() {
    let done =
        carried_out("websocket", "websocket_drop: { at: 1500ms, away: 100ms, reconnect: never }", "reconnects: { within: 2s }");
    assert!(done.finds("reconnects"), "{}", done.trouble());
}

#[test]
fn an_evicted_model_is_loaded_again() {
    let done = carried_out("websocket", "evict: { at: 3s }", "cold_warm: { within: 30s, to_within: 100% }");
    assert!(done.is_healthy_but_for(&[]), "{}", done.trouble());
    let during = seen(&done, "during");
    // Whichever of the three is seen first.
    let told = ["was cold", "memory fell", "log says afterwards"];
    assert!(told.iter().any(|evidence| during.contains(evidence)), "{during}");
    assert!(seen(&done, "after").contains("ready"), "{}", seen(&done, "after"));
}

#[test]
fn a_command_breaks_and_puts_back_and_its_proof_is_believed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let flag = folder.path().join("broken");
    let flag = flag.to_str().unwrap();
    let exec = |command: &str| {
        format!(
            "exec: {{ at: 500ms, for: 500ms, command: [{command}], revert: [rm, -f, '{flag}'], proof: [test, -e, '{flag}'] }}"
        )
    };
    let done = carried_out("poll", &exec(&format!("touch, '{flag}'")), COMPLETE);
    assert!(done.is_healthy_but_for(&[]), "{}", done.trouble());
    assert!(!std::path::Path::new(flag).exists(), "it was put back");
    let idle = carried_out("poll", &exec("'true'"), COMPLETE);
    assert_eq!(idle.code, Some(6), "a command without effect: {}", idle.trouble());
    let failing = carried_out("poll", &exec("'false'"), COMPLETE);
    assert_eq!(failing.code, Some(6), "a command that fails: {}", failing.trouble());
    let literal = carried_out("poll", &exec(&format!("touch, '{flag}; touch /nowhere/x'")), COMPLETE);
    assert_ne!(literal.code, Some(0), "no shell unless asked");
}

#[test]
fn a_request_breaks_and_its_proof_is_asked_of_the_target() {
    let http = "http: { at: 2s, for: 500ms, send: { path: /evict }, proof: { path: /queue, status: 404 } }";
    let unproven = carried_out("poll", http, COMPLETE);
    assert_eq!(unproven.code, Some(6), "its proof never shows it broken: {}", unproven.trouble());
    let refused = "http: { at: 2s, send: { path: /no-such-thing }, proof: { path: /health, status: 200 } }";
    assert_eq!(carried_out("poll", refused, COMPLETE).code, Some(6));
}

//! Targets that give an id twice: whoever asks about the first job is told of the second.

use chaos::check::Ruling::{Failed, Inconclusive, Passed};
use chaos::check::Verdict;
use chaos::journal::event::{Answer, Event, JobState, ProcessEvent, ResultLook};
use chaos::load::ledger::{self, Class};

use crate::common::script::{Script, submitting, view};
use crate::common::{Run, free_port, real, run};

const CHECK: &str = "all_jobs_complete: { within: 60s }";

fn given(script: &mut Script, t: f64, id: &str) -> u32 {
    script.submitted(t, Answer::Accepted { id: id.to_owned() })
}

/// The end of a job, with a result that tells whose it is (or says nothing, as most pictures do).
fn done(script: &mut Script, job: u32, t: f64, of: u32, marked: bool) {
    script.ends(job, t, view(JobState::Completed));
    let mark = marked.then(|| format!("chaos-{of:016x}"));
    let look = ResultLook {
        status: 200,
        bytes: 10_000,
        digest: u64::from(of) + 100,
        kind: "png".into(),
        mark,
        other_mark: None,
        size: None,
        error: None,
    };
    script.at(t, Event::ResultSeen { job, look });
}

fn restart(script: &mut Script, t: f64) {
    let status = "signal: 9".into();
    script.at(t, Event::Process { event: ProcessEvent::Exited { generation: 1, status, asked: true, elsewhere: false } });
    script.at(t + 1.0, Event::Process { event: ProcessEvent::Started { pid: 8, generation: 2 } });
}

/// Two jobs of one id: the second is given at 30, and both are told of the second's end.
fn twice(restarted: bool, marked: bool) -> Script {
    let mut script = Script::new(CHECK);
    driver(&mut script).result.as_mut().unwrap().carries_mark = marked;
    goes_on(script, restarted, marked)
}

fn driver(script: &mut Script) -> &mut chaos::driver::Driver {
    &mut std::sync::Arc::make_mut(script.record.plan.as_mut().unwrap()).driver
}

fn goes_on(mut script: Script, restarted: bool, marked: bool) -> Script {
    script.completed(1.0, 1.0);
    let first = given(&mut script, 19.0, "1");
    if restarted {
        restart(&mut script, 21.0);
    }
    let second = given(&mut script, 30.0, "1");
    done(&mut script, first, 31.0, second, marked);
    done(&mut script, second, 31.1, second, marked);
    script.end(90.0);
    script
}

fn classes(script: &Script) -> Vec<Class> {
    ledger::of(&script.record).classes[1..].to_vec()
}

fn findings(script: &Script) -> String {
    chaos::report::findings::of(&chaos::check::View::of(&script.record)).join("\n")
}

#[test]
fn what_a_restart_lost_is_not_completed_by_the_next_job_of_its_number() {
    for marked in [true, false] {
        let script = twice(true, marked);
        assert_eq!(classes(&script), [Class::Lost, Class::Completed], "marked: {marked}");
        let verdict = script.verdict();
        assert_eq!(verdict.ruling, Failed);
        let told = "lost by the restart: the target was started again at 22.0 s, and gave its id `1` to job 2";
        assert!(verdict.evidence.iter().any(|line| line.contains(told)), "{verdict:?}");
        assert!(
            findings(&script).contains("gave an id to a second job before the first was seen to end"),
            "{}",
            findings(&script)
        );
    }
}

#[test]
fn without_a_restart_nobody_can_tell_whose_end_was_seen() {
    let script = twice(false, true);
    assert_eq!(classes(&script), [Class::Unknown, Class::Completed]);
    let verdict = script.verdict();
    assert_eq!(verdict.ruling, Inconclusive, "{verdict:?}");
    assert!(verdict.observed.starts_with("nobody can tell what became of 1 job "), "{verdict:?}");
    assert!(!findings(&script).contains("still at the target"), "{}", findings(&script));
    // A job that is lost besides decides.
    let mut lost = twice(false, true);
    lost.record.ended = false;
    let job = given(&mut lost, 40.0, "9");
    lost.at(50.0, Event::Vanished { job }).end(90.0);
    assert_eq!(lost.verdict().ruling, Failed);
}

fn ruling(change: impl FnOnce(&mut Script)) -> Verdict {
    ruling_of(CHECK, change)
}

fn ruling_of(check: &str, change: impl FnOnce(&mut Script)) -> Verdict {
    let mut script = Script::new(check);
    script.completed(1.0, 1.0);
    change(&mut script);
    script.end(90.0);
    script.verdict()
}

#[test]
fn a_number_that_was_free_is_given_again_and_that_is_fine() {
    // Ended, and seen to, before its number came back; with a restart in between, and without.
    for restarted in [false, true] {
        let verdict = ruling(|script| {
            for at in [10.0, 30.0, 50.0] {
                let job = given(script, at, "1");
                done(script, job, at + 2.0, job, true);
                if restarted && at < 20.0 {
                    restart(script, 21.0);
                }
            }
        });
        assert_eq!(verdict.ruling, Passed, "{restarted}: {verdict:?}");
    }
    // Three in a row, of which the restart lost the first.
    let verdict = ruling(|script| {
        let first = given(script, 19.0, "a/1");
        restart(script, 21.0);
        let second = given(script, 23.0, "a/1");
        for job in [first, second] {
            done(script, job, 25.0, second, true);
        }
        let third = given(script, 30.0, "a/1");
        done(script, third, 33.0, third, true);
    });
    assert!(verdict.ruling == Failed && verdict.observed == "1 of 4 accepted jobs: 1 lost", "{verdict:?}");
}

#[test]
fn equal_requests_may_be_one_job() {
    let mut base = Script::new(CHECK);
    let driver = driver(&mut base);
    driver.result.as_mut().unwrap().carries_mark = false;
    driver.submit.steps.iter_mut().for_each(|step| {
        (step.multipart, step.form) = Default::default();
        step.json = Some(serde_json::json!({ "prompt": "a cat" }));
    });
    base.record.jobs.inputs = Some(chaos::driver::sent::Sent::of(driver));
    let again = |restarted| {
        let mut script = Script::new(CHECK);
        script.record = base.record.clone();
        goes_on(script, restarted, false)
    };
    assert_eq!(classes(&again(false)), [Class::Completed, Class::Completed]);
    // A counter that began anew, or an id that is made of the request: nobody can tell.
    let restarted = again(true);
    assert_eq!((classes(&restarted), restarted.verdict().ruling), (vec![Class::Unknown, Class::Completed], Inconclusive));
}

/// A queue on disk goes on: what was seen at work after the restart was not lost with it.
#[test]
fn a_job_that_was_seen_after_the_restart_is_not_lost_by_it() {
    let mut script = Script::new(CHECK);
    script.completed(1.0, 1.0);
    let first = given(&mut script, 19.0, "1");
    restart(&mut script, 21.0);
    script.at(25.0, Event::Progress { job: first, view: view(JobState::Running) });
    let second = given(&mut script, 30.0, "1");
    for job in [first, second] {
        done(&mut script, job, 31.0, second, true);
    }
    script.end(90.0);
    assert_eq!((classes(&script), script.verdict().ruling), (vec![Class::Unknown, Class::Completed], Inconclusive));
}

/// The answer to an older submission comes after that to a newer one, which has the id.
#[test]
fn answers_that_overtake_one_another_give_the_id_to_the_later_submission() {
    let mut script = Script::new(CHECK);
    script.completed(1.0, 1.0);
    let (first, second) = (1, 2);
    let submitting = |job: u32, t: f64| submitting(job, t, "users", chaos::experiment::JobShape::default());
    let answered = |job: u32| Event::Answered { job, answer: Answer::Accepted { id: "1".to_owned() } };
    script.at(10.0, submitting(first, 10.0)).at(10.8, submitting(second, 10.8));
    script.at(10.9, answered(second)).at(12.0, answered(first));
    done(&mut script, second, 13.0, second, true);
    script.end(90.0);
    assert_eq!(classes(&script), [Class::Unknown, Class::Completed]);
}

/// What nobody can tell the end of waits for nothing: not in the queue, not behind a health endpoint that says well.
#[test]
fn a_number_that_was_given_again_is_nobody_who_waits() {
    for check in ["queue_depth: { below: 2 }", "latency: { below: 40s }"] {
        let mut script = Script::new(check);
        for at in 0..20 {
            let t = 2.0 * f64::from(at);
            // Each is given to the next before it was seen to end.
            let job = given(&mut script, t, "1");
            script.at(t + 0.1, Event::Progress { job, view: view(JobState::Queued) });
        }
        done(&mut script, 19, 39.0, 19, true);
        script.end(900.0);
        let verdict = script.verdict();
        assert_ne!(verdict.ruling, Failed, "{check}: {verdict:?}");
    }
}

/// Given up before its number came back, or after: what is told of the other is neither's work that goes on.
#[test]
fn a_job_that_was_given_up_is_not_worked_on_because_its_number_is() {
    for gives_up_t in [28.0, 35.0] {
        let mut script = Script::new("no_abandoned_work: { within: 5s }");
        script.completed(1.0, 1.0);
        let first = given(&mut script, 19.0, "1");
        restart(&mut script, 21.0);
        let give_up = |script: &mut Script| {
            script.at(gives_up_t, Event::GivingUp { job: first });
            script.at(gives_up_t, Event::Cancelled { job: first, error: None });
        };
        if gives_up_t < 30.0 {
            give_up(&mut script);
        }
        let second = given(&mut script, 30.0, "1");
        if gives_up_t > 30.0 {
            give_up(&mut script);
        }
        for t in [40.0, 60.0, 80.0] {
            for job in [first, second] {
                script.at(t, Event::Progress { job, view: view(JobState::Running) });
            }
        }
        [first, second].iter().for_each(|job| done(&mut script, *job, 85.0, second, true));
        script.end(90.0);
        assert_ne!(script.verdict().ruling, Failed, "{gives_up_t}: {:?}", script.verdict());
        let class = if gives_up_t < 30.0 { Class::Abandoned } else { Class::Lost };
        assert_eq!(classes(&script), [class, Class::Completed], "{gives_up_t}");
    }
}

/// A job whose id is given to another, which ends well; nobody is told what became of the first.
fn again(script: &mut Script, load: &str, t: f64, given_t: f64) {
    let submit = |script: &mut Script, t: f64| {
        let job = script.submitting(t, load, chaos::experiment::JobShape::default());
        script.at(t, Event::Answered { job, answer: Answer::Accepted { id: format!("again-{given_t}") } });
        job
    };
    submit(script, t);
    let second = submit(script, given_t);
    done(script, second, given_t + 0.5, second, true);
}

/// Nobody is slow, stuck or missing because nobody can tell what became of a job whose number was given again.
#[test]
fn no_check_waits_for_a_job_whose_number_was_given_again() {
    let up = |script: &mut Script| _ = script.at(0.5, Event::Sample { values: [("health.up", 1.0)].into() });
    // The health endpoint says well, and the one job that there is waits for 800 s.
    let mut health = Script::new("health_is_honest: { stall: 100s }");
    up(&mut health);
    health.completed(1.0, 1.0);
    again(&mut health, "users", 2.0, 3.0);
    health.at(800.0, Event::Sample { values: [("health.up", 1.0)].into() }).end(800.0);
    assert_ne!(health.verdict().ruling, Failed, "{:?}", health.verdict());

    // Jobs that are worked on for 1 s each, in every step.
    let mut steps = Script::from(
        "version: 1\nname: s\ntarget: { url: embedded }\nload: [{ name: users, stages: [{ users: 1, for: 100s }, { users: 2, for: 100s }] }]\nchecks: [capacity: { latency: 5s, at_least: 1 }]\n",
    );
    for i in 0..40 {
        let t = f64::from(i) * 4.5;
        steps.completed(t, 1.0);
        again(&mut steps, "users", t + 1.5, t + 2.5);
    }
    steps.end(230.0);
    assert_ne!(steps.verdict().ruling, Failed, "{:?}", steps.verdict());

    // Of five canaries the second and the fourth have one number.
    let mut canary = Script::from(
        "version: 1\nname: s\ntarget: { url: embedded }\nload: [{ name: users, users: 1 }]\ncanary: { every: 5s }\nfaults: [{ flood: { at: 20s, jobs: 1 } }]\nchecks: [canary: { within: 60s }]\n",
    );
    canary.fault();
    for t in [26.0, 36.0, 46.0, 56.0, 66.0] {
        again(&mut canary, "canary", t, t + 3.0);
    }
    canary.end(200.0);
    assert_eq!(canary.verdict().ruling, Inconclusive, "no three in a row are known: {:?}", canary.verdict());

    // The latency is back at once, and known: nobody waits whose latency would have to be awaited.
    let mut latency = Script::new("time_to_recover: { indicator: latency, within: 30s, hold: 10s }");
    (0..19).for_each(|t| _ = latency.completed(f64::from(t), 0.5));
    latency.fault();
    for t in 26..120 {
        latency.completed(f64::from(t), 0.5);
        if t == 30 {
            again(&mut latency, "users", 30.2, 30.5);
        }
    }
    latency.end(121.0);
    assert_eq!(latency.verdict().ruling, Passed, "{:?}", latency.verdict());
}

/// What was given up may have gone on under a number that tells of another job.
#[test]
fn work_that_cannot_be_watched_any_more_is_not_seen_to_stop() {
    let judged = |given_t: f64| {
        ruling_of("no_abandoned_work: { within: 5s }", |script| {
            let first = given(script, 19.0, "1");
            script.at(28.0, Event::GivingUp { job: first });
            script.at(28.0, Event::Cancelled { job: first, error: None });
            let second = given(script, given_t, "1");
            done(script, second, given_t + 1.0, second, true);
        })
    };
    assert_eq!(judged(30.0).ruling, Inconclusive, "{:?}", judged(30.0));
    assert_eq!(judged(40.0).ruling, Passed, "watched for 12 s: {:?}", judged(40.0));
}

/// What a listener hears of a number that was given again is about the other job.
#[test]
fn a_listener_that_hears_of_the_next_job_has_not_heard_of_its_own() {
    let judged = |given_t: f64| {
        let mut s = Script::from(
            "version: 1\nname: s\ntarget: { url: embedded }\nload: [{ name: users, users: 1 }]\nfaults: [{ websocket_drop: { at: 20s, away: 1s } }]\nchecks: [reconnects: { within: 5s, update_within: 5s, end_within: 5s }]\n",
        );
        let (listener, fault) = ("users/0".to_owned(), "websocket_drop".to_owned());
        s.at(1.0, Event::ListenerBack { listener: listener.clone(), after_s: None });
        let first = given(&mut s, 18.0, "1");
        s.at(20.0, Event::FaultInjecting { fault: fault.clone(), planned_t: 20.0 });
        let lost = Event::ListenerLost {
            listener: listener.clone(),
            why: "dropped".into(),
            fault: Some(fault.clone()),
            open: vec!["1".to_owned()],
        };
        s.at(21.0, lost);
        s.at(22.0, Event::FaultInjected { fault: fault.clone(), error: None });
        s.at(22.0, Event::FaultOver { fault }).at(22.0, Event::ListenerFreed { listener: listener.clone() });
        s.at(22.5, Event::ListenerBack { listener: listener.clone(), after_s: Some(1.5) });
        let mut told = [(given_t, None), (23.5, Some(JobState::Running)), (25.0, Some(JobState::Completed))];
        told.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (t, state) in told {
            match state {
                None => _ = given(&mut s, t, "1"),
                Some(state) => {
                    let news = Event::ListenerHeard { listener: listener.clone(), id: "1".to_owned(), state };
                    s.at(t, news);
                }
            }
        }
        done(&mut s, first + 1, 25.0, first + 1, true);
        s.end(90.0);
        s.verdict()
    };
    assert_ne!(judged(23.0).ruling, Passed, "{:?}", judged(23.0));
    assert_ne!(judged(23.0).ruling, Failed, "nothing says that it was lost: {:?}", judged(23.0));
}

/// The error of the new job is not the lost one's.
#[test]
fn an_out_of_memory_is_its_own_jobs() {
    let mut script = Script::new("oom_outcome: {}");
    script.completed(1.0, 1.0);
    let first = given(&mut script, 19.0, "1");
    restart(&mut script, 21.0);
    let second = given(&mut script, 30.0, "1");
    let error = Some("CUDA out of memory".to_owned());
    for job in [first, second] {
        script.ends(job, 32.0, chaos::journal::event::JobView { error: error.clone(), ..view(JobState::Failed) });
    }
    script.end(90.0);
    let verdict = script.verdict();
    assert_eq!(verdict.observed.split("; ").next(), Some("1 failed"), "{verdict:?}");
}

#[test]
fn a_line_about_a_number_is_about_the_job_that_has_it_then() {
    let mut script = Script::new("oom_outcome: {}");
    script.completed(1.0, 1.0);
    let first = given(&mut script, 10.0, "5");
    done(&mut script, first, 12.0, first, true);
    let second = given(&mut script, 30.0, "5");
    let line = "CUDA out of memory job=5".to_owned();
    script.at(31.0, Event::LogLine { pattern: "oom".into(), line, generation: 1 });
    let error = Some("CUDA out of memory".to_owned());
    script.ends(second, 32.0, chaos::journal::event::JobView { error, ..view(JobState::Failed) });
    script.end(90.0);
    let verdict = script.verdict();
    assert!(verdict.observed.starts_with("1 failed"), "{verdict:?}");
}

/// A server whose ids are a counter that begins anew, the lowest free number, or never the same.
const SERVER: &str = r#"
import http.server, json, sys, threading, time, uuid

habit, port, lock, jobs = sys.argv[1], int(sys.argv[2]), threading.Lock(), {}

def new_id(now):
    if habit == "never":
        return uuid.uuid4().hex
    if habit == "lowest":
        for name in [name for name, end in jobs.items() if now > end + 0.7]:
            del jobs[name]
        return next(str(n) for n in range(1, 10**6) if str(n) not in jobs)
    return str(len(jobs) + 1)

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        with lock:
            now = time.time()
            name = new_id(now)
            jobs[name] = now + 0.6
        self.say(202, {"id": name})

    def do_GET(self):
        with lock:
            end = jobs.get(self.path.split("/")[2]) if self.path.startswith("/jobs/") else 0
        if end is None:
            return self.say(404, {"detail": "unknown job"})
        self.say(200, {"status": "completed" if time.time() > end else "running", "text": "something of " + self.path})

    def say(self, status, body):
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        pass

class Server(http.server.ThreadingHTTPServer):
    allow_reuse_address, request_queue_size = True, 64

Server(("127.0.0.1", port), Handler).serve_forever()
"#;

const DRIVER: &str = "version: 1\nname: numbers\nsubmit:\n  steps: [{ path: /jobs, json: { prompt: \"{{prompt}}\" }, accepted: [202] }]\n  id: /id\nstatus: { path: \"/jobs/{{id}}\", every: 50ms, states: { running: running, completed: completed } }\nresult: { path: \"/jobs/{{id}}\", free_form: true }\nhealth: { path: /health }\n";

fn tried(habit: &str, fault: &str) -> Run {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("server.py"), SERVER).unwrap();
    std::fs::write(folder.path().join("d.yaml"), DRIVER).unwrap();
    let (port, path) = (free_port(), folder.path().join("x.yaml"));
    let text = format!(
        "version: 1\nname: ids\nseed: 1\ntarget:\n  driver: ./d.yaml\n  url: http://127.0.0.1:{port}\n  runtime: {{ process: {{ command: [python3, server.py, {habit}, '{port}'], cwd: {} }} }}\nload: [{{ rate: 12/s, listen: poll, for: 8s }}]\nfaults: [{fault}]\nchecks: [{{ all_jobs_complete: {{ within: 5s }} }}]\n",
        folder.path().display()
    );
    std::fs::write(&path, text).unwrap();
    run(&[path.to_str().unwrap()])
}

/// What the journal tells of jobs whose numbers were others' by then. A question may be under way when the number is given.
fn told_later(done: &Run, record: &chaos::journal::record::Record) -> Vec<String> {
    let text = std::fs::read_to_string(done.folder.join(chaos::journal::FILE)).unwrap();
    let is_later = |line: &&str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let said = line["event"].as_object().and_then(|event| event.values().next());
        let given = said.and_then(|said| said["job"].as_u64()).and_then(|job| record.jobs.get(job as usize)?.given_to());
        given.is_some_and(|given| line["t"].as_f64().unwrap() > given.t + 0.3)
    };
    text.lines().filter(is_later).map(str::to_owned).collect()
}

/// What was open at the kill had its queue in memory: it is lost, whoever has its number afterwards.
#[test]
fn no_job_of_a_killed_queue_is_told_as_completed() {
    if !real("python3", "servers that give their ids again") {
        return;
    }
    for habit in ["never", "counter", "lowest"] {
        let done = tried(habit, "restart: { at: 2s, how: kill }");
        assert!(done.finds("all_jobs_complete"), "{habit}: {}", done.trouble());
        let record = chaos::journal::reader::read(&done.folder).unwrap();
        let killed_t = record.generations[0].exited.as_ref().unwrap().0;
        // An answer that was under way then is the old one's, whose results are gone.
        let back_t = record.generations[1].started_t;
        let ledger = ledger::of(&record);
        let of_before = record.jobs.iter().filter(|job| job.answer.as_ref().is_some_and(|(t, _)| *t < killed_t));
        let open = of_before.filter(|job| job.accepted() && job.ended.as_ref().is_none_or(|(t, ..)| *t > back_t));
        let of_open: Vec<Class> = open.map(|job| ledger.class(job)).collect();
        assert!(!of_open.is_empty() && of_open.iter().all(|class| *class == Class::Lost), "{habit}: {of_open:?}");
        // None of the new life is accused for it.
        let after = record.jobs.iter().filter(|job| job.accepted() && job.submitting_t > killed_t);
        let of_after: Vec<Class> = after.map(|job| ledger.class(job)).collect();
        assert!(!of_after.is_empty() && of_after.iter().all(|class| *class == Class::Completed), "{habit}: {of_after:?}");
        assert_eq!(
            told_later(&done, &record),
            Vec::<String>::new(),
            "{habit}: of a number that another job has nothing is asked"
        );
    }
    let healthy = tried("lowest", "burst: { at: 2s, jobs: 3, listen: poll }");
    assert!(healthy.is_healthy_but_for(&[]), "{}", healthy.trouble());
}

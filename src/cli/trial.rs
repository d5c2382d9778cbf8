//! One job through a target, and what was seen of it: the parts of a driver, each tried.

use super::load::Ready;
use super::{Globals, run};
use crate::check::CheckSpec;
use crate::check::all_jobs_complete::{AllJobsComplete, Refusals};
use crate::driver::request::preview;
use crate::driver::{Ask, Driver};
use crate::experiment::units::{Time, TimeRange};
use crate::journal::event::{Answer, JobState, Level, Via};
use crate::journal::facts::JobFacts;
use crate::journal::reader;
use crate::journal::record::Record;
use crate::load::ledger::{self, Class};
use crate::plan::{CheckPlan, LoadPlan, Plan, RuntimePlan, StagePlan};
use crate::secret;
use crate::text::seconds;

/// How a part of the target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Ok,
    /// It is missed, and a run goes on without it.
    Absent,
    Failed,
}

/// One line of a checklist.
#[derive(Debug, serde::Serialize)]
pub struct Item {
    pub what: String,
    pub state: State,
    pub detail: String,
    /// What to do about it.
    pub remedy: Option<&'static str>,
}

impl Item {
    pub fn new(what: &str, state: State, detail: impl Into<String>, remedy: &'static str) -> Self {
        let remedy = (state != State::Ok).then_some(remedy).filter(|text| !text.is_empty());
        Self { what: what.to_owned(), state, detail: secret::masked(&detail.into()), remedy }
    }
}

/// Sends one job, without load, faults or guards, and says how each part did. Texts are masked.
pub fn try_out(ready: Ready, patience: Time, globals: &Globals) -> Result<Vec<Item>, String> {
    let folder = tempfile::tempdir().map_err(|e| format!("a folder for the trial cannot be made: {e}"))?;
    let trial = Ready { plan: one_job(&ready.plan, patience), ..ready };
    let quiet = Globals { verbose: 0, quiet: true, log_format: globals.log_format };
    let (_, run) = run::run_one(&trial, folder.path(), &quiet)?;
    let record = reader::read(&run).map_err(|e| e.to_string())?;
    Ok(checklist(&record, patience))
}

/// The experiment's plan with a load of one job and nothing else.
fn one_job(plan: &Plan, patience: Time) -> Plan {
    let wants = AllJobsComplete { within: patience, load: None, rejected: Refusals::Allowed };
    let first = plan.loads.first();
    let load = LoadPlan {
        name: "doctor".into(),
        stages: vec![StagePlan { users: 1, rate_per_s: None, from_s: 0.0, until_s: None }],
        trace: Vec::new(),
        jobs: Some(1),
        patience_s: None,
        think: TimeRange::exactly(Time::secs(0)),
        ..first.cloned().unwrap_or_else(LoadPlan::plain)
    };
    Plan {
        baseline: None,
        duration_s: None,
        longer_s: 0.0,
        warm_up: 0,
        loads: vec![load],
        faults: Vec::new(),
        guards: Vec::new(),
        checks: vec![CheckPlan { name: "all_jobs_complete".into(), spec: CheckSpec::AllJobsComplete(wants) }],
        ..plan.clone()
    }
}

fn checklist(record: &Record, patience: Time) -> Vec<Item> {
    let mut items: Vec<Item> = record.preflight.iter().map(|(what, level, detail)| seen(what, *level, detail)).collect();
    items.push(runtime(record));
    let Some(job) = record.jobs.get(0) else {
        let why = record.broken.clone().unwrap_or_else(|| "nothing was sent".to_owned());
        if items.iter().all(|item| item.state != State::Failed) {
            items.push(Item::new("target", State::Failed, why, "start the backend, and check `target.url` and `target.runtime`"));
        }
        return items;
    };
    let driver = &record.plan().driver;
    items.push(submission(job, driver));
    if job.accepted() {
        items.push(following(job, record, patience));
        items.extend(pushed(job, driver));
        items.extend(result(job, record));
    }
    items
}

fn seen(what: &str, level: Level, detail: &str) -> Item {
    let state = match level {
        Level::Ok => State::Ok,
        Level::Warning => State::Absent,
        Level::Failed => State::Failed,
    };
    let remedy = match what {
        "target" => "start the backend, and check `target.url` and the driver's `health` and `ready`",
        "health" => "give the driver's `health` the path that answers 200 while the server lives",
        "queue" => "give the driver's `queue` if the backend tells its depth; without it the depth is derived from the jobs",
        "metrics" => "give the driver's `metrics`, and names that the backend has in `gpu` and `counters`",
        _ => "",
    };
    Item::new(what, state, detail, remedy)
}

/// What could be restarted, paused or broken.
fn runtime(record: &Record) -> Item {
    let seen = |detail: String| Item::new("runtime", State::Ok, detail, "");
    match (&record.plan().runtime, record.generations.last()) {
        (RuntimePlan::None, _) => Item::new(
            "runtime",
            State::Absent,
            "nothing that chaos may start or stop: no `restart`, `kill` or `pause`, and no figures of its process",
            "name its container or its command in `target.runtime`",
        ),
        (RuntimePlan::Docker(rules), Some(generation)) => {
            seen(format!("{} is found, process {}", rules.selector(), generation.pid))
        }
        (_, Some(generation)) => seen(format!("process {}", generation.pid)),
        (_, None) => Item::new("runtime", State::Failed, "it was not found, or did not start", "correct `target.runtime`"),
    }
}

fn submission(job: &JobFacts, driver: &Driver) -> Item {
    let (state, answer, remedy) = match job.answer.as_ref().map(|(_, answer)| answer) {
        Some(Answer::Accepted { id }) => (State::Ok, format!("accepted as {id}"), ""),
        Some(Answer::Taken { reason }) => (State::Failed, reason.clone(), "say in the driver how the job is followed"),
        Some(Answer::Refused { status, reason, .. }) => (
            State::Failed,
            format!("refused with {status}: {reason}"),
            "the backend is busy or limits its rate: try again when it is idle",
        ),
        Some(Answer::Invalid { status: 0, reason }) => {
            (State::Failed, reason.clone(), "correct the driver, or what the job gives it")
        }
        Some(Answer::Invalid { status, reason }) => (
            State::Failed,
            format!("called invalid, {status}: {reason}"),
            "correct the body, the path or the credentials in the driver's `submit.steps`",
        ),
        Some(Answer::Error { status, reason, .. }) => (
            State::Failed,
            format!("answered with {status}: {reason}"),
            "correct `submit.steps`, the statuses in `accepted`, and where `id` and `capture` look",
        ),
        Some(Answer::Unreachable { reason } | Answer::NoAnswer { reason }) => {
            (State::Failed, reason.clone(), "check `target.url`, and raise the step's `timeout` if the backend is slow")
        }
        None => (State::Failed, "the submission had no answer".to_owned(), "raise the step's `timeout`"),
    };
    let sent = if state == State::Ok { String::new() } else { format!("\n{}", requests(job, driver)) };
    Item::new("submission", state, answer + &sent, remedy)
}

/// What was sent, step by step.
fn requests(job: &JobFacts, driver: &Driver) -> String {
    let ask = Ask::new((*job.shape).clone(), &job.mark, "doctor".into());
    let lines: Vec<String> = driver.submit.steps.iter().map(|step| format!("sent: {}", preview(step, &ask))).collect();
    lines.join("\n")
}

fn following(job: &JobFacts, record: &Record, patience: Time) -> Item {
    let ledger = ledger::of(record);
    let (class, why) = (ledger.class(job), ledger.why(job));
    let took = job.total_s().map_or_else(String::new, |s| format!(" after {}", seconds(s)));
    if let Some(word) = job.unknown_state() {
        let detail = format!("the state `{word}` is none that the driver knows");
        return Item::new("end of the job", State::Failed, detail, "add it to the driver's `status.states`");
    }
    match (&job.ended, class) {
        (Some((_, view, via)), Class::Completed | Class::Mismatched | Class::Unknown) if view.state == JobState::Completed => {
            let how = match via {
                Via::Socket => "as was pushed",
                Via::Poll | Via::SafetyNet => "as it said when asked",
                Via::Answer => "as the answer says",
            };
            Item::new("end of the job", State::Ok, format!("{}{took}, {how}", view.word), "")
        }
        (Some(_), _) => Item::new("end of the job", State::Failed, format!("{class}{took}: {why}"), "see the backend's own log"),
        (None, _) => {
            let detail = format!("no end within {patience}: {why}");
            Item::new(
                "end of the job",
                State::Failed,
                detail,
                "correct `status` (`path`, `state`, `states`), or wait longer with --patience",
            )
        }
    }
}

/// Whether the channel told of the end too.
fn pushed(job: &JobFacts, driver: &Driver) -> Option<Item> {
    let channel =
        [("websocket", driver.websocket.is_some()), ("socketio", driver.socketio.is_some()), ("sse", driver.sse.is_some())];
    let (name, _) = channel.into_iter().find(|(_, given)| *given)?;
    let (_, _, via) = job.ended.as_ref()?;
    Some(match via {
        Via::Socket => Item::new(name, State::Ok, "told of the job's end", ""),
        _ => Item::new(
            name,
            State::Absent,
            "did not tell of the job's end; it may have come before the connection, or never",
            "check the driver's `events` and where `id` looks; a job that takes longer tells more",
        ),
    })
}

fn result(job: &JobFacts, record: &Record) -> Option<Item> {
    let remedy = "correct the driver's `result`";
    let Some(look) = &job.result else {
        let is_wanted = job.ended.is_some() && record.plan().driver.result.is_some();
        let why = job.gave_up().unwrap_or("the job did not complete");
        return is_wanted.then(|| Item::new("result", State::Failed, format!("was not seen: {why}"), ""));
    };
    let detail = format!("{} bytes of {}", look.bytes, look.kind);
    Some(match &look.error {
        Some(error) => Item::new("result", State::Failed, format!("cannot be had: {error}"), remedy),
        None if look.bytes == 0 => Item::new("result", State::Failed, "is empty", remedy),
        None => Item::new("result", State::Ok, detail, ""),
    })
}

/// A generated image, as jobs send it.
pub fn test_image() -> Item {
    let bytes = crate::backend::image::png(512, 512, 1, "chaos-0000000000000001");
    let readable = image_size(&bytes) == Some((512, 512));
    let state = if readable { State::Ok } else { State::Failed };
    Item::new("test image", state, format!("512×512 PNG of {} bytes, generated anew for each job", bytes.len()), "")
}

fn image_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().ok()?;
    Some((reader.info().width, reader.info().height))
}

//! The life of a run, in order: preflight, baseline, inject, recover, drain, revert.
//!
//! Whatever stops it (the end, a guard, a signal, a journal that cannot be written) goes the same way: the load stops,
//! what is open is reverted, the run ends.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::try_join_all;
use futures_util::stream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::judging::{self, Question};
use super::load_end::LoadEnd;
use super::world::World;
use super::{inject, late, preflight, steady, stranger, undo};
use crate::check::{self, View};
use crate::driver::Seen;
use crate::experiment::Baseline;
use crate::journal::event::{Event, JobState, Phase, Via};
use crate::journal::facts::JobFacts;
use crate::load::users;
use crate::observe::sampler::Sampler;
use crate::observe::{machine, prober};
use crate::plan::build::WARM_UP;
use crate::plan::{RuntimePlan, looks};

const WATCH_EVERY: Duration = Duration::from_millis(50);
/// A target whose process is gone for good is given this long before the run goes on without it.
const GONE_PATIENCE_S: f64 = 1.0;
/// How long the clients' tasks may take to end once nobody waits for jobs any more.
const TASKS_END_WITHIN: Duration = Duration::from_secs(20);
/// How long the embedded backend may take to end after SIGTERM.
const EMBEDDED_GRACE: Duration = Duration::from_secs(5);
/// At most so many jobs are asked about once more at the end.
const MOST_AUDITED: usize = 2_000;
const AUDITS_AT_ONCE: usize = 16;
/// A target that does not answer must not hold the run up.
const AUDIT_WITHIN: Duration = Duration::from_secs(30);

/// Who may end a run early.
#[derive(Clone, Default)]
pub struct Interrupt {
    /// Stop and revert.
    pub stop: CancellationToken,
    /// Which signal it was.
    pub signal: std::sync::Arc<std::sync::OnceLock<String>>,
}

/// Carries a run out. Everything that happens is in the journal, the end of the run too.
pub async fn run(world: &World, sampler: Sampler, interrupt: &Interrupt) {
    let emit = |event| world.journal.emit(event);
    emit(Event::Phase { phase: Phase::Preflight });
    let samplers = TaskTracker::new();
    let stop_sampling = CancellationToken::new();
    let stopped = tokio::select! {
        stopped = scenario(world, sampler, &samplers, &stop_sampling) => stopped,
        stopped = early_end(world, interrupt) => Some(stopped),
    };
    if let Some(event) = stopped {
        emit(event);
        // Nothing stays broken for as long as clients take to end.
        stop_load(world);
        emit(Event::Phase { phase: Phase::Revert });
        let (until, open) = (undo::patience(world), undo::open_faults(world));
        undo::revert_held(world, until).await;
        late::watch(world, &open).await;
        wind_down(world).await;
        undo::revert_all(world, until).await;
    } else {
        wind_down(world).await;
        emit(Event::Phase { phase: Phase::Revert });
        undo::revert_all(world, undo::patience(world)).await;
    }
    stop_sampling.cancel();
    samplers.close();
    samplers.wait().await;
    world.shop.tasks.close();
    shut_target_down(world).await;
    // Its log and its holder are read to their ends before the run is over.
    if world.wait_for(TASKS_END_WITHIN, world.shop.tasks.wait()).await.is_none() {
        emit(Event::Note { text: "some of chaos' own tasks did not end in time".into() });
    }
    emit(Event::RunEnded {});
    world.journal.close();
    world.unclaim();
}

async fn shut_target_down(world: &World) {
    let grace = match &world.plan.runtime {
        RuntimePlan::Process(process) => process.stop_grace.0,
        RuntimePlan::Embedded(_) | RuntimePlan::Docker(_) | RuntimePlan::None => EMBEDDED_GRACE,
    };
    let closed = world.wait_for(grace + TASKS_END_WITHIN, world.runtime.close(grace)).await;
    if let Err(error) = closed.unwrap_or_else(|| Err("its end was not waited for".to_owned())) {
        world.journal.emit(Event::Note { text: format!("the target's process: {error}") });
    }
}

/// Waits for what may end a run early, and says what it was.
async fn early_end(world: &World, interrupt: &Interrupt) -> Event {
    loop {
        tokio::select! {
            () = interrupt.stop.cancelled() => {
                return Event::Interrupted { signal: interrupt.signal.get().cloned().unwrap_or_else(|| "a signal".into()) };
            }
            () = world.journal.broken.cancelled() => {
                return Event::Broken { reason: format!("the journal cannot be written: {}", world.journal.error().unwrap_or_default()) };
            }
            () = tokio::time::sleep(WATCH_EVERY) => {}
        }
        let tripped = world.journal.read_now(|record| {
            world.plan.guards.iter().find_map(|g| g.trips(record).map(|reason| (g.kind().to_owned(), reason)))
        });
        if let Some((guard, reason)) = tripped {
            return Event::GuardTripped { guard, reason };
        }
    }
}

/// The run as planned. Returns why it could not be carried out, if it could not.
async fn scenario(world: &World, sampler: Sampler, samplers: &TaskTracker, stop_sampling: &CancellationToken) -> Option<Event> {
    if let Err(reason) = make_ready(world).await {
        return Some(Event::Broken { reason });
    }
    samplers.spawn(sampler.run(stop_sampling.clone()));
    samplers.spawn(prober::run(world.clone(), stop_sampling.clone()));
    if world.watches_machine {
        samplers.spawn(machine::run(world.clone(), stop_sampling.clone()));
    }
    if let Some(load) = world.plan.loads.first().filter(|_| world.plan.warm_up > 0) {
        world.journal.emit(Event::Phase { phase: Phase::WarmUp });
        users::warm_up(&world.shop, load, WARM_UP, world.plan.warm_up).await;
    }
    let begin = world.clock.now_s();
    world.journal.emit(Event::Phase { phase: Phase::Baseline });
    for load in &world.plan.loads {
        users::start(&world.shop, load, begin);
    }
    baseline(world, begin).await;
    let zero = if world.plan.baseline.is_none() { begin } else { world.clock.now_s() };
    world.journal.emit(Event::Phase { phase: Phase::Inject });
    if let Err(reason) = try_join_all(world.plan.faults.iter().map(|fault| inject::carry_out(world, fault, zero))).await {
        return Some(Event::Broken { reason });
    }
    // Without faults the whole load is the baseline: recovery begins when it has been sent.
    let mut end = LoadEnd::new(world);
    if world.plan.faults.is_empty() {
        load_has_lasted(world, begin, &mut end).await;
    }
    world.journal.emit(Event::Phase { phase: Phase::Recover });
    recover(world, begin, &mut end).await;
    stop_load(world);
    world.journal.emit(Event::Phase { phase: Phase::Drain });
    drain(world).await;
    None
}

/// The target is nobody else's, there, and tells what the checks need.
async fn make_ready(world: &World) -> Result<(), String> {
    world.claim_address().await?;
    if let RuntimePlan::Process(_) = &world.plan.runtime {
        stranger::nobody_is_there(&world.plan.url).await?;
    }
    world.runtime.open().await?;
    world.claim_containers()?;
    preflight::look(world).await
}

async fn baseline(world: &World, begin: f64) {
    match world.plan.baseline {
        None => {}
        Some(Baseline::Lasts(time)) => world.clock.sleep_until(begin + time.as_s()).await,
        Some(Baseline::Steady) => loop {
            tokio::time::sleep(judging::EVERY).await;
            match steady::judge(&world.journal.snapshot(), begin) {
                steady::Steady::NotYet => {}
                steady::Steady::Yes => return,
                steady::Steady::Never => {
                    let text = "the baseline never became steady: verdicts that compare with it are weak".into();
                    return world.journal.emit(Event::Note { text });
                }
            }
        },
    }
}

/// Waits until the whole load has been sent, and for as much more of it as a check needs and the file allows.
async fn load_has_lasted(world: &World, begin: f64, end: &mut LoadEnd) {
    loop {
        if end.is_there(world, begin).await || world.target_is_gone() {
            return;
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

/// Keeps the load on for its time, and until every check that needs it is decided.
async fn recover(world: &World, begin: f64, end: &mut LoadEnd) {
    let began = world.clock.now_s();
    let mut gone_since: Option<f64> = None;
    let has_length = looks::load_lasts_s(&world.plan).is_some();
    let mut needed = Question::new(|record| check::load_is_needed(&View::of(record)));
    let mut needed_without_jobs = Question::new(|record| check::load_is_needed_without_jobs(&View::of(record)));
    loop {
        let now = world.clock.now_s();
        let lasted = !has_length || end.is_there(world, begin).await;
        // A fixed duration ends the load; otherwise the checks say how long it is needed.
        let question = if all_sent(world, begin) { &mut needed_without_jobs } else { &mut needed };
        let needed = world.plan.duration_s.is_none() && question.answer(world).await;
        // A load that the file gives a length is sent in full; recovery is waited for beyond it.
        let over_time = lasted && now - end.over_t().map_or(began, |t| t.max(began)) > world.plan.recover_at_most_s;
        gone_since = if world.target_is_gone() { gone_since.or(Some(now)) } else { None };
        let gone = gone_since.is_some_and(|since| now - since > GONE_PATIENCE_S);
        if (lasted && !needed) || over_time || gone {
            return;
        }
        tokio::time::sleep(judging::EVERY).await;
    }
}

/// Every load had its end, and every job of theirs too: no job will come any more.
fn all_sent(world: &World, begin: f64) -> bool {
    let ends = world.plan.loads.iter().flat_map(|load| load.stages.iter().map(|stage| stage.until_s));
    let over = ends.map(|end| end.is_some_and(|end| world.clock.now_s() > begin + end)).reduce(|a, b| a && b);
    let of_loads = |job: &&JobFacts| world.plan.loads.iter().any(|load| load.name == job.load);
    over == Some(true) && world.journal.read(|record| record.jobs.open().filter(of_loads).all(JobFacts::settled))
}

fn stop_load(world: &World) {
    world.shop.stop.cancel();
    if world.journal.read(|record| record.load_stopped_t.is_none()) {
        world.journal.emit(Event::LoadStopped {});
    }
}

/// Follows the last jobs to their end, until every check that waits for them is decided.
async fn drain(world: &World) {
    let began = world.clock.now_s();
    let waited_for = judging::patience_s(world);
    let mut time_is_needed = Question::new(|record| check::time_is_needed(&View::of(record)));
    loop {
        let jobs = world.journal.read(|record| record.jobs.open().next().is_some());
        let open = jobs || time_is_needed.answer(world).await;
        let elapsed = world.clock.now_s() - began;
        let gone = world.target_is_gone() && elapsed > GONE_PATIENCE_S;
        if !open || gone || elapsed > waited_for {
            break;
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
    if !world.target_is_gone() && tokio::time::timeout(AUDIT_WITHIN, audit(world)).await.is_err() {
        world.journal.emit(Event::Note { text: "not every ended job could be asked about once more".into() });
    }
}

/// Asks once more about jobs that have ended: a terminal state must not be left again, and nothing be done twice.
async fn audit(world: &World) {
    let ended: Vec<(u32, String, JobState)> = world.journal.read(|record| {
        // An id that was given again tells of the last job that it was given to.
        let holders: HashMap<&str, u32> = record.jobs.iter().filter_map(|job| Some((job.id()?, job.number))).collect();
        let ended = record.jobs.iter().filter_map(|job| Some((job.number, job.id()?, job.state()?)));
        let held = ended.filter(|(number, id, _)| holders.get(id) == Some(number));
        held.map(|(number, id, state)| (number, id.to_owned(), state)).take(MOST_AUDITED).collect()
    });
    stream::iter(ended)
        .for_each_concurrent(AUDITS_AT_ONCE, |(job, id, state)| async move {
            if let Seen::View(view) = world.port.status(&id).await
                && (view.state != state || view.completions.is_some_and(|n| n > 1))
            {
                world.journal.emit(Event::Ended { job, view, via: Via::Poll });
            }
        })
        .await;
}

/// Stops everything that sends or follows jobs; each job is asked about once more.
async fn wind_down(world: &World) {
    stop_load(world);
    world.shop.give_up.cancel();
    let settled = async {
        while world.journal.read(|record| record.jobs.open().any(JobFacts::accepted)) {
            tokio::time::sleep(WATCH_EVERY).await;
        }
    };
    if world.wait_for(TASKS_END_WITHIN, settled).await.is_none() {
        world.journal.emit(Event::Note { text: "some jobs could not be asked about a last time".into() });
    }
}

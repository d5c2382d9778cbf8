//! Puts things back, from what the journal holds.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::Value as Json;

use super::inject::look;
use super::world::World;
use crate::crash;
use crate::fault::{FaultError, FaultSpec, Lasts, Reverted};
use crate::journal::event::{Event, When};
use crate::journal::facts::FaultFacts;

/// What is refused is tried a few times; an engine that is away is waited for.
const TRIES: u32 = 4;
const AWAY_FOR_S: f64 = 60.0;
const TRY_WITHIN: Duration = Duration::from_secs(30);
/// ... and this long once somebody is in a hurry.
const HURRIED_TRY: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// Reverts one fault; what became of it is in the journal afterwards.
pub async fn revert_one(world: &World, name: &str) {
    revert_until(world, name, patience(world)).await;
}

/// As above; who is away is waited for until then.
async fn revert_until(world: &World, name: &str, until: f64) {
    let open = |f: &FaultFacts| Some((kind_of(world, f), f.prepared.clone()?));
    let Some((kind, undo)) = world.journal.read(|r| r.fault(name).filter(|f| f.is_open()).and_then(open)) else { return };
    world.journal.emit(Event::FaultReverting { fault: name.to_owned() });
    crash::point("begun");
    let reverted = |how: String| {
        crash::point("put_back");
        world.journal.emit(Event::FaultReverted { fault: name.to_owned(), how });
        crash::point("written");
    };
    if ended_with_target(world, &kind) {
        return reverted("the target was a process of the run, and ended with it".to_owned());
    }
    let mut pause = FIRST_PAUSE;
    let (mut refused, mut told) = (0, false);
    let error = loop {
        let error = match tried(&kind, &undo, world, name).await {
            Ok(done) => return reverted(done.0),
            Err(error) => error,
        };
        let is_away = matches!(error, FaultError::Away(_));
        refused += u32::from(!is_away);
        let left_s = until - world.clock.now_s();
        if refused >= TRIES || left_s < 0.0 || world.hurry.is_cancelled() {
            break error;
        }
        if is_away && !std::mem::replace(&mut told, true) {
            world.journal.emit(Event::Note { text: format!("{name} cannot be put back yet ({error}): {}", waits(left_s)) });
        }
        tokio::select! {
            () = world.hurry.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    };
    world.journal.emit(Event::FaultStuck { fault: name.to_owned(), error: error.to_string() });
}

/// Older journals do not say of which kind a fault is; the plan does.
pub fn kind_of(world: &World, fault: &FaultFacts) -> String {
    let planned = world.plan.faults.iter().find(|planned| planned.name == fault.name).filter(|_| fault.kind.is_empty());
    planned.map_or_else(|| fault.kind.clone(), |planned| planned.spec.kind().to_owned())
}

/// It was about a process of the run's own, which is gone.
pub fn ended_with_target(world: &World, kind: &str) -> bool {
    world.plan.runtime.is_started() && !world.runtime.has_process() && !FaultSpec::outlives_target(kind)
}

fn waits(left_s: f64) -> String {
    format!("it is tried for {left_s:.0} s more; a second Ctrl-C ends that, and `chaos revert` puts it back later")
}

/// One try. It is not waited for once somebody is in a hurry.
pub async fn tried(kind: &str, undo: &Json, world: &World, name: &str) -> Result<Reverted, FaultError> {
    let trying = AssertUnwindSafe(FaultSpec::revert(kind, undo, world, name)).catch_unwind();
    tokio::select! {
        done = tokio::time::timeout(TRY_WITHIN, trying) => match done {
            Ok(Ok(done)) => done,
            Ok(Err(panic)) => Err(FaultError::of_panic(panic.as_ref())),
            Err(_) => Err(FaultError::Failed(format!("it took longer than {} s", TRY_WITHIN.as_secs()))),
        },
        () = hurried(world) => Err(FaultError::Away("it was not waited for any longer".to_owned())),
    }
}

/// Whoever hurries still gives one try its usual time.
async fn hurried(world: &World) {
    world.hurry.cancelled().await;
    tokio::time::sleep(HURRIED_TRY).await;
}

/// The faults that are still open, the newest first.
pub fn open_faults(world: &World) -> Vec<String> {
    world.journal.read(|record| {
        let mut open: Vec<_> = record.faults.iter().filter(|f| f.is_open()).collect();
        open.sort_by(|a, b| b.injecting_t.partial_cmp(&a.injecting_t).unwrap_or(std::cmp::Ordering::Equal));
        open.into_iter().map(|f| f.name.clone()).collect()
    })
}

/// Until when all together wait for who is away, if they begin now.
pub fn patience(world: &World) -> f64 {
    world.clock.now_s() + AWAY_FOR_S
}

/// Reverts what stays broken until somebody puts it back, the newest first.
pub async fn revert_held(world: &World, until: f64) {
    for name in open_faults(world) {
        let planned = world.plan.faults.iter().find(|f| f.name == name);
        if planned.is_none_or(|fault| fault.spec.lasts() != Lasts::WorkedOff) {
            revert_until(world, &name, until).await;
        }
    }
}

/// Reverts every fault that is still open, the newest first.
pub async fn revert_all(world: &World, until: f64) {
    for name in open_faults(world) {
        revert_until(world, &name, until).await;
        let fault = world.plan.faults.iter().find(|f| f.name == name);
        let looked = world.journal.read(|r| r.fault(&name).is_some_and(|f| f.observed.contains_key(&When::After)));
        if let Some(fault) = fault.filter(|f| f.spec.lasts() == Lasts::WorkedOff || !looked) {
            look(world, fault, When::After).await;
        }
    }
}

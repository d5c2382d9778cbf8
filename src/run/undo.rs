//! Puts things back, from what the journal holds.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;

use super::inject::look;
use super::world::World;
use crate::fault::{FaultError, FaultSpec, Lasts};
use crate::journal::event::{Event, When};
use crate::journal::facts::FaultFacts;

/// What is refused is tried a few times; an engine that is away is waited for.
const TRIES: u32 = 4;
const AWAY_FOR_S: f64 = 60.0;
const TRY_WITHIN: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// Reverts one fault; what became of it is in the journal afterwards.
pub async fn revert_one(world: &World, name: &str) {
    let planned = world.plan.faults.iter().find(|f| f.name == name);
    let open = |f: &FaultFacts| Some((f.kind.clone(), f.prepared.clone()?));
    let Some((told, undo)) = world.journal.read(|r| r.fault(name).filter(|f| f.is_open()).and_then(open)) else { return };
    // Older journals do not say of which kind it is; the plan does.
    let kind = planned.map_or(told, |fault| fault.spec.kind().to_owned());
    world.journal.emit(Event::FaultReverting { fault: name.to_owned() });
    let reverted = |how: String| world.journal.emit(Event::FaultReverted { fault: name.to_owned(), how });
    if world.plan.runtime.is_started()
        && !world.runtime.has_process()
        && !planned.is_some_and(|fault| fault.spec.outlives_target())
    {
        return reverted("the target was a process of the run, and ended with it".to_owned());
    }
    let began = world.clock.now_s();
    let mut pause = FIRST_PAUSE;
    let mut refused = 0;
    let error = loop {
        let tried = AssertUnwindSafe(FaultSpec::revert(&kind, &undo, world, name)).catch_unwind();
        let error = match tokio::time::timeout(TRY_WITHIN, tried).await {
            Ok(Ok(Ok(done))) => return reverted(done.0),
            Ok(Ok(Err(error))) => error,
            Ok(Err(panic)) => FaultError::of_panic(panic.as_ref()),
            Err(_) => FaultError::Failed(format!("it took longer than {} s", TRY_WITHIN.as_secs())),
        };
        refused += u32::from(!matches!(error, FaultError::Away(_)));
        if refused >= TRIES || world.clock.now_s() - began > AWAY_FOR_S {
            break error;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    };
    world.journal.emit(Event::FaultStuck { fault: name.to_owned(), error: error.to_string() });
}

/// The faults that are still open, the newest first.
pub fn open_faults(world: &World) -> Vec<String> {
    world.journal.read(|record| {
        let mut open: Vec<_> = record.faults.iter().filter(|f| f.is_open()).collect();
        open.sort_by(|a, b| b.injecting_t.partial_cmp(&a.injecting_t).unwrap_or(std::cmp::Ordering::Equal));
        open.into_iter().map(|f| f.name.clone()).collect()
    })
}

/// Reverts every fault that is still open, the newest first.
pub async fn revert_all(world: &World) {
    for name in open_faults(world) {
        revert_one(world, &name).await;
        let fault = world.plan.faults.iter().find(|f| f.name == name);
        let looked = world.journal.read(|r| r.fault(&name).is_some_and(|f| f.observed.contains_key(&When::After)));
        if let Some(fault) = fault.filter(|f| f.spec.lasts() == Lasts::WorkedOff || !looked) {
            look(world, fault, When::After).await;
        }
    }
}

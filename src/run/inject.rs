//! One fault, from its moment to its end, with its three proofs.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;

use super::world::World;
use super::{hold, undo};
use crate::crash;
use crate::experiment::OnTimeout;
use crate::fault::{FaultError, Lasts, Observation};
use crate::journal::event::{Event, When};
use crate::journal::undo::sum;
use crate::plan::{FaultPlan, Moment};

/// An effect may take this long to show, and to go.
const SHOWS_WITHIN: Duration = Duration::from_secs(5);
/// One look may take this long: an engine that has much to do answers late, and tells of what it did later still.
const LOOKS_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const PREPARE_WITHIN: Duration = Duration::from_secs(30);
/// The state before a fault is looked at, and its undo made ready, this long before its moment, so that it is punctual.
const LEAD_S: f64 = 0.25;
/// An undo that is masked on its way to the disk puts nothing back.
const HOLDS_SECRET: &str = "what puts it back holds a secret, which never goes to the disk: put it into a header of the driver, or let an `exec` with `shell: true` take it from the environment as \"$NAME\"";
const WATCH_EVERY: Duration = Duration::from_millis(20);

/// Waits for the fault's moment and carries it out. `zero` is the moment, on the run's clock, from which it counts.
///
/// # Errors
/// When the run cannot be carried out as written: a trigger with `on_timeout: fail` never fired.
pub async fn carry_out(world: &World, fault: &FaultPlan, zero: f64) -> Result<(), String> {
    let planned_t = match wait_for_moment(world, fault, zero).await {
        Due::At(t) => t,
        Due::Skip(why) => {
            world.journal.emit(Event::FaultSkipped { fault: fault.name.clone(), why });
            return Ok(());
        }
        Due::Fail(why) => {
            world.journal.emit(Event::FaultSkipped { fault: fault.name.clone(), why: why.clone() });
            return Err(format!("{}: {why}", fault.name));
        }
    };
    inject(world, fault, planned_t).await;
    Ok(())
}

enum Due {
    At(f64),
    Skip(String),
    Fail(String),
}

async fn wait_for_moment(world: &World, fault: &FaultPlan, zero: f64) -> Due {
    match &fault.moment {
        Moment::At { s } => {
            world.clock.sleep_until(zero + s - LEAD_S).await;
            Due::At(zero + s)
        }
        Moment::After { fault: other, plus_s } => loop {
            let (over, skipped) =
                world.journal.read(|r| r.fault(other).map_or((None, false), |f| (f.over_t, f.skipped.is_some())));
            if skipped {
                return Due::Skip(format!("`{other}`, which it follows, was not injected"));
            }
            if let Some(t) = over {
                world.clock.sleep_until(t + plus_s - LEAD_S).await;
                return Due::At(t + plus_s);
            }
            tokio::time::sleep(WATCH_EVERY).await;
        },
        Moment::When { trigger, timeout_s, on_timeout } => {
            world.clock.sleep_until(zero).await;
            loop {
                let now = world.clock.now_s();
                if world.journal.read(|record| trigger.holds(record, zero)) {
                    return Due::At(now);
                }
                if now > zero + timeout_s {
                    let hint = world.journal.read(|record| trigger.hint(record));
                    let why = format!("`{trigger}` did not happen within {timeout_s} s: {hint}");
                    return match on_timeout {
                        OnTimeout::Fire => Due::At(now),
                        OnTimeout::Skip => Due::Skip(why),
                        OnTimeout::Fail => Due::Fail(why),
                    };
                }
                tokio::time::sleep(WATCH_EVERY).await;
            }
        }
    }
}

async fn inject(world: &World, fault: &FaultPlan, planned_t: f64) {
    let name = fault.name.clone();
    let emit = |event| world.journal.emit(event);
    look(world, fault, When::Before).await;
    let prepared = tokio::time::timeout(PREPARE_WITHIN, caught(fault.spec.prepare(world, &name))).await;
    let undo = match prepared {
        Ok(Ok(undo)) => undo,
        Ok(Err(error)) => return emit(Event::FaultSkipped { fault: name, why: error.to_string() }),
        Err(_) => return emit(Event::FaultSkipped { fault: name, why: "the target could not be looked at in time".into() }),
    };
    if world.journal.hides(&undo) {
        return emit(Event::FaultSkipped { fault: name, why: HOLDS_SECRET.into() });
    }
    let (kind, sum) = (fault.spec.kind().to_owned(), sum(&undo));
    world.journal.emit_synced(Event::FaultPrepared { fault: name.clone(), kind, undo, sum });
    crash::point("prepared");
    world.clock.sleep_until(planned_t).await;
    world.journal.emit_synced(Event::FaultInjecting { fault: name.clone(), planned_t });
    if let Some(error) = world.journal.error() {
        // What is not written down cannot be put back by anybody else.
        return emit(Event::FaultReverted {
            fault: name,
            how: format!("it was not injected: the journal cannot be written ({error})"),
        });
    }
    crash::point("injecting");
    let result = caught(fault.spec.inject(world, &name)).await;
    crash::point("injected");
    let failed = result.is_err();
    emit(Event::FaultInjected { fault: name.clone(), error: result.err().map(|e| e.to_string()) });
    look(world, fault, When::During).await;
    // It is held for its own time, however late the word of it comes.
    tokio::join!(last(world, fault, failed), hear(world, fault));
    emit(Event::FaultOver { fault: name });
}

/// From the moment at which it is there until it has been put back.
async fn last(world: &World, fault: &FaultPlan, failed: bool) {
    let name = &fault.name;
    match fault.spec.lasts() {
        Lasts::WorkedOff => {}
        // What was broken by half proves nothing: there is no reason to hold it, or to wait for it.
        _ if failed => {
            undo::revert_one(world, name).await;
            look(world, fault, When::After).await;
        }
        Lasts::Held(time) => {
            hold(world, fault, time).await;
            undo::revert_one(world, name).await;
            look(world, fault, When::After).await;
        }
        Lasts::Once => {
            look(world, fault, When::After).await;
            undo::revert_one(world, name).await;
        }
    }
}

/// What is told of it later than it was seen.
async fn hear(world: &World, fault: &FaultPlan) {
    if let Some(observation) = fault.spec.word(world, &fault.name).await {
        world.journal.emit(Event::FaultObserved { fault: fault.name.clone(), when: When::During, observation });
    }
}

/// Waits for as long as it is held, and looks whether it is.
async fn hold(world: &World, fault: &FaultPlan, time: Duration) {
    if !fault.spec.is_watched() {
        return tokio::time::sleep(time).await;
    }
    let look = || async {
        let looking = caught(async { Ok(fault.spec.still(world, &fault.name).await) });
        looking.await.unwrap_or_else(|error| Observation::unknown(error.to_string()))
    };
    hold::watch(world, &fault.name, "", time, || look().boxed()).await;
}

/// A fault whose code panics has failed; what it did is still put back.
async fn caught<T>(call: impl Future<Output = Result<T, FaultError>>) -> Result<T, FaultError> {
    AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|panic| Err(FaultError::of_panic(panic.as_ref())))
}

/// Looks until what must be seen is seen, or for as long as an effect may take to show.
pub async fn look(world: &World, fault: &FaultPlan, when: When) {
    let within = if when == When::After { fault.spec.back_within() } else { SHOWS_WITHIN };
    let deadline = world.clock.now_s() + within.as_secs_f64();
    let observation = loop {
        let looking = caught(async { Ok(fault.spec.observe(world, &fault.name, when).await) });
        let seen = match world.wait_for(LOOKS_WITHIN, looking).await {
            Some(seen) => seen.unwrap_or_else(|error| Observation::unknown(error.to_string())),
            None => Observation::unknown("looking took too long"),
        };
        if seen.proves(when) || world.clock.now_s() >= deadline || world.hurry.is_cancelled() {
            break seen;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    world.journal.emit(Event::FaultObserved { fault: fault.name.clone(), when, observation });
}

//! Puts things back, from what the journal holds.

use std::time::Duration;

use serde_json::Value as Json;

use super::inject::look;
use super::world::World;
use crate::fault::Lasts;
use crate::journal::event::{Event, When};

const TRIES: u32 = 3;
const TRY_WITHIN: Duration = Duration::from_secs(15);
const BETWEEN_TRIES: Duration = Duration::from_millis(500);

/// Reverts one fault; what became of it is in the journal afterwards.
pub async fn revert_one(world: &World, name: &str) {
    let undo: Option<Json> = world.journal.read(|r| r.fault(name).filter(|f| f.is_open()).and_then(|f| f.prepared.clone()));
    let Some((undo, fault)) = undo.zip(world.plan.faults.iter().find(|f| f.name == name)) else { return };
    world.journal.emit(Event::FaultReverting { fault: name.to_owned() });
    let mut last = String::new();
    for _ in 0..TRIES {
        match tokio::time::timeout(TRY_WITHIN, fault.spec.revert(&undo, world, name)).await {
            Ok(Ok(done)) => return world.journal.emit(Event::FaultReverted { fault: name.to_owned(), how: done.0 }),
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = format!("it took longer than {} s", TRY_WITHIN.as_secs()),
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
    world.journal.emit(Event::FaultStuck { fault: name.to_owned(), error: last });
}

/// Reverts every fault that is still open, the newest first.
pub async fn revert_all(world: &World) {
    let open: Vec<String> = world.journal.read(|record| {
        let mut open: Vec<_> = record.faults.iter().filter(|f| f.is_open()).collect();
        open.sort_by(|a, b| b.injecting_t.partial_cmp(&a.injecting_t).unwrap_or(std::cmp::Ordering::Equal));
        open.into_iter().map(|f| f.name.clone()).collect()
    });
    for name in open {
        revert_one(world, &name).await;
        let fault = world.plan.faults.iter().find(|f| f.name == name);
        let looked = world.journal.read(|r| r.fault(&name).is_some_and(|f| f.observed.contains_key(&When::After)));
        if let Some(fault) = fault.filter(|f| f.spec.lasts() == Lasts::WorkedOff || !looked) {
            look(world, fault, When::After).await;
        }
    }
}

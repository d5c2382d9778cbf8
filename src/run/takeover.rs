//! Puts back what a run left broken, from its journal alone: for the guardian, and for `chaos revert`.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::claims::{Claims, state_folder};
use super::undo;
use super::world::World;
use crate::clock::Clock;
use crate::driver::http::HttpPort;
use crate::journal::FILE;
use crate::journal::event::Event;
use crate::journal::writer::Journal;
use crate::report;
use crate::runtime::NoRuntime;

/// While an effect may still come late, it is looked for at this distance.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Reverts every fault that is open, the newest first; what was done is in the journal and in the reports afterwards.
///
/// # Errors
/// The run still lives, its journal cannot be used, or something could not be put back: then what, and why.
pub async fn put_back(folder: &Path, why: &str) -> Result<String, String> {
    let journal = Journal::take_over(&folder.join(FILE)).await?;
    let open: Vec<String> = journal.read(|r| r.faults.iter().filter(|f| f.is_open()).map(|f| f.name.clone()).collect());
    let ended = journal.read(|record| record.ended);
    if ended && open.is_empty() {
        return Ok("nothing is left to put back".to_owned());
    }
    journal.emit(Event::Note { text: format!("{why} (process {})", std::process::id()) });
    if !ended {
        journal.emit(Event::Broken { reason: why.to_owned() });
    }
    let plan = journal.read(|record| record.plan().clone());
    let clock = journal.clock();
    let port = Arc::new(HttpPort::new(plan.driver.clone(), Arc::new(OnceLock::from(plan.url.clone())))?);
    let world = World::new(&plan, clock, journal.clone(), port, Arc::new(NoRuntime), TaskTracker::new());
    for name in undo::open_faults(&world) {
        undo::revert_one(&world, &name).await;
    }
    watch_for_late_effects(&world, clock, &open).await;
    if !ended {
        journal.emit(Event::RunEnded {});
    }
    let stuck: Vec<String> = journal.read(|r| {
        r.faults.iter().filter(|f| f.is_open()).map(|f| format!("{}: {}", f.name, f.stuck.clone().unwrap_or_default())).collect()
    });
    journal.read(|record| report::write_all(record, folder))?;
    if !stuck.is_empty() {
        return Err(stuck.join("; "));
    }
    Claims::of(folder, state_folder()).forget();
    let done = if open.is_empty() { "nothing was left to put back".to_owned() } else { format!("put back: {}", open.join(", ")) };
    Ok(done)
}

/// What was asked of an engine just before the end may be done after the revert: a process that got SIGTERM ends later. So
/// what says in its undo that it may come late is put back again, until it cannot come any more.
async fn watch_for_late_effects(world: &World, clock: Clock, names: &[String]) {
    let late = |name: &String| {
        let undo = world.journal.read(|r| r.fault(name).filter(|f| f.injected_t.is_none()).and_then(|f| f.prepared.clone()))?;
        let late_s = undo.get("late_s")?.as_f64()?;
        Some((name.clone(), undo, late_s))
    };
    let late: Vec<_> = names.iter().filter_map(late).collect();
    let began = clock.now_s();
    while late.iter().any(|(.., late_s)| clock.now_s() - began < *late_s) {
        tokio::time::sleep(LOOK_EVERY).await;
        for (name, undo, _) in &late {
            let Some(fault) = world.plan.faults.iter().find(|f| f.name == *name) else { continue };
            match fault.spec.revert(undo, world, name).await {
                Ok(done) => {
                    let known = world
                        .journal
                        .read(|r| r.fault(name).and_then(|f| f.reverted.clone()).is_some_and(|(_, how)| how == done.0));
                    if !known {
                        world.journal.emit(Event::FaultReverted { fault: name.clone(), how: done.0 });
                    }
                }
                Err(error) => world.journal.emit(Event::Note { text: format!("{name}, looked at once more: {error}") }),
            }
        }
    }
}

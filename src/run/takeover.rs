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
use crate::fault::FaultSpec;
use crate::journal::FILE;
use crate::journal::event::Event;
use crate::journal::facts::FaultFacts;
use crate::journal::undo::{self as undo_lines, Left};
use crate::journal::writer::Journal;
use crate::report;
use crate::runtime::NoRuntime;

/// While an effect may still come late, it is looked for at this distance.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Reverts every fault that is open, the newest first; what was done is in the journal and in the reports afterwards.
///
/// # Errors
/// The run still lives, its journal cannot be used, something could not be put back, or it cannot be told whether everything
/// was: then what, and why.
pub async fn put_back(folder: &Path, why: &str) -> Result<String, String> {
    let path = folder.join(FILE);
    let left = undo_lines::left(folder);
    let journal = Journal::take_over(&path).await.map_err(|error| left.unreadable.clone().unwrap_or(error))?;
    let open: Vec<String> = journal.read(|r| r.faults.iter().filter(|f| f.is_open()).map(|f| f.name.clone()).collect());
    let ended = journal.read(|record| record.ended);
    if ended && open.is_empty() && left.is_clear() {
        return Ok("nothing is left to put back".to_owned());
    }
    journal.emit(Event::Note { text: format!("{why} (process {})", std::process::id()) });
    if !ended {
        journal.emit(Event::Broken { reason: why.to_owned() });
    }
    let plan = journal.read(|record| record.plan.clone()).ok_or("the plan of the run cannot be read")?;
    let clock = journal.clock();
    let port = Arc::new(HttpPort::new(plan.driver.clone(), Arc::new(OnceLock::from(plan.url.clone())))?);
    let world = World::new(&plan, clock, journal.clone(), port, Arc::new(NoRuntime), TaskTracker::new());
    for name in undo::open_faults(&world) {
        undo::revert_one(&world, &name).await;
    }
    watch_for_late_effects(&world, clock, &open).await;
    if !ended && left.unreadable.is_none() {
        journal.emit(Event::RunEnded {});
    }
    if !journal.read(|record| record.salvaged) {
        journal.read(|record| report::write_all(record, folder))?;
    }
    told(&journal, &left, folder, &open)
}

/// What became of it, as a sentence; an error where something is left, or may be.
fn told(journal: &Journal, left: &Left, folder: &Path, open: &[String]) -> Result<String, String> {
    let stuck: Vec<String> = journal.read(|r| {
        r.faults.iter().filter(|f| f.is_open()).map(|f| format!("{}: {}", f.name, f.stuck.clone().unwrap_or_default())).collect()
    });
    if !stuck.is_empty() {
        return Err(stuck.join("; "));
    }
    let done = if open.is_empty() { "nothing was left to put back".to_owned() } else { format!("put back: {}", open.join(", ")) };
    match left.unreadable.as_ref().filter(|_| !left.ended) {
        None => {
            Claims::of(folder, state_folder()).forget();
            Ok(done)
        }
        Some(why) => {
            let known = if open.is_empty() { "no undo could be read".to_owned() } else { done };
            Err(format!("{known}, and there may be more: {why}. {}", unsure(journal, folder)))
        }
    }
}

/// What somebody has to look at who cannot be told what is broken.
fn unsure(journal: &Journal, folder: &Path) -> String {
    let touches = journal.read(|record| record.plan.as_ref().map(|plan| plan.touches.join("; ")).unwrap_or_default());
    let what = if touches.is_empty() { "what the run was about".to_owned() } else { format!("what the run touched ({touches})") };
    format!("Look at {what}, and then say that it is in order with: chaos revert {} --forget", folder.display())
}

/// Gives the claims of a run up, because somebody says that nothing of it is left.
///
/// # Errors
/// The run still lives.
pub async fn forget(folder: &Path) -> Result<String, String> {
    let path = folder.join(FILE);
    if path.exists() {
        let journal = Journal::take_over(&path).await?;
        journal.emit(Event::Note {
            text: format!("somebody said that nothing is left of this run (process {})", std::process::id()),
        });
        let open: Vec<String> = journal.read(|r| r.faults.iter().filter(|f| f.is_open()).map(|f| f.name.clone()).collect());
        for fault in open {
            journal.emit(Event::FaultReverted { fault, how: "by hand, as somebody said".to_owned() });
        }
        journal.emit(Event::RunEnded {});
    }
    Claims::of(folder, state_folder()).forget();
    Ok("its claims are given up".to_owned())
}

/// What was asked of an engine just before the end may be done after the revert: a process that got SIGTERM ends later. So
/// what says in its undo that it may come late is put back again, until it cannot come any more.
async fn watch_for_late_effects(world: &World, clock: Clock, names: &[String]) {
    let late = |name: &String| {
        let unfinished = |f: &FaultFacts| Some((f.kind.clone(), f.prepared.clone()?)).filter(|_| f.injected_t.is_none());
        let (told, undo) = world.journal.read(|r| r.fault(name).and_then(unfinished))?;
        let planned = world.plan.faults.iter().find(|f| f.name == *name);
        let kind = planned.map_or(told, |fault| fault.spec.kind().to_owned());
        let late_s = undo.get("late_s")?.as_f64()?;
        Some((name.clone(), kind, undo, late_s))
    };
    let late: Vec<_> = names.iter().filter_map(late).collect();
    let began = clock.now_s();
    while late.iter().any(|(.., late_s)| clock.now_s() - began < *late_s) {
        tokio::time::sleep(LOOK_EVERY).await;
        for (name, kind, undo, _) in &late {
            match FaultSpec::revert(kind, undo, world, name).await {
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

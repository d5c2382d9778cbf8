//! `chaos revert`: put back what a run left broken, from its journal.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use tokio_util::task::TaskTracker;

use super::{Globals, complain, logging, print, tokio_runtime};
use crate::clock::Clock;
use crate::driver::http::HttpPort;
use crate::exit::Exit;
use crate::journal::reader;
use crate::journal::record::Record;
use crate::journal::writer::Journal;
use crate::plan::{Plan, RuntimePlan};
use crate::run::undo;
use crate::run::world::World;
use crate::runtime::NoRuntime;

/// Put back what a run left broken. Safe to call again.
#[derive(clap::Args)]
#[command(after_help = "Example: chaos revert reports/20261123T120000Z-gpu-oom-1a2b3c")]
pub struct Args {
    /// The run's folder.
    run: PathBuf,
}

pub fn run(args: Args, globals: &Globals) -> Exit {
    logging::start(globals, "warn", false);
    let record = match reader::read(&args.run) {
        Ok(record) => record,
        Err(error) => return complain(Exit::Usage, error),
    };
    let open = record.faults.iter().filter(|f| f.is_open()).count();
    if open == 0 {
        return print("nothing is left to put back\n");
    }
    // A target that was a process of the run's own ended with it, and what was done to it went with it.
    if !matches!(record.plan().runtime, RuntimePlan::None) {
        return print(&format!(
            "{open} faults were open; the target was a process of the run and ended with it: nothing is left to put back\n"
        ));
    }
    match tokio_runtime() {
        Ok(runtime) => runtime.block_on(revert(record)),
        Err(reason) => complain(Exit::CannotRun, reason),
    }
}

async fn revert(record: Record) -> Exit {
    let plan = record.plan().clone();
    let world = match world(&plan, record) {
        Ok(world) => world,
        Err(reason) => return complain(Exit::CannotRun, reason),
    };
    undo::revert_all(&world).await;
    let stuck: Vec<String> = world.journal.read(|r| {
        r.faults.iter().filter(|f| f.is_open()).map(|f| format!("{}: {}", f.name, f.stuck.clone().unwrap_or_default())).collect()
    });
    if stuck.is_empty() { print("everything is put back\n") } else { complain(Exit::Stuck, stuck.join("; ")) }
}

fn world(plan: &Plan, record: Record) -> Result<World, String> {
    let clock = Clock::start();
    let journal = Journal::resume(record, clock);
    let port = Arc::new(HttpPort::new(plan.driver.clone(), Arc::new(OnceLock::from(plan.url.clone())))?);
    Ok(World::new(plan, clock, journal, port, Arc::new(NoRuntime), TaskTracker::new()))
}

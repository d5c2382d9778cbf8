//! A start of the backend: which one it is, and what the last one left in the durable queue.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::config::MODEL_BYTES;
use super::core::{Core, Job, end_view};
use super::defect::Defect;
use super::store::{Entry, Store};
use crate::private;

const BOOTS: &str = "boots";

/// How often a backend was started over this folder, this start included.
pub fn count(folder: &Path) -> io::Result<u32> {
    private::folder(folder)?;
    let path = folder.join(BOOTS);
    let before: u32 = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    private::write(&path, (before + 1).to_string())?;
    Ok(before + 1)
}

/// Takes over what the last start left: its queue, and under `orphan-workers` its workers.
///
/// # Errors
/// When the durable queue cannot be opened.
pub fn take_over(core: &Core, folder: &Path) -> io::Result<()> {
    if core.config.has(Defect::OrphanWorkers) {
        core.lock().vram_used += u64::from(core.boots - 1) * MODEL_BYTES;
    }
    if !core.config.has(Defect::JobsLostOnRestart) {
        let (store, entries) = Store::open(folder)?;
        restore(core, store, entries);
    }
    Ok(())
}

fn restore(core: &Core, store: Store, entries: Vec<Entry>) {
    let mut inner = core.lock();
    let mut interrupted = BTreeSet::new();
    for entry in entries {
        match entry {
            Entry::Accepted { number, request } => {
                inner.next = inner.next.max(number + 1);
                inner.jobs.insert(number, Arc::new(Job::new(number, request)));
                inner.queue.push_back(number);
            }
            Entry::Started { number } => {
                interrupted.insert(number);
            }
            Entry::Ended { number, state, error, attempts, batch } => {
                interrupted.remove(&number);
                inner.queue.retain(|n| *n != number);
                if let Some(job) = inner.jobs.get(&number) {
                    job.update(|view| end_view(view, state, error, attempts, batch));
                }
            }
        }
    }
    if core.config.has(Defect::JobsRunTwice) {
        inner.twice = interrupted.clone();
    }
    if core.config.has(Defect::SameJobAgain) {
        inner.again = interrupted.first().copied();
    }
    inner.store = Some(store);
    if !inner.queue.is_empty() {
        tracing::info!(jobs = inner.queue.len(), "jobs of the last run are queued again");
    }
}

//! Puts back what a run left broken, from its journal alone: for the guardian, and for `chaos revert`.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::claims::Claims;
use super::folder::release_reserve;
use super::leftover::Leftover;
use super::world::World;
use super::{late, undo};
use crate::driver::http::HttpPort;
use crate::driver::{self, Driver, Wanted};
use crate::experiment::diagnostic::Diagnostics;
use crate::experiment::file::{self, KEPT, Overrides};
use crate::journal::event::Event;
use crate::journal::undo::Left;
use crate::journal::writer::Journal;
use crate::plan::Plan;
use crate::report;
use crate::runtime::NoRuntime;
use crate::secret::MASK;
use crate::state;

/// A process that was killed takes a moment to be gone; whoever asks by hand is not kept waiting for one that lives.
pub const A_MOMENT: Duration = Duration::from_secs(2);

/// Reverts every fault that is open, the newest first, once the run's process is gone, for which it has so long. What was done is
/// in the journal and in the reports afterwards.
///
/// # Errors
/// The run still lives, its journal cannot be used, something could not be put back, or it cannot be told whether everything
/// was: then what, and why.
pub async fn put_back(leftover: &Leftover, why: &str, dies_within: Duration) -> Result<String, String> {
    let claims = state::folder().map(|state| Claims::of(leftover.clone(), state));
    let (journal, left) = take_over(leftover, dies_within).await?;
    if let Ok(claims) = &claims {
        claims.resume();
    }
    let open: Vec<String> = journal.read(|r| r.faults.iter().filter(|f| f.is_open()).map(|f| f.name.clone()).collect());
    let ended = journal.read(|record| record.ended);
    if ended && open.is_empty() && left.is_clear() {
        forget_claims(claims.as_ref());
        return Ok("nothing is left to put back".to_owned());
    }
    journal.emit(Event::Note { text: format!("{why} (process {})", std::process::id()) });
    if !ended {
        journal.emit(Event::Broken { reason: why.to_owned() });
    }
    let plan = journal.read(|record| record.plan.clone()).ok_or("the plan of the run cannot be read")?;
    let clock = journal.clock();
    let (driver, url) = credentials(&plan, &leftover.folder).unwrap_or_else(|why| {
        journal.emit(Event::Note { text: format!("requests go to the target without its secrets: {why}") });
        (plan.driver.clone(), plan.url.clone())
    });
    let port = Arc::new(HttpPort::new(driver, Arc::new(OnceLock::from(url)))?);
    let world = World::new(&plan, clock, journal.clone(), port, Arc::new(NoRuntime), TaskTracker::new());
    for name in undo::open_faults(&world) {
        undo::revert_one(&world, &name).await;
    }
    late::watch(&world, &open).await;
    if !ended && left.unreadable.is_none() {
        journal.emit(Event::RunEnded {});
    }
    let told = told(&journal, &left, leftover, &open);
    if told.is_ok() {
        forget_claims(claims.as_ref());
    }
    // What was put back is put back, whether or not it can be told in a report.
    if let Some(folder) = leftover.reports().filter(|_| !journal.read(|record| record.salvaged)) {
        release_reserve(folder);
        journal.read(|record| report::write_all(record, folder))?;
    }
    told
}

/// The driver and the URL as the run had them. Where a secret is in them the journal has only its mask, and the run's own files say
/// how it is called in the environment.
fn credentials(plan: &Plan, folder: &Path) -> Result<(Driver, String), String> {
    let is_masked = |text: &str| text.contains(MASK);
    if !is_masked(&plan.url) && !serde_json::to_string(&plan.driver).is_ok_and(|text| is_masked(&text)) {
        return Ok((plan.driver.clone(), plan.url.clone()));
    }
    let told = |diags: Diagnostics| diags.found.first().map_or_else(String::new, |first| first.title.clone());
    let environment = |name: &str| std::env::var(name).ok();
    let mut loaded = file::load(&folder.join(KEPT), &Overrides::default(), &environment).map_err(told)?;
    if !loaded.diags.is_empty() {
        return Err(told(loaded.diags));
    }
    let target = &loaded.experiment.target;
    let wanted = Wanted { name: &target.driver, with: &target.with, beside: folder };
    match driver::find(&wanted, &mut loaded.redactor, &mut loaded.diags) {
        Some(driver) => {
            let url = if is_masked(&plan.url) { target.url.value.clone() } else { plan.url.clone() };
            Ok((driver, url))
        }
        None => Err(told(loaded.diags)),
    }
}

/// The journal of a run that is over, and what the run has left.
async fn take_over(leftover: &Leftover, dies_within: Duration) -> Result<(Journal, Left), String> {
    let (path, copy) = leftover.journals();
    let mut left = Left::default();
    let taken = Journal::take_over(&path, copy.as_deref(), dies_within, || {
        left = leftover.left();
        left.clone()
    });
    match taken.await {
        Ok(journal) => Ok((journal, left)),
        Err(error) => Err(leftover.left().unreadable.unwrap_or(error)),
    }
}

fn forget_claims(claims: Result<&Claims, &String>) {
    if let Ok(claims) = claims {
        claims.forget();
    }
}

/// What became of it, as a sentence; an error where something is left, or may be.
fn told(journal: &Journal, left: &Left, leftover: &Leftover, open: &[String]) -> Result<String, String> {
    let stuck: Vec<String> = journal.read(|r| {
        r.faults.iter().filter(|f| f.is_open()).map(|f| format!("{}: {}", f.name, f.stuck.clone().unwrap_or_default())).collect()
    });
    if !stuck.is_empty() {
        return Err(stuck.join("; "));
    }
    let done = if open.is_empty() { "nothing was left to put back".to_owned() } else { format!("put back: {}", open.join(", ")) };
    match left.unreadable.as_ref().filter(|_| !left.ended) {
        None => Ok(done),
        Some(why) => {
            let known = if open.is_empty() { "no undo could be read".to_owned() } else { done };
            Err(format!("{known}, and there may be more: {why}. {}", unsure(journal, leftover)))
        }
    }
}

/// What somebody has to look at who cannot be told what is broken.
fn unsure(journal: &Journal, leftover: &Leftover) -> String {
    let touches = journal.read(|record| record.plan.as_ref().map(|plan| plan.touches.join("; ")).unwrap_or_default());
    let what = if touches.is_empty() { "what the run was about".to_owned() } else { format!("what the run touched ({touches})") };
    format!("Look at {what}, and then say that it is in order with: chaos revert {} --forget", leftover.folder.display())
}

/// Gives the claims of a run up, because somebody says that nothing of it is left.
///
/// # Errors
/// The run still lives.
pub async fn forget(leftover: &Leftover) -> Result<String, String> {
    if leftover.journals().0.exists() {
        let (journal, _) = take_over(leftover, A_MOMENT).await?;
        journal.emit(Event::Note {
            text: format!("somebody said that nothing is left of this run (process {})", std::process::id()),
        });
        let open: Vec<String> = journal.read(|r| r.faults.iter().filter(|f| f.is_open()).map(|f| f.name.clone()).collect());
        for fault in open {
            journal.emit(Event::FaultReverted { fault, how: "by hand, as somebody said".to_owned() });
        }
        journal.emit(Event::RunEnded {});
    }
    Claims::of(leftover.clone(), state::folder()?).forget();
    Ok("its claims are given up".to_owned())
}

//! What was begun just before the end may take effect after the revert: a process that got SIGTERM ends later, a server may still
//! act on a request that was cut off. So what says in its undo that it may come late (`late_s`) is put back again and again,
//! until it cannot come any more.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value as Json;

use super::undo::{ended_with_target, kind_of, tried};
use super::world::World;
use crate::journal::event::Event;
use crate::journal::facts::FaultFacts;

/// While an effect may still come, it is looked for at this distance.
const LOOK_EVERY: Duration = Duration::from_millis(500);

struct Late {
    name: String,
    kind: String,
    undo: Json,
    /// It cannot come any more from then on.
    until: f64,
}

/// Watches over those of these faults whose injection was not seen to its end.
pub async fn watch(world: &World, names: &[String]) {
    let late: Vec<Late> = names.iter().filter_map(|name| Late::of(world, name)).collect();
    let Some(last) = late.iter().map(|late| late.until).reduce(f64::max) else { return };
    let left_s = last - world.clock.now_s();
    if left_s > 2.0 {
        let text = format!("what was begun may still take effect: it is looked for, and put back again, for {left_s:.0} s more");
        world.journal.emit(Event::Note { text });
    }
    let mut told = BTreeSet::new();
    while world.clock.now_s() < last && !world.hurry.is_cancelled() {
        tokio::select! {
            () = world.hurry.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        for late in late.iter().take_while(|_| !world.hurry.is_cancelled()) {
            late.put_back(world, &mut told).await;
        }
    }
}

impl Late {
    fn of(world: &World, name: &str) -> Option<Self> {
        let unsure = |f: &FaultFacts| f.injecting_t.is_some() && (f.injected_t.is_none() || f.error.is_some());
        let facts = world.journal.read(|r| r.fault(name).filter(|f| unsure(f)).cloned())?;
        let kind = kind_of(world, &facts);
        let (undo, since) = (facts.prepared?, facts.injected_t.unwrap_or_else(|| world.clock.now_s()));
        let until = since + undo.get("late_s")?.as_f64()?;
        (!ended_with_target(world, &kind)).then(|| Self { name: name.to_owned(), kind, undo, until })
    }

    async fn put_back(&self, world: &World, told: &mut BTreeSet<String>) {
        match tried(&self.kind, &self.undo, world, &self.name).await {
            Ok(done) => {
                let last = world.journal.read(|r| r.fault(&self.name).and_then(|f| f.reverted.clone()));
                if last.is_none_or(|(_, how)| how != done.0) {
                    world.journal.emit(Event::FaultReverted { fault: self.name.clone(), how: done.0 });
                }
            }
            Err(error) => {
                let text = format!("{}, looked at once more: {error}", self.name);
                if told.insert(text.clone()) {
                    world.journal.emit(Event::Note { text });
                }
            }
        }
    }
}

//! Follows the engine's events: what happens to the containers goes into the journal, whoever did it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::models::{EventMessage, EventMessageTypeEnum};
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::engine::Engine;
use super::members::Members;
use super::select::{self, Identity};
use super::{Shared, logs};
use crate::driver::template::bounded;
use crate::journal::event::Event;
use crate::journal::record::Record;

/// Signals by which a process is told to end: SIGINT, SIGQUIT, SIGKILL, SIGTERM. Podman does not say which it was.
const ENDS: [&str; 4] = ["2", "3", "9", "15"];
/// Between two tries to reach an engine that has gone.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// For so long the events are waited for that were still to come when the run ended.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

/// From when on events are wanted; the engine keeps the last ones, so that a connection that broke loses none.
pub struct Events {
    since_ns: i128,
}

impl Events {
    pub fn since_now() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { since_ns: now.as_nanos() as i128 }
    }

    /// The one that was seen last is told again after a new connection.
    fn is_new(&mut self, event: &EventMessage) -> bool {
        let told_ns = i128::from(event.time_nano.unwrap_or(0));
        let is_new = told_ns > self.since_ns;
        self.since_ns = told_ns.max(self.since_ns);
        is_new
    }

    fn since(&self) -> String {
        format!("{}.{:09}", self.since_ns / 1_000_000_000, self.since_ns % 1_000_000_000)
    }
}

/// Follows the events until stopped, and then to the last that there are; through the engine's own absences too.
pub(super) async fn follow(shared: Arc<Shared>, engine: Engine, mut events: Events, tasks: TaskTracker, stop: CancellationToken) {
    let mut reachable = true;
    while !stop.is_cancelled() {
        let mut stream = std::pin::pin!(engine.docker.events(Some(wanted().since(&events.since()).build())));
        loop {
            let next = tokio::select! {
                next = stream.next() => next,
                // What is there already is read then: an engine that always has something to tell does not hold up the end.
                () = stop.cancelled() => return last(&shared, &engine, &mut events, &tasks, &stop).await,
            };
            let Some(Ok(event)) = next else { break };
            reachable = true;
            if events.is_new(&event) {
                happened(&shared, &engine, &event, &tasks, &stop).await;
            }
        }
        if reachable {
            shared.journal.emit(Event::Gap { source: "engine".into(), error: "its events have stopped; asking again".into() });
            reachable = false;
        }
        if tokio::time::timeout(ASK_AGAIN, stop.cancelled()).await.is_err() {
            look_at_all(&shared, &engine).await;
        }
    }
    last(&shared, &engine, &mut events, &tasks, &stop).await;
}

/// When the run is over: what the engine has not told yet, and then how everything is.
async fn last(shared: &Arc<Shared>, engine: &Engine, events: &mut Events, tasks: &TaskTracker, stop: &CancellationToken) {
    let told = tokio::time::timeout(TOLD_WITHIN, rest(shared, engine, events, tasks, stop)).await;
    if let Err(error) = told.unwrap_or_else(|_| Err(format!("not told within {} s", TOLD_WITHIN.as_secs()))) {
        let error = format!("its last events could not be read: {error}");
        shared.journal.emit(Event::Gap { source: "engine".into(), error });
    }
    look_at_all(shared, engine).await;
}

/// The engine keeps its last events, and tells all of them that are over.
async fn rest(
    shared: &Arc<Shared>,
    engine: &Engine,
    events: &mut Events,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), String> {
    let options = wanted().since(&events.since()).until(&Events::since_now().since()).build();
    let mut stream = std::pin::pin!(engine.docker.events(Some(options)));
    while let Some(event) = stream.next().await {
        let event = event.map_err(|error| error.to_string())?;
        if events.is_new(&event) {
            happened(shared, engine, &event, tasks, stop).await;
        }
    }
    Ok(())
}

/// Of containers and their networks.
fn wanted() -> EventsOptionsBuilder {
    let filters = HashMap::from([("type".to_owned(), vec!["container".to_owned(), "network".to_owned()])]);
    EventsOptionsBuilder::default().filters(&filters)
}

/// Looks at every container of the target as it is now: what the engine did not tell is seen then.
pub(super) async fn look_at_all(shared: &Shared, engine: &Engine) {
    for member in shared.members.all() {
        if let Ok(container) = engine.inspect(&member.id).await {
            let asked = shared.journal.read(|record| end_is_ours(record, &member.id));
            shared.members.look_again(&shared.journal, &container, asked);
        }
    }
}

/// One event: written down, and what it means for the target's processes.
async fn happened(shared: &Arc<Shared>, engine: &Engine, event: &EventMessage, tasks: &TaskTracker, stop: &CancellationToken) {
    let Some((actor, action)) = event.actor.as_ref().zip(event.action.as_deref()) else { return };
    let attributes = actor.attributes.clone().unwrap_or_default();
    let is_network = event.typ == Some(EventMessageTypeEnum::NETWORK);
    let id = if is_network { attributes.get("container") } else { actor.id.as_ref() };
    let Some(id) = id else { return };
    // A health check inside the container is told as three events each time.
    if action.starts_with("exec_") {
        return;
    }
    let name = attributes.get("name").cloned().unwrap_or_default();
    if !shared.members.watched().contains(id) {
        if action == "start" {
            newcomer(shared, engine, id, &name, tasks, stop).await;
        }
        return;
    }
    let detail = match (is_network, action) {
        (true, _) => name.clone(),
        (_, "die") => format!("exit code {}", attributes.get("exitCode").map_or("?", String::as_str)),
        (_, "kill") => format!("signal {}", attributes.get("signal").map_or("?", String::as_str)),
        (_, "rename") => format!("was {}", attributes.get("oldName").map_or("?", |n| n.trim_start_matches('/'))),
        _ => String::new(),
    };
    let action = if is_network { format!("network_{action}") } else { action.to_owned() };
    let told = Event::Container { id: id.clone(), name: bounded(&name), action: bounded(&action), detail: bounded(&detail) };
    shared.journal.emit(told);
    let t_ns = i128::from(event.time_nano.unwrap_or(0));
    life(shared, engine, (id, t_ns), &action, &attributes).await;
}

/// What an event means for the container's process.
async fn life(shared: &Shared, engine: &Engine, (id, t_ns): (&str, i128), action: &str, attributes: &HashMap<String, String>) {
    let members: &Members = &shared.members;
    if matches!(action, "oom" | "kill" | "die") && !members.is_of_this_life(id, t_ns) {
        return;
    }
    match action {
        "oom" => members.ran_out_of_memory(id),
        "kill" if attributes.get("signal").is_none_or(|signal| ENDS.contains(&signal.as_str())) => members.signalled(id),
        "die" => {
            let code = attributes.get("exitCode").and_then(|code| code.parse().ok());
            let asked = shared.journal.read(|record| end_is_ours(record, id));
            // Whether the kernel killed it is told before or after, or only stands in the state.
            if engine.inspect(id).await.ok().and_then(|c| c.state?.oom_killed).unwrap_or(false) {
                members.ran_out_of_memory(id);
            }
            members.ended(&shared.journal, id, code, asked);
        }
        "start" => {
            if let Ok(container) = engine.inspect(id).await {
                members.look_again(&shared.journal, &container, true);
            }
        }
        "destroy" => members.removed(id),
        "rename" => members.renamed(id, attributes.get("name").map_or("", String::as_str)),
        _ => {}
    }
    if matches!(action, "die" | "start")
        && let Ok(container) = engine.inspect(id).await
    {
        members.look_again(&shared.journal, &container, true);
    }
}

/// A container was started that nobody watches: it may do the work of one that was removed.
async fn newcomer(shared: &Arc<Shared>, engine: &Engine, id: &str, name: &str, tasks: &TaskTracker, stop: &CancellationToken) {
    let Ok(container) = engine.inspect(id).await else { return };
    if let Some(previous) = shared.members.adopt(&shared.journal, &container) {
        let text = format!("container {name} ({id:.12}) runs in the place of {previous:.12}, which was removed, and is followed");
        shared.journal.emit(Event::Note { text });
        let event = Event::Container { id: id.to_owned(), name: name.to_owned(), action: "replaced".into(), detail: previous };
        shared.journal.emit(event);
        // All that it has ever said belongs to this run.
        let from_its_start = jiff::Timestamp::UNIX_EPOCH;
        tasks.spawn(logs::follow(shared.clone(), engine.clone(), id.to_owned(), from_its_start, stop.clone()));
    } else if shared.members.name_taken(&select::name(&container)) {
        let image = Identity::of(&container).image;
        let text = format!(
            "another container ({id:.12}, image {image}) has taken the name {name}: it is not the target, and is left alone"
        );
        shared.journal.emit(Event::Note { text });
    }
}

/// A fault of ours, which ends processes, is at work on that container.
fn end_is_ours(record: &Record, id: &str) -> bool {
    let Some(plan) = record.plan.as_deref() else { return false };
    let at_work = record.faults.iter().filter(|f| f.injecting_t.is_some() && f.over_t.is_none());
    let ending = |name: &str| plan.faults.iter().any(|f| f.name == name && f.spec.ends_process());
    let touches = |undo: &serde_json::Value| {
        undo.get("items").and_then(|items| items.as_array()).is_some_and(|items| items.iter().any(|item| item["id"] == *id))
    };
    at_work.into_iter().any(|f| ending(&f.name) && f.prepared.as_ref().is_some_and(touches))
}

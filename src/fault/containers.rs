//! What all faults of containers share: which ones, in which order, how it is seen, and how they are put back.
//!
//! A fault of containers says in an [`Act`] what it does to one of them; the rest is here.

use std::time::Duration;

use bollard::models::ContainerInspectResponse;
use futures_util::FutureExt;
use rand::seq::SliceRandom;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{CauseEnds, Fault, FaultError, Lasts, Observation, Reverted};
use crate::experiment::decode::Record;
use crate::experiment::diagnostic::{Diagnostics, Span};
use crate::journal::event::When;
use crate::plan::{Plan, RuntimePlan};
use crate::run::hold;
use crate::run::world::World;
use crate::runtime::docker::DockerRuntime;
use crate::runtime::docker::address::Address;
use crate::runtime::docker::engine::{CallError, Engine};
use crate::runtime::docker::select::{self, Containers, Identity, Order};

/// An engine that has much to do tells of what it has done this late.
const TOLD_WITHIN: Duration = Duration::from_secs(20);
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// A container as the engine describes it.
pub type Container = ContainerInspectResponse;

/// How one container is, with regard to one fault.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    Whole(String),
    Broken(String),
    Unknown(String),
}

/// What a fault does to one container.
pub trait Act: Sync {
    /// What must be known of the container to put it back.
    type Saved: Serialize + DeserializeOwned + Send + Sync;
    /// The engine tells of at least one of these when it has been done; empty where it tells of nothing.
    const EVENTS: &'static [&'static str];
    /// The process ends by it, and that is no crash.
    const ENDS_PROCESS: bool = false;
    /// Somebody who undoes it while it is held spoils it.
    const IS_WATCHED: bool = true;

    fn which(&self) -> &Containers;
    /// For `chaos plan`: what is done to them.
    fn verb(&self) -> String;
    /// How long it is held; without it, it is over when `strike` returns.
    fn held(&self) -> Option<Duration>;
    /// How long the target may take to be itself again afterwards.
    fn back_within(&self) -> Duration {
        Duration::from_secs(5)
    }
    /// How long after the run's own end an effect may still come.
    fn may_come_late(&self) -> Duration {
        Duration::from_secs(2)
    }
    /// Problems with the settings.
    fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
    /// Looks at the container and says what `restore` will need.
    ///
    /// # Errors
    /// When it could not be put back, or there is nothing to break.
    fn save(&self, container: &Container) -> Result<Self::Saved, String>;
    fn strike(&self, engine: &Engine, id: &str, saved: &Self::Saved) -> impl Future<Output = Result<(), String>> + Send;
    /// The container as it is now; `None` when it is gone.
    fn look(&self, engine: &Engine, container: Option<&Container>, saved: &Self::Saved) -> impl Future<Output = Seen> + Send;
    /// As `look`, again and again while it is held: what the engine says at once.
    fn still(&self, engine: &Engine, container: Option<&Container>, saved: &Self::Saved) -> impl Future<Output = Seen> + Send {
        self.look(engine, container, saved)
    }
    /// Idempotent. `None` when the container is gone. What was done, as a sentence.
    fn restore(
        engine: &Engine,
        container: Option<&Container>,
        saved: &Self::Saved,
    ) -> impl Future<Output = Result<String, String>> + Send;
}

/// What puts all of a fault's containers back.
#[derive(Serialize, Deserialize)]
pub struct Undo<S> {
    engine: Address,
    items: Vec<Item<S>>,
    /// An effect may come so long after the fault was let go of.
    late_s: f64,
}

#[derive(Serialize, Deserialize)]
pub struct Item<S> {
    id: String,
    identity: Identity,
    saved: S,
}

impl<A: Act + Record> Fault for A {
    type Undo = Undo<A::Saved>;
    const IS_WATCHED: bool = A::IS_WATCHED;

    fn validate(&self, place: Span, diags: &mut Diagnostics) {
        self.which().validate(place, diags);
        if let Err(wrong) = self.check() {
            diags.error(place, wrong, "here");
        }
    }

    fn needs_process(&self) -> bool {
        true
    }

    fn containers(&self) -> Option<&Containers> {
        Some(self.which())
    }

    fn ends_process(&self) -> bool {
        Self::ENDS_PROCESS
    }

    fn back_within(&self) -> Duration {
        Act::back_within(self)
    }

    fn touches(&self, plan: &Plan) -> Vec<String> {
        touches(self, plan)
    }

    fn lasts(&self) -> Lasts {
        lasts(self)
    }

    fn cause_ends(&self) -> CauseEnds {
        cause_ends(self)
    }

    async fn prepare(&self, world: &World, name: &str) -> Result<Self::Undo, FaultError> {
        prepare(self, world, name).await
    }

    async fn inject(&self, world: &World, name: &str) -> Result<(), FaultError> {
        inject(self, world, name).await
    }

    async fn observe(&self, world: &World, name: &str, when: When) -> Observation {
        observe(self, world, name, when).await
    }

    async fn still(&self, world: &World, name: &str) -> Observation {
        still(self, world, name).await
    }

    async fn word(&self, world: &World, name: &str) -> Option<Observation> {
        word::<A>(world, name).await
    }

    async fn revert(undo: &Self::Undo, _world: &World, _name: &str) -> Result<Reverted, FaultError> {
        revert::<A>(undo).await
    }
}

pub fn touches<A: Act>(act: &A, plan: &Plan) -> Vec<String> {
    let RuntimePlan::Docker(rules) = &plan.runtime else { return Vec::new() };
    let (selector, at_most) = act.which().selector(rules);
    let share = if act.which().share.0 < 1.0 { format!(", {} of them", act.which().share) } else { String::new() };
    let order = if act.which().order == Order::Rolling { ", one after another" } else { "" };
    let held = act.held().map_or_else(String::new, |time| format!(" for {}", crate::text::seconds(time.as_secs_f64())));
    vec![format!("{}{held}: {selector} (at most {at_most}{share}{order})", act.verb())]
}

pub fn lasts<A: Act>(act: &A) -> Lasts {
    match act.held() {
        // In rolling order each is put back before the next: when the injection returns it is over.
        Some(time) if act.which().order == Order::Together => Lasts::Held(time),
        _ => Lasts::Once,
    }
}

/// From when on recovery is the target's own matter: where its process ended, putting it back is only to start it.
pub fn cause_ends<A: Act>(act: &A) -> CauseEnds {
    match (lasts(act), A::ENDS_PROCESS) {
        (Lasts::Held(_), true) => CauseEnds::LetGo,
        (Lasts::Held(_), false) => CauseEnds::PutBack,
        (_, true) => CauseEnds::ProcessEnd { down: act.held().unwrap_or_default() },
        (_, false) => CauseEnds::Injected,
    }
}

fn docker(world: &World) -> Result<&DockerRuntime, FaultError> {
    world.runtime.docker().ok_or_else(|| FaultError::Absent("the target runs in no container".into()))
}

/// The containers that the fault is about, the same ones for the same seed.
async fn choose<A: Act>(act: &A, world: &World, name: &str) -> Result<Vec<Container>, FaultError> {
    let docker = docker(world)?;
    let (selector, at_most) = act.which().selector(&docker.rules);
    let engine = docker.engine().map_err(FaultError::Failed)?;
    let mut found = select::find(engine, &selector, at_most, &docker.rules).await.map_err(FaultError::Absent)?;
    let count = ((found.len() as f64 * act.which().share.0).round() as usize).max(1);
    found.shuffle(&mut world.plan.seed.stream(&format!("fault/{name}/containers")));
    found.truncate(count);
    Ok(found)
}

pub async fn prepare<A: Act>(act: &A, world: &World, name: &str) -> Result<Undo<A::Saved>, FaultError> {
    let chosen = choose(act, world, name).await?;
    let docker = docker(world)?;
    docker.watch_too(chosen.iter().map(select::id));
    let item = |container: &Container| {
        let saved =
            act.save(container).map_err(|why| FaultError::Failed(format!("container {}: {why}", select::name(container))))?;
        Ok(Item { id: select::id(container), identity: Identity::of(container), saved })
    };
    let items = chosen.iter().map(item).collect::<Result<Vec<_>, FaultError>>()?;
    let engine = docker.engine().map_err(FaultError::Failed)?;
    Ok(Undo { engine: engine.address.clone(), items, late_s: act.may_come_late().as_secs_f64() })
}

/// What `prepare` wrote down.
fn prepared<A: Act>(world: &World, name: &str) -> Result<Undo<A::Saved>, FaultError> {
    let undo = world.journal.read(|record| record.fault(name).and_then(|f| f.prepared.clone()));
    super::from_data(&undo.unwrap_or_default())
}

pub async fn inject<A: Act>(act: &A, world: &World, name: &str) -> Result<(), FaultError> {
    let undo = prepared::<A>(world, name)?;
    let engine = docker(world)?.engine().map_err(FaultError::Failed)?;
    let named = |item: &Item<A::Saved>, why: String| FaultError::Failed(format!("container {}: {why}", item.identity.name));
    if act.which().order == Order::Together {
        let strikes = undo
            .items
            .iter()
            .map(|item| async move { act.strike(engine, &item.id, &item.saved).await.map_err(|why| named(item, why)) });
        return futures_util::future::join_all(strikes).await.into_iter().collect();
    }
    for (at, item) in undo.items.iter().enumerate() {
        if at > 0 {
            tokio::time::sleep(act.which().gap.0).await;
        }
        act.strike(engine, &item.id, &item.saved).await.map_err(|why| named(item, why))?;
        let look = || async { still_at(act, engine, item).await }.boxed();
        hold::watch(world, name, &item.identity.name, act.held().unwrap_or_default(), look).await;
        let now = find(engine, item).await.map_err(|why| named(item, why.to_string()))?;
        A::restore(engine, now.as_ref(), &item.saved).await.map_err(|why| named(item, why))?;
    }
    Ok(())
}

/// What is seen of all of them while they are held.
pub async fn still<A: Act>(act: &A, world: &World, name: &str) -> Observation {
    let (undo, engine) =
        match prepared::<A>(world, name).and_then(|undo| Ok((undo, docker(world)?.engine().map_err(FaultError::Failed)?))) {
            Ok(both) => both,
            Err(error) => return Observation::unknown(error.to_string()),
        };
    let looks = undo.items.iter().map(|item| async move { (item.identity.name.clone(), still_at(act, engine, item).await) });
    let (mut broken, mut told) = (0.0, Vec::new());
    for (name, seen) in futures_util::future::join_all(looks).await {
        match seen {
            Observation::Unknown { why } => return Observation::unknown(format!("{name}: {why}")),
            Observation::Intact { detail } => told.push(format!("{name}: {detail}")),
            Observation::Broken { strength, detail } => {
                broken += strength;
                told.push(format!("{name}: {detail}"));
            }
        }
    }
    Observation::broken(broken / undo.items.len().max(1) as f64, told.join("; "))
}

/// One of them alone, while it is held.
async fn still_at<A: Act>(act: &A, engine: &Engine, item: &Item<A::Saved>) -> Observation {
    let container = match find(engine, item).await {
        Ok(container) => container,
        Err(error) => return Observation::unknown(error.to_string()),
    };
    match act.still(engine, container.as_ref(), &item.saved).await {
        Seen::Whole(how) => Observation::intact(how),
        Seen::Broken(how) => Observation::broken(1.0, how),
        Seen::Unknown(why) => Observation::unknown(why),
    }
}

/// The container of an item, or the one that has come in its place.
async fn find<S>(engine: &Engine, item: &Item<S>) -> Result<Option<Container>, CallError> {
    match engine.inspect(&item.id).await {
        Ok(container) => return Ok(Some(container)),
        Err(CallError::NotFound(_)) => {}
        Err(error) => return Err(error),
    }
    match engine.inspect(&item.identity.name).await {
        Ok(container) => Ok(item.identity.is_succeeded_by(&Identity::of(&container)).then_some(container)),
        Err(CallError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

pub async fn observe<A: Act>(act: &A, world: &World, name: &str, when: When) -> Observation {
    match look_at_all(act, world, name, when).await {
        Ok(seen) => seen,
        Err(error) => Observation::unknown(error.to_string()),
    }
}

async fn look_at_all<A: Act>(act: &A, world: &World, name: &str, when: When) -> Result<Observation, FaultError> {
    let undo = match when {
        When::Before => prepare(act, world, name).await?,
        When::During | When::After => prepared::<A>(world, name)?,
    };
    let engine = docker(world)?.engine().map_err(FaultError::Failed)?;
    let mut sayings = Vec::new();
    let mut broken = 0.0;
    for item in &undo.items {
        let container = find(engine, item).await.map_err(|e| FaultError::Failed(e.to_string()))?;
        let seen = if when == When::During && lasts(act) == Lasts::Once {
            // It is over already: what the engine told of it counts.
            Seen::Broken("it was done and is over".to_owned())
        } else {
            act.look(engine, container.as_ref(), &item.saved).await
        };
        let how = match seen {
            Seen::Unknown(why) => return Ok(Observation::unknown(format!("{}: {why}", item.identity.name))),
            Seen::Broken(how) => {
                broken += 1.0;
                how
            }
            Seen::Whole(how) => how,
        };
        let told = if when == When::During { told(world, name, &item.id, A::EVENTS) } else { None };
        let told = told.map_or_else(String::new, |(_, told)| format!("; {told}"));
        sayings.push(format!("{}: {how}{told}", item.identity.name));
    }
    let told = sayings.join("; ");
    if when == When::During || broken > 0.0 {
        return Ok(Observation::broken(broken / undo.items.len().max(1) as f64, told));
    }
    Ok(match world.ready().await {
        Ok(()) => Observation::intact(told),
        Err(error) => Observation::broken(1.0, format!("{told}; the target is not ready: {error}")),
    })
}

/// The engine's word for what it did, which a busy one gives late: a fault without it is not proven.
pub async fn word<A: Act>(world: &World, name: &str) -> Option<Observation> {
    if A::EVENTS.is_empty() || world.runtime.docker().is_none() {
        return None;
    }
    let items = prepared::<A>(world, name).ok()?.items;
    let untold = || items.iter().filter(|item| told(world, name, &item.id, A::EVENTS).is_none()).count();
    let during = || world.journal.read(|record| record.fault(name).and_then(|fault| fault.observed.get(&When::During).cloned()));
    let (seen_t, seen) = during()?;
    let Observation::Broken { strength, detail } = &seen else { return None };
    // Of what was not seen no word is waited for.
    if !seen.proves(When::During) {
        return None;
    }
    if items.iter().all(|item| told(world, name, &item.id, A::EVENTS).is_some_and(|(t, _)| t <= seen_t)) {
        return None;
    }
    let waiting = async {
        while untold() > 0 {
            tokio::time::sleep(ASK_AGAIN).await;
        }
    };
    world.wait_for(TOLD_WITHIN, waiting).await;
    let said = items.iter().map(|item| match told(world, name, &item.id, A::EVENTS) {
        Some((_, told)) => format!("{}: {told}", item.identity.name),
        None => format!("{}: yet the engine told of no {}", item.identity.name, A::EVENTS.join(" or ")),
    });
    let said = said.collect::<Vec<_>>().join("; ");
    let share = 1.0 - untold() as f64 / items.len().max(1) as f64;
    Some(Observation::broken(strength * share, format!("{detail}; {said}")))
}

/// What the engine told of a container since the fault's injection, and when.
fn told(world: &World, name: &str, id: &str, actions: &[&str]) -> Option<(f64, String)> {
    world.journal.read(|record| {
        let since = record.fault(name).and_then(|f| f.injecting_t)?;
        let event = record.containers.iter().find(|e| e.t >= since && e.id == id && actions.contains(&e.action.as_str()))?;
        let detail = if event.detail.is_empty() { String::new() } else { format!(" ({})", event.detail) };
        Some((event.t, format!("the engine told of `{}`{detail} at {:.2} s", event.action, event.t)))
    })
}

pub async fn revert<A: Act>(undo: &Undo<A::Saved>) -> Result<Reverted, FaultError> {
    let engine = Engine::connect(&undo.engine).await.map_err(FaultError::Away)?;
    let mut done = Vec::new();
    let mut wrong = Vec::new();
    for item in undo.items.iter().rev() {
        let result = match find(&engine, item).await {
            Ok(container) => A::restore(&engine, container.as_ref(), &item.saved).await,
            Err(error) => Err(error.to_string()),
        };
        // One that cannot be put back must not keep the others from it.
        match result {
            Ok(how) => done.push(format!("{} {how}", item.identity.name)),
            Err(why) => wrong.push(format!("{}: {why}", item.identity.name)),
        }
    }
    match wrong.join("; ") {
        none if none.is_empty() => Ok(Reverted(done.join(", "))),
        // The engine may have gone in the middle of it.
        wrong if engine.identity().await.is_err() => Err(FaultError::Away(wrong)),
        wrong => Err(FaultError::Failed(wrong)),
    }
}

// --- what several acts need to know of a container ---

pub fn runs(container: &Container) -> bool {
    container.state.as_ref().is_some_and(|s| s.running.unwrap_or(false) && !s.restarting.unwrap_or(false))
}

/// Whether the container could be started again as it was.
///
/// # Errors
/// A sentence that says why not.
pub fn comes_back(container: &Container) -> Result<(), String> {
    if !runs(container) {
        return Err("it does not run".to_owned());
    }
    let host = container.host_config.clone().unwrap_or_default();
    if host.auto_remove.unwrap_or(false) {
        return Err("it was started with --rm and would be gone for good when it ends".to_owned());
    }
    let bindings = host.port_bindings.unwrap_or_default();
    let random =
        bindings.iter().find(|(_, to)| to.iter().flatten().any(|b| matches!(b.host_port.as_deref(), None | Some("" | "0"))));
    match random {
        Some((port, _)) => Err(format!(
            "its port {port} is published on a random port of the host, which would change: publish it on a fixed one"
        )),
        None => Ok(()),
    }
}

/// Starts a container that does not run; `None` when it does.
///
/// # Errors
/// When there is none any more, or the engine cannot start it.
pub async fn start_again(engine: &Engine, container: Option<&Container>) -> Result<Option<String>, String> {
    let container = container.ok_or("it was removed, and nothing has come in its place")?;
    if runs(container) {
        return Ok(None);
    }
    engine.start(&select::id(container)).await?;
    Ok(Some("was started again".to_owned()))
}

//! Before anything is broken: is the target there, does it tell what the checks need, can the guards see?

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::world::World;
use crate::driver::http::PROBE_TIMEOUT;
use crate::experiment::diagnostic::nearest;
use crate::journal::event::{Event, Level};
use crate::journal::record::MEMORY;
use crate::observe::prober::{DEAR_S, pause};
use crate::observe::prometheus::{self, Scrape};
use crate::plan::RuntimePlan;
use crate::text::seconds;

/// A target that nobody here starts must be there already.
const THERE_WITHIN: Duration = Duration::from_secs(3);

/// Looks at everything, writes down what it finds, and says whether the run may start.
pub async fn look(world: &World) -> Result<(), String> {
    let within = match &world.plan.runtime {
        RuntimePlan::None => THERE_WITHIN,
        RuntimePlan::Embedded(backend) => Duration::from_secs(30) + backend.start_time(1),
        RuntimePlan::Process(process) => process.ready_within.0,
        RuntimePlan::Docker(docker) => docker.ready_within.0,
    };
    let ready = world.wait_until_ready(within).await;
    if let Err(error) = ready.and_then(|()| is_there(world)) {
        return fail(world, "target", format!("{} cannot be used: {error}", world.plan.url));
    }
    note(world, "target", Level::Ok, format!("{} is ready", world.plan.url));
    if world.plan.driver.health.is_some() {
        health(world).await;
    }
    queue(world).await;
    let scrape = metrics(world).await;
    guards(world, scrape.as_ref())?;
    is_there(world).or_else(|error| fail(world, "target", format!("{} cannot be used: {error}", world.plan.url)))
}

/// A target that has ended already cannot be tested, whoever answers in its place.
fn is_there(world: &World) -> Result<(), String> {
    if !world.target_is_gone() {
        return Ok(());
    }
    let exited = world.journal.read(|record| record.generations.last().and_then(|g| g.exited.clone()));
    let status = exited.map_or_else(String::new, |(_, status, _)| format!(" ({status})"));
    Err(format!("its process has ended by itself{status}; its last words are in target.log"))
}

fn note(world: &World, what: &str, level: Level, detail: String) {
    world.journal.emit(Event::Preflight { what: what.to_owned(), level, detail });
}

fn fail(world: &World, what: &str, detail: String) -> Result<(), String> {
    note(world, what, Level::Failed, detail.clone());
    Err(detail)
}

/// Whether it answers, and what that costs: the first answer may be slow for other reasons.
async fn health(world: &World) {
    let mut least_s = f64::INFINITY;
    for _ in 0..3 {
        let began = Instant::now();
        if let Err(error) = world.port.health().await {
            return note(world, "health", Level::Warning, error);
        }
        least_s = least_s.min(began.elapsed().as_secs_f64());
        if least_s <= DEAR_S {
            return note(world, "health", Level::Ok, "answers".into());
        }
    }
    let takes = seconds(least_s);
    let what_follows = if least_s < PROBE_TIMEOUT.as_secs_f64() {
        let every = seconds(least_s + pause(least_s).as_secs_f64());
        format!("it is asked every {every}, and what lies between is not seen")
    } else {
        format!("no answer is waited for for more than {}, so it counts as down", seconds(PROBE_TIMEOUT.as_secs_f64()))
    };
    let told = format!(
        "answers only after {takes}, as if it were a job of its own: {what_follows}; name a route that answers at once (LiteLLM has /health/liveliness)"
    );
    note(world, "health", Level::Warning, told);
}

async fn queue(world: &World) {
    match world.port.depth().await {
        Some(Ok(depth)) => note(world, "queue", Level::Ok, format!("{} jobs wait", depth.waiting)),
        Some(Err(error)) => note(world, "queue", Level::Warning, format!("the queue depth cannot be read: {error}")),
        None => note(world, "queue", Level::Warning, "this target tells no queue depth; it is derived from the ledger".into()),
    }
}

/// Every metric that something names must have a sample; the near name is proposed for those that do not.
async fn metrics(world: &World) -> Option<Scrape> {
    let text = match world.port.scrape().await? {
        Ok(text) => text,
        Err(error) => {
            note(world, "metrics", Level::Warning, format!("cannot be read: {error}"));
            return None;
        }
    };
    let scrape = prometheus::parse(&text);
    let missing: Vec<String> = world.plan.named_metrics().iter().filter_map(|name| missing(name, &scrape.values)).collect();
    if let Some((count, first)) = &scrape.malformed {
        note(world, "metrics", Level::Warning, format!("{count} lines are no Prometheus samples, the first: {first}"));
    }
    match missing.is_empty() {
        true => note(world, "metrics", Level::Ok, format!("{} series", scrape.values.len())),
        false => missing.into_iter().for_each(|detail| note(world, "metrics", Level::Warning, detail)),
    }
    Some(scrape)
}

fn missing(name: &str, values: &BTreeMap<String, f64>) -> Option<String> {
    let canonical = prometheus::canonical_name(name);
    if values.contains_key(&canonical) {
        return None;
    }
    let hint = nearest(&canonical, values.keys().map(String::as_str))
        .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    Some(format!("there is no series `{canonical}`{hint}"))
}

/// A guard that can see nothing protects nobody: the run does not start.
fn guards(world: &World, scrape: Option<&Scrape>) -> Result<(), String> {
    let gpu_seen = world
        .plan
        .driver
        .gpu
        .temperature
        .as_ref()
        .is_some_and(|name| scrape.is_some_and(|s| s.values.contains_key(&prometheus::canonical_name(name))));
    let real_gpu = !world.plan.gpu_is_simulated() && crate::observe::nvml::Gpus::open().is_ok();
    for guard in &world.plan.guards {
        let seen = match guard.series() {
            Some("gpu.temperature_c") => gpu_seen || real_gpu,
            Some("queue.depth") => world.plan.driver.queue.is_some(),
            // A container's memory is told by its engine.
            Some(name) if name == MEMORY[0] => world.runtime.pid().is_some() || world.runtime.docker().is_some(),
            _ => true,
        };
        if !seen {
            return fail(
                world,
                "guards",
                format!("the guard `{}` has nothing to look at here: remove it, or give its source in the driver", guard.kind()),
            );
        }
    }
    if !world.plan.guards.is_empty() {
        note(world, "guards", Level::Ok, format!("{} armed", world.plan.guards.len()));
    }
    Ok(())
}

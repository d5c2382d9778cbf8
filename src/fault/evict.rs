//! The model is dropped from memory: the next job is cold.

use serde::{Deserialize, Serialize};

use super::{CauseEnds, Fault, FaultError, Lasts, Observation, Reverted};
use crate::journal::event::When;
use crate::observe::prometheus;
use crate::plan::Plan;
use crate::record;
use crate::run::world::World;

/// GPU memory that falls by this share of all of it at one moment has lost a model, not a job.
const FALLS_BY: f64 = 0.1;

record! {
    /// Drops the model from memory in the driver's way.
    pub struct Evict {}
}

#[derive(Serialize, Deserialize)]
pub struct Undo {
    /// GPU memory before, where the target tells it.
    used_bytes: Option<f64>,
}

impl Fault for Evict {
    type Undo = Undo;

    fn needs_process(&self) -> bool {
        false
    }

    fn touches(&self, plan: &Plan) -> Vec<String> {
        vec![format!("drops the model of {} from memory", plan.url)]
    }

    fn lasts(&self) -> Lasts {
        Lasts::Once
    }

    fn cause_ends(&self) -> CauseEnds {
        CauseEnds::AtOnce
    }

    async fn prepare(&self, world: &World, _name: &str) -> Result<Undo, FaultError> {
        if world.plan.driver.evict.is_none() {
            return Err(FaultError::Absent("the driver knows no way to evict a model".into()));
        }
        Ok(Undo { used_bytes: memory(world).await.map(|(used, _)| used) })
    }

    async fn inject(&self, world: &World, _name: &str) -> Result<(), FaultError> {
        let Some(route) = &world.plan.driver.evict else { return Err(FaultError::Absent("no eviction".into())) };
        match world.port.call(route.method, &route.path, route.json.as_ref()).await.map_err(FaultError::Failed)? {
            (200..=299, _) => Ok(()),
            (status, _) => Err(FaultError::Failed(format!("{} answered {status}", route.path))),
        }
    }

    async fn observe(&self, world: &World, name: &str, when: When) -> Observation {
        if when != When::During {
            return match world.port.ready().await {
                Ok(()) => Observation::intact("the target is ready"),
                Err(error) => Observation::unknown(format!("the target is not ready: {error}")),
            };
        }
        let (undo, cold, logged) = world.journal.read(|record| {
            let fault = record.fault(name);
            let since = fault.and_then(|f| f.injecting_t).unwrap_or(f64::INFINITY);
            let cold = record.jobs.iter().find(|job| job.cold && job.submitting_t >= since).map(|job| job.number);
            let logged = record.log_hits.iter().find(|hit| hit.pattern == "cold" && hit.t >= since).map(|hit| hit.line.clone());
            (fault.and_then(|f| f.prepared.clone()), cold, logged)
        });
        if let Some(job) = cold {
            return Observation::broken(1.0, format!("job {job}, sent afterwards, was cold"));
        }
        if let Some(line) = logged {
            return Observation::broken(1.0, format!("the target's log says afterwards: {line}"));
        }
        let before = undo.and_then(|undo| serde_json::from_value::<Undo>(undo).ok()).and_then(|undo| undo.used_bytes);
        match (before, memory(world).await) {
            (Some(before), Some((now, total))) if before - now >= FALLS_BY * total => {
                Observation::broken(1.0, format!("GPU memory fell by {:.1} GiB", (before - now) / f64::from(1 << 30)))
            }
            _ => Observation::broken(0.0, "neither did GPU memory fall nor was a job cold, and the log tells of no load"),
        }
    }

    async fn revert(_undo: &Undo, _world: &World, _name: &str) -> Result<Reverted, FaultError> {
        Ok(Reverted("the next job loads the model".into()))
    }
}

/// GPU memory in use, and all of it, at this moment.
async fn memory(world: &World) -> Option<(f64, f64)> {
    let gpu = &world.plan.driver.gpu;
    let text = world.port.scrape().await?.ok()?;
    let scrape = prometheus::parse(&text);
    let figure = |name: &Option<String>| scrape.values.get(&prometheus::canonical_name(name.as_ref()?)).copied();
    Some((figure(&gpu.memory_used)?, figure(&gpu.memory_total)?))
}

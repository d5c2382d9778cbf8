//! Containers are removed; Compose, or else `chaos`, brings them back.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{ContainerCreateBody, EndpointSettings, NetworkingConfig};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use serde::{Deserialize, Serialize};

use super::containers::{Act, Container, Seen, comes_back, start_again};
use super::disconnect::Network;
use crate::experiment::units::{Time, WallTime};
use crate::record;
use crate::runtime::docker::engine::{CallError, Engine, ask};
use crate::runtime::docker::select::{self, Containers, Identity};
use crate::secret::sealed::Sealed;

record! {
    /// Removes containers that Compose made, as a `docker rm --force` by mistake would; their volumes stay.
    pub struct Remove {
        /// How long to wait for somebody else, such as Compose, to bring them back, before they are made again as they were.
        r#for: Time,
        /// Which containers.
        containers: Containers = Containers::default(),
        /// How long the target may take until it is ready again.
        ready_within: WallTime = WallTime::secs(60),
    }
}

/// All that makes the container again, its environment included.
#[derive(Serialize, Deserialize)]
pub struct Recipe {
    name: String,
    body: Box<ContainerCreateBody>,
    networks: HashMap<String, Network>,
}

impl Act for Remove {
    type Saved = Sealed<Recipe>;
    const EVENTS: &'static [&'static str] = &["destroy"];
    const ENDS_PROCESS: bool = true;
    /// Whoever made it may bring it back at any time: that is a recovery, and no lapse.
    const IS_WATCHED: bool = false;

    fn which(&self) -> &Containers {
        &self.containers
    }

    fn verb(&self) -> String {
        "removes, and makes again unless Compose has done so".to_owned()
    }

    fn held(&self) -> Option<Duration> {
        Some(self.r#for.0)
    }

    /// An engine that was asked goes on removing, and meanwhile the container is still there.
    fn may_come_late(&self) -> Duration {
        Duration::from_secs(12)
    }

    fn back_within(&self) -> Duration {
        self.ready_within.0
    }

    fn save(&self, container: &Container) -> Result<Sealed<Recipe>, String> {
        comes_back(container)?;
        if !Identity::of(container).made_by_compose() {
            return Err("it was not made by Compose: what was written inside it would be lost, and nothing says how to make it again".to_owned());
        }
        Recipe::of(container).map(Sealed)
    }

    async fn strike(&self, engine: &Engine, id: &str, _saved: &Sealed<Recipe>) -> Result<(), String> {
        Ok(engine.remove(id).await?)
    }

    async fn look(&self, _engine: &Engine, container: Option<&Container>, _saved: &Sealed<Recipe>) -> Seen {
        match container {
            Some(container) if super::containers::runs(container) => Seen::Whole(format!("runs ({:.12})", select::id(container))),
            Some(_) => Seen::Broken("it does not run".to_owned()),
            None => Seen::Broken("it is gone".to_owned()),
        }
    }

    async fn restore(engine: &Engine, container: Option<&Container>, saved: &Sealed<Recipe>) -> Result<String, String> {
        if container.is_some() {
            return Ok(start_again(engine, container).await?.unwrap_or_else(|| "was brought back already".to_owned()));
        }
        let id = saved.make(engine).await?;
        engine.start(&id).await?;
        Ok(format!("was made again ({id:.12})"))
    }
}

impl Recipe {
    fn of(container: &Container) -> Result<Self, String> {
        let as_json = |e: serde_json::Error| format!("its configuration cannot be kept: {e}");
        let config = serde_json::to_value(&container.config).map_err(as_json)?;
        let mut body: ContainerCreateBody = serde_json::from_value(config).map_err(as_json)?;
        body.host_config.clone_from(&container.host_config);
        // What is mounted is no volume to be made anew as well: an engine refuses two at one place.
        let mounted = |place: &String| container.mounts.iter().flatten().any(|m| m.destination.as_ref() == Some(place));
        body.volumes = body.volumes.map(|places| places.into_iter().filter(|place| !mounted(place)).collect());
        // Volumes without a name are found again by the one that the engine gave them.
        let anonymous = || {
            let nameless = container.mounts.iter().flatten().filter(|m| m.name.as_deref().is_some_and(|n| n.len() == 64));
            nameless.filter_map(|m| Some((m.name.clone()?, m.destination.clone()?)))
        };
        if let Some(host) = &mut body.host_config {
            // Compose asks for them as mounts without a source.
            for mount in host.mounts.iter_mut().flatten() {
                if let Some((name, _)) = anonymous().find(|(_, place)| mount.target.as_ref() == Some(place)) {
                    mount.source = Some(name);
                }
            }
            let is_mount = |place: &String| host.mounts.iter().flatten().any(|mount| mount.target.as_ref() == Some(place));
            let binds: Vec<String> =
                anonymous().filter(|(_, place)| !is_mount(place)).map(|(name, place)| format!("{name}:{place}")).collect();
            let all = host.binds.get_or_insert_default();
            // One that was made again by us has them already.
            let new: Vec<String> = binds.into_iter().filter(|bind| !all.contains(bind)).collect();
            all.extend(new);
        }
        Ok(Self { name: select::name(container), body: Box::new(body), networks: Network::all(container) })
    }

    /// Makes the container, in its networks; not started.
    async fn make(&self, engine: &Engine) -> Result<String, String> {
        let mut networks = self.networks.iter();
        let mut body = (*self.body).clone();
        // Older engines take one network at the creation; the others follow.
        let first: HashMap<String, EndpointSettings> = networks.by_ref().take(1).map(|(name, n)| (name.clone(), n.endpoint(name))).collect();
        body.networking_config = Some(NetworkingConfig { endpoints_config: Some(first) });
        let options = CreateContainerOptionsBuilder::default().name(&self.name).build();
        let made = match ask(&self.name, engine.docker.create_container(Some(options), body)).await {
            Ok(made) => made.id,
            Err(CallError::Already(why)) => return Err(format!("another container has its name: {why}")),
            Err(error) => return Err(error.to_string()),
        };
        for (name, network) in networks {
            network.connect(engine, name, &made).await?;
        }
        Ok(made)
    }
}

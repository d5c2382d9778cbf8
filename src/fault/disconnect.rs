//! Containers are taken off their networks and put on them again.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{EndpointIpamConfig, EndpointSettings, NetworkConnectRequest, NetworkDisconnectRequest};
use serde::{Deserialize, Serialize};

use super::containers::{Act, Container, Seen, comes_back};
use crate::experiment::units::Time;
use crate::record;
use crate::runtime::docker::engine::{CallError, Engine, ask};
use crate::runtime::docker::select::{self, Containers};

record! {
    /// Disconnects containers from a network, or from all of theirs, and connects them again.
    pub struct Disconnect {
        /// For how long.
        r#for: Time,
        /// Which network; without it all that the container is on.
        network: Option<String> = None,
        /// Which containers.
        containers: Containers = Containers::default(),
    }
}

/// How a container is on a network: what was asked for, not what it was given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Network {
    aliases: Vec<String>,
    links: Vec<String>,
    address: Option<EndpointIpamConfig>,
    options: Option<HashMap<String, String>>,
}

impl Network {
    /// All networks of a container.
    pub fn all(container: &Container) -> HashMap<String, Self> {
        let id = select::id(container);
        let networks = container.network_settings.as_ref().and_then(|s| s.networks.clone()).unwrap_or_default();
        let of = |endpoint: EndpointSettings| Self {
            // The engine adds the short id by itself.
            aliases: endpoint.aliases.unwrap_or_default().into_iter().filter(|alias| !id.starts_with(alias.as_str())).collect(),
            links: endpoint.links.unwrap_or_default(),
            address: endpoint.ipam_config,
            options: endpoint.driver_opts,
        };
        networks.into_iter().map(|(name, endpoint)| (name, of(endpoint))).collect()
    }

    pub fn endpoint(&self, network: &str) -> EndpointSettings {
        // The default network knows no aliases.
        let aliases = if network == "bridge" { None } else { Some(self.aliases.clone()) };
        EndpointSettings {
            aliases,
            links: Some(self.links.clone()),
            ipam_config: self.address.clone(),
            driver_opts: self.options.clone(),
            ..EndpointSettings::default()
        }
    }

    /// # Errors
    /// As the engine says; being connected already is no error.
    pub async fn connect(&self, engine: &Engine, network: &str, container: &str) -> Result<(), String> {
        let request = NetworkConnectRequest { container: container.to_owned(), endpoint_config: Some(self.endpoint(network)) };
        match ask(container, engine.docker.connect_network(network, request)).await {
            Err(CallError::Refused(why) | CallError::Already(why)) if why.contains("already exists in network") => Ok(()),
            other => other.map_err(|e| format!("network {network}: {e}")),
        }
    }
}

impl Act for Disconnect {
    type Saved = HashMap<String, Network>;
    const EVENTS: &'static [&'static str] = &["network_disconnect"];

    fn which(&self) -> &Containers {
        &self.containers
    }

    fn verb(&self) -> String {
        format!("disconnects from {}", self.network.as_deref().unwrap_or("all networks"))
    }

    fn held(&self) -> Option<Duration> {
        Some(self.r#for.0)
    }

    fn save(&self, container: &Container) -> Result<Self::Saved, String> {
        comes_back(container)?;
        let mut networks = Network::all(container);
        networks.retain(|name, _| !matches!(name.as_str(), "host" | "none") && self.network.as_ref().is_none_or(|wanted| wanted == name));
        if networks.is_empty() {
            return Err(format!("it is on no network {}that it could be taken off", self.network.as_deref().map_or_else(String::new, |n| format!("{n} "))));
        }
        Ok(networks)
    }

    async fn strike(&self, engine: &Engine, id: &str, saved: &Self::Saved) -> Result<(), String> {
        for network in saved.keys() {
            let request = NetworkDisconnectRequest { container: id.to_owned(), force: Some(false) };
            ask(id, engine.docker.disconnect_network(network, request)).await.map_err(|e| format!("network {network}: {e}"))?;
        }
        Ok(())
    }

    async fn look(&self, _engine: &Engine, container: Option<&Container>, saved: &Self::Saved) -> Seen {
        let Some(container) = container else { return Seen::Broken("it is gone".to_owned()) };
        let now = Network::all(container);
        let off: Vec<&str> = saved.keys().filter(|name| !now.contains_key(*name)).map(String::as_str).collect();
        if off.is_empty() { Seen::Whole(format!("is on {}", saved.keys().cloned().collect::<Vec<_>>().join(", "))) } else { Seen::Broken(format!("is off {}", off.join(", "))) }
    }

    async fn restore(engine: &Engine, container: Option<&Container>, saved: &Self::Saved) -> Result<String, String> {
        let container = container.ok_or("it was removed, and nothing has come in its place")?;
        let now = Network::all(container);
        for (name, network) in saved.iter().filter(|(name, _)| !now.contains_key(*name)) {
            network.connect(engine, name, &select::id(container)).await?;
        }
        Ok(format!("is on {} again", saved.keys().cloned().collect::<Vec<_>>().join(", ")))
    }
}

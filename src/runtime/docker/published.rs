//! Whether the target's URL leads to its containers, as far as the engine's settings tell.

use std::net::IpAddr;

use bollard::models::{ContainerInspectResponse, PortBinding};
use reqwest::Url;
use url::Host;

/// One of these containers answers there by itself: it publishes the port at that address, has the address, or has the host's network.
/// Of a name that is not looked up here only the port is compared.
pub fn answers(url: &Url, found: &[ContainerInspectResponse]) -> bool {
    let Some(port) = url.port_or_known_default().map(|port| port.to_string()) else { return true };
    let host = match url.host() {
        Some(Host::Ipv4(ip)) => Some(vec![IpAddr::from(ip)]),
        Some(Host::Ipv6(ip)) => Some(vec![IpAddr::from(ip)]),
        Some(Host::Domain(name)) if name.eq_ignore_ascii_case("localhost") => {
            Some(vec![[127, 0, 0, 1].into(), [0, 0, 0, 0, 0, 0, 0, 1].into()])
        }
        _ => None,
    };
    let is_the_host = |ip: &IpAddr| host.as_ref().is_none_or(|all| all.contains(ip));
    let is_published = |binding: &PortBinding| {
        let at: Option<IpAddr> = binding.host_ip.as_deref().and_then(|ip| ip.parse().ok());
        binding.host_port.as_ref() == Some(&port) && at.is_none_or(|at| at.is_unspecified() || is_the_host(&at))
    };
    found.iter().any(|container| {
        let settings = container.network_settings.as_ref();
        let mut bindings =
            settings.and_then(|s| s.ports.as_ref()).into_iter().flat_map(|ports| ports.values().flatten().flatten());
        let networks = settings.and_then(|s| s.networks.as_ref()).into_iter().flat_map(|networks| networks.values());
        let mut own = networks.flat_map(|n| [n.ip_address.as_deref(), n.global_ipv6_address.as_deref()]).flatten();
        let mode = container.host_config.as_ref().and_then(|h| h.network_mode.as_deref());
        mode == Some("host")
            || bindings.any(is_published)
            || (host.is_some() && own.any(|ip| ip.parse().is_ok_and(|ip| is_the_host(&ip))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A container whose port 5000 is published there, with an address of its own.
    fn container(host_ip: &str, host_port: &str, own: &str) -> ContainerInspectResponse {
        let inspected = json!({ "NetworkSettings": {
            "Ports": { "5000/tcp": [{ "HostIp": host_ip, "HostPort": host_port }], "6000/tcp": null },
            "Networks": { "bridge": { "IPAddress": own, "GlobalIPv6Address": "" } },
        } });
        serde_json::from_value(inspected).unwrap()
    }

    #[test]
    fn a_port_counts_at_the_address_at_which_it_is_published() {
        let answers = |url: &str, at: &str, port: &str| answers(&url.parse().unwrap(), &[container(at, port, "172.17.0.2")]);
        for (url, at) in [
            ("http://127.0.0.1:8080", "127.0.0.1"),
            ("http://127.0.0.1:8080", "0.0.0.0"),
            ("http://127.0.0.1:8080", ""),
            ("http://[::1]:8080", "::"),
            ("http://localhost:8080/api", "127.0.0.1"),
            ("http://localhost:8080", "::1"),
            ("http://10.0.0.7:8080", "0.0.0.0"),
            ("http://gpu-box:8080", "10.0.0.7"),
            ("http://172.17.0.2:5000", "127.0.0.1"),
        ] {
            assert!(answers(url, at, "8080"), "{url} {at}");
        }
        for (url, at, port) in [
            ("http://127.0.0.1:8080", "127.0.0.2", "8080"),
            ("http://127.0.0.1:8080", "127.0.0.1", "8081"),
            ("http://127.0.0.1", "127.0.0.1", "8080"),
            ("http://localhost:8080", "10.0.0.7", "8080"),
            ("http://gpu-box:8080", "0.0.0.0", "18080"),
            ("http://172.17.0.3:5000", "127.0.0.1", "5000"),
        ] {
            assert!(!answers(url, at, port), "{url} {at}:{port}");
        }
        assert!(!super::answers(&"http://127.0.0.1:8080".parse().unwrap(), &[]));
        let host: ContainerInspectResponse = serde_json::from_value(json!({ "HostConfig": { "NetworkMode": "host" } })).unwrap();
        assert!(super::answers(&"http://127.0.0.1:8080".parse().unwrap(), &[host]));
    }
}

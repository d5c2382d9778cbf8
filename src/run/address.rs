//! What a URL stands for on the network: however it is written, two runs against the same port claim the same thing.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use url::Url;

/// A name server that does not answer must not hold the run up.
const RESOLVED_WITHIN: Duration = Duration::from_secs(5);

/// The resources that a URL is, as names for claims: a port of this machine, or addresses of others.
pub async fn resources(url: &str) -> Vec<String> {
    let Some((host, port)) = host_and_port(url) else { return vec![format!("target {url}")] };
    let mut names: Vec<String> = resolve(&host, port).await.into_iter().map(|address| name(address.ip(), port)).collect();
    if names.is_empty() {
        names.push(format!("{host}:{port}"));
    }
    names.sort();
    names.dedup();
    names
}

/// As it is compared: in small letters, without brackets, with the scheme's own port where none is given.
pub fn host_and_port(url: &str) -> Option<(String, u16)> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    Some((host, url.port_or_known_default()?))
}

/// The addresses of a host; none where it cannot be resolved, and so cannot be reached either.
pub async fn resolve(host: &str, port: u16) -> Vec<SocketAddr> {
    match tokio::time::timeout(RESOLVED_WITHIN, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(addresses)) => addresses.collect(),
        _ => Vec::new(),
    }
}

fn name(ip: IpAddr, port: u16) -> String {
    let ip = ip.to_canonical();
    match is_here(ip) {
        // A server that listens on all addresses is the same under each of them.
        true => format!("port {port} of this machine"),
        false => format!("address {ip} port {port}"),
    }
}

/// Whether it is an address of this machine.
pub fn is_here(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn however_it_is_written_it_is_the_same() {
        let expected = vec!["port 8188 of this machine".to_owned()];
        for url in [
            "http://127.0.0.1:8188",
            "http://127.0.0.1:8188/",
            "HTTP://127.0.0.1:8188/api/",
            "http://localhost:8188",
            "http://LOCALHOST:8188/",
            "http://localhost.:8188",
            "http://user:word@127.0.0.1:8188?a=b#c",
            "http://127.1:8188",
            "http://2130706433:8188",
            "http://0x7f.0.0.1:8188",
            "http://0.0.0.0:8188",
            "http://[::1]:8188",
            "http://[::ffff:127.0.0.1]:8188",
            "ws://127.0.0.1:8188",
        ] {
            assert_eq!(resources(url).await, expected, "{url}");
        }
        assert_eq!(resources("http://127.0.0.1").await, resources("http://localhost:80/").await);
        assert_ne!(resources("http://127.0.0.1").await, resources("https://127.0.0.1").await);
        assert_eq!(resources("http://192.0.2.7:8188/a").await, ["address 192.0.2.7 port 8188"]);
        assert_eq!(resources("nonsense").await, ["target nonsense"]);
    }
}

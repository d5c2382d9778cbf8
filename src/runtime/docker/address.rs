//! Where the container engine is: as the file says, as the environment says, or where it usually is.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// How an engine is reached. Kept in the undo of a fault, so that another process finds the same engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// `unix:///path` or `tcp://host:port`.
    pub host: String,
    /// A folder with `ca.pem`, `cert.pem` and `key.pem`: then the engine is spoken to over TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<PathBuf>,
    /// Who said so, for error messages.
    pub said_by: String,
}

/// Reads an environment variable.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Address {
    /// The file's `host`, else `DOCKER_HOST` (with `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH`), else the Docker client's context,
    /// else the first of the usual sockets that exists: Docker's, rootless Docker's, Podman's.
    ///
    /// # Errors
    /// A sentence: there is no engine here, or what names it cannot be used.
    pub fn find(file: Option<&str>, env: Lookup<'_>) -> Result<Self, String> {
        let home = env("HOME").map(PathBuf::from);
        let by = |host: String, certificates, said_by: &str| Self { host, certificates, said_by: said_by.to_owned() };
        let tls = || {
            let wanted = env("DOCKER_TLS_VERIFY").is_some_and(|v| !v.is_empty());
            wanted.then(|| env("DOCKER_CERT_PATH").map(PathBuf::from).or_else(|| Some(home.as_ref()?.join(".docker")))).flatten()
        };
        let address = if let Some(host) = file {
            by(host.to_owned(), if host.starts_with("tcp:") { tls() } else { None }, "target.runtime.docker.host")
        } else if let Some(host) = env("DOCKER_HOST").filter(|h| !h.is_empty()) {
            by(host, tls(), "DOCKER_HOST")
        } else if let Some(found) = home.as_deref().and_then(|home| context(&home.join(".docker"), env).transpose()) {
            found?
        } else {
            let run = env("XDG_RUNTIME_DIR").unwrap_or_default();
            let usual = [
                "/var/run/docker.sock".to_owned(),
                format!("{run}/docker.sock"),
                format!("{run}/podman/podman.sock"),
                "/run/podman/podman.sock".to_owned(),
            ];
            let there = usual.iter().find(|path| Path::new(path).exists());
            let path =
                there.ok_or("there is no container engine on this machine: start Docker, or say where it is with DOCKER_HOST")?;
            by(format!("unix://{path}"), None, "the usual socket")
        };
        address.usable()
    }

    fn usable(self) -> Result<Self, String> {
        let known = self.host.starts_with("unix://") || self.host.starts_with("tcp://");
        if known {
            return Ok(self);
        }
        let hint = if self.host.starts_with("ssh://") {
            "forward its socket first (ssh -L /tmp/docker.sock:/var/run/docker.sock HOST) and use unix:///tmp/docker.sock"
        } else {
            "expected unix:///path or tcp://host:port"
        };
        Err(format!("the engine at `{}` (from {}) cannot be reached like this: {hint}", self.host, self.said_by))
    }
}

/// The engine of the Docker client's chosen context; `None` for the default one.
fn context(docker: &Path, env: Lookup<'_>) -> Result<Option<Address>, String> {
    let config =
        std::fs::read_to_string(docker.join("config.json")).ok().and_then(|text| serde_json::from_str::<Json>(&text).ok());
    let chosen =
        env("DOCKER_CONTEXT").filter(|c| !c.is_empty()).or_else(|| Some(config?.get("currentContext")?.as_str()?.to_owned()));
    let Some(name) = chosen.filter(|name| name != "default") else { return Ok(None) };
    let folders = std::fs::read_dir(docker.join("contexts/meta")).into_iter().flatten().flatten();
    let found = folders.into_iter().find_map(|folder| {
        let meta: Json = serde_json::from_str(&std::fs::read_to_string(folder.path().join("meta.json")).ok()?).ok()?;
        (meta.get("Name")?.as_str()? == name).then(|| (folder.file_name(), meta))
    });
    let (id, meta) =
        found.ok_or_else(|| format!("the Docker context `{name}` is chosen and not there: see `docker context ls`"))?;
    let host = meta.pointer("/Endpoints/docker/Host").and_then(Json::as_str);
    let host = host.ok_or_else(|| format!("the Docker context `{name}` names no engine"))?.to_owned();
    let certificates = docker.join("contexts/tls").join(id).join("docker");
    let certificates = certificates.join("cert.pem").exists().then_some(certificates);
    Ok(Some(Address { host, certificates, said_by: format!("the Docker context `{name}`") }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
    }

    #[test]
    fn the_file_comes_before_the_environment_and_tls_needs_a_tcp_engine() {
        let vars = [("DOCKER_HOST", "tcp://far:2376"), ("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", "/certs")];
        let far = Address::find(None, &env(&vars)).unwrap();
        assert_eq!((far.host.as_str(), far.certificates), ("tcp://far:2376", Some(PathBuf::from("/certs"))));
        let near = Address::find(Some("unix:///here.sock"), &env(&vars)).unwrap();
        assert_eq!((near.host.as_str(), near.certificates), ("unix:///here.sock", None));
    }

    #[test]
    fn a_context_of_the_docker_client_is_followed() {
        let home = tempfile::tempdir().unwrap();
        let docker = home.path().join(".docker");
        let meta = docker.join("contexts/meta/abc");
        std::fs::create_dir_all(&meta).unwrap();
        std::fs::create_dir_all(docker.join("contexts/tls/abc/docker")).unwrap();
        std::fs::write(docker.join("contexts/tls/abc/docker/cert.pem"), "").unwrap();
        std::fs::write(docker.join("config.json"), r#"{"currentContext":"lab"}"#).unwrap();
        std::fs::write(meta.join("meta.json"), r#"{"Name":"lab","Endpoints":{"docker":{"Host":"tcp://lab:2376"}}}"#).unwrap();
        let vars = [("HOME", home.path().to_str().unwrap())];
        let lab = Address::find(None, &env(&vars)).unwrap();
        assert_eq!((lab.host.as_str(), lab.certificates), ("tcp://lab:2376", Some(docker.join("contexts/tls/abc/docker"))));
        let vars = [vars[0], ("DOCKER_CONTEXT", "gone")];
        assert!(Address::find(None, &env(&vars)).unwrap_err().contains("`gone` is chosen and not there"));
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_a_remedy() {
        let error = Address::find(Some("ssh://host"), &env(&[])).unwrap_err();
        assert!(error.contains("forward its socket"), "{error}");
        assert!(Address::find(Some("npipe:////./pipe/x"), &env(&[])).is_err());
    }
}

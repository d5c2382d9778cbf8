//! A container engine that speaks Docker's API: Docker itself, or Podman's compatible socket. Every call is bounded in time.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error as EngineError;
use bollard::exec::{CreateExecOptions, StartExecResults};
use bollard::models::{ContainerInspectResponse, ContainerStatsResponse, ContainerUpdateBody};
use bollard::query_parameters::{
    KillContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, StatsOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::StreamExt;

use super::address::Address;

/// An engine that does not answer a question for this long is not there.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// Of what a command inside a container says, so much is kept.
const MOST_SAID: usize = 256 << 10;
/// Of the connection itself: streams stay open for as long as the run.
const CONNECTION_S: u64 = 24 * 3600;

/// Podman calls a container that has just ended `stopped`, which Docker's API does not know, until it has cleaned up.
const ODD_STATE: Duration = Duration::from_secs(5);
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// A connection to an engine; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub docker: Docker,
    pub address: Address,
}

/// Why a call did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    #[error("there is no container `{0}`")]
    NotFound(String),
    /// It is so already: what is paused cannot be paused again.
    #[error("{0}")]
    Already(String),
    #[error("{0}")]
    Refused(String),
    #[error("the engine cannot be reached: {0}")]
    Unreachable(String),
    #[error("the engine's answer cannot be read: {0}")]
    Unintelligible(String),
}

impl From<CallError> for String {
    fn from(error: CallError) -> Self {
        error.to_string()
    }
}

impl Engine {
    /// Connects, and asks for a sign of life.
    ///
    /// # Errors
    /// One sentence that says where nobody answered and what to do.
    pub async fn connect(address: &Address) -> Result<Self, String> {
        let failed = |error: String| {
            format!(
                "no container engine answers at {} ({}): {error}. Start it, or say where it is with DOCKER_HOST",
                address.host, address.said_by
            )
        };
        let host = address.host.as_str();
        let docker = match &address.certificates {
            Some(folder) => {
                let [key, certificate, ca] = ["key.pem", "cert.pem", "ca.pem"].map(|name| folder.join(name));
                Docker::connect_with_ssl(host, &key, &certificate, &ca, CONNECTION_S, API_DEFAULT_VERSION)
            }
            None if host.starts_with("unix://") => Docker::connect_with_unix(host, CONNECTION_S, API_DEFAULT_VERSION),
            None => Docker::connect_with_http(host, CONNECTION_S, API_DEFAULT_VERSION),
        };
        let docker = docker.map_err(|e| failed(e.to_string()))?;
        let agreed = tokio::time::timeout(ANSWERS_WITHIN, docker.negotiate_version()).await;
        let docker = agreed.map_err(|_| failed("it does not answer".to_owned()))?.map_err(|e| failed(innermost(&e)))?;
        Ok(Self { docker, address: address.clone() })
    }

    /// Its name and version, and an identity that stays.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn identity(&self) -> Result<(String, String), CallError> {
        let version = ask("", self.docker.version()).await?;
        let info = ask("", self.docker.info()).await?;
        let podman = version.components.iter().flatten().any(|part| part.name.contains("Podman"));
        let name = if podman { "Podman" } else { "Docker" };
        // Podman has no identity of its own; its host's name will do.
        let id = info.id.filter(|id| !id.is_empty()).or(info.name).unwrap_or_default();
        Ok((format!("{name} {}", version.version.unwrap_or_default()), id))
    }

    /// Everything that the engine knows of a container, by id or name.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub async fn inspect(&self, container: &str) -> Result<ContainerInspectResponse, CallError> {
        let deadline = tokio::time::Instant::now() + ODD_STATE;
        loop {
            match ask(container, self.docker.inspect_container(container, None)).await {
                Err(CallError::Unintelligible(_)) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                answer => return answer,
            }
        }
    }

    /// The ids of all containers, running or not, that carry a label (`key` or `key=value`).
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn labelled(&self, labels: &[String]) -> Result<Vec<String>, CallError> {
        let filters = HashMap::from([("label".to_owned(), labels.to_vec())]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let mut found = ask("", self.docker.list_containers(Some(options))).await?;
        found.sort_by(|a, b| a.names.cmp(&b.names));
        Ok(found.into_iter().filter_map(|c| c.id).collect())
    }

    /// One reading of a container's figures.
    ///
    /// # Errors
    /// When there are none.
    pub async fn stats(&self, container: &str) -> Result<ContainerStatsResponse, CallError> {
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        let mut readings = std::pin::pin!(self.docker.stats(container, Some(options)));
        match tokio::time::timeout(ANSWERS_WITHIN, readings.next()).await {
            Ok(Some(Ok(stats))) => Ok(stats),
            Ok(Some(Err(error))) => Err(told(container, &error)),
            Ok(None) => Err(CallError::Refused("the engine has no figures".to_owned())),
            Err(_) => Err(CallError::Unreachable("it does not answer".to_owned())),
        }
    }

    /// Sends a signal by its name.
    ///
    /// # Errors
    /// `Already` when it does not run.
    pub async fn kill(&self, container: &str, signal: &str) -> Result<(), CallError> {
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        ask(container, self.docker.kill_container(container, Some(options))).await
    }

    /// # Errors
    /// As the engine says; a container that runs already is no error.
    pub async fn start(&self, container: &str) -> Result<(), CallError> {
        done_already(ask(container, self.docker.start_container(container, None)).await)
    }

    /// # Errors
    /// As the engine says; a container that is paused already is no error.
    pub async fn pause(&self, container: &str) -> Result<(), CallError> {
        done_already(ask(container, self.docker.pause_container(container)).await)
    }

    /// # Errors
    /// As the engine says; a container that is not paused is no error.
    pub async fn unpause(&self, container: &str) -> Result<(), CallError> {
        done_already(ask(container, self.docker.unpause_container(container)).await)
    }

    /// # Errors
    /// As the engine says.
    pub async fn update(&self, container: &str, limits: ContainerUpdateBody) -> Result<(), CallError> {
        ask(container, self.docker.update_container(container, limits)).await
    }

    /// Removes a container and keeps its volumes, the anonymous ones too.
    ///
    /// # Errors
    /// As the engine says.
    pub async fn remove(&self, container: &str) -> Result<(), CallError> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(false).build();
        ask(container, self.docker.remove_container(container, Some(options))).await
    }

    /// Runs a command inside a container: its exit code, and what it said.
    ///
    /// # Errors
    /// When it cannot be run, or not asked about.
    pub async fn run_inside(&self, container: &str, command: &[String]) -> Result<(i64, String), CallError> {
        let options = CreateExecOptions {
            cmd: Some(command.to_vec()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..Default::default()
        };
        let exec = ask(container, self.docker.create_exec(container, options)).await?;
        // Each stream for itself: a character, or a secret, may be cut in two by the pieces.
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        if let StartExecResults::Attached { mut output, .. } = ask(container, self.docker.start_exec(&exec.id, None)).await? {
            while let Some(Ok(piece)) = output.next().await {
                let stream = if matches!(piece, LogOutput::StdErr { .. }) { &mut errors } else { &mut out };
                if stream.len() < MOST_SAID {
                    stream.extend_from_slice(piece.as_ref());
                }
            }
        }
        let code = ask(container, self.docker.inspect_exec(&exec.id)).await?.exit_code;
        Ok((code.unwrap_or(-1), String::from_utf8_lossy(&[out, errors].concat()).into_owned()))
    }

    /// Waits until a container does not run, for so long at the most; whether it has ended.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn ended_within(&self, container: &str, within: Duration) -> Result<bool, CallError> {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let running = self.inspect(container).await?.state.and_then(|s| s.running).unwrap_or(false);
            if !running || tokio::time::Instant::now() >= deadline {
                return Ok(!running);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Waits for an answer of the engine's, but not for ever.
///
/// # Errors
/// What the engine said, sorted.
pub async fn ask<T>(container: &str, call: impl Future<Output = Result<T, EngineError>>) -> Result<T, CallError> {
    ask_within(container, ANSWERS_WITHIN, call).await
}

/// As `ask`, for what may take longer.
///
/// # Errors
/// What the engine said, sorted.
pub async fn ask_within<T>(
    container: &str,
    within: Duration,
    call: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(within, call).await {
        Ok(answer) => answer.map_err(|error| told(container, &error)),
        Err(_) => Err(CallError::Unreachable(format!("no answer within {} s", within.as_secs()))),
    }
}

fn told(container: &str, error: &EngineError) -> CallError {
    match error {
        // A question about a file has no words in its answer.
        EngineError::DockerResponseServerError { status_code: 404, message }
            if message.is_empty() || message.to_lowercase().contains("no such container") =>
        {
            CallError::NotFound(container.to_owned())
        }
        EngineError::DockerResponseServerError { status_code: 404, message } if message.trim() == "Not Found" => {
            CallError::Refused("this engine's API has no such call".to_owned())
        }
        EngineError::DockerResponseServerError { status_code: 304, .. } => CallError::Already("it is so already".to_owned()),
        EngineError::DockerResponseServerError { status_code: 409, message } => CallError::Already(message.clone()),
        EngineError::DockerResponseServerError { message, .. } => {
            let already = message.contains("is already paused") || message.contains("is not paused");
            if already { CallError::Already(message.clone()) } else { CallError::Refused(message.clone()) }
        }
        EngineError::JsonDataError { .. } | EngineError::JsonSerdeError { .. } => CallError::Unintelligible(innermost(error)),
        other => CallError::Unreachable(innermost(other)),
    }
}

fn done_already(result: Result<(), CallError>) -> Result<(), CallError> {
    match result {
        Err(CallError::Already(why))
            if why.contains("so already") || why.contains("is already paused") || why.contains("is not paused") =>
        {
            Ok(())
        }
        other => other,
    }
}

/// The cause that says something: the outer layers of an HTTP client's error repeat the request.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(inner) = error.source() {
        error = inner;
    }
    error.to_string()
}

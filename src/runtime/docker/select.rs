//! Which containers are meant, and whether they may be touched.

use std::collections::HashMap;

use bollard::models::ContainerInspectResponse;
use serde::{Deserialize, Serialize};

use super::engine::{CallError, Engine};
use crate::experiment::diagnostic::{Diagnostics, Span};
use crate::experiment::units::{Share, Time, WallTime};
use crate::{record, words};

/// A container with this label, and the value `true`, may be broken by an experiment that names it.
pub const ALLOW: &str = "chaos.allow";
const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";

record! {
    /// The target's container, or its replicas.
    pub struct Docker {
        /// By name or id.
        container: Option<String> = None,
        /// By label: `key` or `key=value`.
        label: Option<String> = None,
        /// By Compose project and service.
        compose: Option<Compose> = None,
        /// More containers than this are a mistake: nothing is touched.
        at_most: u32 = 1,
        /// The engine: `unix:///path` or `tcp://host:port`. Without it DOCKER_HOST, the Docker context or the usual socket.
        host: Option<String> = None,
        /// Names of containers that may be broken although they lack the label `chaos.allow=true`.
        allow: Vec<String> = Vec::new(),
        /// Names, or labels as `key=value`, of containers that are never touched, whoever names them.
        protect: Vec<String> = Vec::new(),
        /// How long the target may take to be ready.
        ready_within: WallTime = WallTime::secs(60),
    }

    /// A service of a Compose project.
    pub struct Compose {
        project: String,
        service: String,
    }

    /// The containers that a fault is about; without any of the first three, the target's.
    pub struct Containers {
        /// By name or id.
        container: Option<String> = None,
        /// By label: `key` or `key=value`.
        label: Option<String> = None,
        /// By Compose project and service.
        compose: Option<Compose> = None,
        /// More containers than this are a mistake: nothing is touched. Without it, as many as the target may have; 1 for others.
        at_most: Option<u32> = None,
        /// Only this share of them, drawn from the seed; at least one.
        share: Share = Share(1.0),
        /// All at once, or one after another.
        order: Order = Order::Together,
        /// Between two containers in rolling order.
        gap: Time = Time::secs(0),
    }
}

words! {
    /// The order in which containers are broken.
    pub enum Order("order") {
        /// All at once.
        Together = "together",
        /// One is broken and put back before the next.
        Rolling = "rolling",
    }
}

impl Default for Containers {
    fn default() -> Self {
        Self {
            container: None,
            label: None,
            compose: None,
            at_most: None,
            share: Share(1.0),
            order: Order::Together,
            gap: Time::secs(0),
        }
    }
}

/// What names containers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Selector {
    Name(String),
    Label(String),
    Compose(Compose),
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => write!(f, "container {name}"),
            Self::Label(label) => write!(f, "the containers with the label {label}"),
            Self::Compose(c) => write!(f, "service {} of Compose project {}", c.service, c.project),
        }
    }
}

/// The one of three that is given; more or fewer than one is no selector.
fn one_of(container: Option<&String>, label: Option<&String>, compose: Option<&Compose>) -> Result<Option<Selector>, ()> {
    match (container, label, compose) {
        (None, None, None) => Ok(None),
        (Some(name), None, None) => Ok(Some(Selector::Name(name.clone()))),
        (None, Some(label), None) => Ok(Some(Selector::Label(label.clone()))),
        (None, None, Some(compose)) => Ok(Some(Selector::Compose(compose.clone()))),
        _ => Err(()),
    }
}

const ONE_OF: &str = "expected one of `container`, `label` and `compose`";

impl Docker {
    pub fn validate(&self, place: Span, diags: &mut Diagnostics) {
        if !matches!(one_of(self.container.as_ref(), self.label.as_ref(), self.compose.as_ref()), Ok(Some(_))) {
            diags.error(place, "the docker runtime must name the target's container", ONE_OF);
        }
        if self.at_most == 0 {
            diags.error(place, "at most no container leaves nothing to run against", "expected `at_most: 1` or more");
        }
    }

    /// Validated: there is exactly one.
    pub fn selector(&self) -> Selector {
        let one = one_of(self.container.as_ref(), self.label.as_ref(), self.compose.as_ref());
        one.ok().flatten().unwrap_or_else(|| Selector::Name(String::new()))
    }
}

impl Containers {
    pub fn validate(&self, place: Span, diags: &mut Diagnostics) {
        if one_of(self.container.as_ref(), self.label.as_ref(), self.compose.as_ref()).is_err() {
            diags.error(place, "a fault names its containers in one way", ONE_OF);
        }
        if self.share.0 <= 0.0 || self.share.0 > 1.0 || self.at_most == Some(0) {
            diags.error(
                place,
                "this share of the containers is none of them",
                "expected `share: 1%` to `100%`, and `at_most: 1` or more",
            );
        }
    }

    /// What it names, and how many that may be at the most.
    pub fn selector(&self, target: &Docker) -> (Selector, u32) {
        match one_of(self.container.as_ref(), self.label.as_ref(), self.compose.as_ref()).ok().flatten() {
            Some(own) => (own, self.at_most.unwrap_or(1)),
            None => (target.selector(), self.at_most.unwrap_or(target.at_most)),
        }
    }
}

/// What stays the same when a container is replaced by a new one of the same purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub name: String,
    /// Its Compose project and service.
    pub service: Option<(String, String)>,
    /// The image as its configuration names it.
    pub image: String,
}

impl Identity {
    pub fn of(container: &ContainerInspectResponse) -> Self {
        let labels = labels(container);
        let service = labels.get(PROJECT).cloned().zip(labels.get(SERVICE).cloned());
        let image = container.config.as_ref().and_then(|c| c.image.clone()).unwrap_or_default();
        Self { name: name(container), service, image }
    }

    /// Whether that container does the work of this one: the same name, and the same service or, outside Compose, the same image.
    pub fn is_succeeded_by(&self, other: &Self) -> bool {
        self.name == other.name && if self.service.is_some() { self.service == other.service } else { self.image == other.image }
    }

    pub fn made_by_compose(&self) -> bool {
        self.service.is_some()
    }
}

pub fn id(container: &ContainerInspectResponse) -> String {
    container.id.clone().unwrap_or_default()
}

pub fn name(container: &ContainerInspectResponse) -> String {
    container.name.as_deref().unwrap_or_default().trim_start_matches('/').to_owned()
}

fn labels(container: &ContainerInspectResponse) -> HashMap<String, String> {
    container.config.as_ref().and_then(|c| c.labels.clone()).unwrap_or_default()
}

/// The containers that a selector names, in the order of their names.
///
/// # Errors
/// A sentence: there is none, there are more than expected, or one of them may not be touched.
pub async fn find(
    engine: &Engine,
    selector: &Selector,
    at_most: u32,
    rules: &Docker,
) -> Result<Vec<ContainerInspectResponse>, String> {
    let ids = match selector {
        Selector::Name(name) => vec![name.clone()],
        Selector::Label(label) => engine.labelled(std::slice::from_ref(label)).await?,
        Selector::Compose(c) => {
            engine.labelled(&[format!("{PROJECT}={}", c.project), format!("{SERVICE}={}", c.service)]).await?
        }
    };
    let mut found = Vec::new();
    for id in ids {
        match engine.inspect(&id).await {
            Ok(container) => found.push(container),
            // It went between the two questions, or was never there.
            Err(CallError::NotFound(_)) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    if found.is_empty() {
        return Err(format!(
            "there is no {}: see `docker ps -a`",
            selector.to_string().trim_start_matches("the ").replace("containers", "container")
        ));
    }
    if found.len() > at_most as usize {
        let names: Vec<String> = found.iter().map(name).collect();
        return Err(format!(
            "{selector} are {} containers ({}), and at most {at_most} may be touched: name them more closely, or raise `at_most`",
            found.len(),
            names.join(", ")
        ));
    }
    for container in &found {
        may_be_touched(container, rules)?;
    }
    Ok(found)
}

/// Whether an experiment may break this container.
///
/// # Errors
/// A sentence that says why not, and how it is permitted.
pub fn may_be_touched(container: &ContainerInspectResponse, rules: &Docker) -> Result<(), String> {
    let (name, id, labels) = (name(container), id(container), labels(container));
    let is = |word: &String| *word == name || (word.len() >= 12 && id.starts_with(word.as_str()));
    let labelled = |word: &String| word.split_once('=').is_some_and(|(key, value)| labels.get(key).is_some_and(|v| v == value));
    if let Some(rule) = rules.protect.iter().find(|word| is(word) || labelled(word)) {
        return Err(format!("container {name} is protected by `protect: [{rule}]`: it is not touched"));
    }
    if labels.get(ALLOW).is_some_and(|value| value == "true") || rules.allow.iter().any(is) {
        return Ok(());
    }
    Err(format!(
        "container {name} may not be touched. To permit it, give it the label {ALLOW}=true, or say --allow {name}, or write `allow: [{name}]` under target.runtime.docker"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(name: &str, pairs: &[(&str, &str)]) -> ContainerInspectResponse {
        let labels: HashMap<&str, &str> = pairs.iter().copied().collect();
        serde_json::from_value(serde_json::json!({
            "Id": "0123456789abcdef0123456789abcdef", "Name": format!("/{name}"), "Config": { "Image": "backend:1", "Labels": labels },
        }))
        .unwrap()
    }

    fn rules(allow: &[&str], protect: &[&str]) -> Docker {
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect();
        Docker {
            container: Some("backend".into()),
            label: None,
            compose: None,
            at_most: 1,
            host: None,
            allow: words(allow),
            protect: words(protect),
            ready_within: WallTime::secs(1),
        }
    }

    #[test]
    fn nothing_is_touched_without_permission_and_what_is_protected_never() {
        let plain = container("backend", &[]);
        let error = may_be_touched(&plain, &rules(&[], &[])).unwrap_err();
        assert!(error.contains("--allow backend") && error.contains("chaos.allow=true"), "{error}");
        assert!(may_be_touched(&plain, &rules(&["back"], &[])).is_err(), "a part of a name is no name");
        assert!(may_be_touched(&plain, &rules(&["backend"], &[])).is_ok());
        assert!(may_be_touched(&plain, &rules(&["0123456789ab"], &[])).is_ok());
        assert!(may_be_touched(&plain, &rules(&["0123"], &[])).is_err(), "a short piece of an id may be another's");
        let labelled = container("backend", &[(ALLOW, "true"), ("role", "db")]);
        assert!(may_be_touched(&labelled, &rules(&[], &[])).is_ok());
        assert!(may_be_touched(&labelled, &rules(&["backend"], &["backend"])).is_err());
        assert!(may_be_touched(&labelled, &rules(&[], &["role=db"])).is_err());
        assert!(may_be_touched(&container("backend", &[(ALLOW, "false")]), &rules(&[], &[])).is_err());
    }

    #[test]
    fn only_a_container_of_the_same_purpose_succeeds_another() {
        let compose = |project: &str| Identity::of(&container("backend", &[(PROJECT, project), (SERVICE, "api")]));
        assert!(compose("a").is_succeeded_by(&compose("a")));
        assert!(!compose("a").is_succeeded_by(&compose("b")));
        let plain = Identity::of(&container("backend", &[]));
        assert!(plain.is_succeeded_by(&plain.clone()));
        assert!(!plain.is_succeeded_by(&Identity { image: "other".into(), ..plain.clone() }));
        assert!(!compose("a").is_succeeded_by(&plain));
    }
}

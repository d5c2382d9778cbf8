//! Asks a backend the questions that tell what it is. Only GET and OPTIONS requests, each bounded in size and time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::routes;
use crate::driver::request::{Reply, sentence};

/// What is asked for.
const PATHS: &[&str] = &[
    "/health/liveliness",
    "/health",
    "/healthz",
    "/api/health",
    "/ready",
    "/metrics",
    "/openapi.json",
    "/docs.json",
    "/api/openapi.json",
    "/v1/openapi.json",
    "/swagger.json",
    "/apispec_1.json",
    "/livez",
    "/v2/health/live",
    "/v2/health/ready",
    "/ping",
    "/config",
    "/gradio_api/info",
    "/info",
    "/v1/models",
    "/system_stats",
    "/queue",
];
const TIMEOUT: Duration = Duration::from_secs(5);
/// An OpenAPI document or a Gradio configuration can be large.
const MOST: usize = 8 << 20;

/// What answered with a success, by path.
pub struct Found {
    pub url: String,
    answers: BTreeMap<String, (String, Json)>,
    /// The routes that it says it has, of one of which nothing else is known.
    pub routes: Map<String, Json>,
}

impl Found {
    pub fn of(url: &str, answers: impl IntoIterator<Item = (String, String)>) -> Self {
        let parse = |(path, text): (String, String)| {
            let json = serde_json::from_str(&text).unwrap_or(Json::Null);
            (path, (text, json))
        };
        Self { url: url.to_owned(), answers: answers.into_iter().map(parse).collect(), routes: Map::new() }
    }

    /// A JSON object that was answered there.
    pub fn json(&self, path: &str) -> Option<&Json> {
        self.answers.get(path).map(|(_, json)| json).filter(|json| json.is_object())
    }

    /// What says that the server lives, and works: it stands for its readiness, too. LiteLLM's `/health` is a job for each model, and
    /// this is how it spells the other one.
    pub fn health(&self) -> Option<&'static str> {
        const OF_LITELLM: &str = "/health/liveliness";
        let others = ["/health", "/healthz", "/api/health", "/livez", "/v2/health/live", "/ready", "/ping"];
        let others = || others.into_iter().find(|path| self.answers.contains_key(*path));
        Some(OF_LITELLM).filter(|path| self.answers(path)).or_else(others)
    }

    /// The Prometheus exposition, if that is what it is.
    pub fn metrics(&self) -> Option<&str> {
        self.answers
            .get("/metrics")
            .map(|(text, _)| text.as_str())
            .filter(|text| text.contains("# TYPE") || text.contains("# HELP"))
    }

    /// It answered there, and not with a page, as it may everywhere.
    pub fn answers(&self, path: &str) -> bool {
        self.answers.get(path).is_some_and(|(text, json)| text.trim().is_empty() || !json.is_null())
    }

    /// The paths that answered.
    pub fn paths(&self) -> Vec<&str> {
        self.answers.keys().map(String::as_str).collect()
    }
}

/// Looks at a backend.
///
/// # Errors
/// Nobody answers there.
pub async fn look(url: &str) -> Result<Found, String> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|e| sentence(&e))?;
    let base = url.trim_end_matches('/');
    let mut answers = Vec::new();
    for path in PATHS {
        match client.get(format!("{base}{path}")).send().await {
            Ok(response) if response.status() == 200 => {
                if let Ok(reply) = Reply::read(response, MOST).await {
                    answers.push(((*path).to_owned(), String::from_utf8_lossy(&reply.body).into_owned()));
                }
            }
            Ok(_) => {}
            Err(error) if error.is_connect() || error.is_builder() => {
                return Err(format!("{base} does not answer: {}", sentence(&error)));
            }
            // One path that hangs says nothing about the others.
            Err(_) => {}
        }
    }
    let mut found = Found::of(base, answers);
    if super::recognised(&found).is_none() {
        found.routes = routes::ask(&client, base).await;
    }
    Ok(found)
}

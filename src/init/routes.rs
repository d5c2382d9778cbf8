//! Routes of a backend that has no OpenAPI document. A path is asked which methods it takes (`OPTIONS`, without a body; RFC 9110,
//! 9.3.7), which most frameworks answer by themselves with `Allow`, and what is there is taken for what its name says.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::{Client, Method};
use serde_json::{Map, Value as Json, json};

use super::{Found, Proposal, openapi};

/// Where an API begins.
const BASES: [&str; 4] = ["", "/api", "/v1", "/api/v1"];
/// Where one is asked about, beside or below that; `{id}` is a job that does not exist.
const BESIDE: [&str; 9] = [
    "/status/{id}",
    "/jobs/{id}",
    "/tasks/{id}",
    "/job/{id}",
    "/task/{id}",
    "/progress/{id}",
    "/state/{id}",
    "/queue/{id}",
    "/history/{id}",
];
const BELOW: [&str; 3] = ["/{id}", "/{id}/status", "/status/{id}"];
/// ... and its result is fetched.
const RESULTS: [&str; 2] = ["/result/{id}", "/results/{id}"];
const RESULTS_BELOW: [&str; 4] = ["/result", "/output", "/image", "/download"];
/// Ids of jobs that do not exist, in the forms that routes ask for.
const NOBODY: [&str; 2] = ["0", "00000000-0000-0000-0000-000000000000"];
/// Nobody has this route; whoever allows everything here says nothing by it.
const NOWHERE: &str = "/chaos-looks-whether-every-path-is-answered";
/// So many are asked for at once.
const AT_ONCE: usize = 4;

/// All of it takes no longer.
const WITHIN: Duration = Duration::from_secs(20);

/// What is there, as the paths of an OpenAPI document would say it.
pub async fn ask(client: &Client, base: &str) -> Map<String, Json> {
    let mut paths = Map::new();
    // What was found in time counts.
    let _ = tokio::time::timeout(WITHIN, look(client, base, &mut paths)).await;
    paths
}

async fn look(client: &Client, base: &str, paths: &mut Map<String, Json>) {
    // Who does not answer here answers nowhere, and who allows something here says nothing by it.
    if allowed(client, base, NOWHERE).await.is_none_or(|methods| !methods.is_empty()) {
        return;
    }
    for api in BASES {
        let sends = openapi::SENDS.map(|name| format!("{api}/{name}"));
        let posts = those_that_allow(client, base, &sends, Method::POST).await;
        if posts.is_empty() {
            continue;
        }
        paths.extend(posts.iter().map(|path| (path.clone(), json!({ "post": {} }))));
        let of_the_api = BESIDE.map(|path| format!("{api}{path}"));
        let below = posts.iter().flat_map(|post| BELOW.map(|path| format!("{post}{path}")));
        let states: Vec<String> = below.chain(of_the_api).collect();
        let states = those_that_allow(client, base, &states, Method::GET).await;
        paths.extend(states.iter().map(|path| (path.clone(), json!({ "get": {} }))));
        let below = states.iter().flat_map(|state| RESULTS_BELOW.map(|path| format!("{state}{path}")));
        let results: Vec<String> = below.chain(RESULTS.map(|path| format!("{api}{path}"))).collect();
        let results = those_that_allow(client, base, &results, Method::GET).await;
        paths.extend(results.into_iter().map(|path| (path, json!({ "get": {} }))));
        return;
    }
}

async fn those_that_allow(client: &Client, base: &str, paths: &[String], method: Method) -> Vec<String> {
    let asked = futures_util::stream::iter(paths.iter().map(|path| async {
        let ids: &[&str] = if path.contains("{id}") { &NOBODY } else { &NOBODY[..1] };
        for id in ids {
            if allowed(client, base, &path.replace("{id}", id)).await.is_some_and(|methods| methods.contains(&method)) {
                return Some(path.clone());
            }
        }
        None
    }));
    asked.buffered(AT_ONCE).filter_map(|found| async { found }).collect().await
}

/// The methods that a path takes; none where nothing is there, or nothing is said. `None` where nobody answers.
async fn allowed(client: &Client, base: &str, path: &str) -> Option<Vec<Method>> {
    let reply = client.request(Method::OPTIONS, format!("{base}{path}")).send().await.ok()?;
    let is_there = reply.status().is_success() || reply.status() == 405;
    let told = reply.headers().get_all("allow").iter().filter(|_| is_there).filter_map(|value| value.to_str().ok());
    let methods = told.flat_map(|value| value.split(',')).filter_map(|method| method.trim().to_uppercase().parse().ok());
    Some(methods.collect())
}

pub fn recognise(found: &Found) -> Option<Proposal> {
    openapi::driver(found, &Json::Null, &found.routes, "asked with OPTIONS it says that it takes")
}

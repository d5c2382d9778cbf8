//! `chaos init`: looks at a backend and proposes a driver and a first experiment.
//!
//! To recognise another kind: one line in `KINDS`.

mod gradio;
mod inference;
mod look;
mod openapi;
mod routes;
mod write;

use serde_json::{Value as Json, json};

pub use look::{Found, look};
pub use write::files;

use crate::driver::template::bounded;

/// What drives the backend.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    /// A built-in driver with its parameters.
    BuiltIn { name: &'static str, with: Json },
    /// A driver file of its own, and what the experiment has to set for it.
    File { text: String, needs: Vec<Need> },
}

/// A parameter of a driver that nobody but the user knows.
#[derive(Debug, Clone, PartialEq)]
pub struct Need {
    pub parameter: String,
    pub why: String,
}

/// What is proposed, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    pub kind: &'static str,
    pub because: String,
    pub choice: Choice,
}

/// How a kind of backend is recognised by what it answers.
type Recognise = fn(&Found) -> Option<Proposal>;

/// The most specific first.
const KINDS: &[Recognise] =
    &[comfyui, gradio::recognise, orfeas, reference, openai, inference::recognise, openapi::recognise, routes::recognise];

fn recognised(found: &Found) -> Option<Proposal> {
    KINDS.iter().find_map(|recognise| recognise(found))
}

/// Proposes something for whatever answered. What the target says of itself stands in comments, and on a terminal.
pub fn propose(found: &Found) -> Proposal {
    let mut proposal = recognised(found).unwrap_or_else(|| Proposal {
        kind: "HTTP server",
        because: "a guess: nothing about it is known; say in `with` where jobs are sent, and with which body".to_owned(),
        choice: Choice::BuiltIn { name: "http", with: with_health(found, json!({ "path": "/generate" })) },
    });
    proposal.because = bounded(&proposal.because);
    if let Choice::File { needs, .. } = &mut proposal.choice {
        needs.iter_mut().for_each(|need| need.why = bounded(&need.why));
    }
    proposal
}

fn built_in(kind: &'static str, because: &str, name: &'static str, with: Json) -> Option<Proposal> {
    Some(Proposal { kind, because: because.to_owned(), choice: Choice::BuiltIn { name, with } })
}

fn with_health(found: &Found, mut with: Json) -> Json {
    if let Some(path) = found.health() {
        with["health"] = json!({ "path": path });
    }
    if found.metrics().is_some() {
        with["metrics"] = json!({ "path": "/metrics" });
    }
    with
}

fn comfyui(found: &Found) -> Option<Proposal> {
    found.json("/system_stats")?.pointer("/devices")?;
    built_in("ComfyUI", "/system_stats lists its devices", "comfyui", json!({}))
}

fn orfeas(found: &Found) -> Option<Proposal> {
    let health = found.json("/api/health").or_else(|| found.json("/health"));
    let named = health.is_some_and(|body| body.get("models_status").is_some() || body.to_string().contains("ORFEAS"));
    let metrics = found.metrics().is_some_and(|text| text.contains("\norfeas_"));
    (named || metrics).then_some(())?;
    built_in("ORFEAS AI Studio", "its health or its metrics say so", "orfeas", json!({}))
}

fn reference(found: &Found) -> Option<Proposal> {
    let queue = found.json("/queue")?;
    (queue.get("waiting")?.is_number() && found.json("/openapi.json").is_none()).then_some(())?;
    built_in("reference backend of chaos", "/queue says what waits", "reference", json!({}))
}

fn openai(found: &Found) -> Option<Proposal> {
    let models = found.json("/v1/models")?.get("data")?.as_array()?;
    let model = models.first().and_then(|m| m.get("id")).and_then(Json::as_str).unwrap_or("default");
    let mut with = json!({ "model": model });
    // Where there is no other, the list of models answers for its health.
    with["health"] = found.health().unwrap_or("/v1/models").into();
    if let Some(metrics) = found.metrics() {
        with["metrics"] = json!({ "path": "/metrics" });
        if metrics.contains("vllm:num_requests_waiting") {
            with["queue"] = json!({
                "path": "/metrics",
                "depth": "metric vllm:num_requests_waiting",
                "running": "metric vllm:num_requests_running"
            });
        }
    }
    built_in("OpenAI-compatible server", "/v1/models lists models", "openai", with)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(answers: &[(&str, Json)]) -> Found {
        Found::of("http://127.0.0.1:1", answers.iter().map(|(path, body)| ((*path).to_owned(), body.to_string())))
    }

    fn name(found: &Found) -> &'static str {
        match propose(found).choice {
            Choice::BuiltIn { name, .. } => name,
            Choice::File { .. } => "file",
        }
    }

    #[test]
    fn each_kind_is_recognised_by_what_it_answers() {
        assert_eq!(name(&found(&[("/system_stats", json!({ "devices": [] }))])), "comfyui");
        assert_eq!(name(&found(&[("/api/health", json!({ "models_status": {} }))])), "orfeas");
        assert_eq!(name(&found(&[("/queue", json!({ "waiting": 0 }))])), "reference");
        assert_eq!(name(&found(&[("/v1/models", json!({ "data": [{ "id": "m" }] }))])), "openai");
        assert_eq!(name(&found(&[])), "http");
    }

    #[test]
    fn the_cheapest_route_is_its_health() {
        let path = |answers: &[(&str, Json)]| found(answers).health();
        let (health, live) = (("/health", json!({})), ("/health/liveliness", json!("I'm alive!")));
        assert_eq!((path(&[health.clone(), live]), path(&[health])), (Some("/health/liveliness"), Some("/health")));
        let page = |path: &str| (path.to_owned(), "<html>".to_owned());
        let pages = Found::of("http://x", [page("/health"), page("/livez"), page("/health/liveliness")]);
        assert_eq!(pages.health(), Some("/health"), "it answers everywhere with a page");
    }

    #[test]
    fn a_model_and_a_queue_are_taken_over() {
        let found = Found::of(
            "http://x",
            [
                ("/v1/models".to_owned(), json!({ "data": [{ "id": "llama" }] }).to_string()),
                ("/metrics".to_owned(), "# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting 0\n".to_owned()),
            ],
        );
        let Choice::BuiltIn { with, .. } = propose(&found).choice else { panic!() };
        assert_eq!((&with["model"], &with["queue"]["path"]), (&json!("llama"), &json!("/metrics")));
    }

    /// Whatever is proposed is a valid experiment.
    #[test]
    fn what_is_written_can_be_read() {
        let api = json!({ "paths": {
            "/api/generate": { "post": { "requestBody": { "content": { "application/json": { "schema": { "properties": {
                "prompt": { "type": "string" }, "width": { "type": "integer" }, "steps": { "type": "integer", "default": 4 } } } } } },
                "responses": { "200": { "content": { "application/json": { "schema": { "properties": { "task_id": {} } } } } } } } },
            "/api/tasks/{task_id}": { "get": { "responses": { "200": { "content": { "application/json": { "schema": { "properties": {
                "state": {}, "progress": {} } } } } } } } },
            "/api/tasks/{task_id}/result": { "get": {} } } });
        let all = [
            found(&[]),
            found(&[("/system_stats", json!({ "devices": [] }))]),
            found(&[("/openapi.json", api)]),
            found(&[("/v1/models", json!({ "data": [] })), ("/health", json!({}))]),
        ];
        for found in all {
            let folder = tempfile::tempdir().unwrap();
            let proposal = propose(&found);
            for (name, text) in files(&found, &proposal, "first") {
                std::fs::write(folder.path().join(name), text).unwrap();
            }
            let file = folder.path().join("first.yaml");
            let none = |_: &str| None;
            let mut loaded = crate::experiment::file::load(&file, &Default::default(), &none)
                .unwrap_or_else(|diags| panic!("{}: {}", proposal.kind, diags.render(false)));
            let plan = crate::plan::build::build(&mut loaded, crate::seed::Seed(1), folder.path());
            let plan = plan.unwrap_or_else(|| panic!("{}: {}", proposal.kind, loaded.diags.render(false)));
            if let Choice::File { .. } = proposal.choice {
                assert_eq!(
                    plan.driver.submit.steps[0].json,
                    Some(json!({ "prompt": "{{prompt}}", "width": "{{width}}", "steps": 4 }))
                );
                assert_eq!(plan.driver.status.path.as_deref(), Some("/api/tasks/{{id}}"));
                assert_eq!(plan.driver.status.state.to_string(), "/state");
                assert_eq!(plan.driver.submit.id.map(|id| id.to_string()).as_deref(), Some("/task_id"));
            }
        }
    }
}

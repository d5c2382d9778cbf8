//! Servers of the Open Inference Protocol (V2, as KServe describes it): Triton, MLServer, KServe, OpenVINO.

use serde_json::json;

use super::{Choice, Found, Need, Proposal};

const LIVE: &str = "/v2/health/live";
const READY: &str = "/v2/health/ready";
/// How a document writes where a model is asked.
const INFER: [&str; 2] = ["/v2/models/{model_name}/infer", "/v2/models/{name}/infer"];

pub fn recognise(found: &Found) -> Option<Proposal> {
    let live = [LIVE, READY].into_iter().find(|path| found.answers(path));
    // A document says it better.
    let because = match super::openapi::document(found).and_then(|document| document.get("paths")) {
        Some(paths) => format!("its OpenAPI document has POST {}", INFER.iter().find(|path| paths.get(**path).is_some())?),
        None => format!("it answers at {}", live?),
    };
    let mut driver = json!({
        "version": 1,
        "name": "mine",
        "description": format!("Made by `chaos init` for {}.", found.url),
        "parameters": {
            "model": { "about": "The name of the model." },
            "input": { "about": "The name of its input tensor.", "default": "input" },
        },
        "submit": {
            "steps": [{ "path": "/v2/models/${model}/infer", "json": {
                "id": "{{mark}}",
                "inputs": [{ "name": "${input}", "shape": [1], "datatype": "BYTES", "data": ["{{prompt}}"] }],
            } }],
            "answer": "result",
        },
        // The answer repeats the id of its request: whose it is can be told.
        "result": { "inline": "", "free_form": true },
        "health": { "path": live.unwrap_or(LIVE) },
        "ready": { "path": READY },
    });
    if found.metrics().is_some() {
        driver["metrics"] = json!({ "path": "/metrics" });
    }
    let head = "# A guess, for no document says it: that the model takes one text (see `GET /v2/models/NAME` for its inputs).\n";
    let text = head.to_owned() + &serde_yaml::to_string(&driver).ok()?;
    let needs = vec![Need { parameter: "model".to_owned(), why: "the target does not say which models it has".to_owned() }];
    Some(Proposal { kind: "server of the Open Inference Protocol", because, choice: Choice::File { text, needs } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::propose;

    #[test]
    fn it_is_known_by_its_health_or_by_its_document() {
        let by_health = Found::of("http://x", [(LIVE.to_owned(), String::new())]);
        let document = json!({ "paths": {
            "/v2/models/{model_name}/infer": { "post": {} }, "/v2/repository/index": { "post": {} } } });
        let by_document = Found::of("http://x", [("/openapi.json".to_owned(), document.to_string())]);
        for found in [by_health, by_document] {
            let Choice::File { text, needs } = propose(&found).choice else { panic!("no file") };
            let driver: serde_json::Value = serde_yaml::from_str(&text).unwrap();
            assert_eq!(driver["submit"]["steps"][0]["path"], "/v2/models/${model}/infer");
            assert_eq!(needs.iter().map(|need| need.parameter.as_str()).collect::<Vec<_>>(), ["model"]);
        }
        assert_eq!(recognise(&Found::of("http://x", [("/health".to_owned(), "{}".to_owned())])), None);
        // A page that is answered everywhere, and a document that has something else.
        let page = ("/v2/health/live".to_owned(), "<html>".to_owned());
        assert_eq!(recognise(&Found::of("http://x", [page])), None);
        let document = json!({ "paths": { "/generate": { "post": {} } } }).to_string();
        let both = [("/openapi.json".to_owned(), document), (LIVE.to_owned(), "{}".to_owned())];
        assert_eq!(recognise(&Found::of("http://x", both)), None);
    }
}

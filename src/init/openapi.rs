//! A driver from an OpenAPI document: which request sends a job, where its state and its result are asked for.

use serde_json::{Map, Value as Json, json};

use super::{Choice, Found, Proposal};

/// Words of a path that sends jobs, the likeliest first.
const SENDS: &[&str] = &[
    "generate",
    "txt2img",
    "text-to-image",
    "predict",
    "inference",
    "infer",
    "jobs",
    "tasks",
    "render",
    "prompt",
    "submit",
    "run",
];
/// The states that backends use, and ours.
const STATES: &[(&str, &str)] = &[
    ("queued", "queued"),
    ("pending", "queued"),
    ("waiting", "queued"),
    ("running", "running"),
    ("processing", "running"),
    ("in_progress", "running"),
    ("started", "running"),
    ("completed", "completed"),
    ("complete", "completed"),
    ("done", "completed"),
    ("finished", "completed"),
    ("success", "completed"),
    ("succeeded", "completed"),
    ("failed", "failed"),
    ("failure", "failed"),
    ("error", "failed"),
    ("cancelled", "cancelled"),
    ("canceled", "cancelled"),
];

pub fn recognise(found: &Found) -> Option<Proposal> {
    let api = found.json("/openapi.json")?;
    let paths = api.get("paths")?.as_object()?;
    let (path, post) = SENDS.iter().find_map(|word| {
        let fits = |(path, item): &(&String, &Json)| {
            path.to_lowercase().contains(word) && !path.contains('{') && item.get("post").is_some()
        };
        paths.iter().find(fits).and_then(|(path, item)| Some((path, item.get("post")?)))
    })?;
    let mut submit = Map::new();
    submit.insert("steps".into(), json!([{ "path": path, "json": body(api, post) }]));
    let mut driver = json!({ "version": 1, "name": "mine", "description": format!("Made by `chaos init` from the OpenAPI document of {}.", found.url) });
    let status = one_of(paths, &["status", "job", "task", "progress", "queue", "history"]);
    let result = one_of(paths, &["result", "download", "image", "output", "file"]).filter(|path| Some(path) != status.as_ref());
    match status {
        Some(status) => {
            let answered = properties(api, post.pointer("/responses")?);
            let id = first(&answered, &["id", "job_id", "task_id", "request_id", "prompt_id", "uuid"]).unwrap_or("id".into());
            submit.insert("id".into(), format!("/{id}").into());
            let told = paths
                .get(&status)
                .and_then(|item| item.pointer("/get/responses"))
                .map(|r| properties(api, r))
                .unwrap_or_default();
            let state = first(&told, &["status", "state"]).unwrap_or("status".into());
            let states: Map<String, Json> = STATES.iter().map(|(theirs, ours)| ((*theirs).to_owned(), json!(ours))).collect();
            driver["status"] = json!({ "path": with_id(&status), "state": format!("/{state}"), "states": states });
            for name in ["progress", "error"] {
                if told.contains_key(name) {
                    driver["status"][name] = format!("/{name}").into();
                }
            }
            if let Some(result) = result {
                driver["result"] = json!({ "path": with_id(&result) });
            }
        }
        None => {
            submit.insert("answer".into(), json!("result"));
            driver["result"] = json!({ "inline": "" });
        }
    }
    driver["submit"] = Json::Object(submit);
    if let Some(health) = found.health() {
        driver["health"] = json!({ "path": health });
    }
    if found.metrics().is_some() {
        driver["metrics"] = json!({ "path": "/metrics" });
    }
    let text = serde_yaml::to_string(&driver).ok()?;
    let because = format!("its OpenAPI document has POST {path}");
    Some(Proposal { kind: "HTTP API", because, choice: Choice::File(text) })
}

/// A path with one variable in it that can be asked for.
fn one_of(paths: &Map<String, Json>, words: &[&str]) -> Option<String> {
    let fits = |path: &&String, word: &str| {
        path.matches('{').count() == 1 && path.to_lowercase().contains(word) && paths[path.as_str()].get("get").is_some()
    };
    words.iter().find_map(|word| paths.keys().filter(|path| fits(path, word)).min_by_key(|path| path.len()).cloned())
}

fn with_id(path: &str) -> String {
    match (path.find('{'), path.find('}')) {
        (Some(from), Some(to)) if from < to => format!("{}{{{{id}}}}{}", &path[..from], &path[to + 1..]),
        _ => path.to_owned(),
    }
}

fn first(known: &Map<String, Json>, words: &[&str]) -> Option<String> {
    words.iter().find(|word| known.contains_key(**word)).map(|word| (*word).to_owned())
}

/// Follows a reference within the document, once.
fn resolved<'a>(api: &'a Json, schema: &'a Json) -> &'a Json {
    let target = schema.get("$ref").and_then(Json::as_str).and_then(|r| r.strip_prefix('#'));
    target.and_then(|pointer| api.pointer(pointer)).unwrap_or(schema)
}

fn schema_of<'a>(api: &'a Json, holder: &'a Json) -> Option<&'a Json> {
    let contents = holder.get("content")?.as_object()?;
    Some(resolved(api, contents.values().next()?.get("schema")?))
}

/// The fields of a successful answer.
fn properties(api: &Json, responses: &Json) -> Map<String, Json> {
    let answer = ["200", "201", "202"].iter().find_map(|status| responses.get(status));
    let schema = answer.and_then(|answer| schema_of(api, answer));
    schema.and_then(|schema| schema.get("properties")).and_then(Json::as_object).cloned().unwrap_or_default()
}

/// A body that fills what is known by its name, and leaves the rest at what the document gives.
fn body(api: &Json, post: &Json) -> Json {
    let schema = post.get("requestBody").and_then(|body| schema_of(api, body));
    let Some(fields) = schema.and_then(|schema| schema.get("properties")).and_then(Json::as_object) else {
        return json!({ "prompt": "{{prompt}}" });
    };
    let required = schema.and_then(|s| s.get("required")).and_then(Json::as_array).cloned().unwrap_or_default();
    let value = |(name, field): (&String, &Json)| {
        let known = match name.to_lowercase().as_str() {
            "prompt" | "text" | "input" | "inputs" | "query" => json!("{{prompt}}"),
            "width" => json!("{{width}}"),
            "height" => json!("{{height}}"),
            "seed" => json!("{{seed31}}"),
            "batch_size" | "batch" => json!("{{batch}}"),
            "image" | "init_image" | "image_base64" => json!("{{image_base64}}"),
            "max_tokens" | "max_new_tokens" => json!("{{tokens}}"),
            _ => match field.get("default").or_else(|| field.get("example")) {
                Some(given) => given.clone(),
                None if required.iter().any(|r| r == name) => json!(""),
                None => return None,
            },
        };
        Some((name.clone(), known))
    };
    Json::Object(fields.iter().filter_map(value).collect())
}

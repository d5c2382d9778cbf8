//! A driver from an OpenAPI document: which request sends a job, where its state and its result are asked for.

use serde_json::{Map, Value as Json, json};

use super::{Choice, Found, Proposal};

/// Where such a document is found.
pub const DOCUMENTS: [&str; 6] =
    ["/openapi.json", "/docs.json", "/api/openapi.json", "/v1/openapi.json", "/swagger.json", "/apispec_1.json"];
/// Words of a path that sends jobs, the likeliest first.
const SENDS: [&str; 15] = [
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
    "enqueue",
    "create",
    "run",
    "job",
];
/// ... and of one that does something else: nothing is sent there by a guess.
const DOES_NOT: [&str; 34] = [
    "cancel",
    "upload",
    "delete",
    "login",
    "logout",
    "token",
    "auth",
    "clear",
    "interrupt",
    "shutdown",
    "stop",
    "abort",
    "kill",
    "reset",
    "restart",
    "reboot",
    "purge",
    "prune",
    "truncate",
    "remove",
    "unload",
    "free",
    "flush",
    "retry",
    "user",
    "register",
    "webhook",
    "train",
    "admin",
    "drop",
    "destroy",
    "drain",
    "pause",
    "reload",
];
/// The states that backends use, in any case, and ours. The last two are of a field such as `done`.
const STATES: [(&str, &str); 26] = [
    ("queued", "queued"),
    ("pending", "queued"),
    ("waiting", "queued"),
    ("created", "queued"),
    ("accepted", "queued"),
    ("submitted", "queued"),
    ("in_queue", "queued"),
    ("running", "running"),
    ("processing", "running"),
    ("in_progress", "running"),
    ("started", "running"),
    ("working", "running"),
    ("completed", "completed"),
    ("complete", "completed"),
    ("done", "completed"),
    ("finished", "completed"),
    ("success", "completed"),
    ("succeeded", "completed"),
    ("ready", "completed"),
    ("failed", "failed"),
    ("failure", "failed"),
    ("error", "failed"),
    ("cancelled", "cancelled"),
    ("canceled", "cancelled"),
    ("true", "completed"),
    ("false", "running"),
];
/// What a job's id is called, without regard to case and signs.
const IDS: [&str; 7] = ["id", "jobid", "taskid", "requestid", "promptid", "uuid", "generationid"];
const ANY_ID: &str = "/id or /job_id or /task_id or /request_id or /prompt_id or /jobId or /taskId or /uuid or /data/id or /data/job_id or /data/task_id or /job/id or /task/id";
const STATE: [&str; 6] = ["status", "state", "jobstatus", "taskstatus", "phase", "done"];
const ANY_STATE: &str = "/status or /state or /job_status or /phase or /data/status or /data/state or /job/status or /job/state or /task/status or /task/state or /done or /finished or /completed";

pub fn recognise(found: &Found) -> Option<Proposal> {
    let api = DOCUMENTS.iter().find_map(|path| found.json(path).filter(|api| api.get("paths").is_some()))?;
    let paths = api.get("paths")?.as_object()?;
    let (path, post) = sends(paths)?;
    let mut guessed: Vec<&str> = Vec::new();
    let mut submit = Map::new();
    submit.insert("steps".into(), json!([step(api, path, post, &mut guessed)]));
    let mut driver = json!({ "version": 1, "name": "mine", "description": format!("Made by `chaos init` from the OpenAPI document of {}.", found.url) });
    let status = one_of(paths, &["status", "job", "task", "progress", "queue", "history", "generation"]);
    let result = one_of(paths, &["result", "download", "image", "output", "file"]).filter(|path| Some(path) != status.as_ref());
    match status {
        Some(status) => {
            let answered = properties(api, post.get("responses"));
            submit.insert("id".into(), id(&answered, &status, &mut guessed).into());
            driver["status"] = following(api, paths, &status, &mut guessed);
            if let Some(result) = result {
                driver["result"] = json!({ "path": with_id(&result), "free_form": true });
                guessed.push("that its results may be short, and may repeat (without `free_form` a stand-in is found)");
            }
        }
        None => {
            submit.insert("answer".into(), json!("result"));
            driver["result"] = json!({ "inline": "", "free_form": true });
            guessed.push("that the answer is the result (no path tells of a job)");
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
    let head: String = guessed.iter().map(|what| format!("# A guess, for the document does not say it: {what}.\n")).collect();
    let because = format!("its OpenAPI document has POST {path}");
    Some(Proposal { kind: "HTTP API", because, choice: Choice::File(head + &text) })
}

/// What sends a job.
fn sends(paths: &Map<String, Json>) -> Option<(&String, &Json)> {
    let posts: Vec<(&String, &Json)> = paths
        .iter()
        .filter(|(path, _)| !path.contains('{') && !DOES_NOT.iter().any(|word| path.to_lowercase().contains(word)))
        .filter_map(|(path, item)| Some((path, item.get("post")?)))
        .collect();
    let last = |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_lowercase();
    let fits = |word: &str| posts.iter().filter(move |(path, _)| last(path).contains(word)).min_by_key(|(path, _)| path.len());
    let by_word = SENDS.iter().find_map(|word| fits(word));
    // The only one there is.
    by_word.or(posts.first().filter(|_| posts.len() == 1)).copied()
}

/// The request that sends a job: its body in the form that is asked for, and what is to stand in the query.
fn step(api: &Json, path: &str, post: &Json, guessed: &mut Vec<&str>) -> Json {
    let parameters = post.get("parameters").and_then(Json::as_array).into_iter().flatten();
    let query: Vec<String> = parameters
        .filter(|parameter| parameter.get("in").and_then(Json::as_str) == Some("query"))
        .filter_map(|parameter| {
            let name = parameter.get("name")?.as_str()?;
            let is_required = parameter.get("required").and_then(Json::as_bool) == Some(true);
            let value = filled(name, parameter.get("schema").unwrap_or(parameter), is_required)?;
            Some(format!("{name}={}", crate::driver::template::as_text(&value)))
        })
        .collect();
    let path = if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) };
    let content = post.get("requestBody").map(|body| resolved(api, body)).and_then(|body| body.get("content")?.as_object());
    let Some((kind, schema)) =
        content.and_then(|content| content.iter().next()).map(|(kind, c)| (kind.as_str(), c.get("schema")))
    else {
        if query.is_empty() {
            guessed.push("the body");
            return json!({ "path": path, "json": { "prompt": "{{prompt}}" } });
        }
        return json!({ "path": path });
    };
    let fields = schema.map(|schema| fields_of(api, schema)).unwrap_or_default();
    let texts = || {
        let text = |(name, value): (&String, &Json)| (name.clone(), Json::from(crate::driver::template::as_text(value)));
        Json::Object(fields.iter().map(text).collect())
    };
    match kind {
        "application/x-www-form-urlencoded" => json!({ "path": path, "form": texts() }),
        "multipart/form-data" => json!({ "path": path, "multipart": texts() }),
        _ if fields.is_empty() => {
            guessed.push("the body");
            json!({ "path": path, "json": { "prompt": "{{prompt}}" } })
        }
        _ => json!({ "path": path, "json": Json::Object(fields) }),
    }
}

/// The name of what stands in a path.
fn variable(path: &str) -> Option<&str> {
    path.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(name, _)| name)
}

/// Where the id is: by its name in the answer, by that of the variable in the status' path, or in one of the usual places.
fn id(answered: &Map<String, Json>, status: &str, guessed: &mut Vec<&str>) -> String {
    let variable = variable(status);
    let known = variable.filter(|name| answered.contains_key(*name)).map(str::to_owned);
    if let Some(name) = known.or_else(|| named(answered, &IDS)) {
        return format!("/{name}");
    }
    guessed.push("where the id of a job is");
    match variable.filter(|name| *name != "id") {
        Some(name) => format!("/{name} or {ANY_ID}"),
        None => ANY_ID.to_owned(),
    }
}

/// How a job's state is asked for.
fn following(api: &Json, paths: &Map<String, Json>, status: &str, guessed: &mut Vec<&str>) -> Json {
    let told = properties(api, paths.get(status).and_then(|item| item.pointer("/get/responses")));
    let state = match named(&told, &STATE) {
        Some(name) => format!("/{name}"),
        None => {
            guessed.push("where the state of a job is");
            ANY_STATE.to_owned()
        }
    };
    guessed.push("what the states mean (`chaos doctor` names one that is missing)");
    let states: Map<String, Json> = STATES.iter().map(|(theirs, ours)| ((*theirs).to_owned(), json!(ours))).collect();
    let mut following = json!({ "path": with_id(status), "state": state, "states": states });
    for name in ["progress", "error"] {
        if told.contains_key(name) {
            following[name] = format!("/{name}").into();
        }
    }
    following
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

/// The field of one of these names, whatever its case and signs.
fn named(known: &Map<String, Json>, names: &[&str]) -> Option<String> {
    let plain =
        |key: &str| -> String { key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect() };
    names.iter().find_map(|name| known.keys().find(|key| plain(key) == *name).cloned())
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
fn properties(api: &Json, responses: Option<&Json>) -> Map<String, Json> {
    let answer = ["200", "201", "202"].iter().find_map(|status| responses?.get(status));
    let schema = answer.and_then(|answer| schema_of(api, resolved(api, answer)));
    schema.and_then(|schema| schema.get("properties")).and_then(Json::as_object).cloned().unwrap_or_default()
}

/// What is filled in: what is known by its name, and of the rest what the document gives.
fn fields_of(api: &Json, schema: &Json) -> Map<String, Json> {
    let schema = resolved(api, schema);
    let required = schema.get("required").and_then(Json::as_array).cloned().unwrap_or_default();
    let fields = schema.get("properties").and_then(Json::as_object).into_iter().flatten();
    let value = |(name, field): (&String, &Json)| {
        Some((name.clone(), filled(name, resolved(api, field), required.iter().any(|r| r == name))?))
    };
    fields.filter_map(value).collect()
}

fn filled(name: &str, field: &Json, is_required: bool) -> Option<Json> {
    let is_file = field.get("format").and_then(Json::as_str) == Some("binary") || field.get("contentMediaType").is_some();
    Some(match name.to_lowercase().as_str() {
        _ if is_file => json!("{{image}}"),
        "prompt" | "text" | "input" | "inputs" | "query" | "q" => json!("{{prompt}}"),
        "width" => json!("{{width}}"),
        "height" => json!("{{height}}"),
        "seed" => json!("{{seed31}}"),
        "batch_size" | "batch" => json!("{{batch}}"),
        "image" | "init_image" | "image_base64" => json!("{{image_base64}}"),
        "max_tokens" | "max_new_tokens" => json!("{{tokens}}"),
        _ => match field.get("default").or_else(|| field.get("example")) {
            Some(given) if !given.is_null() => given.clone(),
            _ if is_required => of_type(field),
            _ => return None,
        },
    })
}

/// Something of the type that is asked for.
fn of_type(field: &Json) -> Json {
    if let Some(one) = field.get("enum").and_then(Json::as_array).and_then(|all| all.first()) {
        return one.clone();
    }
    match field.get("type").and_then(Json::as_str) {
        Some("integer" | "number") => field.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        Some("boolean") => json!(false),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => json!("{{prompt}}"),
    }
}

//! A driver from an OpenAPI document: which request sends a job, where its state and its result are asked for.

use serde_json::{Map, Value as Json, json};

use super::{Choice, Found, Need, Proposal};
use crate::driver::words::{HELD, IDS, STATE, STATES, plain};

/// Where such a document is found.
pub const DOCUMENTS: [&str; 6] =
    ["/openapi.json", "/docs.json", "/api/openapi.json", "/v1/openapi.json", "/swagger.json", "/apispec_1.json"];
/// Words of a path that sends jobs, the likeliest first.
pub const SENDS: [&str; 18] = [
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
    "task",
    "generations",
    "process",
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
/// What is named in a path, and does jobs.
const DOERS: [&str; 8] = ["model", "workflow", "pipeline", "deployment", "engine", "function", "endpoint", "app"];
const ANY_ID: &str = "/id or /job_id or /task_id or /request_id or /prompt_id or /jobId or /taskId or /uuid or /data/id or /data/job_id or /data/task_id or /job/id or /task/id";
/// A field that only says that it is over.
const FLAGS: [&str; 4] = ["done", "finished", "completed", "isdone"];
const ERRORS: [&str; 2] = ["error", "errormessage"];
/// Where a job's state may be, beside what holds it and in it.
const ANY_STATE: [&str; 8] = ["status", "state", "job_status", "task_status", "phase", "done", "finished", "completed"];
const ANY_ERROR: [&str; 2] = ["error", "error_message"];

/// The document, where there is one.
pub fn document(found: &Found) -> Option<&Json> {
    DOCUMENTS.iter().find_map(|path| found.json(path).filter(|api| api.get("paths").is_some()))
}

pub fn recognise(found: &Found) -> Option<Proposal> {
    let api = document(found)?;
    driver(found, api, api.get("paths")?.as_object()?, "its OpenAPI document has")
}

/// A driver by the paths that there are.
pub fn driver(found: &Found, api: &Json, paths: &Map<String, Json>, known_by: &str) -> Option<Proposal> {
    let (path, post) = sends(paths)?;
    let mut guessed: Vec<&str> = Vec::new();
    let mut submit = Map::new();
    submit.insert("steps".into(), json!([step(api, path, post, &mut guessed)]));
    let mut driver = json!({ "version": 1, "name": "mine", "description": format!("Made by `chaos init` for {}.", found.url) });
    // What is asked of the same model is not of a job.
    let is_of_a_job = |status: &String| variable(path).is_none() || variable(status) != variable(path);
    let by_word = one_of(paths, &["status", "job", "task", "progress", "queue", "history", "generation"], is_of_a_job);
    let status = by_word.or_else(|| below(paths, path)).filter(is_of_a_job);
    match status {
        Some(status) => {
            let answered = properties(api, post.get("responses"));
            submit.insert("id".into(), id(api, &answered, &status, &mut guessed).into());
            driver["status"] = following(api, paths, &status, &mut guessed);
            if let Some(result) = result_of(paths, &status) {
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
    // What stands for a model, or a workflow, in the path: only the user knows which.
    let named = variable(path);
    if let Some(name) = named {
        driver["parameters"] = json!({ name: { "about": format!("What stands for `{{{name}}}` in {path}.") } });
    }
    let needs = named.map(|name| Need { parameter: name.to_owned(), why: format!("what stands for `{{{name}}}` in {path}") });
    let text = serde_yaml::to_string(&driver).ok()?;
    let head: String = guessed.iter().map(|what| format!("# A guess, for no document says it: {what}.\n")).collect();
    let because = format!("{known_by} POST {path}");
    Some(Proposal { kind: "HTTP API", because, choice: Choice::File { text: head + &text, needs: needs.into_iter().collect() } })
}

/// What sends a job.
fn sends(paths: &Map<String, Json>) -> Option<(&String, &Json)> {
    let posts: Vec<(&String, &Json)> = paths
        .iter()
        .filter(|(path, _)| !DOES_NOT.iter().any(|word| path.to_lowercase().contains(word)))
        .filter_map(|(path, item)| Some((path, item.get("post")?)))
        .collect();
    let (named, posts): (Vec<_>, Vec<_>) = posts.into_iter().partition(|(path, _)| path.contains('{'));
    let last = |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_lowercase();
    let fits = |word: &str| posts.iter().filter(move |(path, _)| last(path).contains(word)).min_by_key(|(path, _)| path.len());
    let by_word = SENDS.iter().find_map(|word| fits(word)).copied();
    let of_a_model = || {
        // The last word of it: what stands for the model may stand behind.
        let word_of =
            |path: &str| path.rsplit('/').find(|part| !part.is_empty() && !part.contains('{')).unwrap_or_default().to_lowercase();
        let is_one = |word: &str, path: &str| is_of_a_model(path) && word_of(path).contains(word);
        let fits = |word: &&str| named.iter().filter(|(path, _)| is_one(word, path)).min_by_key(|(path, _)| path.len());
        SENDS.iter().find_map(fits).copied()
    };
    // The only one there is.
    by_word.or_else(of_a_model).or(posts.first().filter(|_| posts.len() == 1).copied())
}

/// What stands in the path is what does the job, and no job: `/models/{model_name}/predict`, `/predictions/{model}`.
fn is_of_a_model(path: &str) -> bool {
    let name = variable(path).map(plain).unwrap_or_default();
    let is_a_doer = DOERS.iter().any(|doer| name.strip_prefix(doer).is_some_and(|rest| matches!(rest, "" | "name")));
    path.matches('{').count() == 1 && is_a_doer
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
    let path =
        &variable(path).map_or_else(|| path.to_owned(), |name| path.replace(&format!("{{{name}}}"), &format!("${{{name}}}")));
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
    let name = path.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(name, _)| name)?;
    Some(name).filter(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')))
}

/// Where the id is: by its name in the answer, by that of the variable in the status' path, or in one of the usual places.
fn id(api: &Json, answered: &Map<String, Json>, status: &str, guessed: &mut Vec<&str>) -> String {
    let variable = variable(status);
    let known = variable.and_then(|name| {
        let plain = plain(name);
        place_of(answered, &[&plain]).or_else(|| inside(api, answered, &[&plain]))
    });
    if let Some(place) = known.or_else(|| place_of(answered, &IDS)).or_else(|| inside(api, answered, &IDS)) {
        return place;
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
    // An envelope has a state of its own, that of the request: what is inside comes first.
    let place = |names: &[&str]| inside(api, &told, names).or_else(|| place_of(&told, names));
    let within = || inside(api, &told, &STATE).or_else(|| inside(api, &told, &FLAGS));
    let state = within().or_else(|| place_of(&told, &STATE)).or_else(|| place_of(&told, &FLAGS));
    let is_guess = state.is_none();
    if is_guess {
        guessed.push("where the state of a job is");
    }
    guessed.push("what the states mean (`chaos doctor` names one that is missing)");
    let states: Map<String, Json> = STATES.iter().map(|(theirs, ours)| ((*theirs).to_owned(), json!(ours.word()))).collect();
    let state = state.unwrap_or_else(|| anywhere(&ANY_STATE));
    let mut following = json!({ "path": with_id(status), "state": state, "states": states });
    if let Some(progress) = place(&["progress"]) {
        following["progress"] = progress.into();
    }
    if let Some(error) = place(&ERRORS).or_else(|| is_guess.then(|| anywhere(&ANY_ERROR))) {
        following["error"] = error.into();
    }
    following
}

/// Fields of these names in whatever may hold a job, and beside it.
fn anywhere(names: &[&str]) -> String {
    let inside = HELD.iter().flat_map(|held| names.iter().map(move |name| format!("/{held}/{name}")));
    let all: Vec<String> = inside.chain(names.iter().map(|name| format!("/{name}"))).collect();
    all.join(" or ")
}

/// Where a job's result is: by the same variable as its state, since another one names something else. Where nothing says what
/// the variable is of, below the job, or by a word that only a job's result has.
fn result_of(paths: &Map<String, Json>, status: &str) -> Option<String> {
    let is_of_the_job = |path: &str| {
        let says_of_what = variable(status).is_some_and(|name| plain(name) != "id");
        let below = path.starts_with(status) || path.contains("result");
        path != status && variable(path) == variable(status) && (says_of_what || below)
    };
    let words = ["result", "download", "image", "output", "file"];
    words.iter().find_map(|word| all_of(paths, word).into_iter().find(|path| is_of_the_job(path)))
}

/// A path with one variable in it that can be asked for.
fn one_of(paths: &Map<String, Json>, words: &[&str], is_one: impl Fn(&String) -> bool) -> Option<String> {
    words.iter().find_map(|word| all_of(paths, word).into_iter().find(&is_one))
}

/// What is asked for directly below the path that jobs are sent to, where that is not a picture's.
fn below(paths: &Map<String, Json>, sent_to: &str) -> Option<String> {
    let is_below = |path: &&String| path.strip_prefix(sent_to).is_some_and(|rest| rest.starts_with("/{") && rest.ends_with('}'));
    let is_a_file = ["image", "file"].iter().any(|word| sent_to.contains(word));
    paths
        .keys()
        .filter(|path| !is_a_file && is_below(path) && paths[path.as_str()].get("get").is_some())
        .min_by_key(|path| path.len())
        .cloned()
}

/// All of them with that word, the shortest first.
fn all_of(paths: &Map<String, Json>, word: &str) -> Vec<String> {
    let fits = |path: &str| {
        let lower = path.to_lowercase();
        path.matches('{').count() == 1 && lower.contains(word) && !DOES_NOT.iter().any(|other| lower.contains(other))
    };
    let asked = paths.iter().filter(|(path, item)| fits(path) && item.get("get").is_some());
    let mut found: Vec<String> = asked.map(|(path, _)| path.clone()).collect();
    found.sort_by_key(String::len);
    found
}

fn with_id(path: &str) -> String {
    match (path.find('{'), path.find('}')) {
        (Some(from), Some(to)) if from < to => format!("{}{{{{id}}}}{}", &path[..from], &path[to + 1..]),
        _ => path.to_owned(),
    }
}

/// The place of the field of one of these names, whatever its case and signs.
fn place_of(known: &Map<String, Json>, names: &[&str]) -> Option<String> {
    let key = names.iter().find_map(|name| known.keys().find(|key| plain(key) == *name))?;
    Some(format!("/{key}"))
}

/// The same within what an envelope holds.
fn inside(api: &Json, known: &Map<String, Json>, names: &[&str]) -> Option<String> {
    let held = known.iter().filter(|(key, _)| HELD.contains(&plain(key).as_str()));
    held.filter_map(|(key, field)| {
        let place = place_of(fields_in(api, field)?, names)?;
        Some(format!("/{key}{place}"))
    })
    .next()
}

/// The fields of a schema, also of one that may be null.
fn fields_in<'a>(api: &'a Json, schema: &'a Json) -> Option<&'a Map<String, Json>> {
    let either = ["anyOf", "oneOf", "allOf"].iter().filter_map(|key| schema.get(key)?.as_array()).flatten();
    std::iter::once(schema).chain(either).find_map(|schema| resolved(api, schema).get("properties")?.as_object())
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
    schema.and_then(|schema| fields_in(api, schema)).cloned().unwrap_or_default()
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

#[cfg(test)]
mod tests;

//! What an answer is that a driver takes for the result: a driver that takes the acceptance of a job for its result would call
//! every job completed that was only taken.

use serde_json::{Map, Value as Json};

use super::StateWord;
use super::template::{as_text, bounded, says_something};
use super::words::{self, plain};

/// Where results are, without regard to case and signs.
const RESULTS: [&str; 34] = [
    "output",
    "outputs",
    "result",
    "results",
    "response",
    "responses",
    "answer",
    "answers",
    "content",
    "contents",
    "text",
    "texts",
    "generatedtext",
    "choices",
    "completion",
    "image",
    "images",
    "imageurl",
    "video",
    "videos",
    "videourl",
    "audio",
    "audiourl",
    "mesh",
    "model3d",
    "file",
    "files",
    "fileurl",
    "url",
    "artifacts",
    "embedding",
    "embeddings",
    "prediction",
    "predictions",
];
/// What acceptances hold besides the id and the state.
const BESIDE: [&str; 31] = [
    "ok",
    "success",
    "code",
    "message",
    "detail",
    "msg",
    "progress",
    "eta",
    "estimatedtime",
    "position",
    "queueposition",
    "queuelength",
    "number",
    "createdat",
    "created",
    "submittedat",
    "queuedat",
    "timestamp",
    "statusurl",
    "statusuri",
    "pollurl",
    "pollingurl",
    "resulturl",
    "responseurl",
    "cancelurl",
    "streamurl",
    "urls",
    "links",
    "priority",
    "nodeerrors",
    "metadata",
];
/// A text there may be what was asked for.
const TEXTS: [&str; 5] = ["message", "detail", "msg", "code", "metadata"];
/// Words for a job that has ended, and not only for a request that was taken.
const ENDS: [&str; 6] = ["completed", "complete", "done", "finished", "succeeded", "ready"];

/// Nobody names a job by so much.
const LONG: usize = 1024;

/// An answer that is no result.
#[derive(Debug, Clone, PartialEq)]
pub enum NoResult {
    /// It says that the job was taken. Why that is known.
    Taken(String),
    /// It says that the job failed, whatever its status.
    Failed(String),
}

/// What an answer is instead of a result; `None` where it may hold one. `asked` is what was sent, which some answers repeat.
pub fn told(answer: &Json, asked: impl FnOnce() -> Option<Json>) -> Option<NoResult> {
    let outer = answer.as_object()?;
    let inner = outer.iter().filter(|(key, _)| is(key, &words::HELD)).find_map(|(key, value)| Some((key, value.as_object()?)));
    let envelope = outer.iter().filter(|(key, _)| inner.is_none_or(|(held, _)| held != *key));
    let mut fields: Vec<(&String, &Json)> = envelope.chain(inner.iter().flat_map(|(_, held)| held.iter())).collect();
    // An envelope's own state is that of the request: what is said of the job counts, but for a failure, and where nothing is.
    let word_of = |map: &'_ Map<String, Json>| {
        map.iter().find(|(key, _)| is(key, &words::STATE)).and_then(|(_, word)| word.as_str().map(str::to_owned))
    };
    let outer_word = word_of(outer);
    let outer_meaning = outer_word.as_deref().and_then(words::meaning);
    let is_over = |meaning: Option<StateWord>| matches!(meaning, Some(StateWord::Failed | StateWord::Cancelled));
    let is_taken = matches!(outer_meaning, Some(StateWord::Queued | StateWord::Running));
    let word = match inner.map(|(_, held)| word_of(held)) {
        Some(None) if is_taken => outer_word,
        Some(word) => word,
        None => outer_word,
    };
    let meaning = word.as_deref().and_then(words::meaning);
    if let Some(why) = failed(&fields, is_over(meaning) || is_over(outer_meaning)) {
        return Some(NoResult::Failed(bounded(&why)));
    }
    let waits = matches!(meaning, Some(StateWord::Queued | StateWord::Running));
    // Long enough for a result, and too long for anything else.
    if !waits && fields.iter().any(|(key, value)| is(key, &RESULTS) && value.to_string().len() > LONG && holds(value)) {
        return None;
    }
    let asked = asked();
    fields.retain(|(key, value)| !value.is_null() && asked.as_ref().and_then(|asked| asked.get(key)) != Some(*value));
    if fields.iter().any(|(key, value)| is(key, &RESULTS) && if waits { holds_text(value) } else { holds(value) }) {
        return None;
    }
    if let Some(word) = word.as_deref().filter(|_| waits) {
        return Some(NoResult::Taken(format!("it says that the job is `{}`", bounded(word))));
    }
    if word.is_some_and(|word| is(&word, &ENDS)) {
        return None;
    }
    let is_text = |key: &str, value: &Json| is(key, &TEXTS) && value.is_string();
    let is_word_of_a_request = |key: &str, value: &Json| {
        is(key, &["result", "results", "response"]) && value.is_string() && !holds(value) && says_something(value)
    };
    let is_usual = |key: &str, value: &Json| {
        is(key, &words::IDS)
            || is(key, &words::STATE)
            || (is(key, &BESIDE) && !is_text(key, value))
            || is_word_of_a_request(key, value)
    };
    let names_a_job = fields.iter().any(|(key, value)| is(key, &words::IDS) && (value.is_string() || value.is_number()));
    let holds_more = fields.iter().any(|(key, value)| !is_usual(key, value));
    (names_a_job && !holds_more).then(|| NoResult::Taken("it names a job, and holds nothing else".to_owned()))
}

/// It says that the job failed, or that there was an error, in one of the usual ways.
fn failed(fields: &[(&String, &Json)], is_over: bool) -> Option<String> {
    let all = |names: &'static [&'static str]| fields.iter().filter(|(key, _)| is(key, names)).map(|(_, value)| *value);
    let mut errors =
        all(&["error", "errors", "errormessage"]).filter(|error| **error != Json::Bool(false) && holds_an_error(error));
    let error = errors.next();
    let said =
        || error.filter(|error| !error.is_boolean()).or_else(|| all(&["message", "detail", "msg", "reason"]).next()).map(as_text);
    let says_no = all(&["success", "ok"]).any(|said| *said == Json::Bool(false));
    if says_no || is_over || error == Some(&Json::Bool(true)) {
        return Some(said().unwrap_or_else(|| "without a reason".to_owned()));
    }
    // Beside a result an error may be a warning.
    let has_result = fields.iter().any(|(key, value)| is(key, &RESULTS) && holds_text(value));
    error.filter(|_| !has_result).map(as_text)
}

fn is(key: &str, names: &[&str]) -> bool {
    names.contains(&plain(key).as_str())
}

fn holds_an_error(error: &Json) -> bool {
    match error {
        Json::Number(_) => false,
        Json::Object(fields) => {
            fields.values().any(|value| holds_an_error(value) || value.as_i64().is_some_and(|code| code != 0))
        }
        Json::Array(all) => all.iter().any(holds_an_error),
        other => says_something(other),
    }
}

/// There is something in it, and not only the word for a state.
pub fn holds(value: &Json) -> bool {
    match value {
        Json::String(text) => says_something(value) && words::meaning(text).is_none() && !text.eq_ignore_ascii_case("ok"),
        Json::Array(all) => all.iter().any(holds),
        Json::Object(fields) => fields.values().any(holds),
        Json::Null => false,
        Json::Number(_) | Json::Bool(_) => true,
    }
}

/// There is a text in it that is not only the place where something is, or is going to be.
fn holds_text(value: &Json) -> bool {
    match value {
        Json::String(text) => holds(value) && !is_a_place(text),
        Json::Array(all) => all.iter().any(holds_text),
        Json::Object(fields) => fields.values().any(holds_text),
        Json::Null | Json::Number(_) | Json::Bool(_) => false,
    }
}

fn is_a_place(text: &str) -> bool {
    text.len() < LONG && ["http://", "https://", "/"].iter().any(|begin| text.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_acceptance_is_no_result_and_a_result_is_no_acceptance() {
        let asked = json!({ "prompt": "a cat", "steps": 4, "width": 512, "text": "a cat in the rain" });
        let of = |answer: &Json| told(answer, || Some(asked.clone()));
        for acceptance in [
            json!({ "id": "a1" }),
            json!({ "id": 0 }),
            json!({ "job_id": 7, "status": "QUEUED" }),
            json!({ "taskId": "t", "state": "pending", "eta": 3.5, "queue_position": 4 }),
            json!({ "success": true, "data": { "id": "x", "status": "in_progress" } }),
            json!({ "status": "success", "data": { "request_id": "x", "status": "created", "message": "your job was taken" } }),
            json!({ "id": "x", "status_url": "/jobs/x" }),
            json!({ "status": "processing" }),
            json!({ "status": "ok", "id": 5 }),
            json!({ "status": "success", "job_id": 5 }),
            json!({ "status": "success", "data": { "id": 5 } }),
            json!({ "id": "x", "status": "queued", "prompt": "a cat", "worker": "gpu-3" }),
            json!({ "uuid": "x", "steps": 4 }),
            json!({ "prompt_id": "x", "number": 3, "node_errors": {} }),
            json!({ "id": "x", "status": "starting", "model": "m", "input": { "prompt": "a" }, "output": null, "urls": { "get": "/p/x" } }),
            json!({ "job_id": "a", "status": "queued", "url": "/jobs/a" }),
            json!({ "result": "success", "task_id": 5 }),
            json!({ "response": "ok", "id": 3 }),
            json!({ "status": "queued", "id": 1, "output": { "images": [] } }),
            json!({ "status": "pending", "id": 1, "text": "a cat in the rain" }),
            json!({ "status": "processing", "id": 1, "output": ["https://cdn/x.png"] }),
            json!({ "status": "queued", "id": "a", "result": false }),
            json!({ "status": "queued", "data": { "id": 5, "worker": "g" } }),
            json!({ "task": "txt2img", "data": { "id": 1, "status": "queued" } }),
        ] {
            assert!(matches!(of(&acceptance), Some(NoResult::Taken(_))), "{acceptance}");
        }
        for result in [
            json!({ "image": "aGVsbG8=" }),
            json!({ "id": "a1", "status": "completed" }),
            json!({ "id": "a1", "url": "/files/a1.png" }),
            json!({ "id": "cmpl-1", "choices": [{ "text": "a" }], "created": 1 }),
            json!({ "status": "pending", "output": "text" }),
            json!({ "id": 1, "message": "a cat sat on the mat" }),
            json!({ "id": 1, "code": "def f(): pass" }),
            json!({ "status": "ok", "data": { "id": 1, "embedding": [0.1] } }),
            json!({ "id": "m1", "flagged": false }),
            json!({ "request_id": "r", "detections": [] }),
            json!({ "id": "x", "text": "" }),
            json!({ "id": "x", "text": "a word", "error": "one was left out" }),
            json!({ "ok": true }),
            json!({ "id": "x", "text": "Done" }),
            json!({ "id": "x", "answer": "true" }),
            json!({ "id": "x", "status": "pending", "text": "once upon a time" }),
            json!({}),
            json!(["a"]),
            json!("a1"),
        ] {
            assert_eq!(of(&result), None, "{result}");
        }
    }

    #[test]
    fn an_error_is_one_whatever_its_status() {
        let failed =
            |answer: Json| matches!(told(&answer, || None), Some(NoResult::Failed(why)) if why.contains("out of memory"));
        assert!(failed(json!({ "error": "CUDA out of memory" })));
        assert!(failed(json!({ "id": 3, "error": { "message": "CUDA out of memory" } })));
        assert!(failed(json!({ "status": "success", "data": { "error": "CUDA out of memory", "image": null } })));
        assert!(failed(json!({ "status": "error", "message": "CUDA out of memory" })));
        assert!(failed(json!({ "success": false, "message": "CUDA out of memory", "image": "placeholder" })));
        assert!(failed(json!({ "error": true, "message": "CUDA out of memory" })));
        assert!(failed(json!({ "errors": ["CUDA out of memory"] })));
        assert!(failed(json!({ "error": null, "data": { "error": "CUDA out of memory" } })));
        assert!(failed(json!({ "error": "", "error_message": "CUDA out of memory" })));
        assert!(failed(json!({ "error": "CUDA out of memory", "result": false })));
        assert!(failed(json!({ "status": "error", "message": "CUDA out of memory", "data": {} })));
        assert!(failed(json!({ "success": true, "data": { "success": false, "message": "CUDA out of memory" } })));
        assert!(failed(json!({ "result": "error", "error": "CUDA out of memory" })));
        assert!(matches!(told(&json!({ "id": 1, "status": "failed" }), || None), Some(NoResult::Failed(_))));
        for fine in [
            json!({ "error": { "code": 0, "message": "" }, "x": 1 }),
            json!({ "errors": [], "x": 1 }),
            json!({ "error": "one was left out", "image": "aGVsbG8=" }),
            json!({ "error": null, "x": 1 }),
            json!({ "error": "", "x": 1 }),
            json!({ "error": false, "x": 1 }),
            json!({ "error": 0, "x": 1 }),
        ] {
            assert_eq!(told(&fine, || None), None, "{fine}");
        }
    }
}

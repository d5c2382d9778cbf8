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
    let is_held = |key: &str| words::HELD.contains(&plain(key).as_str());
    let inner = outer.iter().filter(|(key, _)| is_held(key)).find_map(|(key, value)| Some((key, value.as_object()?)));
    let envelope = outer.iter().filter(|(key, _)| inner.is_none_or(|(held, _)| held != *key));
    let mut fields: Vec<(&String, &Json)> = envelope.chain(inner.iter().flat_map(|(_, held)| held.iter())).collect();
    if fields.iter().any(|(key, value)| RESULTS.contains(&plain(key).as_str()) && says_something(value)) {
        return None;
    }
    let asked = asked();
    fields.retain(|(key, value)| !value.is_null() && asked.as_ref().and_then(|asked| asked.get(key)) != Some(*value));
    // An envelope's own state is that of the request.
    judged(&fields, inner.map_or(outer, |(_, held)| held))
}

fn judged(fields: &[(&String, &Json)], job: &Map<String, Json>) -> Option<NoResult> {
    let is = |key: &str, names: &[&str]| names.contains(&plain(key).as_str());
    let tells_of_an_error = |value: &Json| (value.is_string() || value.is_object()) && says_something(value);
    let error = fields.iter().find(|(key, value)| is(key, &["error", "errormessage"]) && tells_of_an_error(value));
    if let Some((_, error)) = error {
        return Some(NoResult::Failed(bounded(&as_text(error))));
    }
    let word = job.iter().find(|(key, _)| is(key, &words::STATE)).and_then(|(_, word)| word.as_str());
    if let Some(word) = word.filter(|word| matches!(words::meaning(word), Some(StateWord::Queued | StateWord::Running))) {
        return Some(NoResult::Taken(format!("it says that the job is `{}`", bounded(word))));
    }
    if word.is_some_and(|word| is(word, &ENDS)) {
        return None;
    }
    let is_text = |key: &str, value: &Json| is(key, &TEXTS) && value.is_string();
    let is_usual =
        |key: &str, value: &Json| is(key, &words::IDS) || is(key, &words::STATE) || (is(key, &BESIDE) && !is_text(key, value));
    let names_a_job = fields.iter().any(|(key, value)| is(key, &words::IDS) && (value.is_string() || value.is_number()));
    let holds_more = fields.iter().any(|(key, value)| !is_usual(key, value));
    (names_a_job && !holds_more).then(|| NoResult::Taken("it names a job, and holds nothing else".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_acceptance_is_no_result_and_a_result_is_no_acceptance() {
        let asked = json!({ "prompt": "a cat", "steps": 4, "width": 512 });
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
        for fine in [
            json!({ "error": null, "x": 1 }),
            json!({ "error": "", "x": 1 }),
            json!({ "error": false, "x": 1 }),
            json!({ "error": 0, "x": 1 }),
        ] {
            assert_eq!(told(&fine, || None), None, "{fine}");
        }
    }
}

//! What an answer is that a driver takes for the result: a driver that takes the acceptance of a job for its result would call
//! every job completed that was only taken.

use std::cell::LazyCell;

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

/// Words in a sentence that says that a job was taken.
const TAKEN: [&str; 10] =
    ["submitted", "queued", "enqueued", "accepted", "received", "scheduled", "started", "created", "processing", "pending"];
/// What else holds a job, besides results.
const ENVELOPES: [&str; 3] = ["output", "result", "response"];
/// So many envelopes in one another are opened.
const DEEPEST: usize = 4;

/// Nobody names a job by so much.
const LONG: usize = 1024;
/// ... and nobody says in more that it was taken.
const LONGEST_SENTENCE: usize = 160;
const WITHOUT_A_REASON: &str = "its answer says so without a reason (where that is the result, `result.inline` names its place)";

/// An answer that is no result.
#[derive(Debug, Clone, PartialEq)]
pub enum NoResult {
    /// It says that the job was taken. Why that is known.
    Taken(String),
    /// It says that the job failed, whatever its status.
    Failed(String),
}

/// A field of an answer, its name as `plain` writes it.
struct Field<'a> {
    name: String,
    key: &'a str,
    value: &'a Json,
}

impl Field<'_> {
    fn is(&self, names: &[&str]) -> bool {
        names.contains(&self.name.as_str())
    }

    /// Many write a number as its text.
    fn number(&self) -> Option<i64> {
        self.value.as_i64().or_else(|| self.value.as_str()?.trim().parse().ok())
    }
}

fn fields_of(map: &Map<String, Json>) -> Vec<Field<'_>> {
    map.iter().map(|(key, value)| Field { name: plain(key), key, value }).collect()
}

/// What an answer is instead of a result; `None` where it may hold one. `asked` is what was sent, which some answers repeat.
pub fn told(answer: &Json, asked: impl FnOnce() -> Option<Json>) -> Option<NoResult> {
    let (mut fields, words) = layers(answer.as_object()?);
    let asked = LazyCell::new(asked);
    let is_own = |field: &Field<'_>| asked.as_ref().and_then(|asked| asked.get(field.key)) != Some(field.value);
    if let Some(why) = failed(&fields, words.iter().copied().flatten().any(is_over), is_own) {
        return Some(NoResult::Failed(bounded(&why)));
    }
    // An envelope's own state is that of the request: what is said of the job counts, and where nothing is, that it waits.
    let innermost = words.last().copied().flatten();
    let word = innermost.or_else(|| words.iter().copied().flatten().rfind(|word| waits(word)));
    let is_waiting = word.is_some_and(waits);
    // Long enough for a result, and too long for anything else.
    if !is_waiting && fields.iter().any(|field| field.is(&RESULTS) && is_long(field.value) && holds(field.value)) {
        return None;
    }
    fields.retain(|field| !field.value.is_null() && is_own(field));
    if fields.iter().any(|field| field.is(&RESULTS) && if is_waiting { holds_text(field.value) } else { holds(field.value) }) {
        return None;
    }
    if let Some(word) = word.filter(|_| is_waiting) {
        return Some(NoResult::Taken(format!("it says that the job is `{}`", bounded(word))));
    }
    if word.is_some_and(|word| ENDS.contains(&plain(word).as_str())) {
        return None;
    }
    is_bare_job(&fields).then(|| NoResult::Taken("it names a job, and holds nothing else".to_owned()))
}

/// The fields of an answer and of the job that it holds in an envelope, and the word for a state in each.
fn layers(answer: &Map<String, Json>) -> (Vec<Field<'_>>, Vec<Option<&str>>) {
    let (mut fields, mut words) = (Vec::new(), Vec::new());
    let mut layer = fields_of(answer);
    for _ in 0..DEEPEST {
        words.push(word_in(&layer));
        let held = layer.iter().position(|field| match field.value {
            Json::Object(_) if field.is(&words::HELD) => true,
            Json::Object(map) => field.is(&ENVELOPES) && is_only_a_job(map),
            _ => false,
        });
        let held = held.map(|at| layer.remove(at).value);
        fields.append(&mut layer);
        let Some(Json::Object(map)) = held else { break };
        layer = fields_of(map);
    }
    fields.append(&mut layer);
    (fields, words)
}

fn word_in<'a>(fields: &[Field<'a>]) -> Option<&'a str> {
    fields.iter().find(|field| field.is(&words::STATE)).and_then(|field| field.value.as_str())
}

fn waits(word: &str) -> bool {
    matches!(words::meaning(word), Some(StateWord::Queued | StateWord::Running))
}

fn is_over(word: &str) -> bool {
    matches!(words::meaning(word), Some(StateWord::Failed | StateWord::Cancelled))
}

/// What is called a result names a job, which waits or has failed, or of which nothing else is told.
fn is_only_a_job(map: &Map<String, Json>) -> bool {
    let fields = fields_of(map);
    names_a_job(&fields) && (word_in(&fields).is_some_and(|word| waits(word) || is_over(word)) || is_bare_job(&fields))
}

fn names_a_job(fields: &[Field<'_>]) -> bool {
    fields.iter().any(|field| field.is(&words::IDS) && (field.value.is_string() || field.value.is_number()))
}

/// It names a job, and holds nothing else.
fn is_bare_job(fields: &[Field<'_>]) -> bool {
    // `id` is the name of many things; of what has another name a sentence may tell.
    let is_surely_a_job = fields.iter().any(|field| field.is(&words::IDS) && !matches!(field.name.as_str(), "id" | "uuid"));
    let is_usual = |field: &Field<'_>| {
        let text = field.value.as_str();
        let is_word = |text: &str| !holds(field.value) && says_something(field.value) && text.len() <= LONG;
        field.is(&words::IDS)
            || field.is(&words::STATE)
            || (field.is(&BESIDE) && !(field.is(&TEXTS) && text.is_some()))
            || (field.is(&["result", "results", "response"]) && text.is_some_and(is_word))
            || (field.is(&TEXTS) && text.is_some_and(|text| is_word(text) || (is_surely_a_job && tells_of_acceptance(text))))
    };
    names_a_job(fields) && fields.iter().all(is_usual)
}

/// A sentence such as "Your job was submitted".
fn tells_of_acceptance(sentence: &str) -> bool {
    let is_one = |word: &str| TAKEN.iter().any(|taken| word.eq_ignore_ascii_case(taken));
    sentence.len() <= LONGEST_SENTENCE && sentence.split(|c: char| !c.is_alphanumeric()).any(is_one)
}

/// It says that the job failed, or that there was an error, in one of the usual ways. `is_own` of what was not sent to it.
fn failed(fields: &[Field<'_>], is_over: bool, is_own: impl Fn(&Field<'_>) -> bool) -> Option<String> {
    let all = |names: &'static [&'static str]| fields.iter().filter(|field| field.is(names));
    let is_error = |field: &&Field<'_>| match field.value {
        // A figure may be called so, and a count.
        Json::Number(_) => false,
        error => *error != Json::Bool(false) && holds_an_error(error),
    };
    let error = all(&["error", "errors", "errormessage"]).find(is_error).map(|field| field.value);
    let said = || {
        let message = || all(&["message", "detail", "msg", "reason"]).find(|field| says_something(field.value));
        error.filter(|error| !error.is_boolean()).or_else(|| message().map(|field| field.value)).map(as_text)
    };
    let says_no = all(&["success", "ok"]).any(|field| *field.value == Json::Bool(false));
    if says_no || is_over || error == Some(&Json::Bool(true)) {
        return Some(said().unwrap_or_else(|| WITHOUT_A_REASON.to_owned()));
    }
    let code = error_code(fields);
    if error.is_none() && code.is_none() {
        return None;
    }
    // Beside a result an error may be a warning.
    if fields.iter().any(|field| field.is(&RESULTS) && holds_text(field.value) && is_own(field)) {
        return None;
    }
    error.map(as_text).or_else(|| Some(format!("{}{}", code?, said().map_or_else(String::new, |why| format!(": {why}")))))
}

/// The number of an error: one of HTTP's, or one in a field for nothing else, or one beside which there is only a message.
fn error_code(fields: &[Field<'_>]) -> Option<String> {
    let told = |field: &Field<'_>| Some(format!("{} {}", field.key, field.number()?));
    let of_errors = fields.iter().find(|field| {
        field.is(&["errorcode", "errcode", "errno"])
            && field.number().is_some_and(|code| code != 0 && !(200..300).contains(&code))
    });
    let is_message =
        |field: &Field<'_>| field.is(&["message", "msg", "detail", "code", "statuscode"]) || !says_something(field.value);
    let is_alone = || fields.iter().all(is_message) && fields.iter().any(|field| field.is(&["message", "msg", "detail"]));
    let of_http = || {
        fields.iter().filter(|field| field.is(&["code", "statuscode"])).find(|field| match field.number() {
            Some(code) => code < 0 || (400..600).contains(&code) || (code > 1 && !is_success(code) && is_alone()),
            None => false,
        })
    };
    of_errors.or_else(of_http).and_then(told)
}

/// HTTP's, and what is made of it with digits of one's own.
fn is_success(code: i64) -> bool {
    (200..300).contains(&code) || (code % 1000 == 0 && (200..300).contains(&(code / 100)))
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

/// At the place that a driver names for the result there is one: also a word such as `rejected`, but none for a job that waits.
pub fn is_what_was_asked_for(value: &Json) -> bool {
    holds(value) || value.as_str().is_some_and(|text| says_something(value) && !waits(text))
}

/// There is something in it, and not only the word for a state.
fn holds(value: &Json) -> bool {
    match value {
        Json::String(text) => {
            text.len() > LONG || (says_something(value) && words::meaning(text).is_none() && !text.eq_ignore_ascii_case("ok"))
        }
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

/// A URL, a path, or the name of a file.
fn is_a_place(text: &str) -> bool {
    if text.len() > LONG {
        return false;
    }
    let is_ending = |end: &str| (2..=5).contains(&end.len()) && end.chars().all(|c| c.is_ascii_alphanumeric());
    let is_file = || !text.contains(char::is_whitespace) && text.rsplit_once('.').is_some_and(|(_, end)| is_ending(end));
    ["http://", "https://", "/"].iter().any(|begin| text.starts_with(begin)) || is_file()
}

/// It has more letters and figures than anything but a result.
fn is_long(value: &Json) -> bool {
    room_after(value, LONG).is_none()
}

/// What is left of so much room; `None` where it is not enough. It looks no further then.
fn room_after(value: &Json, room: usize) -> Option<usize> {
    match value {
        Json::String(text) => room.checked_sub(text.len()),
        Json::Null | Json::Bool(_) | Json::Number(_) => room.checked_sub(2),
        Json::Array(all) => all.iter().try_fold(room, |room, one| room_after(one, room)),
        Json::Object(fields) => fields.iter().try_fold(room, |room, (key, one)| room_after(one, room.checked_sub(key.len())?)),
    }
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
            json!({ "output": { "task_id": "t", "task_status": "PENDING" }, "request_id": "r" }),
            json!({ "jsonrpc": "2.0", "id": 1, "result": { "job_id": "x", "status": "queued" } }),
            json!({ "result": { "job_id": "x" } }),
            json!({ "id": 1, "status": "queued", "file": "a1.png" }),
            json!({ "job_id": "x", "message": "submitted" }),
            json!({ "job_id": "x", "message": "Your job was submitted." }),
            json!({ "code": 0, "msg": "success", "data": { "job": { "id": "x", "status": "queued" } } }),
            json!({ "code": 0, "data": { "result": { "task_id": "x", "progress": 0 } } }),
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
            json!({ "job_id": "x", "message": "once upon a time a cat sat on the mat" }),
            json!({ "id": "x", "message": "The letter was received on a Monday" }),
            json!({ "output": { "task_id": "t", "task_status": "SUCCEEDED", "results": [{ "url": "https://cdn/x.png" }] } }),
            json!({ "result": { "id": "img-1", "url": "/files/img-1.png" } }),
            json!({ "jsonrpc": "2.0", "id": 1, "result": { "text": "a cat" } }),
            json!({ "code": 200, "data": { "image": "aGVsbG8=" } }),
            json!({ "code": 20000, "message": "success", "image": "aGVsbG8=" }),
            json!({ "code": 1, "msg": "ok", "url": "/a.png" }),
            json!({ "id": "x", "output": (0..1000).collect::<Vec<u32>>() }),
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
        assert!(failed(json!({ "code": 500, "msg": "CUDA out of memory", "data": null })));
        assert!(failed(json!({ "code": "500", "msg": "CUDA out of memory" })));
        assert!(failed(json!({ "code": 10012, "message": "CUDA out of memory" })));
        assert!(failed(json!({ "error_code": 7, "message": "CUDA out of memory" })));
        assert!(failed(json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32000, "message": "CUDA out of memory" } })));
        assert!(failed(json!({ "output": { "task_id": "t", "task_status": "FAILED", "message": "CUDA out of memory" } })));
        let echoed = json!({ "error": "CUDA out of memory", "text": "a cat in the rain" });
        let asked = || Some(json!({ "text": "a cat in the rain" }));
        assert!(matches!(told(&echoed, asked), Some(NoResult::Failed(_))));
        assert_eq!(told(&echoed, || None), None, "beside a text it may be a warning");
        assert!(matches!(told(&json!({ "id": 1, "status": "failed" }), || None), Some(NoResult::Failed(_))));
        for fine in [
            json!({ "error": { "code": 0, "message": "" }, "x": 1 }),
            json!({ "errors": [], "x": 1 }),
            json!({ "error": "one was left out", "image": "aGVsbG8=" }),
            json!({ "error": null, "x": 1 }),
            json!({ "error": "", "x": 1 }),
            json!({ "error": false, "x": 1 }),
            json!({ "error": 0, "x": 1 }),
            json!({ "error": 0.02, "x": 1 }),
            json!({ "error_code": 0, "x": 1 }),
            json!({ "code": 0, "message": "success" }),
            json!({ "code": 20000, "message": "success" }),
            json!({ "code": 404, "text": "it stands for a page that is not there" }),
        ] {
            assert_eq!(told(&fine, || None), None, "{fine}");
        }
    }
}

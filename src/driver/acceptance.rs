//! Tells the acceptance of a job from its result: a driver that takes one for the other calls every job completed that was only
//! taken.

use serde_json::{Map, Value as Json};

use super::StateWord;
use super::words::{self, plain};

/// What such answers hold besides the id and the state, without regard to case and signs.
const BESIDE: [&str; 26] = [
    "ok",
    "success",
    "code",
    "error",
    "message",
    "detail",
    "progress",
    "eta",
    "estimatedtime",
    "position",
    "queueposition",
    "queuelength",
    "createdat",
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
    "links",
    "priority",
];
/// A text there may be what was asked for.
const TEXTS: [&str; 2] = ["message", "detail"];

/// Why an answer is the acceptance of a job and holds no result; `None` where it may hold one.
pub fn told(answer: &Json) -> Option<String> {
    let outer = answer.as_object()?;
    let inner = outer.iter().find(|(key, _)| words::HELD.contains(&plain(key).as_str()));
    let inner = inner.and_then(|(key, held)| Some((key, held.as_object()?)));
    let rest = |map: &Map<String, Json>, but: Option<&String>| {
        map.iter().filter(|(key, value)| Some(*key) != but && !value.is_null()).map(|(key, _)| plain(key)).collect()
    };
    let mut keys: Vec<String> = rest(outer, inner.map(|(key, _)| key));
    keys.extend(inner.map_or_else(Vec::new, |(_, held)| rest(held, None)));
    let is_id = |key: &str| words::IDS.contains(&key);
    let is_state = |key: &str| words::STATE.contains(&key);
    if !keys.iter().all(|key| is_id(key) || is_state(key) || BESIDE.contains(&key.as_str())) {
        return None;
    }
    // An envelope's own state is that of the request.
    let word = |map: &Map<String, Json>| map.iter().find(|(key, _)| is_state(&plain(key))).map(|(_, word)| word.clone());
    let word = inner.and_then(|(_, held)| word(held)).or_else(|| word(outer));
    let word = word.as_ref().and_then(Json::as_str);
    match word.map(|word| (word, words::meaning(word))) {
        Some((word, Some(StateWord::Queued | StateWord::Running))) => Some(format!("it says that the job is `{word}`")),
        Some(_) => None,
        None => {
            let is_a_text = keys.iter().any(|key| TEXTS.contains(&key.as_str()));
            (!is_a_text && keys.iter().any(|key| is_id(key))).then(|| "it names a job, and holds nothing else".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_acceptance_is_no_result_and_a_result_is_no_acceptance() {
        for acceptance in [
            json!({ "id": "a1" }),
            json!({ "job_id": 7, "status": "QUEUED" }),
            json!({ "taskId": "t", "state": "pending", "eta": 3.5, "queue_position": 4 }),
            json!({ "success": true, "data": { "id": "x", "status": "in_progress" } }),
            json!({ "status": "success", "data": { "request_id": "x", "status": "created", "message": "your job was taken" } }),
            json!({ "id": "x", "status_url": "/jobs/x", "error": null, "output": null }),
            json!({ "status": "processing" }),
        ] {
            assert!(told(&acceptance).is_some(), "{acceptance}");
        }
        for result in [
            json!({ "image": "aGVsbG8=" }),
            json!({ "id": "a1", "status": "completed" }),
            json!({ "id": "a1", "url": "/files/a1.png" }),
            json!({ "id": "cmpl-1", "choices": [{ "text": "a" }], "created": 1 }),
            json!({ "status": "pending", "output": "text" }),
            json!({ "id": 1, "message": "a cat sat on the mat" }),
            json!({ "status": "ok", "data": { "id": 1, "embedding": [0.1] } }),
            json!({ "ok": true }),
            json!({}),
            json!(["a"]),
            json!("a1"),
        ] {
            assert_eq!(told(&result), None, "{result}");
        }
    }
}

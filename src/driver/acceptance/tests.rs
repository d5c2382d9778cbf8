//! Answers as servers give them.

use super::*;
use serde_json::json;

#[test]
fn an_acceptance_is_no_result_and_a_result_is_no_acceptance() {
    let asked = json!({ "prompt": "a cat", "steps": 4, "width": 512, "text": "a cat in the rain" });
    let of = |answer: &Json| told(answer, |field, _| asked.get(field).cloned());
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
        json!({ "id": "resp_1", "object": "response", "status": "queued", "output": [], "text": { "format": { "type": "text" } } }),
        json!({ "task_id": "1", "base_resp": { "status_code": 0, "status_msg": "success" } }),
        json!({ "code": 10000, "data": { "task_id": "7" }, "message": "Success", "request_id": "r", "time_elapsed": "1ms" }),
        json!({ "result": "018a210d-8ba4-705c-b111-1f1776f7f578" }),
        json!({ "event_id": "x" }),
        json!({ "name": "models/veo/operations/1" }),
        json!({ "name": "models/veo/operations/1", "done": false }),
        json!({ "code": 200, "data": [{ "task_id": "x", "status": "submitted" }] }),
        json!({ "job_id": "x", "message": "Submitted." }),
        json!({ "job_id": "x", "message": "Job queued, no GPU is free yet" }),
        json!({ "task_id": "t1", "message": "Task could not be queued: the queue is full" }),
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
        json!({ "request_id": "r1", "message": "The painting was created in 1889." }),
        json!({ "task_id": "t1", "message": "The painting was created in 1889." }),
        json!({ "id": "x", "message": { "role": "assistant", "content": "hi" } }),
        json!({ "data": [{ "url": "https://cdn/x.png" }], "created": 1 }),
        json!({ "output": { "text": "a cat", "error": "one was left out" } }),
        json!({ "id": "a1", "model": "https://cdn/a1.glb" }),
        json!({ "id": "x", "model": { "vertices": [0.5] } }),
        json!({ "id": 281, "name": "tabby cat" }),
        json!({ "id": 1, "object": "cat" }),
        json!({ "data": [{ "id": 7, "name": "Alice" }] }),
        json!({ "image": "018a210d-8ba4-705c-b111-1f1776f7f578" }),
        json!({ "result": { "status": "rejected", "categories": ["nudity"], "score": 0.99 } }),
        json!({ "result": { "ok": false, "reason": "nudity" } }),
        json!({ "result": { "errors": ["comma splice"], "corrected": "He left, and I stayed." } }),
        json!({ "result": [{ "code": 511, "label": "Publishing industries", "score": 0.9 }] }),
        json!({ "status": 1, "description": "A cat on a mat." }),
        json!({ "status": 1, "message": "Hello! How can I help?" }),
        json!({ "code": 1, "msg": "Image saved to /out/1.png" }),
        json!({ "error_code": "NO_ERROR", "audio_base64": "UklGR" }),
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

/// A driver that says where the result is has the last word on what is one, but not on what an answer says besides.
#[test]
fn a_word_is_the_result_where_the_driver_says_so() {
    let of = |place: &str, answer: Json| told_beside(&answer, place, |_, _| None);
    for (place, answer) in [
        ("/status", json!({ "status": "rejected" })),
        ("/status", json!({ "id": "t1", "status": "rejected" })),
        ("/verdict", json!({ "verdict": "accepted", "score": 0.9 })),
        ("/status", json!({ "status": "accepted" })),
        ("/ok", json!({ "ok": false })),
        ("/score", json!({ "id": "t1", "score": 0 })),
        ("/output", json!({ "id": "t1", "output": "text", "error": "one was left out" })),
        ("/answer", json!({ "id": "x", "answer": "true" })),
        ("/label", json!({ "task_id": "t1", "label": "false" })),
        ("/label", json!({ "request_id": "r", "model": "m", "label": "false" })),
        ("/output", json!({ "id": "x", "model": "m", "output": "OK" })),
        ("/verdict", json!({ "verdict": "fail", "errors": ["blurred"] })),
        ("/verdict", json!({ "ok": false, "verdict": "rejected" })),
    ] {
        assert_eq!(of(place, answer.clone()), None, "{place} {answer}");
    }
    let is_failed = |place: &str, answer: Json| matches!(of(place, answer), Some(NoResult::Failed(_)));
    assert!(is_failed("/result", json!({ "result": "error", "error": "CUDA out of memory" })));
    assert!(is_failed("/result", json!({ "success": false, "result": "failed", "message": "CUDA out of memory" })));
    assert!(is_failed("/image", json!({ "image": null, "error": "CUDA out of memory" })));
    assert!(is_failed("/output", json!({ "output": "OK", "error": "CUDA out of memory" })));
    assert!(is_failed("/output", json!({ "output": "timeout", "success": false, "message": "no GPU" })));
    assert!(is_failed("/result", json!({ "result": "rejected", "error": "CUDA out of memory" })));
    let is_taken = |place: &str, answer: Json| matches!(of(place, answer), Some(NoResult::Taken(_)));
    assert!(is_taken("/result", json!({ "task_id": 5, "result": "success" })));
    assert!(is_taken("/result", json!({ "task_id": 5, "result": "ok" })));
    assert!(is_taken("/output", json!({ "id": "x", "output": "queued" })));
    assert!(is_taken("/status", json!({ "job_id": 5, "status": "pending" })));
}

#[test]
fn an_error_is_one_whatever_its_status() {
    let failed =
        |answer: Json| matches!(told(&answer, |_, _| None), Some(NoResult::Failed(why)) if why.contains("out of memory"));
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
    assert!(failed(
        json!({ "Response": { "Error": { "Code": "FailedOperation", "Message": "CUDA out of memory" }, "RequestId": "x" } })
    ));
    assert!(failed(json!({ "output": { "error": "CUDA out of memory" } })));
    assert!(failed(json!({ "result": { "success": false, "message": "CUDA out of memory" } })));
    assert!(failed(json!({ "task_id": "", "base_resp": { "status_code": 1002, "status_msg": "CUDA out of memory" } })));
    assert!(failed(json!({ "code": 1, "msg": "CUDA out of memory", "data": null })));
    assert!(failed(json!({ "status": 500, "message": "CUDA out of memory" })));
    assert!(failed(json!({ "status": false, "message": "CUDA out of memory" })));
    assert!(failed(json!({ "error_code": "OOM", "message": "CUDA out of memory" })));
    assert!(failed(json!({ "errcode": 1, "errmsg": "CUDA out of memory" })));
    assert!(failed(json!({ "result": { "status": "failed", "error": "CUDA out of memory" } })));
    assert!(failed(json!({ "output": { "status": "error", "message": "CUDA out of memory" } })));
    assert!(failed(json!({ "result": { "error": "CUDA out of memory", "error_type": "OOM", "traceback": "..." } })));
    assert!(failed(json!({ "result": { "code": 50411, "message": "CUDA out of memory" } })));
    assert!(failed(json!({ "result": { "error_code": 7, "error_msg": "CUDA out of memory" } })));
    assert!(failed(json!({ "task_id": "t1", "error_code": "OOM", "message": "CUDA out of memory" })));
    assert!(matches!(told(&json!({ "id": "x", "error_code": "OUT_OF_MEMORY" }), |_, _| None), Some(NoResult::Failed(_))));
    assert!(failed(json!({ "base_resp": { "status_code": 1004, "status_msg": "CUDA out of memory" }, "trace_id": "x" })));
    assert!(failed(
        json!({ "code": 50411, "data": null, "message": "CUDA out of memory", "request_id": "r", "time_elapsed": "1ms" })
    ));
    assert!(failed(json!({ "task_id": "", "message": "The task was not accepted: CUDA out of memory" })));
    let echoed = json!({ "error": "CUDA out of memory", "text": "a cat in the rain" });
    let asked = |field: &str, _: &Json| (field == "text").then(|| json!("a cat in the rain"));
    assert!(matches!(told(&echoed, asked), Some(NoResult::Failed(_))));
    assert_eq!(told(&echoed, |_, _| None), None, "beside a text it may be a warning");
    assert!(matches!(told(&json!({ "id": 1, "status": "failed" }), |_, _| None), Some(NoResult::Failed(_))));
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
        json!({ "code": 10000, "message": "Success", "data": {} }),
        json!({ "status": 200, "message": "a cat sat on the mat" }),
        json!({ "status": true, "message": "a cat sat on the mat" }),
        json!({ "code": 10000, "message": "Success", "data": {} }),
        json!({ "status": 200, "message": "a cat sat on the mat" }),
        json!({ "status": true, "message": "a cat sat on the mat" }),
        json!({ "code": 404, "text": "it stands for a page that is not there" }),
    ] {
        assert_eq!(told(&fine, |_, _| None), None, "{fine}");
    }
}

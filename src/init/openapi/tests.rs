//! Documents, and what is made of them.

use super::*;
use crate::driver::place::Answered;
use crate::journal::event::{JobState, JobView};

/// The driver that is made of a document with these paths, as JSON.
fn driver_of(paths: Json) -> Json {
    let url = "http://127.0.0.1:1";
    let answers = [("/openapi.json".to_owned(), json!({ "paths": paths }).to_string())];
    let proposal = recognise(&Found::of(url, answers)).unwrap();
    let Choice::File { text, .. } = proposal.choice else { panic!("no file") };
    serde_yaml::from_str(&text).unwrap()
}

fn answering(schema: Json) -> Json {
    json!({ "responses": { "200": { "content": { "application/json": { "schema": schema } } } } })
}

#[test]
fn what_does_the_job_may_stand_in_the_path() {
    let driver =
        driver_of(json!({ "/models/{model_name}/predict": { "post": {} }, "/models/{model_name}/ready": { "get": {} } }));
    assert_eq!(driver["submit"]["steps"][0]["path"], "/models/${model_name}/predict");
    assert!(driver["parameters"]["model_name"]["about"].as_str().is_some(), "{driver}");
    // What has an id is a job, or something else that is there.
    let none = |path: &str| {
        recognise(&Found::of(
            "http://x",
            [("/openapi.json".to_owned(), json!({ "paths": { path: { "post": {} } } }).to_string())],
        ))
    };
    for path in
        ["/jobs/{job_id}/run", "/jobs/{job_name}/run", "/collections/{collection_name}/create", "/models/{model\n}/predict"]
    {
        assert_eq!(none(path), None, "{path}");
    }
    let served = driver_of(json!({ "/predictions/{model_name}": { "post": {} }, "/models/{model_name}/status": { "get": {} } }));
    assert_eq!(served["submit"]["steps"][0]["path"], "/predictions/${model_name}");
    assert_eq!(served["submit"]["answer"], "result");
    let followed = driver_of(json!({
        "/models/{model}/predict": { "post": {} }, "/models/{model}/status": { "get": {} }, "/jobs/{job_id}": { "get": {} } }));
    assert_eq!(followed["status"]["path"], "/jobs/{{id}}");
    assert_eq!(none("/models/{model}/versions/{version}/predict"), None);
}

/// What a driver takes from an answer.
fn view(driver: &Json, body: Json) -> JobView {
    let text = serde_yaml::to_string(driver).unwrap();
    let read = crate::driver::alone(std::path::Path::new("d.yaml"), &text).unwrap_or_else(|d| panic!("{}", d.render(false)));
    crate::driver::template::view(&read.status, &Answered::of(&body), &|_| None).unwrap()
}

#[test]
fn the_state_of_an_envelope_is_not_that_of_the_job() {
    let envelope = json!({ "properties": {
        "status": { "type": "string" }, "error": {},
        "data": { "anyOf": [{ "properties": { "jobId": {}, "state": {}, "progress": {}, "error": {} } }, { "type": "null" }] } } });
    let told = driver_of(json!({
        "/jobs": { "post": answering(envelope.clone()) },
        "/jobs/{jobId}": { "get": answering(envelope) } }));
    assert_eq!(told["submit"]["id"], "/data/jobId");
    let untold = driver_of(json!({ "/jobs": { "post": {} }, "/jobs/{id}": { "get": {} } }));
    for (driver, state) in [(&told, "state"), (&untold, "status")] {
        let answer =
            |now: &str, error: Json| json!({ "status": "success", "error": null, "data": { state: now, "error": error } });
        let state = |now: &str, error: Json| view(driver, answer(now, error)).state;
        assert_eq!(state("processing", json!(null)), JobState::Running, "{driver}");
        assert_eq!(state("done", json!("")), JobState::Completed, "{driver}");
    }
    assert_eq!(told["status"]["error"], "/data/error");
    // A job that has only a flag, in an envelope with a state.
    let flag = json!({ "properties": { "status": {}, "data": { "properties": { "done": {} } } } });
    let flag = driver_of(json!({ "/jobs": { "post": {} }, "/jobs/{id}": { "get": answering(flag) } }));
    for driver in [&flag, &untold] {
        let state = |done: bool| view(driver, json!({ "status": "success", "data": { "done": done } })).state;
        assert_eq!((state(false), state(true)), (JobState::Running, JobState::Completed), "{driver}");
    }
}

#[test]
fn a_flag_says_that_it_is_over_and_the_error_beside_it_how() {
    let flag = driver_of(json!({
        "/jobs": { "post": {} },
        "/jobs/{id}": { "get": answering(json!({ "properties": { "done": {}, "error": {} } })) } }));
    let untold = driver_of(json!({ "/jobs": { "post": {} }, "/jobs/{id}": { "get": {} } }));
    for driver in [&flag, &untold] {
        for (done, error, state) in [
            (true, json!("out of memory"), JobState::Failed),
            (true, json!({ "code": 5 }), JobState::Failed),
            (true, json!(null), JobState::Completed),
            (true, json!(false), JobState::Completed),
            (true, json!([]), JobState::Completed),
            (false, json!(null), JobState::Running),
        ] {
            let seen = view(driver, json!({ "done": done, "error": error }));
            assert_eq!(seen.state, state, "{done} {error} {driver}");
        }
    }
    // A state that has a word for a failure is believed: an error beside another one may be a warning.
    let states = driver_of(json!({
        "/jobs": { "post": {} },
        "/jobs/{id}": { "get": answering(json!({ "properties": { "status": {}, "error": {} } })) } }));
    for driver in [&states, &untold] {
        let seen = view(driver, json!({ "status": "completed", "error": "a step was slow" }));
        assert_eq!(seen.state, JobState::Completed, "{driver}");
    }
    assert_eq!(view(&flag, json!({ "done": true, "error": "None" })).state, JobState::Completed);
    assert_eq!(view(&states, json!({ "status": "In-Progress" })).state, JobState::Running);
}

#[test]
fn a_result_is_asked_for_by_what_names_the_job() {
    let result = |status: &str, others: &[&str]| {
        let mut paths = json!({ "/generate": { "post": {} } });
        for path in others.iter().chain([&status]) {
            paths[*path] = json!({ "get": {} });
        }
        let driver = driver_of(paths);
        driver.pointer("/result/path").and_then(Json::as_str).map(str::to_owned)
    };
    assert_eq!(result("/status/{job_id}", &["/images/{filename}"]), None);
    assert_eq!(result("/jobs/{id}", &["/files/{id}"]), None, "a file's own id");
    assert_eq!(result("/jobs/{id}", &["/download/{id}"]), None);
    assert_eq!(result("/jobs/{id}", &["/jobs/{id}/image"]).as_deref(), Some("/jobs/{{id}}/image"));
    assert_eq!(result("/jobs/{id}", &["/results/{id}"]).as_deref(), Some("/results/{{id}}"));
    assert_eq!(result("/status/{job_id}", &["/a/{name}/result", "/download/{job_id}"]).as_deref(), Some("/download/{{id}}"));
    let driver = driver_of(json!({ "/predictions": { "post": {} }, "/predictions/{id}": { "get": {} } }));
    assert_eq!(driver["status"]["path"], "/predictions/{{id}}");
    // Nor is somebody's list of jobs the state of one.
    let driver = driver_of(json!({ "/generate": { "post": {} },
        "/users/{user_id}/jobs": { "get": {} }, "/v1/generations/{id}": { "get": {} } }));
    assert_eq!(driver["status"]["path"], "/v1/generations/{{id}}");
}

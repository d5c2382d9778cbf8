//! What must hold within a driver file beyond its form.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value as Json;

use super::format::{AnswerIs, Driver, Step};
use super::inputs::KNOWN;
use super::template;
use crate::experiment::diagnostic::{Diagnostics, Span, nearest};
use crate::experiment::node::{Node, Value};

pub fn check(driver: &Driver, tree: &Node, diags: &mut Diagnostics) {
    let span = |path: &[&str]| path.iter().try_fold(tree, |node, key| node.get(key)).map_or(tree.span, |node| node.span);
    if driver.version != 1 {
        diags.error(span(&["version"]), format!("version {} of the driver format is not known", driver.version), "expected 1");
    }
    for (name, pattern) in driver.patterns.all() {
        if let Err(error) = Regex::new(pattern) {
            let text = format!("this is no regular expression: {}", error.to_string().replace('\n', " "));
            diags.error(span(&["patterns", name]), text, "here");
        }
    }
    let auth = [driver.auth.bearer.is_some(), driver.auth.basic.is_some(), driver.auth.login.is_some()];
    if auth.iter().filter(|given| **given).count() > 1 {
        diags.error(span(&["auth"]), "requests are authenticated in one way", "expected one of `bearer`, `basic` and `login`");
    }
    let pushed =
        [("websocket", driver.websocket.is_some()), ("socketio", driver.socketio.is_some()), ("sse", driver.sse.is_some())];
    let pushed: Vec<&str> = pushed.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    if let [first, second, ..] = pushed[..] {
        diags.error(span(&[second]), format!("progress is pushed in one way, and `{first}` is given too"), "here");
    }
    if driver.status.progress_of.is_some_and(|end| end.is_nan() || end <= 0.0) {
        diags.error(
            span(&["status", "progress_of"]),
            "at the end the progress is above 0",
            "expected `1`, or the number of steps",
        );
    }
    paths(driver, tree, diags);
    submission(driver, tree, diags);
    following(driver, &pushed, &span, diags);
    if let Some(result) = &driver.result
        && result.path.is_some() == result.inline.is_some()
    {
        diags.error(span(&["result"]), "a result is in one place", "expected one of `path` and `inline`");
    }
}

/// What is asked of the target is below its URL. Only what is told about it may be somewhere else: metrics often have a port of
/// their own.
fn paths(driver: &Driver, tree: &Node, diags: &mut Diagnostics) {
    let at = |keys: &[&str]| keys.iter().try_fold(tree, |node, key| node.get(key)).map_or(tree.span, |node| node.span);
    let mut wrong = |path: &str, place: Span, may_be_elsewhere: bool| {
        let whole = ["http://", "https://"].iter().any(|scheme| path.starts_with(scheme));
        let below = path.is_empty() || ["/", "{{", "?"].iter().any(|begin| path.starts_with(begin));
        if below || (whole && may_be_elsewhere) {
            return;
        }
        let expected = if whole { "expected `/…`" } else { "expected a path that begins with `/`" };
        diags.error(place, format!("`{path}` is no path below the target's URL"), expected);
    };
    let told = [("metrics", &driver.metrics), ("health", &driver.health), ("ready", &driver.ready)];
    for (name, route) in told.iter().filter_map(|(name, route)| Some((name, route.as_ref()?))) {
        wrong(&route.path, at(&[name, "path"]), true);
    }
    driver.queue.iter().for_each(|queue| wrong(&queue.path, at(&["queue", "path"]), true));
    driver.listing.iter().for_each(|listing| wrong(&listing.path, at(&["listing", "path"]), false));
    driver.status.path.iter().for_each(|path| wrong(path, at(&["status", "path"]), false));
    driver.result.iter().filter_map(|r| r.path.as_ref()).for_each(|path| wrong(path, at(&["result", "path"]), false));
    driver.cancel.iter().for_each(|route| wrong(&route.path, at(&["cancel"]), false));
    driver.evict.iter().for_each(|route| wrong(&route.path, at(&["evict", "path"]), false));
    driver.auth.login.iter().for_each(|login| wrong(&login.path, at(&["auth", "login", "path"]), false));
    driver.submit.steps.iter().for_each(|step| wrong(&step.path, at(&["submit", "steps"]), false));
}

/// Every placeholder must be filled by somebody: one that is not would be sent as it stands.
fn submission(driver: &Driver, tree: &Node, diags: &mut Diagnostics) {
    let steps = tree.get("submit").and_then(|submit| submit.get("steps"));
    let place = |at: usize| match steps.map(|node| (&node.value, node.span)) {
        Some((Value::List(items), span)) => items.get(at).map_or(span, |item| item.span),
        Some((_, span)) => span,
        None => tree.span,
    };
    if driver.submit.steps.is_empty() {
        diags.error(place(0), "a job is submitted by at least one request", "expected `steps: [{ path: /jobs, json: {…} }]`");
    }
    let mut known: BTreeSet<String> = KNOWN.iter().map(|name| (*name).to_owned()).collect();
    for (at, step) in driver.submit.steps.iter().enumerate() {
        for name in texts(step).iter().flat_map(|text| template::names(text)) {
            unknown(&name, &known, place(at), diags);
        }
        let bodies = [
            step.json.is_some() && step.multipart.is_empty(),
            !step.form.is_empty(),
            step.text.is_some(),
            !step.multipart.is_empty(),
        ];
        if bodies.iter().filter(|given| **given).count() > 1 {
            diags.error(place(at), "a request has one body", "expected one of `json`, `form`, `multipart` and `text`");
        }
        known.extend(step.capture.keys().cloned());
    }
    let id = tree.get("submit").map_or(tree.span, |submit| submit.get("id").unwrap_or(submit).span);
    match &driver.submit.id {
        None if driver.submit.answer == AnswerIs::Acceptance => {
            diags.error(id, "nothing says where the job's id is", "expected `id: /id`, or another `answer`");
        }
        Some(place) => place.names().iter().for_each(|name| unknown(name, &known, id, diags)),
        None => {}
    }
}

fn following(driver: &Driver, pushed: &[&str], span: &dyn Fn(&[&str]) -> Span, diags: &mut Diagnostics) {
    let asked = driver.status.path.is_some();
    if driver.submit.answer == AnswerIs::Acceptance && !asked && pushed.is_empty() {
        diags
            .error(span(&["submit"]), "nothing tells how an accepted job ends", "here")
            .help("give `status.path`, one of `websocket`, `socketio` and `sse`, or `submit.answer: result`");
    }
    if asked && driver.status.states.is_empty() {
        diags.error(
            span(&["status"]),
            "the target's words for states are not given",
            "expected `states: { done: completed, … }`",
        );
    }
}

/// All texts of a request in which values are filled in.
fn texts(step: &Step) -> Vec<String> {
    let mut all = vec![step.path.clone()];
    all.extend(step.text.clone());
    all.extend(step.form.values().chain(step.multipart.values()).chain(step.headers.values()).cloned());
    fn strings(json: &Json, all: &mut Vec<String>) {
        match json {
            Json::String(text) => all.push(text.clone()),
            Json::Array(items) => items.iter().for_each(|item| strings(item, all)),
            Json::Object(map) => map.values().for_each(|value| strings(value, all)),
            _ => {}
        }
    }
    step.json.iter().for_each(|json| strings(json, &mut all));
    all
}

fn unknown(name: &str, known: &BTreeSet<String>, span: Span, diags: &mut Diagnostics) {
    if !known.contains(name) {
        let near = nearest(name, known.iter().map(String::as_str))
            .map_or_else(String::new, |word| format!("; did you mean `{{{{{word}}}}}`?"));
        let all: Vec<&str> = known.iter().map(String::as_str).collect();
        diags.error(span, format!("nothing fills in `{{{{{name}}}}}`{near}"), format!("known here: {}", all.join(", ")));
    }
}

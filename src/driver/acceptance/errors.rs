//! How an answer says that something went wrong: an error, `success: false`, the number of one.

use serde_json::Value as Json;

use super::super::template::{as_text, says_something};
use super::super::words::{self, plain};
use super::{Field, RESULTS, has_one, holds_text};

/// What an answer says of itself, and why.
pub(super) const SAID: [&str; 9] =
    ["message", "msg", "detail", "reason", "description", "errmsg", "errormsg", "errormessage", "statusmsg"];
/// Words in a message that tells of an error, whatever its number.
const WRONG: [&str; 19] = [
    "error",
    "fail",
    "failed",
    "failure",
    "invalid",
    "unable",
    "cannot",
    "not",
    "denied",
    "exceeded",
    "memory",
    "oom",
    "exception",
    "unavailable",
    "crashed",
    "died",
    "exhausted",
    "timeout",
    "busy",
];
/// Words for a failure, and for no verdict.
pub(super) const FAILED: [&str; 3] = ["error", "failed", "failure"];
pub(super) const ERRORS: [&str; 3] = ["error", "errors", "errormessage"];
const WITHOUT_A_REASON: &str = "its answer says so without a reason (where that is the result, `result.inline` names its place)";

/// It says that the job failed, or that there was an error, in one of the usual ways. `is_own` of what was not sent to it.
pub(super) fn failed(fields: &[Field<'_>], is_over: bool, is_own: impl Fn(&Field<'_>) -> bool) -> Option<String> {
    let all = |names: &'static [&'static str]| fields.iter().filter(|field| field.is(names));
    let is_error = |field: &&Field<'_>| match field.value {
        // A figure may be called so, and a count.
        Json::Number(_) => false,
        error => *error != Json::Bool(false) && holds_an_error(error),
    };
    let error = all(&ERRORS).find(is_error).map(|field| field.value);
    let said = || {
        let message = || all(&SAID).find(|field| says_something(field.value));
        error.filter(|error| !error.is_boolean()).or_else(|| message().map(|field| field.value)).map(as_text)
    };
    let says_no = all(&["success", "ok"]).any(|field| *field.value == Json::Bool(false));
    if says_no || is_over || error == Some(&Json::Bool(true)) {
        return Some(said().unwrap_or_else(|| WITHOUT_A_REASON.to_owned()));
    }
    // The name of a job is left empty, and a sentence says why.
    let has_no_job = fields.iter().any(|field| field.is_sure_id() && !says_something(field.value) && !field.value.is_number());
    if has_no_job && is_only_said(fields) {
        return said();
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

/// There is a message, and nothing besides but what every answer may have.
fn is_only_said(fields: &[Field<'_>]) -> bool {
    message(fields).is_some() && fields.iter().all(|field| is_of_any_answer(field))
}

fn is_of_any_answer(field: &Field<'_>) -> bool {
    let usual = [
        "code",
        "statuscode",
        "status",
        "errorcode",
        "errcode",
        "errno",
        "requestid",
        "traceid",
        "elapsed",
        "timeelapsed",
        "timestamp",
    ];
    field.is(&SAID) || field.is(&usual) || !says_something(field.value)
}

/// What an answer says of itself, where that is not that all is well.
fn message<'a>(fields: &[Field<'a>]) -> Option<&'a str> {
    let told = fields.iter().filter(|field| field.is(&SAID) && field.name != "description");
    told.filter_map(|field| field.value.as_str()).find(|text| !is_fine(text))
}

fn is_fine(text: &str) -> bool {
    matches!(plain(text).as_str(), "" | "ok" | "success" | "succeeded" | "none" | "null" | "noerror" | "sok" | "0")
}

/// The number of an error: one of HTTP's, or one in a field for nothing else, or one beside which there is only a message.
pub(super) fn error_code(fields: &[Field<'_>]) -> Option<String> {
    let is_alone = || is_only_said(fields);
    let holds_nothing_else = || fields.iter().all(|field| is_of_any_answer(field) || field.is(&words::IDS));
    // 1 is a success to some, and an error to others: the message tells, or that there are no data.
    let is_wrong = |code: i64| {
        let has_no_data = || fields.iter().any(|field| field.is(&words::HELD) && !says_something(field.value));
        let says_so = || message(fields).is_some_and(|text| has_one(text, &WRONG));
        code != 1 || has_no_data() || says_so()
    };
    let is_of_errors = |field: &Field<'_>| match field.number() {
        Some(code) => code != 0 && !(200..300).contains(&code),
        None => field.value.as_str().is_some_and(|text| !is_fine(text)) && holds_nothing_else(),
    };
    let is_of_http = |field: &Field<'_>| match field.number() {
        Some(code) => code < 0 || (400..600).contains(&code) || (code != 0 && !is_success(code) && is_alone() && is_wrong(code)),
        None => *field.value == Json::Bool(false) && field.name == "status" && is_alone(),
    };
    let found = |names: &[&str], is: &dyn Fn(&Field<'_>) -> bool| {
        fields.iter().find(|field| field.is(names) && is(field)).map(|field| format!("{} {}", field.key, as_text(field.value)))
    };
    found(&["errorcode", "errcode", "errno"], &is_of_errors).or_else(|| found(&["code", "statuscode", "status"], &is_of_http))
}

/// HTTP's, and what is made of it with digits of one's own.
fn is_success(code: i64) -> bool {
    (200..300).contains(&code) || (code % 1000 == 0 && (200..300).contains(&(code / 100)))
}

pub(super) fn holds_an_error(error: &Json) -> bool {
    match error {
        Json::Number(_) => false,
        Json::Object(fields) => {
            fields.values().any(|value| holds_an_error(value) || value.as_i64().is_some_and(|code| code != 0))
        }
        Json::Array(all) => all.iter().any(holds_an_error),
        other => says_something(other),
    }
}

pub(super) fn says_no(fields: &[Field<'_>]) -> bool {
    fields.iter().any(|field| field.name == "success" && *field.value == Json::Bool(false))
}

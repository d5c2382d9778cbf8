//! What an answer is that a driver takes for the result: a driver that takes the acceptance of a job for its result would call
//! every job completed that was only taken.

mod errors;

use serde_json::{Map, Value as Json};

use self::errors::{ERRORS, FAILED, SAID, error_code, failed, holds_an_error, says_no};
use super::StateWord;
use super::template::{bounded, says_something};
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
const BESIDE: [&str; 37] = [
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
    "traceid",
    "elapsed",
    "timeelapsed",
    "submittime",
    "statuscode",
    "statusmsg",
];
/// A text there may be what was asked for.
const TEXTS: [&str; 6] = ["message", "detail", "msg", "statusmsg", "code", "metadata"];
/// Words for a job that has ended, and not only for a request that was taken.
const ENDS: [&str; 6] = ["completed", "complete", "done", "finished", "succeeded", "ready"];

/// Words in a sentence that says that a job was taken, or was not, and of what.
const TAKEN: [&str; 10] =
    ["submitted", "queued", "enqueued", "accepted", "received", "scheduled", "started", "created", "processing", "pending"];
const OF_A_JOB: [&str; 6] = ["job", "task", "request", "submission", "successfully", "queue"];
/// What an answer of an API is of.
const OBJECTS: [&str; 10] =
    ["response", "task", "job", "video", "image", "generation", "prediction", "batch", "operation", "imagegeneration"];
/// So short a sentence speaks of nothing else.
const FEW_WORDS: usize = 2;
/// What else holds a job, besides results.
const ENVELOPES: [&str; 3] = ["output", "result", "response"];
/// So many envelopes in one another are opened.
const DEEPEST: usize = 4;

/// Nobody names a job by so much.
const LONG: usize = 1024;
/// ... and nobody says in more that it was taken.
const LONGEST_SENTENCE: usize = 160;
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

    /// The name of a job, and not that of anything, or of the request alone.
    fn is_sure_id(&self) -> bool {
        self.is(&words::IDS) && !matches!(self.name.as_str(), "id" | "uuid" | "requestid")
    }

    /// Google's operations have a name like a path.
    fn is_operation(&self) -> bool {
        self.name == "name" && self.value.as_str().is_some_and(|name| name.contains("operations/"))
    }

    /// Many write a number as its text.
    fn number(&self) -> Option<i64> {
        self.value.as_i64().or_else(|| self.value.as_str()?.trim().parse().ok())
    }
}

/// What stands in a header of the answer's own belongs to it.
fn fields_of(map: &Map<String, Json>) -> Vec<Field<'_>> {
    let mut fields: Vec<Field<'_>> = map.iter().map(|(key, value)| Field { name: plain(key), key, value }).collect();
    if let Some(at) = fields.iter().position(|field| field.name == "baseresp" && field.value.is_object()) {
        let head = fields.remove(at).value.as_object();
        fields.extend(head.into_iter().flatten().map(|(key, value)| Field { name: plain(key), key, value }));
    }
    fields
}

/// What an answer is instead of a result; `None` where it may hold one. `asked` tells a field of what was sent: some answers repeat it.
pub fn told(answer: &Json, asked: impl Fn(&str, &Json) -> Option<Json>) -> Option<NoResult> {
    let (mut fields, words) = layers(answer.as_object()?);
    let is_own = |field: &Field<'_>| asked(field.key, field.value).as_ref() != Some(field.value);
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
    if let [only] = fields.as_slice()
        && let Some(id) = only.value.as_str().filter(|text| only.is(&ENVELOPES) && is_uuid(text))
    {
        return Some(NoResult::Taken(format!("it holds an id, and nothing else: {id}")));
    }
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
        let held = layer.iter().enumerate().find_map(|(at, field)| Some((at, opened(field)?)));
        if let Some((at, _)) = held {
            layer.remove(at);
        }
        fields.append(&mut layer);
        let Some((_, inner)) = held else { break };
        layer = inner;
    }
    fields.append(&mut layer);
    (fields, words)
}

/// What an envelope holds, if that is a job.
fn opened<'a>(field: &Field<'a>) -> Option<Vec<Field<'a>>> {
    let holds_a_job = field.is(&words::HELD);
    let inner = fields_of(held_in(field.value).filter(|_| holds_a_job || field.is(&ENVELOPES))?);
    ((holds_a_job && field.value.is_object()) || is_only_a_job(&inner) || is_only_a_failure(&inner)).then_some(inner)
}

/// An object, or the only one of a list.
fn held_in(value: &Json) -> Option<&Map<String, Json>> {
    match value {
        Json::Array(all) if all.len() == 1 => all[0].as_object(),
        value => value.as_object(),
    }
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
fn is_only_a_job(fields: &[Field<'_>]) -> bool {
    names_a_job(fields) && (word_in(fields).is_some_and(|word| waits(word) || is_over(word)) || is_bare_job(fields))
}

/// What is called a result holds an error, and nothing besides but what belongs to it.
fn is_only_a_failure(fields: &[Field<'_>]) -> bool {
    let belongs = |field: &Field<'_>| {
        field.name.starts_with("err")
            || field.is(&SAID)
            || field.is(&words::IDS)
            || field.is(&words::STATE)
            || field.is(&["success", "code", "statuscode", "traceback", "stack", "stacktrace", "exception", "type"])
            || !says_something(field.value)
    };
    let has_failed = word_in(fields).is_some_and(|word| FAILED.contains(&plain(word).as_str()));
    let is_told = has_failed || says_no(fields) || fields.iter().any(|field| field.is(&ERRORS)) || error_code(fields).is_some();
    is_told && fields.iter().all(belongs) && failed(fields, has_failed, |_| true).is_some()
}

fn names_a_job(fields: &[Field<'_>]) -> bool {
    let is_name = |value: &Json| value.is_number() || value.as_str().is_some_and(|id| !id.trim().is_empty());
    fields.iter().any(|field| (field.is(&words::IDS) && is_name(field.value)) || field.is_operation())
}

/// It names a job, and holds nothing else.
fn is_bare_job(fields: &[Field<'_>]) -> bool {
    // `id` is the name of many things, and every answer may have the number of its request; of a job a sentence may tell.
    let is_surely_a_job = fields.iter().any(|field| field.is_sure_id());
    let is_word = |field: &Field<'_>| {
        let is_short = field.value.as_str().is_some_and(|text| text.len() <= LONG);
        is_short && !holds(field.value) && says_something(field.value)
    };
    let tells = |field: &Field<'_>| is_surely_a_job && field.value.as_str().is_some_and(tells_of_acceptance);
    let is_usual = |field: &Field<'_>| match field.value {
        Json::String(_) if field.is(&TEXTS) => is_word(field) || tells(field),
        Json::Object(_) | Json::Array(_) if field.is(&TEXTS) => !holds_text(field.value),
        _ => {
            field.is(&words::IDS)
                || field.is(&words::STATE)
                || field.is(&BESIDE)
                || field.is_operation()
                || (field.name == "object" && field.value.as_str().is_some_and(|word| OBJECTS.contains(&plain(word).as_str())))
                || (field.name == "model" && field.value.as_str().is_some_and(|name| name.len() < 128 && !is_a_place(name)))
                || (field.name == "done" && *field.value == Json::Bool(false))
                || (field.is(&["result", "results", "response"]) && is_word(field))
        }
    };
    names_a_job(fields) && fields.iter().all(is_usual)
}

/// A sentence such as "Your job was submitted", or one that it was not: of neither is the rest a result.
fn tells_of_acceptance(sentence: &str) -> bool {
    let is_of_a_job = || words_of(sentence).count() <= FEW_WORDS || has_one(sentence, &OF_A_JOB);
    sentence.len() <= LONGEST_SENTENCE && has_one(sentence, &TAKEN) && is_of_a_job()
}

fn words_of(sentence: &str) -> impl Iterator<Item = &str> {
    sentence.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

fn has_one(sentence: &str, of: &[&str]) -> bool {
    words_of(sentence).any(|word| of.iter().any(|one| word.eq_ignore_ascii_case(one)))
}

/// What an answer is instead of a result, where a driver names the place of the result. What stands there is one, but a word that may be
/// the state of a job, beside an error or the name of a job.
pub fn told_beside(answer: &Json, place: &str, asked: impl Fn(&str, &Json) -> Option<Json>) -> Option<NoResult> {
    let is_one = |found: &&Json| match found {
        Json::Null => false,
        Json::String(_) => says_something(found),
        Json::Array(_) | Json::Object(_) => holds(found),
        Json::Bool(_) | Json::Number(_) => true,
    };
    let Some(found) = answer.pointer(place).filter(|_| !place.is_empty()).filter(is_one) else {
        return told(answer, asked);
    };
    let is_word = found.as_str().is_some_and(|_| !holds(found));
    if !is_word {
        return None;
    }
    let mut rest = answer.clone();
    if let Some(place) = rest.pointer_mut(place) {
        *place = Json::Null;
    }
    let word = plain(found.as_str().unwrap_or_default());
    let fields = rest.as_object().map(fields_of).unwrap_or_default();
    let is_success = matches!(words::meaning(&word), Some(StateWord::Completed) | None) && !is_flag(&word);
    let is_taken = || match waits(&word) && !is_flag(&word) {
        true => names_a_job(&fields),
        false => is_success && fields.iter().any(Field::is_sure_id),
    };
    // Several errors, or `ok: false`, may be what a verdict is made of; one error is that of the request.
    let is_of_the_request = |field: &Field<'_>| field.is(&["error", "errormessage"]) && holds_an_error(field.value);
    let has_failed = || FAILED.contains(&word.as_str()) || is_success || fields.iter().any(is_of_the_request);
    told(&rest, asked).filter(|told| match told {
        NoResult::Failed(_) => has_failed() || says_no(&fields),
        NoResult::Taken(_) => is_taken(),
    })
}

fn is_flag(word: &str) -> bool {
    matches!(word, "true" | "false")
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
        // The kind of what is to come is no result.
        Json::Object(fields) => fields.iter().any(|(key, value)| !matches!(key.as_str(), "type" | "format") && holds_text(value)),
        Json::Null | Json::Number(_) | Json::Bool(_) => false,
    }
}

fn is_uuid(text: &str) -> bool {
    let lengths = [8, 4, 4, 4, 12];
    let parts = || text.split('-');
    parts().count() == lengths.len()
        && parts().zip(lengths).all(|(part, length)| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit()))
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
mod tests;

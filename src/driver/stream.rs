//! A job whose answer is a stream of server-sent events that ends with it, as language-model servers have it.

use std::sync::LazyLock;
use std::time::Instant;

use http_body_util::BodyExt;
use serde_json::Value as Json;
use tokio::sync::mpsc;

use super::events::{Event, Reader};
use super::format::{Step, Stream};
use super::http::HttpPort;
use super::inputs::{Ask, Vars};
use super::request::{Failure, MOST_TEXT, Reply};
use super::results::look;
use super::template::{as_text, bounded, says_something};
use super::wire::{self, Opened};
use super::{StateWord, words};
use crate::experiment::units::Time;
use crate::journal::event::{Answer, JobState, JobView, Tokens};
use crate::listen::How;

/// Of the text that comes, so much is kept.
const MOST_RESULT: usize = 4 << 20;
/// A stream of more pieces does not end.
const MOST_PIECES: usize = 1_000_000;

/// Sends the request; the job goes on in the background.
///
/// # Errors
/// Nothing was sent.
pub async fn submit(port: &HttpPort, step: &Step, ask: &Ask, vars: &Vars) -> Result<Answer, Failure> {
    let request = port.requester.make(step, ask, vars).await?.build().map_err(|e| Failure::Unusable(e.to_string()))?;
    let began = Instant::now();
    let opened = match wire::open(request, &port.tls()?, step.timeout.0).await {
        Err(Failure::NoAnswer(reason)) => return Ok(port.died(&ask.mark, reason)),
        other => other?,
    };
    let kind = opened.headers.get("content-type").map(|kind| String::from_utf8_lossy(kind.as_bytes()).into_owned());
    let streams = kind.as_deref().is_some_and(|kind| kind.starts_with("text/event-stream"));
    if !step.accepted.contains(&opened.status) || !streams {
        let reply = tokio::time::timeout(step.timeout.0, whole(opened))
            .await
            .unwrap_or_else(|_| Err(Failure::NoAnswer(format!("the answer did not end within {}", step.timeout))))?;
        return Ok(match port.refusal(step, &reply) {
            Some(Answer::Error { proxy: false, status: status @ 500.., reason }) => {
                port.died(&ask.mark, format!("status {status}: {reason}"))
            }
            Some(refusal) => refusal,
            None => {
                let kind = kind.unwrap_or_else(|| "nothing".to_owned());
                let reason =
                    bounded(&format!("expected a stream of events (text/event-stream), got {kind}: {}", reply.excerpt()));
                Answer::Error { status: reply.status, proxy: false, reason }
            }
        });
    }
    let (cut, cuts) = mpsc::unbounded_channel();
    port.live.begin(&ask.mark, JobView::of(JobState::Running), Some(cut));
    port.live.opened(&ask.mark, opened.wire.local_addr());
    let job =
        Job { port: port.clone(), id: ask.mark.clone(), format: port.driver.submit.stream.clone(), began, within: step.timeout };
    tokio::spawn(job.read(opened, cuts));
    Ok(Answer::Accepted { id: ask.mark.clone() })
}

async fn whole(opened: Opened) -> Result<Reply, Failure> {
    let Opened { status, headers, mut body, wire: _wire } = opened;
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let piece = frame.into_data().unwrap_or_default();
        bytes.extend_from_slice(&piece[..piece.len().min(MOST_TEXT - bytes.len())]);
        if bytes.len() == MOST_TEXT {
            break;
        }
    }
    let json = serde_json::from_slice(&bytes).unwrap_or(Json::Null);
    Ok(Reply { status, headers, body: bytes, whole: true, json, unread: None })
}

struct Job {
    port: HttpPort,
    id: String,
    format: Stream,
    began: Instant,
    /// All of it has to come in this time.
    within: Time,
}

/// Parts of words for an end that is none, beside what is the state of a job that failed or was cancelled.
const BAD_ENDS: [&str; 19] = [
    "abort",
    "blocklist",
    "cancel",
    "contentfilter",
    "error",
    "deadline",
    "evict",
    "expire",
    "fail",
    "incomplete",
    "interrupt",
    "kill",
    "malformed",
    "overload",
    "preempt",
    "prohibited",
    "refus",
    "safety",
    "timeout",
];

/// What has come so far.
#[derive(Default)]
struct Heard {
    text: String,
    times: Vec<f64>,
    /// The reason for its end, and whether that is a good one.
    finish: Option<(String, bool)>,
    done: bool,
    error: Option<String>,
}

impl Job {
    /// Reads to the end of the body: only a whole one, with a reason for its end and its last word, is a completed job.
    async fn read(self, opened: Opened, mut cuts: mpsc::UnboundedReceiver<How>) {
        let Opened { mut body, wire, .. } = opened;
        let (mut reader, mut heard) = (Reader::default(), Heard::default());
        let mut late = std::pin::pin!(tokio::time::sleep(self.within.0.saturating_sub(self.began.elapsed())));
        let ended = loop {
            if heard.times.len() >= MOST_PIECES {
                break Err(format!("it does not end: {MOST_PIECES} pieces have come"));
            }
            let piece = tokio::select! {
                () = &mut late => break Err(format!("no end within {}", self.within)),
                piece = wire::next_piece(&mut body) => piece,
                Some(how) = cuts.recv() => {
                    self.port.live.end(&self.id, JobView::failed(format!("its stream was taken away ({how})")), None);
                    // What nobody closes stays open, unread, for as long as the job could have lasted.
                    if let Some(_silent) = wire.leave(how) {
                        cuts.close();
                        tokio::time::sleep(super::request::SMALL_TIMEOUT * 12).await;
                    }
                    return;
                }
            };
            match piece {
                Ok(Some(piece)) => match reader.take(&piece) {
                    Ok(events) => {
                        events.iter().for_each(|event| heard.hear(&self.format, event, self.began.elapsed().as_secs_f64()))
                    }
                    Err(why) => break Err(why),
                },
                Ok(None) => break Ok(()),
                Err(why) => break Err(why),
            }
        };
        let view = heard.judge(&self.format, ended);
        let result = self.port.driver.result.as_ref().map(|_| look(heard.text.as_bytes(), 200));
        self.port.live.end(&self.id, view, result);
    }
}

impl Heard {
    /// An event that came so many seconds after the job began.
    fn hear(&mut self, format: &Stream, event: &Event, after_s: f64) {
        if !format.done.is_empty() && event.data.trim() == format.done {
            self.done = true;
            return;
        }
        // A comment or a ping of the server's own form is no progress.
        let json = match serde_json::from_str::<Json>(&event.data) {
            Ok(json) => json,
            Err(why) => {
                let is_cut = why.is_eof() && event.data.trim_start().starts_with('{');
                let told = || format!("a piece of its stream cannot be read ({why}): {}", bounded(&event.data));
                self.error = self.error.take().or_else(|| is_cut.then(told));
                return;
            }
        };
        let at = |pointer: &str| json.pointer(pointer).filter(|v| !v.is_null());
        if let Some(error) = at(&format.error).filter(|_| !format.error.is_empty()) {
            self.error = Some(bounded(&as_text(error)));
        }
        let places = std::iter::once(&format.token).chain(&format.also).filter(|place| !place.is_empty());
        let piece: String = places.filter_map(|place| at(place)).map(as_text).collect();
        if !piece.is_empty() {
            self.times.push(after_s);
            if self.text.len() + piece.len() <= MOST_RESULT {
                self.text.push_str(&piece);
            }
        }
        // Some say "" for as long as there is none.
        let is_one = |reason: &&Json| says_something(reason) && !reason.as_str().is_some_and(goes_on);
        if let Some(reason) = at(&format.finish).filter(is_one) {
            self.finish = Some((bounded(&as_text(reason)), is_good_end(format, reason)));
        }
    }

    /// Only a whole stream, with a good reason for its end and its last word, is a completed job.
    fn judge(&self, format: &Stream, ended: Result<(), String>) -> JobView {
        let count = self.times.len();
        let wrong = match ended {
            _ if self.error.is_some() => self.error.clone(),
            Err(why) => Some(format!("the stream broke after {count} pieces: {why}")),
            Ok(()) if !format.finish.is_empty() && self.finish.is_none() => {
                Some(format!("the stream ended after {count} pieces without a reason at {}", format.finish))
            }
            Ok(()) if self.finish.as_ref().is_some_and(|(_, is_good)| !is_good) => {
                let reason = self.finish.as_ref().map_or("", |(reason, _)| reason);
                Some(format!(
                    "the stream ended after {count} pieces with `{reason}`, which is no good end (a driver names those as `stream.good`)"
                ))
            }
            Ok(()) if !format.done.is_empty() && !self.done => {
                Some(format!("the stream ended after {count} pieces without its last word, {}", format.done))
            }
            Ok(()) => None,
        };
        let view = wrong.map_or_else(|| JobView::of(JobState::Completed), JobView::failed);
        JobView { tokens: tokens(&self.times), ..view }
    }
}

/// It is the state of a job that has not ended, where another field than the usual one tells of the end.
fn goes_on(word: &str) -> bool {
    matches!(words::meaning(word), Some(StateWord::Queued | StateWord::Running)) || words::is_same(word, "not_finished")
}

/// Where a driver names another place for the reason, and no good ends, only what is known to be none is none.
fn is_good_end(format: &Stream, reason: &Json) -> bool {
    static USUAL: LazyLock<Stream> = LazyLock::new(Stream::default);
    let is_anothers = format.finish != USUAL.finish && format.good == USUAL.good;
    let word = ["type", "finish_reason", "reason"].iter().find_map(|key| reason.get(*key)?.as_str()).or_else(|| reason.as_str());
    match word {
        Some(word) if format.good.iter().any(|good| good.eq_ignore_ascii_case(word)) => true,
        Some(word) => is_anothers && !is_bad_end(word),
        None => is_anothers || *reason == Json::Bool(true),
    }
}

fn is_bad_end(word: &str) -> bool {
    let letters = words::plain(word);
    matches!(words::meaning(word), Some(StateWord::Failed | StateWord::Cancelled))
        || BAD_ENDS.iter().any(|bad| letters.contains(bad))
}

fn tokens(times: &[f64]) -> Option<Tokens> {
    let mut gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_by(f64::total_cmp);
    Some(Tokens {
        count: times.len() as u32,
        first_s: *times.first()?,
        gap_s: gaps.get(gaps.len() / 2).copied().unwrap_or(0.0),
        longest_gap_s: gaps.last().copied().unwrap_or(0.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces of a stream in which each holds `filler`, with that end.
    fn ends(pieces: &[&str], end: &str, done: bool) -> JobView {
        let (format, mut heard) = (Stream::default(), Heard::default());
        let tail = done.then_some("[DONE]");
        for (at, data) in pieces.iter().copied().chain([end]).chain(tail).filter(|data| !data.is_empty()).enumerate() {
            heard.hear(&format, &Event { name: String::new(), data: data.to_owned() }, at as f64);
        }
        heard.judge(&format, Ok(()))
    }

    const PIECE: &str = r#"{"choices": [{"delta": {"content": "a "}, "finish_reason": null}]}"#;

    /// Servers of other forms say it in other places, and in other words.
    #[test]
    fn another_place_has_other_words() {
        let ends = |reason: Json| is_good_end(&Stream { finish: "/response/status".into(), ..Stream::default() }, &reason);
        for good in
            [serde_json::json!("completed"), "COMPLETE".into(), "limit".into(), 7.into(), serde_json::json!({ "type": "length" })]
        {
            assert!(ends(good.clone()), "{good}");
        }
        let bad = ["aborted", "error", "Cancelled", "failed", "content_filter", "rejected", "timed_out", "dead", "REVOKED"];
        for bad in
            bad.into_iter().chain(["deadline_exceeded", "CONTENT-FILTER", "PROHIBITED_CONTENT", "time-out", "expired", "refusal"])
        {
            assert!(!ends(bad.into()), "{bad}");
        }
        assert!(
            goes_on("in_progress") && goes_on("queued") && goes_on("NOT_FINISHED") && !goes_on("completed") && !goes_on("stop")
        );
        let named = Stream { finish: "/end".into(), good: vec!["fine".into()], ..Stream::default() };
        assert!(is_good_end(&named, &"fine".into()) && !is_good_end(&named, &"stop".into()));
        assert!(is_good_end(&Stream::default(), &serde_json::json!({ "type": "length" })));
    }

    fn reason(reason: &str) -> String {
        format!(r#"{{"choices": [{{"delta": {{}}, "finish_reason": {reason}}}]}}"#)
    }

    #[test]
    fn only_a_reason_that_is_known_to_be_good_is_a_good_end() {
        for good in ["\"stop\"", "\"length\"", "\"STOP\"", "\"eos_token\"", "\"tool_calls\"", "true"] {
            assert_eq!(ends(&[PIECE], &reason(good), true).state, JobState::Completed, "{good}");
        }
        for bad in ["\"abort\"", "\"error\"", "\"content_filter\"", "{\"type\": \"abort\"}", "7", "\"cancelled\""] {
            let view = ends(&[PIECE], &reason(bad), true);
            assert!(view.error.as_ref().is_some_and(|why| why.contains("is no good end")), "{bad}: {view:?}");
        }
        for none in ["null", "\"\"", "{}", "false"] {
            let view = ends(&[PIECE], &reason(none), true);
            assert!(view.error.as_ref().is_some_and(|why| why.contains("without a reason")), "{none}: {view:?}");
        }
        // It is said again and again that there is none yet.
        let empty = PIECE.replace("null", "\"\"");
        assert_eq!(ends(&[&empty, &empty], &reason("\"stop\""), true).state, JobState::Completed);
        assert_eq!(ends(&[&empty, &empty], "", true).state, JobState::Failed, "a gateway's last word is no reason");
        assert_eq!(ends(&[PIECE], &reason("\"stop\""), false).state, JobState::Failed, "its last word is missing");
    }

    #[test]
    fn a_piece_that_was_cut_is_no_piece() {
        let cut = ends(&[PIECE, &PIECE[..30], PIECE], &reason("\"stop\""), true);
        assert!(cut.error.as_ref().is_some_and(|why| why.contains("cannot be read")), "{cut:?}");
        let pings = ends(&["ping", PIECE, "keep-alive"], &reason("\"stop\""), true);
        assert_eq!(pings.state, JobState::Completed, "{pings:?}");
    }

    #[test]
    fn what_a_model_thinks_and_what_it_calls_are_tokens_too() {
        let thought = r#"{"choices": [{"delta": {"reasoning_content": "hm "}, "finish_reason": null}]}"#;
        let also = r#"{"choices": [{"delta": {"content": "", "reasoning": "hm "}, "finish_reason": null}]}"#;
        let call = r#"{"choices": [{"delta": {"tool_calls": [{"function": {"arguments": "{"}}]}, "finish_reason": null}]}"#;
        let view = ends(&[thought, also, call, PIECE], &reason("\"length\""), true);
        let tokens = view.tokens.unwrap();
        assert_eq!((view.state, tokens.count, tokens.first_s), (JobState::Completed, 4, 0.0));
        assert_eq!(ends(&[thought], &reason("\"length\""), true).tokens.unwrap().count, 1, "all of its budget");
    }
}

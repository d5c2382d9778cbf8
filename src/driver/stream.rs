//! A job whose answer is a stream of server-sent events that ends with it, as language-model servers have it.

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
use super::template::{as_text, bounded};
use super::wire::{self, Opened};
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
    Ok(Reply { status, headers, body: bytes, whole: true, json })
}

struct Job {
    port: HttpPort,
    id: String,
    format: Stream,
    began: Instant,
    /// All of it has to come in this time.
    within: Time,
}

/// What has come so far.
#[derive(Default)]
struct Heard {
    text: String,
    times: Vec<f64>,
    finished: bool,
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
                    Ok(events) => events.iter().for_each(|event| self.hear(&mut heard, event)),
                    Err(why) => break Err(why),
                },
                Ok(None) => break Ok(()),
                Err(why) => break Err(why),
            }
        };
        let view = self.judge(&heard, ended);
        let result = self.port.driver.result.as_ref().map(|_| look(heard.text.as_bytes(), 200));
        self.port.live.end(&self.id, view, result);
    }

    fn hear(&self, heard: &mut Heard, event: &Event) {
        if !self.format.done.is_empty() && event.data.trim() == self.format.done {
            heard.done = true;
            return;
        }
        // A comment or a ping of the server's own form is no progress.
        let Ok(json) = serde_json::from_str::<Json>(&event.data) else { return };
        let at = |pointer: &str| json.pointer(pointer).filter(|v| !v.is_null());
        if let Some(error) = at(&self.format.error).filter(|_| !self.format.error.is_empty()) {
            heard.error = Some(bounded(&as_text(error)));
        }
        if let Some(piece) = at(&self.format.token).map(as_text).filter(|piece| !piece.is_empty()) {
            heard.times.push(self.began.elapsed().as_secs_f64());
            if heard.text.len() + piece.len() <= MOST_RESULT {
                heard.text.push_str(&piece);
            }
        }
        heard.finished |= at(&self.format.finish).is_some();
    }

    fn judge(&self, heard: &Heard, ended: Result<(), String>) -> JobView {
        let count = heard.times.len();
        let wrong = match ended {
            _ if heard.error.is_some() => heard.error.clone(),
            Err(why) => Some(format!("the stream broke after {count} pieces: {why}")),
            Ok(()) if !self.format.finish.is_empty() && !heard.finished => {
                Some(format!("the stream ended after {count} pieces without a reason at {}", self.format.finish))
            }
            Ok(()) if !self.format.done.is_empty() && !heard.done => {
                Some(format!("the stream ended after {count} pieces without its last word, {}", self.format.done))
            }
            Ok(()) => None,
        };
        let view = wrong.map_or_else(|| JobView::of(JobState::Completed), JobView::failed);
        JobView { tokens: tokens(&heard.times), ..view }
    }
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

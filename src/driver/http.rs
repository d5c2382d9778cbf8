//! Speaks a driver's protocol: submission, questions, results.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use rustls::ClientConfig;
use serde_json::Value as Json;

use super::acceptance::{self, NoResult};
use super::format::{AnswerIs, Driver, Method, Step};
use super::inputs::{Ask, Vars};
use super::jobs::JobsChannel;
use super::live::Live;
use super::messages::Said;
use super::place::Place;
use super::request::{Failure, Reply, Requester, SMALL_TIMEOUT};
use super::results::{inline, lookless};
use super::template::{self, bounded};
use super::{Channel, Depth, Port, Probe, Seen, gateway, reach, socket, socketio, stream, tls};
use crate::journal::event::{Answer, JobState, JobView, ResultLook};
use crate::observe::prometheus;
use crate::secret;

/// A health endpoint that takes longer does not answer.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// A job's id may be a signed token; one that is longer is refused, never cut.
const LONGEST_ID: usize = 8 << 10;
/// In base64, a PNG of one pixel is longer.
const SHORTEST_PICTURE: usize = 80;
/// What a driver is to say where an answer is taken for the result.
const FOLLOW: &str = "a job that is followed needs `submit.answer: acceptance`, `submit.id` and `status` in a driver file (`chaos init` writes one); where this is the result, name its place with `inline`";

/// Cheap to clone.
#[derive(Clone)]
pub struct HttpPort {
    pub driver: Arc<Driver>,
    pub requester: Arc<Requester>,
    pub live: Arc<Live>,
    tls: Arc<OnceLock<Arc<ClientConfig>>>,
}

impl HttpPort {
    /// # Errors
    /// When the client cannot be set up.
    pub fn new(driver: Driver, url: Arc<OnceLock<String>>) -> Result<Self, String> {
        let requester = Arc::new(Requester::new(&driver, url)?);
        Ok(Self { driver: Arc::new(driver), requester, live: Arc::default(), tls: Arc::default() })
    }

    /// What encrypted connections trust; looked up once, when it is needed first.
    ///
    /// # Errors
    /// The driver's certificate cannot be used.
    pub fn tls(&self) -> Result<Arc<ClientConfig>, Failure> {
        if let Some(config) = self.tls.get() {
            return Ok(config.clone());
        }
        let config = Arc::new(tls::config(self.driver.ca.as_ref()).map_err(Failure::Unusable)?);
        Ok(self.tls.get_or_init(|| config).clone())
    }

    async fn expect_ok(&self, route: Option<&super::Route>) -> Result<Reply, String> {
        let Some(route) = route else { return Err("the driver names no such route".to_owned()) };
        let reply = self.requester.route(route, &Vars::new()).await.map_err(Failure::reason)?;
        if (200..300).contains(&reply.status) { Ok(reply) } else { Err(format!("{} answered {}", route.path, reply.status)) }
    }

    /// Somebody is there; behind a proxy, somebody who answers.
    async fn is_open(&self, stays: Duration) -> Result<(), String> {
        if self.driver.proxy.is_none() {
            return reach::is_open(self.requester.base(), stays).await;
        }
        match self.requester.small(Method::Get, "/", None, SMALL_TIMEOUT).await {
            Ok(reply) if matches!(reply.status, 502..=504) => Err(format!("the proxy answers {}", reply.status)),
            Ok(_) => Ok(()),
            Err(failure) => Err(failure.reason()),
        }
    }

    /// An answer that is no acceptance, in our words.
    pub fn refusal(&self, step: &Step, reply: &Reply) -> Option<Answer> {
        let (submit, status) = (&self.driver.submit, reply.status);
        if step.accepted.contains(&status) {
            return None;
        }
        let name = if step.name.is_empty() { String::new() } else { format!("step `{}`, ", step.name) };
        // What is sent is not sent again to wherever an answer leads.
        let leads = reply.header("location").filter(|_| (300..400).contains(&status));
        let leads = leads.map_or_else(String::new, |to| format!("it is redirected to {}: use that path; ", bounded(&to)));
        let reason = format!("{name}{} {}: {leads}{}", step.method, step.path, reply.excerpt());
        if gateway::answered(reply) {
            return Some(Answer::Error { status, proxy: true, reason });
        }
        if submit.invalid.contains(&status) {
            return Some(Answer::Invalid { status, reason });
        }
        if submit.refused.contains(&status) {
            return Some(Answer::Refused { status, retry_after_s: reply.retry_after(submit.retry_after.as_ref()), reason });
        }
        Some(Answer::Error { status, proxy: false, reason })
    }

    /// Sends one request of a submission; its captures join `vars`.
    async fn step(&self, step: &Step, ask: &Ask, vars: &mut Vars) -> Result<Reply, Answer> {
        let reply = self.requester.send(step, ask, vars, super::request::MOST_TEXT).await.map_err(unsent)?;
        if let Some(refusal) = self.refusal(step, &reply) {
            return Err(refusal);
        }
        let fill = |name: &str| vars.get(name).cloned().or_else(|| ask.value(name));
        let captured = reply.capture(&step.capture, &fill).map_err(|reason| self.unreadable(step, &reply, reason))?;
        let cookies = reply.cookies(&format!("{}{}", self.requester.base(), step.path), vars);
        let id = self.driver.submit.id.iter().map(|place| ("id", place));
        let places = step.capture.iter().map(|(name, place)| (name.as_str(), place)).chain(id);
        let locations = locations(&reply, places, || template::path(&step.path, &fill));
        vars.extend(captured.into_iter().chain(cookies).chain(locations));
        Ok(reply)
    }

    fn unreadable(&self, step: &Step, reply: &Reply, reason: String) -> Answer {
        let reason = bounded(&format!("{} {}: {reason}", step.method, step.path));
        Answer::Error { status: reply.status, proxy: false, reason }
    }

    fn id(&self, reply: &Reply, ask: &Ask, vars: &Vars) -> Result<String, String> {
        let Some(place) = &self.driver.submit.id else { return Ok(ask.mark.clone()) };
        let fill = |name: &str| vars.get(name).cloned().or_else(|| ask.value(name));
        // Whole: it is asked for, and heard of, by all of it.
        let found = reply.find(place, &fill).map(|id| template::as_text(&id).trim().to_owned()).filter(|id| !id.is_empty());
        match found {
            Some(id) if id.len() > LONGEST_ID => Err(format!(
                "the job id at `{place}` has {} bytes, and chaos keeps no more than {LONGEST_ID} of one: `{}…`",
                id.len(),
                secret::head(id.as_bytes(), 40)
            )),
            Some(id) => Ok(id),
            None => Err(format!("no job id at `{place}` in: {}", reply.excerpt())),
        }
    }

    async fn followed(&self, last: &Step, ask: &Ask, mut vars: Vars) -> Answer {
        let reply = match self.step(last, ask, &mut vars).await {
            Ok(reply) => reply,
            Err(answer) => return answer,
        };
        match self.id(&reply, ask, &vars) {
            Ok(id) => {
                self.live.remember(&id, vars);
                Answer::Accepted { id }
            }
            Err(reason) => self.unreadable(last, &reply, reason),
        }
    }

    /// The answer comes when the job has ended: it was accepted if there is one, or if the connection broke under it.
    async fn answered(&self, last: &Step, ask: &Ask, vars: &Vars) -> Answer {
        let most = self.driver.result.as_ref().map_or(super::request::MOST_TEXT, |route| route.at_most.0 as usize);
        let reply = match self.requester.send(last, ask, vars, most).await {
            Ok(reply) => reply,
            Err(Failure::NoAnswer(reason)) => return self.died(&ask.mark, reason),
            Err(failure) => return unsent(failure),
        };
        if let Some(answer) = self.no_result(last, ask, vars, &reply) {
            return answer;
        }
        match self.refusal(last, &reply) {
            None => {}
            // The server's own failure is the job's; anything else says that there is no job.
            Some(Answer::Error { proxy: false, status: status @ 500.., reason }) => {
                return self.died(&ask.mark, format!("status {status}: {reason}"));
            }
            Some(refusal) => return refusal,
        }
        let id = match self.id(&reply, ask, vars) {
            Ok(id) => id,
            Err(reason) => return self.unreadable(last, &reply, reason),
        };
        let look = self.driver.result.as_ref().map(|route| {
            let look = match reply.encoding() {
                Some(encoding) => lookless(reply.status, encoding),
                None => inline(route, &reply.json, &reply.body, reply.status),
            };
            if reply.whole { look } else { ResultLook { error: Some(format!("larger than {}", route.at_most)), ..look } }
        });
        self.live.begin(&id, JobView::of(JobState::Running), None);
        self.live.end(&id, JobView::of(JobState::Completed), look);
        Answer::Accepted { id }
    }

    /// An answer that is taken for the result, and tells of something else.
    fn no_result(&self, last: &Step, ask: &Ask, vars: &Vars, reply: &Reply) -> Option<Answer> {
        let place = self.driver.result.as_ref().and_then(|route| route.inline.as_deref()).unwrap_or_default();
        if !(200..300).contains(&reply.status) {
            return None;
        }
        let fill = |name: &str| vars.get(name).cloned().or_else(|| ask.value(name));
        // The field alone. A picture is encoded again only for what may be one.
        let may_be =
            |field: &Json, answered: &Json| !holds_a_picture(field) || template::as_text(answered).len() >= SHORTEST_PICTURE;
        let asked = |field: &str, answered: &Json| match last.json.as_ref()? {
            Json::Object(fields) => Some(template::json(fields.get(field).filter(|field| may_be(field, answered))?, &fill)),
            whole => template::json(whole, &fill).get_mut(field).map(Json::take),
        };
        match acceptance::told_beside(&reply.json, place, asked)? {
            NoResult::Taken(why) => {
                let asked = format!("{} {}", last.method, last.path);
                let reason = bounded(&format!("{asked}: {why}, so it is no result: {FOLLOW}. It was: {}", reply.excerpt()));
                Some(Answer::Taken { reason })
            }
            NoResult::Failed(why) => Some(self.died(&ask.mark, why)),
        }
    }

    /// A job that was taken and came to nothing.
    pub fn died(&self, id: &str, reason: String) -> Answer {
        self.live.begin(id, JobView::failed(reason), None);
        Answer::Accepted { id: id.to_owned() }
    }

    /// Keeps what a message told besides the job's state.
    pub fn hear(&self, id: &str, said: Said, message: &Json, data: &Json) -> JobView {
        self.live.remember(id, said.captured);
        if let Some(route) = self.driver.result.as_ref().filter(|r| r.inline.is_some() && said.view.state == JobState::Completed)
        {
            let whole = template::as_text(data);
            self.live.keep_result(id, &said.view, inline(route, message, whole.as_bytes(), 200));
        }
        said.view
    }

    async fn look_in_lists(&self, id: &str) -> Option<Result<Option<JobState>, String>> {
        let listing = self.driver.listing.as_ref()?;
        let vars = self.live.vars(id);
        let asked =
            self.requester.read((Method::Get, &listing.path), None, &vars, SMALL_TIMEOUT, super::request::MOST_TEXT).await;
        let reply = match asked {
            Ok(reply) if reply.status == 200 => reply,
            Ok(reply) => return Some(Err(format!("{} answered {}", listing.path, reply.status))),
            Err(failure) => return Some(Err(failure.reason())),
        };
        let holds = |pointer: &String| {
            let list = reply.json.pointer(pointer).and_then(Json::as_array)?;
            Some(list.iter().any(|entry| entry.pointer(&listing.id).is_some_and(|found| template::as_text(found) == id)))
        };
        let (Some(waits), Some(runs)) = (holds(&listing.waiting), holds(&listing.running)) else {
            return Some(Err(format!("no lists at {} and {}", listing.waiting, listing.running)));
        };
        Some(Ok(if runs { Some(JobState::Running) } else { waits.then_some(JobState::Queued) }))
    }

    /// What `status` tells: a view, nothing yet, or that the job is unknown.
    pub(super) async fn ask_status(&self, path: &str, id: &str) -> Result<Option<JobView>, Seen> {
        let vars = self.live.vars(id);
        let fill = |name: &str| vars.get(name).cloned();
        let path = template::target_path(path, self.requester.base(), &fill).map_err(Seen::Unclear)?;
        let asked = self.requester.read((Method::Get, &path), None, &vars, SMALL_TIMEOUT, super::request::MOST_TEXT).await;
        let reply = asked.map_err(|failure| Seen::Unclear(failure.reason()))?;
        if gateway::answered(&reply) {
            return Err(Seen::Unclear(format!("a gateway answered {}: the backend was not reached", reply.status)));
        }
        if self.driver.status.missing.contains(&reply.status) {
            return Err(Seen::Missing);
        }
        let view = match reply.status {
            done if self.driver.ends_with(done) => Ok(JobView::of(JobState::Completed)),
            // The state counts that the body tells, whichever success it comes with.
            200..300 => reply.answered(|answered| template::view(&self.driver.status, answered, &fill)),
            other => return Err(Seen::Unclear(format!("status {other}"))),
        };
        match view {
            Ok(view) => {
                let captured = self.driver.status.capture.iter();
                let found = captured.filter_map(|(name, place)| Some((name.clone(), reply.find(place, &fill)?)));
                let places = self.driver.status.capture.iter().map(|(name, place)| (name.as_str(), place));
                self.live.remember(id, found.chain(locations(&reply, places, || path.clone())).collect());
                Ok(Some(view))
            }
            Err(_) if self.driver.listing.is_some() => Ok(None),
            Err(reason) => Err(Seen::Unclear(reason)),
        }
    }
}

/// What a `Location` names without a `/` is counted from the path that was asked (RFC 9110, 10.2.2).
fn locations<'a>(reply: &Reply, places: impl Iterator<Item = (&'a str, &'a Place)>, asked: impl Fn() -> String) -> Vars {
    let is_there = reply.header("location").is_some();
    let named = places.filter(|(_, place)| is_there && place.is_header("location"));
    named.map(|(name, _)| (template::asked_at(name), asked().into())).collect()
}

/// The text of a picture is in it.
fn holds_a_picture(template: &Json) -> bool {
    match template {
        Json::String(text) => template::names(text).iter().any(|name| name == "image_base64"),
        Json::Array(all) => all.iter().any(holds_a_picture),
        Json::Object(fields) => fields.values().any(holds_a_picture),
        _ => false,
    }
}

fn unsent(failure: Failure) -> Answer {
    match failure {
        Failure::Unreachable(reason) => Answer::Unreachable { reason },
        Failure::NoAnswer(reason) => Answer::NoAnswer { reason },
        Failure::Unusable(reason) => Answer::Invalid { status: 0, reason },
    }
}

#[async_trait]
impl Port for HttpPort {
    async fn submit(&self, ask: &Ask) -> Answer {
        let mut vars = Vars::new();
        let Some((last, first)) = self.driver.submit.steps.split_last() else {
            return Answer::Invalid { status: 0, reason: "the driver names no request".to_owned() };
        };
        for step in first {
            if let Err(answer) = self.step(step, ask, &mut vars).await {
                return answer;
            }
        }
        match self.driver.submit.answer {
            AnswerIs::Acceptance => self.followed(last, ask, vars).await,
            AnswerIs::Result => self.answered(last, ask, &vars).await,
            AnswerIs::Stream => stream::submit(self, last, ask, &vars).await.unwrap_or_else(unsent),
        }
    }

    fn known(&self, id: &str) -> Option<JobView> {
        self.live.view(id).filter(|view| view.state.is_terminal())
    }

    async fn status(&self, id: &str) -> Seen {
        if let Some(view) = self.live.view(id) {
            return Seen::View(view);
        }
        let Some(path) = &self.driver.status.path else { return Seen::Unclear("a job cannot be asked about here".to_owned()) };
        match self.ask_status(path, id).await {
            Ok(Some(view)) => return Seen::View(view),
            Ok(None) => {}
            Err(seen) => return seen,
        }
        match self.look_in_lists(id).await {
            Some(Ok(Some(state))) => Seen::View(JobView::of(state)),
            // It may have ended between the two questions.
            Some(Ok(None)) => match self.ask_status(path, id).await {
                Ok(Some(view)) => Seen::View(view),
                Ok(None) => Seen::Missing,
                Err(seen) => seen,
            },
            Some(Err(reason)) => Seen::Unclear(reason),
            None => Seen::Unclear("its answer names no state".to_owned()),
        }
    }

    async fn connect(&self, client: &str) -> Option<Result<Box<dyn Channel>, String>> {
        if let Some(settings) = &self.driver.websocket {
            return Some(socket::open(self, settings, client).await);
        }
        if let Some(settings) = &self.driver.socketio {
            return Some(socketio::open(self, settings, client).await);
        }
        let streams = self.driver.sse.is_some() || self.driver.submit.answer == AnswerIs::Stream;
        streams.then(|| Ok(Box::new(JobsChannel::new(self.clone())) as Box<dyn Channel>))
    }

    async fn result(&self, id: &str) -> Option<ResultLook> {
        let route = self.driver.result.as_ref()?;
        if let Some(look) = self.live.result(id) {
            return Some(look);
        }
        Some(self.fetch(route, id).await.unwrap_or_else(|error| lookless(0, error)))
    }

    async fn cancel(&self, id: &str) -> Result<(), String> {
        if self.driver.cancel.is_empty() {
            return Err("the driver knows no way to cancel a job".to_owned());
        }
        for route in &self.driver.cancel {
            let reply = self.requester.route(route, &self.live.vars(id)).await.map_err(Failure::reason)?;
            if !(200..300).contains(&reply.status) && reply.status != 404 {
                return Err(format!("cancelling at {} answered {}", route.path, reply.status));
            }
        }
        Ok(())
    }

    async fn depth(&self) -> Option<Result<Depth, String>> {
        let queue = self.driver.queue.as_ref()?;
        let route = super::Route { method: Method::Get, path: queue.path.clone(), json: None };
        Some(self.expect_ok(Some(&route)).await.and_then(|reply| {
            let number = |place: &str| {
                if let Some(metric) = place.strip_prefix("metric ") {
                    return prometheus::sum(&String::from_utf8_lossy(&reply.body), metric.trim());
                }
                let found = reply.json.pointer(place)?;
                found.as_f64().or_else(|| Some(found.as_array()?.len() as f64))
            };
            let waiting = number(&queue.depth).ok_or_else(|| format!("no number at {} in {}", queue.depth, reply.excerpt()))?;
            Ok(Depth { waiting, running: queue.running.as_deref().and_then(number) })
        }))
    }

    async fn health(&self) -> Result<(), String> {
        self.expect_ok(self.driver.health.as_ref()).await.map(drop)
    }

    async fn ready(&self) -> Result<(), String> {
        match self.driver.ready.as_ref().or(self.driver.health.as_ref()) {
            Some(route) => self.expect_ok(Some(route)).await.map(drop),
            None => self.is_open(reach::READY_STAYS).await,
        }
    }

    async fn is_reachable(&self) -> bool {
        self.driver.proxy.is_some() || reach::is_open(self.requester.base(), reach::LOOK_STAYS).await.is_ok()
    }

    async fn probe(&self) -> Probe {
        let began = tokio::time::Instant::now();
        let Some(route) = self.driver.health.as_ref() else {
            let open = self.is_open(reach::LOOK_STAYS).await.is_ok();
            return Probe { open, healthy: None, seconds: began.elapsed().as_secs_f64() };
        };
        let answer = self.requester.small(route.method, &route.path, None, PROBE_TIMEOUT).await;
        let (open, healthy) = match answer {
            Ok(reply) => (true, (200..300).contains(&reply.status)),
            Err(failure) => (!matches!(failure, Failure::Unreachable(_)), false),
        };
        Probe { open, healthy: Some(healthy), seconds: began.elapsed().as_secs_f64() }
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Json>) -> Result<(u16, String), String> {
        let reply = self.requester.small(method, path, body, SMALL_TIMEOUT).await.map_err(Failure::reason)?;
        Ok((reply.status, String::from_utf8_lossy(&reply.body).into_owned()))
    }

    async fn scrape(&self) -> Option<Result<String, String>> {
        self.driver.metrics.as_ref()?;
        let reply = self.expect_ok(self.driver.metrics.as_ref()).await;
        Some(reply.map(|reply| String::from_utf8_lossy(&reply.body).into_owned()))
    }
}

//! A client's channel where each job has a stream of its own: server-sent events, or the answer to the submission itself.

use std::collections::HashMap;
use std::net::SocketAddr;

use async_trait::async_trait;
use futures_util::stream::{BoxStream, SelectAll, unfold};
use futures_util::{FutureExt, StreamExt};
use hyper::body::Incoming;
use serde_json::{Value as Json, json};

use super::events::{Event, Reader};
use super::format::{Rule, Sse};
use super::http::HttpPort;
use super::request::{Failure, SMALL_TIMEOUT};
use super::template;
use super::wire::{self, Wire};
use super::{Channel, messages};
use crate::journal::event::JobView;
use crate::listen::How;

type Heard = Result<(String, JobView), String>;

pub struct JobsChannel {
    port: HttpPort,
    streams: SelectAll<BoxStream<'static, Heard>>,
    /// Of server-sent events, by job.
    wires: HashMap<String, Wire>,
    /// Streams that a submission opened.
    live: Vec<String>,
    local: Option<SocketAddr>,
}

impl JobsChannel {
    pub fn new(port: HttpPort) -> Self {
        Self { port, streams: SelectAll::new(), wires: HashMap::new(), live: Vec::new(), local: None }
    }

    async fn open(&mut self, sse: &Sse, id: &str) -> Result<(), Failure> {
        let vars = self.port.live.vars(id);
        let path = template::path(&sse.path, &|name| vars.get(name).cloned());
        let request = self.port.requester.get(&path, &vars).await?;
        let opened = wire::open(request, &self.port.tls()?, SMALL_TIMEOUT).await?;
        let kind =
            opened.headers.get("content-type").map_or_else(String::new, |k| String::from_utf8_lossy(k.as_bytes()).into_owned());
        if opened.status != 200 || !kind.starts_with("text/event-stream") {
            return Err(Failure::NoAnswer(format!("{path} answered {} ({kind}) instead of a stream of events", opened.status)));
        }
        self.local = opened.wire.local_addr();
        self.wires.insert(id.to_owned(), opened.wire);
        let reading = Reading {
            port: self.port.clone(),
            id: id.to_owned(),
            rules: sse.events.clone(),
            body: opened.body,
            reader: Reader::default(),
            waiting: Vec::new(),
            over: false,
        };
        self.streams.push(unfold(reading, Reading::step).boxed());
        Ok(())
    }
}

#[async_trait]
impl Channel for JobsChannel {
    fn local_addr(&self) -> Option<SocketAddr> {
        self.local
    }

    async fn subscribe(&mut self, id: &str) -> Result<(), String> {
        if let Some(sse) = self.port.driver.sse.clone() {
            return self.open(&sse, id).await.map_err(Failure::reason);
        }
        // A job that is not known here has ended, or was never ours.
        if let Some(changes) = self.port.live.watch(id) {
            self.local = self.port.live.local(id).or(self.local);
            self.live.push(id.to_owned());
            self.streams.push(unfold((changes, id.to_owned(), false), change).boxed());
        }
        Ok(())
    }

    async fn leave(mut self: Box<Self>, how: How) -> Option<Box<dyn Channel>> {
        self.live.iter().for_each(|id| self.port.live.cut(id, how));
        self.wires = std::mem::take(&mut self.wires).into_iter().filter_map(|(id, wire)| Some((id, wire.leave(how)?))).collect();
        if self.wires.is_empty() { None } else { Some(self) }
    }

    async fn next(&mut self) -> Heard {
        match self.streams.next().await {
            Some(heard) => {
                if let Ok((id, view)) = &heard
                    && view.state.is_terminal()
                {
                    self.wires.remove(id);
                    self.live.retain(|other| other != id);
                }
                heard
            }
            // Nothing is followed at this moment.
            None => std::future::pending().await,
        }
    }
}

type Watched = (tokio::sync::watch::Receiver<JobView>, String, bool);

/// The view as it stands, and then each change, up to the end.
async fn change((mut changes, id, seen): Watched) -> Option<(Heard, Watched)> {
    if seen && (changes.borrow().state.is_terminal() || changes.changed().await.is_err()) {
        return None;
    }
    let view = changes.borrow_and_update().clone();
    Some((Ok((id.clone(), view)), (changes, id, true)))
}

/// One job's stream of events.
struct Reading {
    port: HttpPort,
    id: String,
    rules: Vec<Rule>,
    body: Incoming,
    reader: Reader,
    waiting: Vec<JobView>,
    over: bool,
}

impl Reading {
    /// The next view of the job. A stream that ends before its job does is a loss.
    async fn step(mut self) -> Option<(Heard, Self)> {
        loop {
            if self.over {
                return None;
            }
            if let Some(view) = (!self.waiting.is_empty()).then(|| self.waiting.remove(0)) {
                self.over = view.state.is_terminal();
                return Some((Ok((self.id.clone(), view)), self));
            }
            let events = match wire::next_piece(&mut self.body).boxed().await {
                Ok(Some(piece)) => self.reader.take(&piece),
                Ok(None) => Err("the stream ended before its job".to_owned()),
                Err(why) => Err(why),
            };
            match events {
                Ok(events) => {
                    let views: Vec<JobView> = events.iter().filter_map(|event| self.view(event)).collect();
                    self.waiting.extend(views);
                }
                Err(why) => {
                    self.over = true;
                    return Some((Err(why), self));
                }
            }
        }
    }

    fn view(&self, event: &Event) -> Option<JobView> {
        let data = serde_json::from_str(&event.data).unwrap_or_else(|_| Json::String(event.data.clone()));
        let message = json!({ "event": event.name, "data": data });
        let said = messages::read(&self.port.driver, &self.rules, &message, &message["data"])?;
        Some(self.port.hear(&self.id, said, &message, &message["data"]))
    }
}

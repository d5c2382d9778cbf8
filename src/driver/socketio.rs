//! Pushed progress over Socket.IO: over a WebSocket, by long polling, or by the one upgraded to the other.
//!
//! The connection is ours rather than a library's: what is tested here is the loss of connections, and that takes the
//! frames and the socket.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value as Json, json};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::format::{Method, SocketIo, Transport};
use super::http::HttpPort;
use super::inputs;
use super::request::{Failure, Reply, SMALL_TIMEOUT};
use super::socket::Raw;
use super::socketio_packet::{self as packets, Engine, Kind, Packet, SEPARATOR};
use super::template::{self, bounded};
use super::{Channel, messages};
use crate::journal::event::JobView;
use crate::listen::How;

const CONNECTS_WITHIN: Duration = Duration::from_secs(5);
/// A server that promises no pings is believed to be there for so long.
const USUAL_SILENCE_MS: u64 = 45_000;

/// What arrives.
enum Frame {
    Text(String),
    /// An attachment, of which only the size is of interest.
    Binary(usize),
}

/// Connects, and waits until the namespace is joined.
///
/// # Errors
/// Why there is no connection.
pub async fn open(port: &HttpPort, settings: &SocketIo, _client: &str) -> Result<Box<dyn Channel>, String> {
    let opening = SocketIoChannel::open(port, settings);
    let channel = tokio::time::timeout(CONNECTS_WITHIN, opening).await;
    Ok(Box::new(channel.map_err(|_| format!("no Socket.IO connection within {} s", CONNECTS_WITHIN.as_secs()))??))
}

struct SocketIoChannel {
    link: Link,
    settings: SocketIo,
    port: HttpPort,
    /// The server pings more often than this.
    silence: Duration,
    heard: Instant,
    /// Events that came before the namespace was joined.
    early: VecDeque<Packet>,
    /// A packet that waits for its attachments.
    partial: Option<(Packet, Vec<usize>)>,
}

enum Link {
    Socket(Box<Raw>),
    Polling(Polling),
}

impl SocketIoChannel {
    async fn open(port: &HttpPort, settings: &SocketIo) -> Result<Self, String> {
        let path = |transport: &str| format!("{}?EIO=4&transport={transport}", settings.path);
        let (mut link, opened) = if settings.transport == Transport::Websocket {
            let mut raw = Raw::open(port, &path("websocket")).await?;
            let Message::Text(text) = raw.next().await? else { return Err("its first message is no text".to_owned()) };
            (Link::Socket(Box::new(raw)), text.to_string())
        } else {
            let reply =
                port.requester.small(Method::Get, &path("polling"), None, SMALL_TIMEOUT).await.map_err(Failure::reason)?;
            let text = polled(&reply)?;
            (Link::Polling(Polling { port: port.clone(), path: path("polling"), waiting: None, arrived: VecDeque::new() }), text)
        };
        let mut opened = opened.split(SEPARATOR);
        let Engine::Open(about) = packets::engine(opened.next().unwrap_or_default())? else {
            return Err("its first packet is not the one that opens".to_owned());
        };
        let about: Json = serde_json::from_str(about).map_err(|e| format!("its first packet cannot be read: {e}"))?;
        if let Link::Polling(polling) = &mut link {
            let sid = about["sid"].as_str().ok_or("it names no session")?;
            let sid = template::path("{{sid}}", &|_| Some(sid.into()));
            polling.arrived.extend(opened.map(|text| Frame::Text(text.to_owned())));
            polling.path = format!("{}&sid={sid}", polling.path);
            if settings.transport == Transport::Upgrade {
                link = Link::Socket(Box::new(upgraded(port, &format!("{}&sid={sid}", path("websocket"))).await?));
            }
        }
        let milliseconds = |name: &str| about[name].as_u64();
        let silence =
            milliseconds("pingInterval").zip(milliseconds("pingTimeout")).map_or(USUAL_SILENCE_MS, |(a, b)| a.saturating_add(b));
        let silence = Duration::from_millis(silence.min(600_000));
        let (settings, port) = (settings.clone(), port.clone());
        let mut channel = Self { link, settings, port, silence, heard: Instant::now(), early: VecDeque::new(), partial: None };
        channel.join().await?;
        Ok(channel)
    }

    /// Joins the namespace. Events may come before the server says that we are in.
    async fn join(&mut self) -> Result<(), String> {
        let auth = self.settings.auth.clone().unwrap_or(Json::Null);
        self.link.send(packets::write(Kind::Connect, &self.settings.namespace, None, &auth)).await?;
        loop {
            let packet = self.packet().await?;
            match packet.kind {
                Kind::Connect => return Ok(()),
                Kind::ConnectError => {
                    return Err(format!(
                        "the namespace {} was refused: {}",
                        self.settings.namespace,
                        bounded(&packet.data.to_string())
                    ));
                }
                _ => self.early.push_back(packet),
            }
        }
    }

    /// The next whole packet of our namespace. Safe to drop while waiting.
    async fn packet(&mut self) -> Result<Packet, String> {
        loop {
            let frame = match tokio::time::timeout_at(self.heard + self.silence, self.link.next()).await {
                Ok(frame) => frame?,
                Err(_) => return Err(format!("the server has said nothing for {} s", self.silence.as_secs_f64())),
            };
            self.heard = Instant::now();
            if let Some(packet) = self.take(frame).await?
                && packet.namespace == self.settings.namespace
            {
                return Ok(packet);
            }
        }
    }

    async fn take(&mut self, frame: Frame) -> Result<Option<Packet>, String> {
        let text = match frame {
            Frame::Binary(size) => return Ok(self.attach(size)),
            Frame::Text(text) => text,
        };
        match packets::engine(&text)? {
            Engine::Ping(probe) => self.link.send(format!("3{probe}")).await?,
            Engine::Close => return Err("the server closed the connection".to_owned()),
            Engine::Message(inside) => {
                let packet = packets::packet(inside)?;
                if packet.attachments > 0 {
                    self.partial = Some((packet, Vec::new()));
                    return Ok(None);
                }
                return Ok(Some(packet));
            }
            Engine::Open(_) | Engine::Pong(_) | Engine::Noop => {}
        }
        Ok(None)
    }

    fn attach(&mut self, size: usize) -> Option<Packet> {
        let (packet, sizes) = self.partial.as_mut()?;
        sizes.push(size);
        if sizes.len() < packet.attachments {
            return None;
        }
        let (mut packet, sizes) = self.partial.take()?;
        packets::fill_in(&mut packet.data, &sizes);
        Some(packet)
    }

    /// What an event says about a job.
    fn said(&self, packet: &Packet) -> Option<(String, JobView)> {
        let name = packet.data.get(0)?.as_str()?;
        let message = json!({ "event": name, "data": packet.data.get(1).cloned().unwrap_or(Json::Null) });
        let id = message.pointer(&self.settings.id).filter(|id| !id.is_null()).map(template::as_text)?;
        let said = messages::read(&self.port.driver, &self.settings.events, &message, &message["data"])?;
        let view = self.port.hear(&id, said, &message, &message["data"]);
        Some((id, view))
    }
}

#[async_trait]
impl Channel for SocketIoChannel {
    fn local_addr(&self) -> Option<SocketAddr> {
        match &self.link {
            Link::Socket(raw) => raw.local_addr(),
            Link::Polling(_) => None,
        }
    }

    async fn leave(mut self: Box<Self>, how: How) -> Option<Box<dyn Channel>> {
        if how == How::Close {
            // A peer that is gone cannot be told.
            let _ = self.link.send(packets::write(Kind::Disconnect, &self.settings.namespace, None, &Json::Null)).await;
        }
        let Self { link, settings, port, silence, heard, early, partial } = *self;
        let link = match link {
            Link::Socket(raw) => Link::Socket(Box::new(raw.leave(how).await?)),
            Link::Polling(_) => return None,
        };
        Some(Box::new(Self { link, settings, port, silence, heard, early, partial }))
    }

    async fn subscribe(&mut self, id: &str) -> Result<(), String> {
        let Some(emit) = &self.settings.subscribe else { return Ok(()) };
        let data = json!([emit.event, template::json(&emit.data, &template::of_id(id))]);
        self.link.send(packets::write(Kind::Event, &self.settings.namespace, None, &data)).await
    }

    async fn next(&mut self) -> Result<(String, JobView), String> {
        loop {
            let packet = match self.early.pop_front() {
                Some(packet) => packet,
                None => self.packet().await?,
            };
            match packet.kind {
                Kind::Disconnect => return Err("the server disconnected us from the namespace".to_owned()),
                Kind::Event => {
                    if let Some(number) = packet.ack {
                        self.link.send(packets::write(Kind::Ack, &self.settings.namespace, Some(number), &json!([]))).await?;
                    }
                    if let Some(said) = self.said(&packet) {
                        return Ok(said);
                    }
                }
                Kind::Connect | Kind::Ack | Kind::ConnectError => {}
            }
        }
    }
}

impl Link {
    async fn send(&mut self, text: String) -> Result<(), String> {
        match self {
            Self::Socket(raw) => raw.send(text).await,
            Self::Polling(polling) => polling.send(text).await,
        }
    }

    async fn next(&mut self) -> Result<Frame, String> {
        match self {
            Self::Socket(raw) => Ok(match raw.next().await? {
                Message::Text(text) => Frame::Text(text.to_string()),
                other => Frame::Binary(other.len()),
            }),
            Self::Polling(polling) => polling.next().await,
        }
    }
}

/// Long polling: one question is always open, and what is said goes in requests of its own.
struct Polling {
    port: HttpPort,
    path: String,
    waiting: Option<BoxFuture<'static, Result<Reply, Failure>>>,
    arrived: VecDeque<Frame>,
}

impl Polling {
    async fn send(&mut self, text: String) -> Result<(), String> {
        let reply = self.port.requester.text(&self.path, text).await.map_err(Failure::reason)?;
        if reply.status == 200 { Ok(()) } else { Err(format!("sending was answered with {}: {}", reply.status, reply.excerpt())) }
    }

    async fn next(&mut self) -> Result<Frame, String> {
        loop {
            if let Some(frame) = self.arrived.pop_front() {
                return Ok(frame);
            }
            let waiting = self.waiting.get_or_insert_with(|| {
                let (requester, path) = (self.port.requester.clone(), self.path.clone());
                // The server answers at its next ping at the latest.
                let within = Duration::from_millis(USUAL_SILENCE_MS) * 2;
                async move { requester.small(Method::Get, &path, None, within).await }.boxed()
            });
            let reply = waiting.await;
            self.waiting = None;
            let text = polled(&reply.map_err(Failure::reason)?)?;
            self.arrived.extend(text.split(SEPARATOR).map(|packet| match packet.strip_prefix('b') {
                Some(encoded) => Frame::Binary(inputs::from_base64(encoded).map_or(0, |bytes| bytes.len())),
                None => Frame::Text(packet.to_owned()),
            }));
        }
    }
}

fn polled(reply: &Reply) -> Result<String, String> {
    match reply.status {
        200 => Ok(String::from_utf8_lossy(&reply.body).into_owned()),
        status => Err(format!("polling was answered with {status}: {}", reply.excerpt())),
    }
}

/// A WebSocket that takes over from polling.
async fn upgraded(port: &HttpPort, path: &str) -> Result<Raw, String> {
    let mut raw = Raw::open(port, path).await?;
    raw.send("2probe".to_owned()).await?;
    match raw.next().await? {
        Message::Text(text) if text.as_str() == "3probe" => raw.send("5".to_owned()).await.map(|()| raw),
        other => Err(format!("the upgrade was answered with {}", bounded(&other.to_string()))),
    }
}

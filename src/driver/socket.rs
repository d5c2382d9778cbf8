//! Pushed progress over a WebSocket.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value as Json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream};

use super::format::Socket;
use super::http::HttpPort;
use super::request::Failure;
use super::template::{self, bounded};
use super::{Channel, messages};
use crate::journal::event::JobView;
use crate::listen::{How, Reconnect};

const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// The library's default of 128 KiB a connection is twenty times what progress messages need.
const READ_BUFFER: usize = 2048;
/// What a server may owe us in reading: beyond it no more pongs are made, of which only the last counts.
const MOST_UNSENT: usize = 1 << 20;
/// The largest message that is taken; a larger one ends the connection.
const MOST_MESSAGE: usize = 4 << 20;
/// A farewell must not take longer than this.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

/// A WebSocket, and all the ways to leave it.
pub struct Raw(pub WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Raw {
    /// Connects to a path of the target's.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn open(port: &HttpPort, path: &str) -> Result<Self, String> {
        let base = port.requester.base();
        // A scheme may be written in capital letters.
        let (scheme, rest) = base.split_once("://").unwrap_or(("http", base));
        let is_secure = scheme.eq_ignore_ascii_case("https");
        let url = format!("{}://{rest}{path}", if is_secure { "wss" } else { "ws" });
        let mut request = url.into_client_request().map_err(|e| bounded(&e.to_string()))?;
        request.headers_mut().extend(port.requester.headers().await.map_err(Failure::reason)?);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(MOST_UNSENT)
            .max_message_size(Some(MOST_MESSAGE))
            .max_frame_size(Some(MOST_MESSAGE));
        let tls = is_secure.then(|| port.tls()).transpose().map_err(Failure::reason)?;
        let connector = tls.map_or(Connector::Plain, Connector::Rustls);
        let opening = tokio_tungstenite::connect_async_tls_with_config(request, Some(config), true, Some(connector));
        let (stream, _) = tokio::time::timeout(OPEN_TIMEOUT, opening)
            .await
            .map_err(|_| format!("no WebSocket within {} s", OPEN_TIMEOUT.as_secs()))?
            .map_err(|e| bounded(&e.to_string()))?;
        Ok(Self(stream))
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self.0.get_ref() {
            MaybeTlsStream::Plain(tcp) => Some(tcp),
            MaybeTlsStream::Rustls(tls) => Some(tls.get_ref().0),
            _ => None,
        }
    }

    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.tcp()?.local_addr().ok()
    }

    pub async fn send(&mut self, text: String) -> Result<(), String> {
        self.0.send(Message::text(text)).await.map_err(|e| bounded(&e.to_string()))
    }

    /// The next text or binary message.
    ///
    /// # Errors
    /// Why the connection has ended.
    pub async fn next(&mut self) -> Result<Message, String> {
        loop {
            match self.0.next().await.ok_or("the connection ended")?.map_err(|e| bounded(&e.to_string()))? {
                Message::Close(_) => return Err("the server closed the connection".to_owned()),
                message @ (Message::Text(_) | Message::Binary(_)) => return Ok(message),
                _ => {}
            }
        }
    }

    /// Leaves; a connection that nobody closes comes back. Whatever a peer does meanwhile, others are dropped afterwards.
    pub async fn leave(mut self, how: How) -> Option<Self> {
        match how {
            How::Close => {
                let _ = tokio::time::timeout(LEAVE_WITHIN, self.0.close(None)).await;
            }
            How::Fin => {
                let _ = tokio::time::timeout(LEAVE_WITHIN, self.0.get_mut().shutdown()).await;
            }
            How::Reset => {
                let _ = self.tcp().map(TcpStream::set_zero_linger);
            }
            How::HalfOpen | How::Stall => return Some(self),
        }
        None
    }
}

struct WebSocketChannel {
    raw: Raw,
    settings: Socket,
    port: HttpPort,
    policy: Option<Reconnect>,
}

/// Connects.
///
/// # Errors
/// Why there is no connection.
pub async fn open(port: &HttpPort, settings: &Socket, client: &str) -> Result<Box<dyn Channel>, String> {
    let path = template::path(&settings.path, &|name| (name == "client").then(|| client.into()));
    let raw = Raw::open(port, &path).await?;
    Ok(Box::new(WebSocketChannel { raw, settings: settings.clone(), port: port.clone(), policy: None }))
}

#[async_trait]
impl Channel for WebSocketChannel {
    fn local_addr(&self) -> Option<SocketAddr> {
        self.raw.local_addr()
    }

    fn policy(&self) -> Option<Reconnect> {
        self.policy
    }

    async fn leave(self: Box<Self>, how: How) -> Option<Box<dyn Channel>> {
        let Self { raw, settings, port, policy } = *self;
        let raw = raw.leave(how).await?;
        Some(Box::new(Self { raw, settings, port, policy }))
    }

    async fn subscribe(&mut self, id: &str) -> Result<(), String> {
        let Some(message) = &self.settings.subscribe else { return Ok(()) };
        self.raw.send(template::json(message, &template::of_id(id)).to_string()).await
    }

    async fn next(&mut self) -> Result<(String, JobView), String> {
        loop {
            // A preview image, for example.
            let Message::Text(text) = self.raw.next().await? else { continue };
            // Messages that are not about a job (greetings, status lines) are not ours to judge.
            let Ok(json) = serde_json::from_str::<Json>(&text) else { continue };
            if let Some(policy) = self.settings.reconnect.as_ref().and_then(|at| json.pointer(at)).and_then(Json::as_str) {
                self.policy = policy.parse().ok();
            }
            let Some(id) = json.pointer(&self.settings.id).filter(|id| !id.is_null()).map(template::as_text) else { continue };
            if let Some(said) = messages::read(&self.port.driver, &self.settings.events, &json, &json) {
                let view = self.port.hear(&id, said, &json, &json);
                return Ok((id, view));
            }
        }
    }
}

//! Pushed progress over a WebSocket.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value as Json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::template::{self, bounded};
use super::{Channel, Driver, Socket};
use crate::journal::event::JobView;
use crate::listen::{How, Reconnect};

const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// The library's default of 128 KiB a connection is twenty times what progress messages need.
const READ_BUFFER: usize = 2048;
/// The largest message that is taken; a larger one ends the connection.
const MOST_MESSAGE: usize = 4 << 20;

struct WebSocketChannel {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    socket: Socket,
    driver: Driver,
    policy: Option<Reconnect>,
}

/// Connects.
///
/// # Errors
/// Why there is no connection.
pub async fn open(base: &str, socket: &Socket, driver: &Driver) -> Result<Box<dyn Channel>, String> {
    let url = format!("{}{}", base.replacen("http", "ws", 1), socket.path);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(MOST_MESSAGE))
        .max_frame_size(Some(MOST_MESSAGE));
    let opening = tokio_tungstenite::connect_async_with_config(url, Some(config), true);
    let (stream, _) = tokio::time::timeout(OPEN_TIMEOUT, opening)
        .await
        .map_err(|_| format!("no WebSocket within {} s", OPEN_TIMEOUT.as_secs()))?
        .map_err(|e| bounded(&e.to_string()))?;
    Ok(Box::new(WebSocketChannel { stream, socket: socket.clone(), driver: driver.clone(), policy: None }))
}

impl WebSocketChannel {
    fn tcp(&self) -> Option<&TcpStream> {
        match self.stream.get_ref() {
            MaybeTlsStream::Plain(tcp) => Some(tcp),
            MaybeTlsStream::Rustls(tls) => Some(tls.get_ref().0),
            _ => None,
        }
    }
}

/// A farewell must not take longer than this.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

#[async_trait]
impl Channel for WebSocketChannel {
    fn local_addr(&self) -> Option<SocketAddr> {
        self.tcp()?.local_addr().ok()
    }

    fn policy(&self) -> Option<Reconnect> {
        self.policy
    }

    async fn leave(mut self: Box<Self>, how: How) -> Option<Box<dyn Channel>> {
        // Whatever a peer does meanwhile, the connection is dropped afterwards.
        match how {
            How::Close => {
                let _ = tokio::time::timeout(LEAVE_WITHIN, self.stream.close(None)).await;
            }
            How::Fin => {
                let _ = tokio::time::timeout(LEAVE_WITHIN, self.stream.get_mut().shutdown()).await;
            }
            How::Reset => {
                let _ = self.tcp().map(TcpStream::set_zero_linger);
            }
            How::HalfOpen | How::Stall => return Some(self),
        }
        None
    }

    async fn subscribe(&mut self, id: &str) -> Result<(), String> {
        let text = template::json(&self.socket.subscribe, &template::of_id(id)).to_string();
        self.stream.send(Message::text(text)).await.map_err(|e| bounded(&e.to_string()))
    }

    async fn next(&mut self) -> Result<(String, JobView), String> {
        loop {
            let message = self.stream.next().await.ok_or("the connection ended")?.map_err(|e| bounded(&e.to_string()))?;
            let text = match message {
                Message::Text(text) => text,
                Message::Close(_) => return Err("the server closed the connection".to_owned()),
                _ => continue,
            };
            // Messages that are not about a job (greetings, status lines) are not ours to judge.
            let Ok(json) = serde_json::from_str::<Json>(&text) else { continue };
            if let Some(policy) = self.socket.reconnect.as_ref().and_then(|at| json.pointer(at)).and_then(Json::as_str) {
                self.policy = policy.parse().ok();
            }
            let Some(id) = json.pointer(&self.socket.id).map(template::as_text) else { continue };
            if let Ok(view) = template::view(&self.driver.status, &json) {
                return Ok((id, view));
            }
        }
    }
}

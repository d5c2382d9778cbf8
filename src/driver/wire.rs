//! A request over a connection of its own, which can be taken away in all the ways in which connections are lost, and whose
//! answer is read piece by piece.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::request::{Failure, sentence};
use super::template::bounded;
use crate::listen::How;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The largest head of an answer.
const MOST_HEAD: usize = 256 << 10;

trait Both: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Both for T {}

/// The connection. Dropping it ends it.
pub struct Wire {
    /// The same socket once more, to do to it what HTTP has no words for.
    socket: std::net::TcpStream,
    local: Option<SocketAddr>,
    driving: tokio::task::JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

/// An answer whose body is still to come.
pub struct Opened {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Incoming,
    pub wire: Wire,
}

/// Connects, sends, and returns with the head of the answer.
///
/// # Errors
/// There is no connection, or no answer within the request's own time.
pub async fn open(request: reqwest::Request, tls: &Arc<ClientConfig>, within: Duration) -> Result<Opened, Failure> {
    tokio::time::timeout(within, open_at_last(request, tls))
        .await
        .unwrap_or_else(|_| Err(Failure::NoAnswer(format!("no answer within {} s", within.as_secs_f64()))))
}

async fn open_at_last(request: reqwest::Request, tls: &Arc<ClientConfig>) -> Result<Opened, Failure> {
    let unreachable = |e: std::io::Error| Failure::Unreachable(bounded(&e.to_string()));
    let url = request.url().clone();
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or(80);
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect((host.as_str(), port)));
    let tcp = connecting.await.map_err(|_| Failure::Unreachable("no connection in time".to_owned()))?.map_err(unreachable)?;
    let local = tcp.local_addr().ok();
    let socket = tcp.as_fd().try_clone_to_owned().map_err(unreachable)?.into();
    let stream: Box<dyn Both> = if url.scheme() == "https" {
        let name = ServerName::try_from(host.clone()).map_err(|e| Failure::Unusable(e.to_string()))?;
        let connector = tokio_rustls::TlsConnector::from(tls.clone());
        Box::new(connector.connect(name, tcp).await.map_err(unreachable)?)
    } else {
        Box::new(tcp)
    };
    let no_answer = |e: hyper::Error| Failure::NoAnswer(sentence(&e));
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(MOST_HEAD).handshake(TokioIo::new(stream)).await.map_err(no_answer)?;
    let driving = tokio::spawn(async move {
        // What ends a connection is seen by whoever reads from it.
        let _ = connection.await;
    });
    let wire = Wire { socket, local, driving };
    let answer = sender.send_request(plain(&request)?).await.map_err(no_answer)?;
    let (head, body) = answer.into_parts();
    Ok(Opened { status: head.status.as_u16(), headers: head.headers, body, wire })
}

/// The same request in the words of the lower library.
fn plain(request: &reqwest::Request) -> Result<http::Request<Full<Bytes>>, Failure> {
    let url = request.url();
    let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let host = url.port().map_or_else(
        || url.host_str().unwrap_or_default().to_owned(),
        |port| format!("{}:{port}", url.host_str().unwrap_or_default()),
    );
    let body = request.body().and_then(|body| body.as_bytes()).map(Bytes::copy_from_slice).unwrap_or_default();
    let mut made = http::Request::builder().method(request.method().clone()).uri(target).header("host", host);
    for (name, value) in request.headers() {
        made = made.header(name, value);
    }
    made.body(Full::new(body)).map_err(|e| Failure::Unusable(e.to_string()))
}

impl Wire {
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local
    }

    /// Ends the connection in one of the ways in which connections end. One that nobody closes comes back.
    pub fn leave(self, how: How) -> Option<Self> {
        match how {
            How::HalfOpen | How::Stall => return Some(self),
            How::Reset => {
                // If it cannot be reset it is closed, which is seen by whoever looks for the proof.
                let _ = socket2::SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
            }
            How::Close | How::Fin => {
                let _ = self.socket.shutdown(std::net::Shutdown::Write);
            }
        }
        None
    }
}

/// The next piece of a body; `None` at its end.
///
/// # Errors
/// The connection ended before the body did.
pub async fn next_piece(body: &mut Incoming) -> Result<Option<Bytes>, String> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(error)) => return Err(sentence(&error)),
            Some(Ok(frame)) => {
                if let Ok(piece) = frame.into_data() {
                    return Ok(Some(piece));
                }
            }
        }
    }
}

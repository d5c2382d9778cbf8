//! Whether anybody is there at all: what is asked of a target that names no route for health.

use std::time::Duration;

use tokio::net::TcpStream;
use url::{Host, Url};

/// As long as a client waits for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// What forwards a port for somebody who is not there accepts a connection and ends it at once; a server waits for a request.
/// Time enough for a look at one that is known to serve ...
pub const LOOK_STAYS: Duration = Duration::from_millis(20);
/// ... and for one that is just starting, on a machine that has much else to do.
pub const READY_STAYS: Duration = Duration::from_millis(250);

/// A connection is accepted, and kept for so long.
///
/// # Errors
/// Why there is none, as a sentence.
pub async fn is_open(base: &str, stays: Duration) -> Result<(), String> {
    let url = Url::parse(base).map_err(|e| format!("{base}: {e}"))?;
    let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
        return Err(format!("{base} names no host and port"));
    };
    let connecting = async {
        match host {
            Host::Domain(name) => TcpStream::connect((name, port)).await,
            Host::Ipv4(address) => TcpStream::connect((address, port)).await,
            Host::Ipv6(address) => TcpStream::connect((address, port)).await,
        }
    };
    let stream = match tokio::time::timeout(CONNECT_WITHIN, connecting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(format!("no connection to {base}: {error}")),
        Err(_) => return Err(format!("no connection to {base} within {} s", CONNECT_WITHIN.as_secs())),
    };
    match tokio::time::timeout(stays, stream.peek(&mut [0])).await {
        Ok(Ok(0)) => Err(format!("{base} accepts connections and ends them at once")),
        Ok(Err(error)) => Err(format!("{base} accepts connections and breaks them off at once: {error}")),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_open_port_is_one_that_keeps_a_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        // The kernel accepts for a server that is too busy to.
        assert_eq!(is_open(&url, LOOK_STAYS).await, Ok(()));
        let mean = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ends = format!("http://{}/v1", mean.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = mean.accept().await {
                drop(stream);
            }
        });
        assert!(is_open(&ends, READY_STAYS).await.unwrap_err().contains("ends them at once"));
        drop(listener);
        // A port that is somebody's, who does not listen: nobody else can have it.
        let taken = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        taken.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let url = format!("http://{}", taken.local_addr().unwrap().as_socket().unwrap());
        assert!(is_open(&url, LOOK_STAYS).await.unwrap_err().contains("no connection to"));
        assert!(is_open("unix:/x", LOOK_STAYS).await.is_err());
    }
}

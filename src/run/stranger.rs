//! Whether what answers at the URL is the process that was started for the run, and nobody else's.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::address::{host_and_port, is_here, resolve};
use crate::observe::listening;
use crate::runtime::{parent, proc_stat};

/// On this machine a connection is there at once, or not at all.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// No process of a target is deeper below it.
const DEEPEST: usize = 64;

/// What is known of those who listen.
#[derive(Debug, PartialEq)]
pub enum Answers {
    /// The target, or a process of its own.
    Target,
    /// A process that is none of the target's, and was there before it.
    Stranger(u32),
    /// It cannot be told.
    Unknown(String),
}

/// Nobody may be there before the target is started: what answers then would be taken for it.
///
/// # Errors
/// Somebody is; the sentence says who, and what to do.
pub async fn nobody_is_there(url: &str) -> Result<(), String> {
    let Some((host, port)) = host_and_port(url) else { return Ok(()) };
    for address in resolve(&host, port).await.into_iter().filter(|address| is_here(address.ip())) {
        if answers(address).await {
            let who = listening::process_on(port).map_or_else(|| "a process that cannot be seen".to_owned(), named);
            return Err(format!(
                "{who} already listens at {url}, where the target is to be started: end it, give the target another port, or leave `target.runtime` out to test what is there"
            ));
        }
    }
    Ok(())
}

async fn answers(address: SocketAddr) -> bool {
    let address = match address.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(IpAddr::from([127, 0, 0, 1]), address.port()),
        _ => address,
    };
    matches!(tokio::time::timeout(ANSWERS_WITHIN, tokio::net::TcpStream::connect(address)).await, Ok(Ok(_)))
}

/// Who listens at the URL, now that something has answered there, seen from the process that was started.
pub fn who_answers(url: &str, target: u32) -> Answers {
    let Some((_, port)) = host_and_port(url) else { return Answers::Unknown("the URL has no port".to_owned()) };
    let owners = listening::processes_on(port);
    let (own, others): (Vec<u32>, Vec<u32>) = owners.iter().partition(|owner| is_of(**owner, target));
    let started = |pid: u32| proc_stat(pid).map(|(_, ticks)| ticks);
    if !own.is_empty() {
        return Answers::Target;
    }
    let is_older = |owner: &&u32| started(**owner).zip(started(target)).is_some_and(|(theirs, ours)| theirs < ours);
    match others.iter().find(is_older) {
        Some(stranger) => Answers::Stranger(*stranger),
        None if owners.is_empty() => Answers::Unknown(format!("no process that can be seen listens on port {port}")),
        // A command may have somebody else start the server: an engine, a service manager.
        None => Answers::Unknown(format!("{} listens there, which is no process of the target's", named(owners[0]))),
    }
}

/// The process, and everything that it started: orphans go to the holder, which is its parent.
fn is_of(owner: u32, target: u32) -> bool {
    let holder = parent(target);
    let above = std::iter::successors(Some(owner), |pid| parent(*pid)).take(DEEPEST);
    above.take_while(|pid| *pid > 1).any(|pid| pid == target || Some(pid) == holder)
}

/// A process as a user finds it: its name and its number.
pub fn named(pid: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    format!("`{}` (process {pid})", name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_listens_already_is_named() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost", "0.0.0.0"] {
            let error = nobody_is_there(&format!("http://{host}:{port}/")).await.unwrap_err();
            assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        }
        drop(socket);
        assert_eq!(nobody_is_there(&format!("http://127.0.0.1:{port}/")).await, Ok(()));
    }

    #[test]
    fn who_listens_is_told_from_the_process_that_was_started() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        assert_eq!(who_answers(&url, std::process::id()), Answers::Target);
        drop(socket);
        assert!(matches!(who_answers(&url, std::process::id()), Answers::Unknown(_)), "nobody listens any more");
    }
}

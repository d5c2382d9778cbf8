//! The reference backend as a process that is there before any run.

use std::process::{Child, Stdio};
use std::time::Duration;

use super::{chaos, wait_for};

/// Ends with the test.
pub struct Backend {
    child: Child,
    pub port: u16,
}

impl Backend {
    /// It listens on every address of this machine, or on one.
    pub fn on(host: &str) -> Self {
        let port = super::free_port();
        let mut command = chaos();
        command.args(["backend", "--speed", "400", "--listen", &format!("{host}:{port}")]);
        let backend = Self { child: command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(), port };
        wait_for("the backend", Duration::from_secs(60), || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        backend
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

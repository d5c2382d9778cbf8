//! Containers of the reference backend, looked at with Docker's own client: another eye than the one under test.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, OnceLock};
use std::time::Duration;

use super::{free_port, real_part, wait_for};

/// Whether there is an engine. Where there is none the test says what it leaves out, or fails if it must not.
pub fn engine(what: &str) -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    TURN.with(|_| {});
    let there = *THERE.get_or_init(|| Command::new("docker").arg("info").output().is_ok_and(|o| o.status.success()));
    real_part("Docker engine", there, what)
}

/// So many tests use the engine at once. Their names stand beside one another, so that all would begin together; and an engine
/// of two cores that starts eight containers answers nobody meanwhile.
const AT_ONCE: u32 = 4;

static FREE: (Mutex<u32>, Condvar) = (Mutex::new(AT_ONCE), Condvar::new());

thread_local! {
    /// Of a test, which is a thread: from its first word with the engine to its end, however it ends.
    static TURN: Turn = Turn::wait();
}

struct Turn;

impl Turn {
    fn wait() -> Self {
        let free = FREE.0.lock().expect("nobody panics with it");
        *FREE.1.wait_while(free, |free| *free == 0).expect("nobody panics with it") -= 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *FREE.0.lock().expect("nobody panics with it") += 1;
        FREE.1.notify_one();
    }
}

/// On everything that the tests of this folder make in an engine: the gate removes what a try left that was cut off.
pub const LABEL: &str = concat!("chaos.test=", env!("CARGO_MANIFEST_DIR"));

/// Runs Docker's client; its standard output.
pub fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().expect("the docker client starts");
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The image with the binary under test; made once.
pub fn image() -> &'static str {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/build.sh");
        let made = Command::new(script)
            .args([env!("CARGO_BIN_EXE_chaos"), "chaos-backend:test", "--label", LABEL])
            .output()
            .expect("bash is there");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    });
    "chaos-backend:test"
}

/// A container of the reference backend; removed, with its volume, when the test is over.
pub struct Backend {
    pub name: String,
    pub port: u16,
}

impl Backend {
    /// Started and healthy. `options` are Docker's, `arguments` the backend's.
    pub fn start(options: &[&str], arguments: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("chaos-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let port = free_port();
        let publish = format!("127.0.0.1:{port}:5000");
        let mut all = vec!["run", "--detach", "--label", LABEL, "--name", &name, "--publish", &publish];
        all.extend(options);
        all.push(image());
        all.extend(arguments);
        let backend = Self { name: name.clone(), port };
        docker(&all);
        backend.wait_until_healthy();
        backend
    }

    /// As experiments may break it.
    pub fn allowed(arguments: &[&str]) -> Self {
        Self::start(&["--label", "chaos.allow=true", "--memory", "512m"], arguments)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn wait_until_healthy(&self) {
        wait_for(&format!("the health of {}", self.name), Duration::from_secs(30), || self.is_healthy());
    }

    fn is_healthy(&self) -> bool {
        let ask = || {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(b"GET /health HTTP/1.0\r\nHost: x\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            std::io::Result::Ok(answer)
        };
        ask().is_ok_and(|answer| answer.split(' ').nth(1) == Some("200"))
    }

    /// What a fault may have changed, and must have put back.
    pub fn state(&self) -> String {
        self.state_now().unwrap_or_else(|| panic!("there is no container {}", self.name))
    }

    /// The same; `None` while it is removed.
    pub fn state_now(&self) -> Option<String> {
        let format = "{{.State.Status}} memory {{.HostConfig.Memory}}/{{.HostConfig.MemorySwap}} pids {{.HostConfig.PidsLimit}} cpus {{.HostConfig.NanoCpus}}/{{.HostConfig.CpuQuota}} ports {{json .NetworkSettings.Ports}} networks {{range $name, $n := .NetworkSettings.Networks}}{{$name}} {{json $n.Aliases}} {{end}}";
        let asked =
            Command::new("docker").args(["inspect", "--format", format, &self.name]).output().expect("the docker client starts");
        let told = asked.status.success().then(|| String::from_utf8_lossy(&asked.stdout).trim().to_owned())?;
        // No limit has several spellings, and the engine keeps the one that was given last.
        let told = told
            .replace("pids <no value>", "pids none")
            .replace("pids 0", "pids none")
            .replace("pids -1", "pids none")
            .replace("0/-1", "0/0")
            .replace("memory 9223372036854771712/9223372036854771712", "memory 0/0");
        Some(told)
    }

    pub fn inspect(&self, format: &str) -> String {
        docker(&["inspect", "--format", format, &self.name])
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // A test may have removed it already.
        let _ = Command::new("docker").args(["rm", "--force", "--volumes", &self.name]).output();
    }
}

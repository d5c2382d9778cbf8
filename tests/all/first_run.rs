//! A newcomer's first run: a service that somebody wrote in ten lines, and the files that `chaos init` writes for it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{Ending, Run, chaos, free_port, run, wait_for};
use crate::drivers::python;

/// The services of a file in `tests/backends`, in its order.
const FASTAPI: (&str, &[&str]) = (
    "styles.py",
    &["plain", "numbers", "accepted", "fraction", "synchronous", "celery", "flag", "nested", "asked_in_the_query", "form"],
);
const FLASK: (&str, &[&str]) = ("flask_styles.py", &["plain", "numbers", "flag", "synchronous"]);

/// The run of what was written, in less time than a newcomer gives it.
fn first_run(folder: &Path, url: &str) -> (Run, String) {
    let output = chaos().args(["init", url, "--into"]).arg(folder).output().unwrap();
    assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
    let driver = std::fs::read_to_string(folder.join("first-driver.yaml")).unwrap_or_default();
    let file = folder.join("first.yaml").display().to_string();
    let short = [
        "--set",
        "baseline=6s",
        "--set",
        "load.0.think=100ms",
        "--set",
        "faults.0.burst.at=6s",
        "--set",
        // All of them are served by one process, which a busy machine gives little time.
        "checks.1.queue_drains.within=60s",
    ];
    (run(&[&[file.as_str()], &short[..]].concat()), driver)
}

fn none_is_red((file, styles): (&str, &[&str])) {
    let Some(python) = python(&format!("the services in {file}")) else { return };
    // A port for each: a target takes one run at a time.
    let ports: Vec<u16> = styles.iter().map(|_| free_port()).collect();
    let server = Command::new(python)
        .args([&format!("tests/backends/{file}"), "--ports"])
        .args(ports.iter().map(ToString::to_string))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _server = Ending(server);
    let is_open = |port: &u16| std::net::TcpStream::connect(("127.0.0.1", *port)).is_ok();
    wait_for(file, Duration::from_secs(60), || ports.iter().all(is_open));
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for (style, port) in styles.iter().zip(ports) {
            let place = folder.path().join(style);
            scope.spawn(move || {
                let (done, driver) = first_run(&place, &format!("http://127.0.0.1:{port}"));
                assert!(matches!(done.code, Some(0 | 6)), "{style}: {}\n{driver}", done.trouble());
                assert_eq!(done.verdict("all_jobs_complete"), "passed", "{style}: {}\n{driver}", done.trouble());
                let jobs = &done.result["jobs"];
                assert!(jobs["completed"].as_u64() > Some(10), "{style}: {jobs}");
                let is_followed = driver.contains("status:");
                assert_eq!(is_followed, *style != "synchronous", "{style}: {driver}");
            });
        }
    });
}

#[test]
fn a_healthy_service_of_ten_lines_is_never_red() {
    none_is_red(FASTAPI);
}

#[test]
fn nor_is_one_without_a_document() {
    none_is_red(FLASK);
}

/// One that tells nothing of itself: what is written is a guess, says so, and blames nobody.
#[test]
fn a_guess_that_is_wrong_is_no_fault_of_the_service() {
    let Some(python) = python("a service without an OpenAPI document") else { return };
    let port = free_port();
    let server = "import http.server, sys\nclass H(http.server.BaseHTTPRequestHandler):\n    protocol_version = 'HTTP/1.1'\n    def do_GET(self):\n        self.rfile.read(int(self.headers.get('Content-Length') or 0))\n        self.send_response(404)\n        self.send_header('Content-Length', '0')\n        self.end_headers()\n    do_POST = do_GET\n    def log_message(self, *_):\n        pass\nhttp.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), H).serve_forever()\n";
    let server = Command::new(python).args(["-c", server, &port.to_string()]).stderr(Stdio::null()).spawn().unwrap();
    let _server = Ending(server);
    wait_for("the service", Duration::from_secs(60), || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let folder = tempfile::tempdir().unwrap();
    let (done, _) = first_run(folder.path(), &format!("http://127.0.0.1:{port}"));
    assert_eq!(done.code, Some(6), "{}", done.trouble());
    let text = std::fs::read_to_string(folder.path().join("first.yaml")).unwrap();
    assert!(text.contains("a guess: nothing about it is known"), "{text}");
    assert!(
        done.result["findings"].to_string().contains("are the path and the credentials right?"),
        "{}",
        done.result["findings"]
    );
}

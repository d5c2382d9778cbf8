//! Containers that come and go during a run: brought back or made again by Compose, renamed, or taken by an impostor; a
//! command inside them; and another engine, Podman. Where one is missing the tests say so; with `CHAOS_TEST_REAL=1` that is
//! a failure.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::docker::{Backend, LABEL, docker, engine, image};
use crate::common::{Run, chaos, finished, free_port, only_folder, real, stretched, wait_for};

/// A service of a Compose project with a volume; taken down when the test is over.
struct Project {
    folder: tempfile::TempDir,
    name: String,
    port: u16,
}

impl Project {
    fn up() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let name = format!("chaostest{}p{port}", std::process::id());
        let text = format!(
            "version: '3.8'\nservices:\n  api:\n    image: {}\n    command: ['--speed', '400', '--slots', '6']\n    labels: ['{LABEL}', chaos.allow=true]\n    ports: ['127.0.0.1:{port}:5000']\n    volumes: ['data:/data']\nvolumes:\n  data: {{ labels: ['{LABEL}'] }}\nnetworks:\n  default: {{ labels: ['{LABEL}'] }}\n",
            image()
        );
        std::fs::write(folder.path().join("docker-compose.yml"), text).unwrap();
        let project = Self { folder, name, port };
        project.compose(&["up", "-d"]);
        wait_for("the service", Duration::from_secs(30), || project.answers());
        project
    }

    fn answers(&self) -> bool {
        let url = format!("http://127.0.0.1:{}/health", self.port);
        chaos().args(["backend", "--probe", &url]).output().is_ok_and(|o| o.status.success())
    }

    fn compose(&self, arguments: &[&str]) {
        let output = Command::new("docker-compose")
            .args(["--project-name", &self.name])
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn container(&self) -> String {
        format!("{}_api_1", self.name)
    }

    fn id(&self) -> Option<String> {
        let output = Command::new("docker").args(["inspect", "--format", "{{.Id}}", &self.container()]).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn runtime(&self) -> String {
        format!("compose: {{ project: {}, service: api }}", self.name)
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let down = ["--project-name", &self.name, "down", "--volumes", "--timeout", "0"];
        let _ = Command::new("docker-compose").args(down).current_dir(self.folder.path()).output();
    }
}

/// A run that goes on while the test interferes.
struct Going {
    child: Child,
    reports: tempfile::TempDir,
    _file: PathBuf,
}

impl Going {
    fn start(folder: &Path, port: u16, runtime: &str, duration: &str, faults: &str) -> Self {
        let file = folder.join("going.yaml");
        let text = format!(
            "version: 1\nname: going\ntarget: {{ url: \"http://127.0.0.1:{port}\", runtime: {{ docker: {{ {runtime} }} }} }}\nduration: {duration}\nload: [{{ name: users, users: 4, think: 20ms..100ms }}]\nfaults: [{faults}]\nchecks: [{{ no_crash: {{}} }}, {{ all_jobs_complete: {{ within: 30s }} }}]\n"
        );
        std::fs::write(&file, text).unwrap();
        let reports = tempfile::tempdir().unwrap();
        let child = chaos()
            .args(["run", "--format", "json", "--reports"])
            .arg(reports.path())
            .arg(&file)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, reports, _file: file }
    }

    fn wait_until_told(&self, text: &str) {
        let journal = || std::fs::read_to_string(only_folder(self.reports.path()).join("events.jsonl")).unwrap_or_default();
        wait_for(text, Duration::from_secs(30), || journal().contains(text));
    }

    fn finish(self) -> Run {
        finished(self.child.wait_with_output().unwrap(), self.reports)
    }
}

/// So many seconds for what the test does meanwhile, and more of them on a busy machine.
fn time_for(seconds: u64) -> u64 {
    stretched(Duration::from_secs(seconds)).as_secs()
}

fn observed(run: &Run, check: &str) -> String {
    let all = run.result["checks"].as_array().cloned().unwrap_or_default();
    all.iter().find(|c| c["name"] == check).map_or_else(String::new, ToString::to_string)
}

#[test]
fn what_compose_brings_back_after_a_removal_is_followed() {
    if !engine("Compose") || !real("docker-compose", "a removed container that Compose brings back") {
        return;
    }
    let project = Project::up();
    let first = project.id().unwrap();
    let away = time_for(8);
    let faults = format!("{{ remove: {{ at: 1s, for: {away}s }} }}");
    let duration = format!("{}s", away + 3);
    let going = Going::start(project.folder.path(), project.port, &project.runtime(), &duration, &faults);
    going.wait_until_told("\"when\":\"during\"");
    assert_eq!(project.id(), None);
    project.compose(&["up", "-d"]);
    let done = going.finish();
    assert_eq!(done.code, Some(0), "{}", done.trouble());
    assert_ne!(project.id().unwrap(), first);
    let report = std::fs::read_to_string(done.folder.join("report.md")).unwrap();
    assert!(report.contains("was removed, and is followed"), "{report}");
    let journal = std::fs::read_to_string(done.folder.join("events.jsonl")).unwrap();
    assert!(journal.contains("was brought back already"), "{journal}");
}

#[test]
fn what_compose_makes_anew_in_the_middle_of_a_run_is_followed_and_is_no_crash() {
    if !engine("Compose") || !real("docker-compose", "a container that Compose makes anew") {
        return;
    }
    let project = Project::up();
    let first = project.id().unwrap();
    let made = time_for(15);
    let (duration, faults) = (format!("{}s", made + 2), format!("{{ pause: {{ at: {made}s, for: 1s }} }}"));
    let going = Going::start(project.folder.path(), project.port, &project.runtime(), &duration, &faults);
    going.wait_until_told("\"ended\"");
    project.compose(&["up", "-d", "--force-recreate"]);
    let done = going.finish();
    assert_ne!(project.id().unwrap(), first);
    // The pause hit the new one; and a backend that somebody else has ended is neither accused nor acquitted.
    assert_eq!(done.verdict("fault pause"), "passed", "{}", done.trouble());
    assert_eq!(done.verdict("no_crash"), "inconclusive", "{}", done.trouble());
    assert!(observed(&done, "no_crash").contains("somebody else"), "{}", done.trouble());
    assert_eq!(done.code, Some(6), "{}", done.trouble());
    let report = std::fs::read_to_string(done.folder.join("report.md")).unwrap();
    assert!(report.contains("and is followed"), "{report}");
}

#[test]
fn an_impostor_under_the_name_of_a_removed_container_is_left_alone_and_told() {
    if !engine("impostors") {
        return;
    }
    let labels =
        ["--label", "chaos.allow=true", "--label", "com.docker.compose.project=p", "--label", "com.docker.compose.service=s"];
    let backend = Backend::start(&labels, &["--speed", "400"]);
    let volume = backend.inspect("{{range .Mounts}}{{.Name}}{{end}}");
    let folder = tempfile::tempdir().unwrap();
    let runtime = format!("container: {}", backend.name);
    let away = time_for(4);
    let faults = format!("{{ remove: {{ at: 1s, for: {away}s, ready_within: 5s }} }}");
    let going = Going::start(folder.path(), backend.port, &runtime, &format!("{}s", away + 2), &faults);
    going.wait_until_told("\"when\":\"during\"");
    docker(&["run", "--detach", "--name", &backend.name, "--label", LABEL, "--label", "chaos.allow=true", image()]);
    let impostor = backend.inspect("{{.Id}} {{.State.StartedAt}} {{.State.Pid}}");
    let done = going.finish();
    assert_eq!(done.code, Some(5), "{}", done.trouble());
    let reason = done.result["reason"].to_string();
    assert!(reason.contains("another container has its name"), "{reason}");
    assert_eq!(backend.inspect("{{.Id}} {{.State.StartedAt}} {{.State.Pid}}"), impostor);
    let report = std::fs::read_to_string(done.folder.join("report.md")).unwrap();
    assert!(report.contains("it is not the target, and is left alone"), "{report}");
    // Once it is out of the way, what the run says is to be done puts the container back.
    docker(&["rm", "--force", "--volumes", &backend.name]);
    let revert = chaos().arg("revert").arg(&done.folder).output().unwrap();
    assert!(revert.status.success(), "{}", String::from_utf8_lossy(&revert.stderr));
    backend.wait_until_healthy();
    assert_eq!(backend.inspect("{{index .Config.Labels \"com.docker.compose.service\"}}"), "s");
    // The container that was made again knows its volume by name, and so the engine leaves it behind.
    drop(backend);
    docker(&["volume", "rm", "--force", &volume]);
}

#[test]
fn a_renamed_container_is_put_back_by_its_id_and_told() {
    if !engine("renamed containers") {
        return;
    }
    let backend = Backend::allowed(&["--speed", "400"]);
    let folder = tempfile::tempdir().unwrap();
    let runtime = format!("container: {}", backend.name);
    let faults = format!("{{ pause: {{ at: 1s, for: {}s }} }}, {{ kill: {{ after: pause + 1s }} }}", time_for(3));
    let going = Going::start(folder.path(), backend.port, &runtime, "6s", &faults);
    going.wait_until_told("\"when\":\"during\"");
    let id = backend.inspect("{{.Id}}");
    let other = format!("{}-renamed", backend.name);
    docker(&["rename", &backend.name, &other]);
    let done = going.finish();
    docker(&["rename", &other, &backend.name]);
    assert_eq!(backend.inspect("{{.Id}} {{.State.Status}}"), format!("{id} running"));
    assert_eq!(done.verdict("fault pause"), "passed", "{}", done.trouble());
    // A fault that names it by the name that it had finds none, and says so.
    assert_eq!(done.verdict("fault kill"), "inconclusive", "{}", done.trouble());
    assert!(observed(&done, "fault kill").contains("there is no container"), "{}", done.trouble());
    let journal = std::fs::read_to_string(done.folder.join("events.jsonl")).unwrap();
    assert!(journal.contains("\"action\":\"rename\""), "{journal}");
}

#[test]
fn a_command_inside_a_container_breaks_and_puts_back_and_needs_a_proof() {
    if !engine("a command inside") {
        return;
    }
    let backend = Backend::allowed(&["--speed", "400"]);
    // The image holds nothing but the backend: a shell is lent to it.
    for program in ["/bin/dash", "/bin/rm"] {
        docker(&["cp", "--follow-link", program, &format!("{}:/", backend.name)]);
    }
    let folder = tempfile::tempdir().unwrap();
    let proof = "proof: [/dash, -c, 'test -e /data/broken']";
    let command = "command: [/dash, -c, 'echo x > /data/broken'], revert: [/rm, -f, /data/broken]";
    let runtime = format!("container: {}", backend.name);
    let exec = |more: &str| format!("{{ exec_inside: {{ at: 1s, for: 1s, {command}, {more} }} }}");
    let proven = Going::start(folder.path(), backend.port, &runtime, "3s", &exec(proof)).finish();
    assert_eq!(proven.code, Some(0), "{}", proven.trouble());
    assert!(observed(&proven, "fault exec_inside").contains("the proof exits 0"), "{}", proven.trouble());
    let left = Command::new("docker").args(["cp", &format!("{}:/data/broken", backend.name), "-"]).output().unwrap();
    assert!(!left.status.success(), "the file is still there");
    // Without a proof, or with one that cannot be run, nobody knows.
    for (more, why) in [("timeout: 60s", "no `proof` command"), ("proof: [/nowhere]", "cannot be run")] {
        let unproven = Going::start(folder.path(), backend.port, &runtime, "3s", &exec(more)).finish();
        assert_eq!(unproven.code, Some(6), "{}", unproven.trouble());
        assert!(observed(&unproven, "fault exec_inside").contains(why), "{}", unproven.trouble());
    }
}

/// Podman's service with its compatible socket, and one container; both gone when the test is over.
struct Podman {
    service: Child,
    folder: tempfile::TempDir,
    container: String,
    port: u16,
}

impl Podman {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let service = Command::new("podman")
            .args(["system", "service", "--time", "0"])
            .arg(format!("unix://{}/podman.sock", folder.path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let podman = Self { service, folder, container: format!("chaos-podman-{}p{port}", std::process::id()), port };
        wait_for("Podman's socket", Duration::from_secs(30), || podman.folder.path().join("podman.sock").exists());
        let archive = podman.folder.path().join("image.tar");
        docker(&["save", "--output", archive.to_str().unwrap(), image()]);
        Self::podman(&["load", "--input", archive.to_str().unwrap()]);
        let publish = format!("127.0.0.1:{port}:5000");
        let tag = format!("localhost/{}", image());
        // Without systemd Podman times no health checks; the limits are those that a container may set itself.
        let options = ["--no-healthcheck", "--ulimit", "nofile=1000:1000", "--ulimit", "nproc=1000:1000"];
        let mut all = vec!["run", "--detach", "--label", LABEL, "--name", &podman.container, "--publish", &publish];
        all.extend(options);
        all.extend(["--label", "chaos.allow=true", &tag, "--speed", "400"]);
        Self::podman(&all);
        podman
    }

    fn podman(arguments: &[&str]) -> String {
        let output = Command::new("podman").args(arguments).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "podman {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = Command::new("podman").args(["rm", "--force", "--volumes", &self.container]).output();
        let _ = self.service.kill();
        let _ = self.service.wait();
    }
}

#[test]
fn podmans_compatible_socket_serves_as_well_and_what_it_lacks_is_told() {
    if !engine("the image for Podman") || !real("podman", "Podman's compatible socket") {
        return;
    }
    let podman = Podman::start();
    let folder = tempfile::tempdir().unwrap();
    let runtime = format!("container: {}, host: \"unix://{}/podman.sock\"", podman.container, podman.folder.path().display());
    // Each when the one before it is over: how long a restart takes is for the machine to say.
    let faults = "{ pause: { at: 1s, for: 1s } }, { restart: { after: pause + 1s } }, { kill: { after: restart + 1s, for: 500ms } }, { memory_limit: { after: kill + 1s, to: 300MiB, for: 1s } }";
    let done = Going::start(folder.path(), podman.port, &runtime, "12s", faults).finish();
    for fault in ["fault pause", "fault restart", "fault kill"] {
        assert_eq!(done.verdict(fault), "passed", "{}", done.trouble());
    }
    assert_eq!(done.verdict("all_jobs_complete"), "passed", "{}", done.trouble());
    assert!(observed(&done, "fault memory_limit").contains("this engine's API has no such call"), "{}", done.trouble());
    assert_eq!(Podman::podman(&["inspect", "--format", "{{.State.Status}}", &podman.container]), "running");
}

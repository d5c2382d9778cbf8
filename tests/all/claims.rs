//! Two runs never work on the same target, however it is written and wherever they keep their state.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::backend::Backend;
use crate::common::{chaos, often_by, only_folder, wait_for};

fn experiment(folder: &Path, url: &str) -> std::path::PathBuf {
    let file = folder.join("x.yaml");
    let text = format!(
        "version: 1\nname: x\ntarget: {{ url: \"{url}\" }}\nload: [{{ users: 1 }}]\nfaults: [{{ burst: {{ at: 10m, jobs: 3 }} }}]\nchecks: [{{ error_rate: {{ below: 5% }} }}]\n"
    );
    std::fs::write(&file, text).unwrap();
    file
}

/// The same target, on this port, as people write it.
const SPELLINGS: [&str; 8] = [
    "127.0.0.1:P",
    "127.0.0.1:P/",
    "localhost:P",
    "LOCALHOST:P/",
    "localhost.:P",
    "[::ffff:127.0.0.1]:P",
    "127.1:P",
    "0.0.0.0:P",
];

fn url(spelling: &str, port: u16) -> String {
    format!("http://{}", spelling.replace('P', &port.to_string()))
}

/// With a state folder of the test's own: what other tests leave in theirs is no concern of it.
fn chaos_in(state: &Path) -> Command {
    let mut command = chaos();
    command.env("CHAOS_STATE_DIR", state);
    command
}

fn run(mut run: Command, file: &Path, reports: &Path) -> Command {
    run.args(["run", "--reports"]).arg(reports).arg(file);
    run
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn however_the_target_is_written_the_second_run_is_refused() {
    let target = Backend::on("0.0.0.0");
    let folder = tempfile::tempdir().unwrap();
    let reports = folder.path().join("first");
    let file = experiment(folder.path(), &format!("http://127.0.0.1:{}", target.port));
    std::fs::create_dir_all(&reports).unwrap();
    let own = folder.path().join("state");
    let mut first = run(chaos_in(&own), &file, &reports).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let journal = || std::fs::read_to_string(only_folder(&reports).join("events.jsonl")).unwrap_or_default();
    wait_for("the first run's load", Duration::from_secs(60), || journal().contains("submitting"));
    for (number, spelling) in SPELLINGS.iter().enumerate() {
        for state in ["same", "other", "no home"] {
            let second = tempfile::tempdir().unwrap();
            let url = url(spelling, target.port);
            let file = experiment(second.path(), &url);
            let mut command = chaos_in(&own);
            match state {
                "other" => drop(command.env("CHAOS_STATE_DIR", second.path().join("state"))),
                "no home" if number == 0 => {
                    command.env_remove("CHAOS_STATE_DIR").env_remove("HOME").env_remove("XDG_STATE_HOME");
                }
                "no home" => continue,
                _ => {}
            }
            let refused = run(command, &file, &second.path().join("reports")).output().unwrap();
            assert_eq!(refused.status.code(), Some(4), "{url}, {state}: {}", said(&refused));
            assert!(said(&refused).contains("at work on port"), "{url}, {state}: {}", said(&refused));
        }
    }
    kill(Pid::from_raw(first.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(first.wait().unwrap().code(), Some(130));
    assert_eq!(journal().matches("\"run_started\"").count(), 1);
}

/// How many pairs are started at the same moment in each spelling: `CHAOS_PAIRS=100` is the whole of it.
fn pairs() -> usize {
    often_by("CHAOS_PAIRS", 1, 10)
}

#[test]
fn of_two_runs_that_start_at_the_same_moment_one_works() {
    let target = Backend::on("0.0.0.0");
    // With a dot at its end the name is asked of the machine's name servers, which may not answer: such a run does not work.
    let spellings = SPELLINGS.into_iter().filter(|spelling| !spelling.contains("localhost."));
    for (pair, spelling) in (0..pairs()).flat_map(|_| spellings.clone()).enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let runs: Vec<(Child, std::path::PathBuf)> = [SPELLINGS[0], spelling]
            .iter()
            .enumerate()
            .map(|(number, spelling)| {
                let own = folder.path().join(number.to_string());
                std::fs::create_dir(&own).unwrap();
                let file = experiment(&own, &url(spelling, target.port));
                // Each spelling with one state folder, and with two.
                let with_two = (pair + pair / SPELLINGS.len()) % 2 == 1;
                let state = if with_two { own.join("state") } else { folder.path().join("state") };
                let child = run(chaos_in(&state), &file, &own.join("reports"))
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap();
                (child, own.join("reports"))
            })
            .collect();
        let works = |reports: &Path| {
            std::fs::read_to_string(only_folder(reports).join("events.jsonl")).is_ok_and(|text| text.contains("submitting"))
        };
        let mut runs = runs;
        wait_for(&format!("pair {pair}, {spelling}: one to work and one to end"), Duration::from_secs(60), || {
            let ended = runs.iter_mut().filter_map(|(child, _)| child.try_wait().unwrap()).count();
            ended == 1 && runs.iter().any(|(_, reports)| reports.is_dir() && works(reports))
        });
        let mut codes = Vec::new();
        for (child, reports) in &mut runs {
            if child.try_wait().unwrap().is_none() {
                kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
            } else {
                assert!(!works(reports), "pair {pair}, {spelling}: the refused one has sent nothing");
            }
            codes.push(child.wait().unwrap().code());
        }
        codes.sort();
        assert_eq!(codes, [Some(4), Some(130)], "pair {pair}, {spelling}");
    }
}

//! What is written to a full disk, or to nobody, changes no outcome and breaks nothing.

use std::fs::{File, OpenOptions};
use std::process::Stdio;

use crate::common::{chaos, only_folder};

/// Every write to it fails: no space is left.
fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

/// A pipe whose reader is gone.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn no_command_panics_where_its_output_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.yaml");
    std::fs::write(&broken, "version: 1\nnmae: x\n").unwrap();
    let broken = broken.to_str().unwrap();
    let empty = folder.path().to_str().unwrap();
    let commands: [&[&str]; 12] = [
        &["--help"],
        &["--version"],
        &["no-such-command"],
        &["validate", "experiments/gpu-oom.yaml"],
        &["validate", broken],
        &["validate", broken, "--format", "json"],
        &["plan", "experiments/gpu-oom.yaml"],
        &["list", "--reports", empty],
        &["show", "no-such-run", "--reports", empty],
        &["schema", "experiment"],
        &["completions", "bash"],
        &["revert", empty],
    ];
    for arguments in commands {
        for way in ["full", "closed"] {
            let output = || if way == "full" { full().into() } else { closed() };
            let status = chaos().args(arguments).stdout(output()).stderr(output()).status().unwrap();
            assert!(status.code().is_some_and(|code| code < 100), "{arguments:?}, {way}: {status}");
        }
        let told = chaos().args(arguments).stdout(full()).stderr(Stdio::piped()).output().unwrap();
        let usual = chaos().args(arguments).output().unwrap();
        if !usual.stdout.is_empty() && arguments[0].starts_with(|c: char| c.is_ascii_lowercase()) {
            assert!(String::from_utf8_lossy(&told.stderr).contains("cannot write the output"), "{arguments:?}: {told:?}");
        }
    }
}

#[test]
fn the_outcome_of_a_run_is_its_exit_code_whatever_becomes_of_its_words() {
    let folder = tempfile::tempdir().unwrap();
    let text = |check: &str| {
        format!(
            "version: 1\nname: x\ntarget: {{ url: embedded, backend: {{ speed: 400 }} }}\nduration: 1s\nload: [{{ users: 1 }}]\nchecks: [{check}]\n"
        )
    };
    for (check, code) in [("{ no_crash: {} }", 0), ("{ logs: { matching: never said, at_least: 1 } }", 1)] {
        let (file, reports) = (folder.path().join("x.yaml"), tempfile::tempdir().unwrap());
        std::fs::write(&file, text(check)).unwrap();
        let mut command = chaos();
        command.arg("run").arg(&file).arg("--reports").arg(reports.path()).stdout(full()).stderr(full());
        assert_eq!(command.status().unwrap().code(), Some(code), "{check}");
        assert!(only_folder(reports.path()).join("result.json").exists());
    }
}

//! A run that is under way while the test does something to it.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::machine::journal;
use super::{Run, chaos, finished, only_folder, wait_for};

pub struct Underway {
    child: Option<Child>,
    pub folder: tempfile::TempDir,
}

impl Underway {
    /// Returns when its journal has the word. `FOLDER` in the experiment stands for a folder of the test's.
    pub fn start(experiment: &str, word: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.yaml");
        std::fs::write(&file, experiment.replace("FOLDER", &folder.path().display().to_string())).unwrap();
        let reports = folder.path().join("reports");
        std::fs::create_dir(&reports).unwrap();
        let mut command = chaos();
        // Of its own: who is cut off in the middle keeps no other test's run from beginning.
        command.env("CHAOS_STATE_DIR", folder.path().join("state"));
        command.args(["run", "--format", "json", "--reports"]).arg(&reports).arg(&file);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let run = Self { child: Some(child), folder };
        wait_for(word, Duration::from_secs(60), || run.journal().contains(word));
        run
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    fn reports(&self) -> PathBuf {
        self.folder.path().join("reports")
    }

    pub fn journal(&self) -> String {
        journal(&only_folder(&self.reports()))
    }

    pub fn finish(mut self) -> Run {
        let output = self.child.take().unwrap().wait_with_output().unwrap();
        let reports = tempfile::tempdir().unwrap();
        std::fs::rename(only_folder(&self.reports()), reports.path().join("run")).unwrap();
        finished(output, reports)
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

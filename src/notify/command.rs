//! A program that is started, with the notice as JSON on its standard input and its main fields in the environment.

use std::process::Stdio;

use async_trait::async_trait;
use tokio::io::AsyncWriteExt;

use super::{Channel, Notice};
use crate::experiment::command_line::CommandLine;
use crate::{record, secret};

/// Of what a program says, as much is told.
const LONGEST_WORDS: usize = 200;

record! {
    /// A program; no shell.
    pub struct Command {
        /// The program and its arguments.
        run: CommandLine,
    }
}

#[async_trait]
impl Channel for Command {
    async fn send(&self, notice: &Notice) -> Result<(), String> {
        let Some((program, arguments)) = self.run.split_first() else { return Err("no program".to_owned()) };
        let body = serde_json::to_vec(notice).map_err(|e| e.to_string())?;
        let mut child = tokio::process::Command::new(program)
            .args(arguments)
            .env("CHAOS_NOTICE_ID", &notice.id)
            .env("CHAOS_OCCASION", notice.occasion.word())
            .env("CHAOS_ENTRY", &notice.entry)
            .env("CHAOS_TEXT", &notice.text)
            .env("CHAOS_RUN", notice.run.as_deref().unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| format!("{program} cannot be started: {e}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that does not read its input is no error.
            let _ = stdin.write_all(&body).await;
        }
        let output = child.wait_with_output().await.map_err(|e| e.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        let said = secret::head(output.stderr.trim_ascii(), LONGEST_WORDS);
        Err(format!("{program} ended with {}: {said}", output.status))
    }

    fn wrong(&self) -> Option<String> {
        self.run.is_empty().then(|| "expected `run: [program, argument]`".to_owned())
    }
}

//! A command of the user's inside containers, with one that puts things back and one that proves it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::containers::{Act, Container, Seen, runs};
use crate::driver::template::bounded;
use crate::experiment::command_line::CommandLine;
use crate::experiment::units::{Time, WallTime};
use crate::record;
use crate::runtime::docker::engine::Engine;
use crate::runtime::docker::select::{self, Containers};

record! {
    /// Runs a command of yours inside containers, as their own user. There is no shell unless you call one.
    pub struct ExecInside {
        /// The program and its arguments.
        command: CommandLine,
        /// Puts things back. It must do no harm when there is nothing to put back.
        revert: CommandLine = CommandLine::default(),
        /// Exits 0 while things are broken and otherwise while they are not: the proof. Without it the run cannot pass.
        proof: CommandLine = CommandLine::default(),
        /// How long things stay broken.
        r#for: Time,
        /// How long a command may take.
        timeout: WallTime = WallTime::secs(30),
        /// Which containers.
        containers: Containers = Containers::default(),
    }
}

#[derive(Serialize, Deserialize)]
pub struct Saved {
    revert: Vec<String>,
    timeout: WallTime,
}

impl Act for ExecInside {
    type Saved = Saved;
    /// The engine tells of health checks in the same words: the `proof` says whether something is broken.
    const EVENTS: &'static [&'static str] = &[];

    fn which(&self) -> &Containers {
        &self.containers
    }

    fn verb(&self) -> String {
        let back = if self.revert.is_empty() { "nothing puts it back".to_owned() } else { format!("put back by `{}`", self.revert.join(" ")) };
        format!("runs `{}` inside ({back})", self.command.join(" "))
    }

    fn held(&self) -> Option<Duration> {
        Some(self.r#for.0)
    }

    /// An engine ends no command: one that was begun goes on.
    fn may_come_late(&self) -> Duration {
        self.timeout.0 + Duration::from_secs(1)
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.command.is_empty() { Err("expected a `command`: [program, argument, …]") } else { Ok(()) }
    }

    fn save(&self, container: &Container) -> Result<Saved, String> {
        if runs(container) {
            Ok(Saved { revert: self.revert.0.clone(), timeout: self.timeout })
        } else {
            Err("it does not run".to_owned())
        }
    }

    async fn strike(&self, engine: &Engine, id: &str, saved: &Saved) -> Result<(), String> {
        match execute(engine, id, &self.command, saved.timeout).await? {
            (0, _) => Ok(()),
            (code, said) => Err(format!("`{}` exits {code} {said}", self.command.join(" "))),
        }
    }

    async fn look(&self, engine: &Engine, container: Option<&Container>, saved: &Saved) -> Seen {
        let Some(container) = container else { return Seen::Broken("it is gone".to_owned()) };
        if self.proof.is_empty() {
            return Seen::Unknown("no `proof` command says whether things are broken".to_owned());
        }
        match execute(engine, &select::id(container), &self.proof, saved.timeout).await {
            Ok((0, said)) => Seen::Broken(format!("the proof exits 0 {said}")),
            // What an engine gives when there is nothing to run.
            Ok((code @ (126 | 127), said)) => Seen::Unknown(format!("the proof cannot be run ({code}) {said}")),
            Ok((code, said)) => Seen::Whole(format!("the proof exits {code} {said}")),
            Err(why) => Seen::Unknown(why),
        }
    }

    async fn restore(engine: &Engine, container: Option<&Container>, saved: &Saved) -> Result<String, String> {
        if saved.revert.is_empty() {
            return Ok("has nothing to be put back".to_owned());
        }
        let container = container.ok_or("it was removed, and nothing has come in its place")?;
        let command = saved.revert.join(" ");
        match execute(engine, &select::id(container), &saved.revert, saved.timeout).await? {
            (0, said) => Ok(format!("ran `{command}` {said}")),
            (code, said) => Err(format!("`{command}` exits {code} {said}")),
        }
    }
}

/// Its exit code, and its last words. One that takes too long is left to itself: an engine ends no command.
async fn execute(engine: &Engine, id: &str, command: &[String], within: WallTime) -> Result<(i64, String), String> {
    let ran = tokio::time::timeout(within.0, engine.run_inside(id, command)).await;
    let (code, said) = ran.map_err(|_| format!("`{}` took longer than {within}", command.join(" ")))??;
    Ok((code, bounded(said.trim())))
}

//! A command of the user's, with a command that puts things back and one that proves it.

use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::{CauseEnds, Fault, FaultError, Lasts, Observation, Reverted};
use crate::driver::template::bounded;
use crate::experiment::diagnostic::{Diagnostics, Span};
use crate::experiment::units::{Time, WallTime};
use crate::journal::event::When;
use crate::plan::Plan;
use crate::record;
use crate::run::world::World;

record! {
    /// Runs a command of yours.
    pub struct Exec {
        /// The program and its arguments; with `shell: true` one text for `sh -c`.
        command: Vec<String>,
        /// Puts things back. It must do no harm when there is nothing to put back.
        revert: Vec<String> = Vec::new(),
        /// Exits 0 while things are broken and otherwise while they are not: the proof. Without it the run cannot pass.
        proof: Vec<String> = Vec::new(),
        /// Give each text to a shell.
        shell: bool = false,
        /// How long things stay broken.
        r#for: Time = Time::secs(0),
        /// How long a command may take.
        timeout: WallTime = WallTime::secs(30),
    }
}

#[derive(Serialize, Deserialize)]
pub struct Undo {
    revert: Vec<String>,
    shell: bool,
    timeout: WallTime,
}

impl Fault for Exec {
    type Undo = Undo;

    fn validate(&self, place: Span, diags: &mut Diagnostics) {
        for (what, command) in [("command", &self.command), ("revert", &self.revert), ("proof", &self.proof)] {
            if (what == "command" && command.is_empty()) || (self.shell && command.len() > 1) {
                diags.error(place, format!("`{what}` cannot be run"), "expected [program, argument, …], or one text with `shell: true`");
            }
        }
    }

    fn needs_process(&self) -> bool {
        false
    }

    fn outlives_target(&self) -> bool {
        true
    }

    fn touches(&self, _plan: &Plan) -> Vec<String> {
        let back = if self.revert.is_empty() { "nothing puts it back".to_owned() } else { format!("put back by `{}`", self.revert.join(" ")) };
        vec![format!("runs `{}` on this machine; {back}", self.command.join(" "))]
    }

    fn lasts(&self) -> Lasts {
        Lasts::Held(self.r#for.0)
    }

    fn cause_ends(&self) -> CauseEnds {
        // Without a length the outage is what the target makes of it.
        if self.r#for.0.is_zero() { CauseEnds::ProcessEnd { down: Duration::ZERO } } else { CauseEnds::LetGo }
    }

    async fn prepare(&self, _world: &World, _name: &str) -> Result<Undo, FaultError> {
        Ok(Undo { revert: self.revert.clone(), shell: self.shell, timeout: self.timeout })
    }

    async fn inject(&self, _world: &World, _name: &str) -> Result<(), FaultError> {
        let (succeeded, said) = execute(&self.command, self.shell, self.timeout.0).await.map_err(FaultError::Failed)?;
        if succeeded { Ok(()) } else { Err(FaultError::Failed(format!("`{}` failed: {said}", self.command.join(" ")))) }
    }

    async fn observe(&self, _world: &World, _name: &str, _when: When) -> Observation {
        if self.proof.is_empty() {
            return Observation::unknown("no `proof` command says whether things are broken");
        }
        match execute(&self.proof, self.shell, self.timeout.0).await {
            Ok((true, said)) => Observation::broken(1.0, format!("the proof exits 0 {said}")),
            Ok((false, said)) => Observation::intact(format!("the proof does not exit 0 {said}")),
            Err(error) => Observation::unknown(error),
        }
    }

    async fn revert(undo: &Undo, _world: &World, _name: &str) -> Result<Reverted, FaultError> {
        if undo.revert.is_empty() {
            return Ok(Reverted("there is nothing to put back".into()));
        }
        match execute(&undo.revert, undo.shell, undo.timeout.0).await.map_err(FaultError::Failed)? {
            (true, said) => Ok(Reverted(format!("`{}` {said}", undo.revert.join(" ")))),
            (false, said) => Err(FaultError::Failed(format!("`{}` failed: {said}", undo.revert.join(" ")))),
        }
    }
}

/// Whether it exited with 0, and its last words. It is killed when its time is over.
async fn execute(command: &[String], shell: bool, within: Duration) -> Result<(bool, String), String> {
    let words: Vec<&str> = if shell { vec!["sh", "-c"] } else { Vec::new() };
    let words: Vec<&str> = words.into_iter().chain(command.iter().map(String::as_str)).collect();
    let Some((program, arguments)) = words.split_first() else { return Err("there is no command".to_owned()) };
    let running = Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(within, running)
        .await
        .map_err(|_| format!("`{}` took longer than {} s", command.join(" "), within.as_secs_f64()))?
        .map_err(|e| format!("`{program}` cannot be run: {e}"))?;
    let said = String::from_utf8_lossy(if output.stderr.is_empty() { &output.stdout } else { &output.stderr }).trim().to_owned();
    Ok((output.status.success(), bounded(&format!("({}) {said}", output.status))))
}

//! A command of the user's, with a command that puts things back and one that proves it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::command::{end_all, execute, mark};
use super::{CauseEnds, Fault, FaultError, Lasts, Observation, Reverted};
use crate::crash;
use crate::experiment::command_line::CommandLine;
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
        command: CommandLine,
        /// Puts things back. It must do no harm when there is nothing to put back.
        revert: CommandLine = CommandLine::default(),
        /// Exits 0 while things are broken and otherwise while they are not: the proof. Without it the run cannot pass.
        proof: CommandLine = CommandLine::default(),
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
    const OUTLIVES_TARGET: bool = true;

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
        Ok(Undo { revert: self.revert.0.clone(), shell: self.shell, timeout: self.timeout })
    }

    async fn inject(&self, world: &World, name: &str) -> Result<(), FaultError> {
        let mark = mark(world, name);
        let (succeeded, said) = execute(&self.command, self.shell, Some(&mark), self.timeout.0).await.map_err(FaultError::Failed)?;
        if succeeded { Ok(()) } else { Err(FaultError::Failed(format!("`{}` failed: {said}", self.command.join(" ")))) }
    }

    async fn observe(&self, _world: &World, _name: &str, _when: When) -> Observation {
        if self.proof.is_empty() {
            return Observation::unknown("no `proof` command says whether things are broken");
        }
        match execute(&self.proof, self.shell, None, self.timeout.0).await {
            Ok((true, said)) => Observation::broken(1.0, format!("the proof exits 0 {said}")),
            Ok((false, said)) => Observation::intact(format!("the proof does not exit 0 {said}")),
            Err(error) => Observation::unknown(error),
        }
    }

    async fn revert(undo: &Undo, world: &World, name: &str) -> Result<Reverted, FaultError> {
        // One that came to its end has left what it meant to leave; of one that was cut short nothing may go on.
        let cut_short = world.journal.read(|r| r.fault(name).is_none_or(|f| f.injected_t.is_none() || f.error.is_some()));
        let ended = if cut_short { end_all(&mark(world, name)).await } else { Ok(0) };
        crash::point("command_ended");
        let back = put_back(undo).await?;
        // What goes on may break it again: it is tried again, and told.
        match ended.map_err(FaultError::Failed)? {
            0 => Ok(Reverted(back)),
            processes => Ok(Reverted(format!("its command was still at work ({processes} processes), and was ended; {back}"))),
        }
    }
}

async fn put_back(undo: &Undo) -> Result<String, FaultError> {
    if undo.revert.is_empty() {
        return Ok("there is nothing to put back".into());
    }
    let command = undo.revert.join(" ");
    match execute(&undo.revert, undo.shell, None, undo.timeout.0).await.map_err(FaultError::Failed)? {
        (true, said) => Ok(format!("`{command}` {said}")),
        (false, said) => Err(FaultError::Failed(format!("`{command}` failed: {said}"))),
    }
}

//! The containers of the target as they are now, and all whose events are written down.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bollard::models::{ContainerInspectResponse, RestartPolicyNameEnum};

use super::select::{Identity, id};
use crate::journal::event::{Event, ProcessEvent};
use crate::journal::writer::Journal;

/// One container of the target.
#[derive(Debug, Clone)]
pub struct Member {
    pub id: String,
    pub identity: Identity,
    /// As the engine numbers it; `None` while it does not run.
    pub pid: Option<u32>,
    /// Which life of the target's processes this is.
    pub generation: u32,
    /// When its process was started, as the engine says.
    pub started: String,
    /// The kernel ran out of memory for it, and its end has not been told yet.
    pub out_of_memory: bool,
    /// Somebody told the engine to send it a signal, and its end has not been told yet.
    pub signalled: bool,
    /// It had that name when the run began, and has another one now.
    pub renamed: bool,
    /// It does not run, and nobody will start it again.
    pub is_gone: bool,
    pub removed: bool,
}

#[derive(Default)]
struct Inside {
    members: Vec<Member>,
    others: BTreeSet<String>,
    generations: u32,
}

#[derive(Default)]
pub struct Members(Mutex<Inside>);

impl Members {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn all(&self) -> Vec<Member> {
        self.lock().members.clone()
    }

    /// The latest life of any of them.
    pub fn generation(&self, id: &str) -> u32 {
        self.lock().members.iter().find(|m| m.id == id).map_or(0, |m| m.generation)
    }

    pub fn watch_too(&self, ids: impl IntoIterator<Item = String>) {
        self.lock().others.extend(ids);
    }

    pub fn watched(&self) -> BTreeSet<String> {
        let inside = self.lock();
        inside.members.iter().map(|m| m.id.clone()).chain(inside.others.iter().cloned()).collect()
    }

    /// Adds a container of the target, which runs.
    pub fn add(&self, journal: &Journal, container: &ContainerInspectResponse) {
        let member = Member {
            id: id(container),
            identity: Identity::of(container),
            pid: None,
            generation: 0,
            started: String::new(),
            out_of_memory: false,
            signalled: false,
            renamed: false,
            is_gone: false,
            removed: false,
        };
        self.lock().members.push(member);
        self.look_again(journal, container, false);
    }

    /// Takes note of what the engine says of a member now: its process may be another, or none.
    pub fn look_again(&self, journal: &Journal, container: &ContainerInspectResponse, asked: bool) {
        let mut inside = self.lock();
        let next = inside.generations + 1;
        let Some(member) = inside.members.iter_mut().find(|m| m.id == id(container)) else { return };
        let state = container.state.clone().unwrap_or_default();
        let running = state.running.unwrap_or(false) && !state.restarting.unwrap_or(false);
        let pid = state.pid.filter(|pid| running && *pid > 0).and_then(|pid| u32::try_from(pid).ok());
        let started = state.started_at.clone().unwrap_or_default();
        let other_life = member.started != started;
        if member.pid.is_some() && (pid.is_none() || other_life) {
            // The end is known at least; how it came, only where the engine still says so.
            let code = state.exit_code.filter(|_| pid.is_none());
            member.out_of_memory |= pid.is_none() && state.oom_killed.unwrap_or(false);
            member.end(journal, code, asked);
        }
        if let Some(pid) = pid.filter(|_| member.pid.is_none()) {
            journal.emit(Event::Process { event: ProcessEvent::Started { pid, generation: next } });
            (member.pid, member.generation, member.started) = (Some(pid), next, started);
            // What is left of a life before it.
            (member.out_of_memory, member.signalled) = (false, false);
            inside.generations = next;
        }
        let policy = container.host_config.as_ref().and_then(|h| h.restart_policy.as_ref()).and_then(|p| p.name);
        let comes_back = matches!(
            policy,
            Some(RestartPolicyNameEnum::ALWAYS | RestartPolicyNameEnum::UNLESS_STOPPED | RestartPolicyNameEnum::ON_FAILURE)
        );
        if let Some(member) = inside.members.iter_mut().find(|m| m.id == id(container)) {
            member.is_gone = pid.is_none() && !comes_back && !state.restarting.unwrap_or(false);
        }
    }

    /// The engine told of an end.
    pub fn ended(&self, journal: &Journal, id: &str, code: Option<i64>, asked: bool) {
        let mut inside = self.lock();
        let Some(member) = inside.members.iter_mut().find(|m| m.id == id && m.pid.is_some()) else { return };
        member.end(journal, code, asked);
    }

    /// What the engine tells of that moment is of the member's present life. Told late, it may be of one before it, whose end is
    /// known by now.
    pub fn is_of_this_life(&self, id: &str, t_ns: i128) -> bool {
        let inside = self.lock();
        let Some(member) = inside.members.iter().find(|m| m.id == id) else { return true };
        let started = member.started.parse::<jiff::Timestamp>().ok();
        member.pid.is_some() && started.is_none_or(|started| started.as_nanosecond() <= t_ns)
    }

    pub fn signalled(&self, id: &str) {
        self.lock().members.iter_mut().filter(|m| m.id == id).for_each(|m| m.signalled = true);
    }

    pub fn ran_out_of_memory(&self, id: &str) {
        self.lock().members.iter_mut().filter(|m| m.id == id).for_each(|m| m.out_of_memory = true);
    }

    pub fn removed(&self, id: &str) {
        self.lock().members.iter_mut().filter(|m| m.id == id).for_each(|m| (m.removed, m.is_gone) = (true, true));
    }

    pub fn renamed(&self, id: &str, name: &str) {
        self.lock().members.iter_mut().filter(|m| m.id == id).for_each(|m| m.renamed = m.identity.name != name);
    }

    /// A container that runs in the place of one that was removed, or that Compose has put aside under another name;
    /// `None` when it does the work of none of them.
    pub fn adopt(&self, journal: &Journal, container: &ContainerInspectResponse) -> Option<String> {
        let new = Identity::of(container);
        let mut inside = self.lock();
        let away = |m: &Member| m.removed || (m.renamed && m.pid.is_none());
        let old = inside.members.iter_mut().find(|m| away(m) && m.identity.is_succeeded_by(&new))?;
        let previous = std::mem::replace(&mut old.id, id(container));
        (old.removed, old.renamed, old.is_gone) = (false, false, false);
        drop(inside);
        self.look_again(journal, container, false);
        Some(previous)
    }

    /// A member had that name, which another container has taken.
    pub fn name_taken(&self, name: &str) -> bool {
        self.lock().members.iter().any(|m| (m.removed || m.renamed) && m.identity.name == name)
    }
}

impl Member {
    fn end(&mut self, journal: &Journal, code: Option<i64>, asked: bool) {
        let status = ended_as(code, self.out_of_memory);
        let elsewhere = self.signalled && !asked && !self.out_of_memory;
        journal.emit(Event::Process { event: ProcessEvent::Exited { generation: self.generation, status, asked, elsewhere } });
        (self.pid, self.out_of_memory, self.signalled) = (None, false, false);
    }
}

/// How a container's process ended, in the words that a process of ours would get.
fn ended_as(code: Option<i64>, out_of_memory: bool) -> String {
    let how = match code {
        None => "unknown".to_owned(),
        Some(code @ 129..=192) => {
            let number = i32::try_from(code - 128).unwrap_or(0);
            nix::sys::signal::Signal::try_from(number).map_or_else(|_| format!("code {code}"), |s| s.as_str().to_owned())
        }
        Some(code) => format!("code {code}"),
    };
    if out_of_memory { format!("out of memory, {how}") } else { how }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_in_the_words_of_signals() {
        assert_eq!(ended_as(Some(137), false), "SIGKILL");
        assert_eq!(ended_as(Some(143), false), "SIGTERM");
        assert_eq!(ended_as(Some(137), true), "out of memory, SIGKILL");
        assert_eq!(ended_as(Some(3), false), "code 3");
        assert_eq!(ended_as(None, false), "unknown");
    }

    #[test]
    fn an_end_that_is_told_late_is_not_that_of_the_next_life() {
        let runs = |started: &str, pid: i64| {
            let json =
                serde_json::json!({ "Id": "c1", "Name": "/c", "State": { "Running": true, "Pid": pid, "StartedAt": started } });
            serde_json::from_value::<ContainerInspectResponse>(json).unwrap()
        };
        let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_nanosecond();
        let (journal, members) = (Journal::in_memory(crate::clock::Clock::start()), Members::default());
        members.add(&journal, &runs("2026-01-01T00:00:00.5Z", 7));
        // It was started again, which the engine's state says before its events do.
        members.look_again(&journal, &runs("2026-01-01T00:00:10.5Z", 8), false);
        assert!(!members.is_of_this_life("c1", at("2026-01-01T00:00:10.2Z")), "the end of the first life");
        assert!(members.is_of_this_life("c1", at("2026-01-01T00:00:20Z")));
        members.ended(&journal, "c1", Some(137), false);
        assert!(!members.is_of_this_life("c1", at("2026-01-01T00:00:20.1Z")), "it has ended");
        let lives = journal.read(|record| record.generations.iter().map(|life| life.exited.is_some()).collect::<Vec<_>>());
        assert_eq!(lives, [true, true]);
    }
}

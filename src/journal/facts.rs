//! What is known of one job, one fault, one process: the parts of the record.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::event::{Answer, JobNo, JobState, JobView, ResultLook, Tokens, Via, When};
use crate::experiment::JobShape;
use crate::fault::Observation;

/// Everything that the journal says of one job.
#[derive(Debug, Clone)]
pub struct JobFacts {
    pub number: JobNo,
    pub load: String,
    pub client: u32,
    pub shape: JobShape,
    pub mark: String,
    /// When it should have been sent.
    pub intended_t: f64,
    pub submitting_t: f64,
    pub answer: Option<(f64, Answer)>,
    /// First seen running.
    pub running_t: Option<f64>,
    pub ended: Option<(f64, JobView, Via)>,
    /// Terminal states that were told after the first one.
    pub later_ends: Vec<JobView>,
    pub last_view: Option<JobView>,
    pub highest_progress: f64,
    /// Progress ran backwards: from, to.
    pub backwards: Option<(f64, f64)>,
    pub unknown_state: Option<String>,
    pub attempts: u32,
    pub smallest_batch: Option<u32>,
    pub cold: bool,
    pub result: Option<ResultLook>,
    pub missing_t: Option<f64>,
    pub vanished_t: Option<f64>,
    pub gave_up: Option<String>,
    /// When its client stopped following it.
    pub gave_up_t: Option<f64>,
    /// When its client gave up and cancelled it, and what the target said to that.
    pub cancelled: Option<(f64, Option<String>)>,
    /// When it was last seen running.
    pub last_running_t: Option<f64>,
}

/// What became of one listener.
#[derive(Debug, Clone, Default)]
pub struct ListenerFacts {
    /// From when to when it was connected.
    pub connected: Vec<(f64, Option<f64>)>,
    pub losses: Vec<Loss>,
}

/// One loss of a connection.
#[derive(Debug, Clone)]
pub struct Loss {
    pub t: f64,
    pub why: String,
    pub fault: Option<String>,
    /// Jobs that were followed.
    pub open: Vec<String>,
    /// From when on nothing kept it from coming back.
    pub freed_t: Option<f64>,
    /// When it tried in vain.
    pub tries: Vec<f64>,
    pub back_t: Option<f64>,
    /// When we closed the listener ourselves.
    pub closed_t: Option<f64>,
    /// News of the open jobs after the return: when, of which, in which state.
    pub heard: Vec<(f64, String, JobState)>,
}

impl JobFacts {
    pub fn id(&self) -> Option<&str> {
        match &self.answer {
            Some((_, Answer::Accepted { id })) => Some(id),
            _ => None,
        }
    }

    pub fn accepted(&self) -> bool {
        self.id().is_some()
    }

    /// Its fate is known, one way or another.
    pub fn settled(&self) -> bool {
        match &self.answer {
            None => false,
            Some((_, Answer::Accepted { .. })) => self.ended.is_some() || self.vanished_t.is_some() || self.gave_up.is_some(),
            Some(_) => true,
        }
    }

    pub fn state(&self) -> Option<JobState> {
        self.ended.as_ref().map(|(_, view, _)| view.state)
    }

    /// From the moment that it should have been sent to its end.
    pub fn total_s(&self) -> Option<f64> {
        self.ended.as_ref().map(|(t, ..)| t - self.intended_t)
    }

    /// Of a streamed answer.
    pub fn tokens(&self) -> Option<&Tokens> {
        self.ended.as_ref().and_then(|(_, view, _)| view.tokens.as_ref())
    }

    pub fn error(&self) -> Option<&str> {
        self.ended.as_ref().and_then(|(_, view, _)| view.error.as_deref())
    }

    pub fn see(&mut self, t: f64, view: &JobView) {
        if view.state == JobState::Running {
            self.running_t.get_or_insert(t);
            self.last_running_t = Some(t);
        }
        if view.state == JobState::Unknown {
            self.unknown_state.get_or_insert_with(|| view.word.clone());
        }
        if let Some(progress) = view.progress {
            if progress < self.highest_progress - 1e-9 && !view.state.is_terminal() {
                self.backwards.get_or_insert((self.highest_progress, progress));
            }
            self.highest_progress = self.highest_progress.max(progress);
        }
        self.attempts = self.attempts.max(view.attempts.unwrap_or(0));
        self.smallest_batch = view.batch.map_or(self.smallest_batch, |b| Some(self.smallest_batch.map_or(b, |s| s.min(b))));
        self.cold |= view.cold.unwrap_or(false);
        self.last_view = Some(view.clone());
    }
}

/// What became of one planned fault.
#[derive(Debug, Clone, Default)]
pub struct FaultFacts {
    pub name: String,
    pub planned_t: Option<f64>,
    pub prepared: Option<Json>,
    pub injecting_t: Option<f64>,
    pub injected_t: Option<f64>,
    pub error: Option<String>,
    pub observed: BTreeMap<When, (f64, Observation)>,
    /// When its cause was gone.
    pub over_t: Option<f64>,
    pub reverting_t: Option<f64>,
    pub reverted: Option<(f64, String)>,
    pub stuck: Option<String>,
    pub skipped: Option<String>,
}

impl FaultFacts {
    /// It may have changed something that has not been put back.
    pub fn is_open(&self) -> bool {
        self.injecting_t.is_some() && self.reverted.is_none()
    }

    /// Which of the three proofs are missing, as sentences.
    pub fn missing_proofs(&self) -> Vec<String> {
        if let Some(why) = &self.skipped {
            return vec![format!("it was not injected: {why}")];
        }
        let mut missing = Vec::new();
        if let Some(error) = &self.error {
            missing.push(format!("the injection failed: {error}"));
        }
        for (when, wanted) in [(When::Before, "intact before"), (When::During, "seen broken"), (When::After, "seen put back")] {
            match self.observed.get(&when) {
                None => missing.push(format!("not {wanted}: nobody looked")),
                Some((_, seen)) if !seen.proves(when) => missing.push(format!("not {wanted}: {seen}")),
                Some(_) => {}
            }
        }
        missing
    }
}

/// One life of the target's process.
#[derive(Debug, Clone)]
pub struct Generation {
    pub number: u32,
    pub pid: u32,
    pub started_t: f64,
    pub ready_after_s: Option<f64>,
    /// When, how, and whether we asked for it.
    pub exited: Option<(f64, String, bool)>,
    /// Somebody else told the container's engine to end it.
    pub ended_elsewhere: bool,
}

impl Generation {
    /// When and how it ended, where nobody made it end.
    pub fn crashed(&self) -> Option<(f64, &str)> {
        self.exited.as_ref().filter(|(.., asked)| !asked && !self.ended_elsewhere).map(|(t, status, _)| (*t, status.as_str()))
    }
}

/// Something that the engine told of a container.
#[derive(Debug, Clone)]
pub struct ContainerEvent {
    pub t: f64,
    pub id: String,
    pub name: String,
    pub action: String,
    pub detail: String,
}

/// A log line that matched a pattern.
#[derive(Debug, Clone)]
pub struct LogHit {
    pub t: f64,
    pub pattern: String,
    pub line: String,
    /// Of which life of the process.
    pub generation: u32,
}

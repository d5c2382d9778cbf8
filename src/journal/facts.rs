//! What is known of one job, one fault, one process: the parts of the record.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::event::{Answer, Held, JobNo, JobState, JobView, Tokens, Via, When};
use super::label::Label;
use crate::driver::template::bounded;
use crate::experiment::JobShape;
use crate::fault::Observation;

/// Of an id that people read.
const SHOWN_ID: usize = 60;

/// Everything that the journal says of one job. A run may have millions of them: what they share is shared, and what few have
/// stands apart.
#[derive(Debug, Clone)]
pub struct JobFacts {
    pub number: JobNo,
    pub load: Label,
    pub client: u32,
    pub shape: Arc<JobShape>,
    pub mark: Label,
    /// When it should have been sent.
    pub intended_t: f64,
    pub submitting_t: f64,
    pub answer: Option<(f64, Answer)>,
    /// First seen running.
    pub running_t: Option<f64>,
    pub ended: Option<(f64, Arc<JobView>, Via)>,
    pub last_view: Option<Arc<JobView>>,
    pub highest_progress: f64,
    pub attempts: u32,
    pub smallest_batch: Option<u32>,
    pub cold: bool,
    pub result: Option<ResultFacts>,
    /// When it was last seen running.
    pub last_running_t: Option<f64>,
    rare: Option<Box<Rare>>,
}

/// What is said of few jobs.
#[derive(Debug, Clone, Default)]
pub struct Rare {
    /// Terminal states that were told after the first one.
    pub later_ends: Vec<JobView>,
    /// Progress ran backwards: from, to.
    pub backwards: Option<(f64, f64)>,
    pub unknown_state: Option<String>,
    /// Since when it is in a state that the driver does not know.
    pub odd_t: Option<f64>,
    pub missing_t: Option<f64>,
    pub vanished_t: Option<f64>,
    pub gave_up: Option<String>,
    /// When its client stopped following it.
    pub gave_up_t: Option<f64>,
    /// When its client gave up and cancelled it, and what the target said to that.
    pub cancelled: Option<(f64, Option<String>)>,
    pub given_to: Option<Given>,
}

/// The target gave a job's id to another one, before the first was seen to end. Whoever asks is told of the other from then on:
/// nothing that was said later is this job's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Given {
    pub to: JobNo,
    pub t: f64,
    /// When the other was sent: what was told of the id before that is the first's.
    pub sent_t: f64,
    /// Both sent the same, or may have: a target may make one job of them, and what it says is of both.
    pub alike: bool,
}

/// What came out of a completed job.
#[derive(Debug, Clone)]
pub struct ResultFacts {
    pub bytes: u64,
    /// FNV-1a of the content.
    pub digest: u64,
    pub kind: Label,
    /// The first mark of ours that was found in it.
    pub mark: Option<Label>,
    /// The first that is another one.
    pub other_mark: Option<Box<Label>>,
    /// Width and height in pixels, of an image.
    pub size: Option<[u16; 2]>,
    pub error: Option<Label>,
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
    /// A job that is being submitted.
    pub fn new(number: JobNo, load: Label, client: u32, shape: Arc<JobShape>, mark: Label, times: (f64, f64)) -> Self {
        let (intended_t, submitting_t) = times;
        Self {
            number,
            load,
            client,
            shape,
            mark,
            intended_t,
            submitting_t,
            answer: None,
            running_t: None,
            ended: None,
            last_view: None,
            highest_progress: 0.0,
            attempts: 0,
            smallest_batch: None,
            cold: false,
            result: None,
            last_running_t: None,
            rare: None,
        }
    }

    pub fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Terminal states that were told after the first one.
    pub fn later_ends(&self) -> &[JobView] {
        self.rare.as_ref().map_or(&[], |rare| &rare.later_ends)
    }

    /// Progress ran backwards: from, to.
    pub fn backwards(&self) -> Option<(f64, f64)> {
        self.rare.as_ref()?.backwards
    }

    /// A state that the driver does not know.
    pub fn unknown_state(&self) -> Option<&str> {
        self.rare.as_ref()?.unknown_state.as_deref()
    }

    /// Since when it is in one: from then on it may have ended.
    pub fn odd_t(&self) -> Option<f64> {
        self.rare.as_ref()?.odd_t.filter(|_| self.is_out_of_sight())
    }

    pub fn missing_t(&self) -> Option<f64> {
        self.rare.as_ref()?.missing_t
    }

    pub fn vanished_t(&self) -> Option<f64> {
        self.rare.as_ref()?.vanished_t
    }

    /// Why its client stopped following.
    pub fn gave_up(&self) -> Option<&str> {
        self.rare.as_ref()?.gave_up.as_deref()
    }

    /// When its client stopped following.
    pub fn gave_up_t(&self) -> Option<f64> {
        self.rare.as_ref()?.gave_up_t
    }

    /// When its client gave up and cancelled it, and what the target said to that.
    pub fn cancelled(&self) -> Option<(f64, Option<&str>)> {
        self.rare.as_ref()?.cancelled.as_ref().map(|(t, error)| (*t, error.as_deref()))
    }

    /// Its id was given to another job.
    pub fn given(&self) -> Option<Given> {
        self.rare.as_ref()?.given_to
    }

    /// Its id is another job's since, which has nothing to do with it.
    pub fn given_to(&self) -> Option<Given> {
        self.given().filter(|given| !given.alike)
    }

    /// When it was no longer at the target, as far as it was seen: ended, unknown, cancelled, or its id another's.
    pub fn left_t(&self) -> Option<f64> {
        let given_t = self.given_to().map(|given| given.t);
        let moments = [self.ended.as_ref().map(|(t, ..)| *t), self.vanished_t(), self.cancelled().map(|(t, _)| t), given_t];
        moments.into_iter().flatten().reduce(f64::min)
    }

    /// The moments that few jobs have.
    pub(super) fn rare_times(&mut self) -> Option<impl Iterator<Item = &mut f64>> {
        let rare = self.rare.as_mut()?;
        let moments = [&mut rare.odd_t, &mut rare.missing_t, &mut rare.vanished_t, &mut rare.gave_up_t].into_iter().flatten();
        let given = rare.given_to.iter_mut().flat_map(|given| [&mut given.t, &mut given.sent_t]);
        Some(moments.chain(rare.cancelled.iter_mut().map(|(t, _)| t)).chain(given))
    }

    pub fn id(&self) -> Option<&str> {
        match &self.answer {
            Some((_, Answer::Accepted { id })) => Some(id),
            _ => None,
        }
    }

    /// As it is told to people: short, and without what a terminal would take for a command.
    pub fn shown_id(&self) -> String {
        let id = bounded(self.id().unwrap_or("?"));
        let head: String = id.chars().take(SHOWN_ID).collect();
        if head.len() < id.len() { format!("{head}…") } else { head }
    }

    pub fn accepted(&self) -> bool {
        self.id().is_some()
    }

    /// It was last seen in a state that the driver does not know: it may have ended.
    pub fn is_out_of_sight(&self) -> bool {
        let is_unknown = || self.last_view.as_ref().is_some_and(|view| view.state == JobState::Unknown);
        self.accepted() && self.ended.is_none() && self.vanished_t().is_none() && is_unknown()
    }

    /// Its fate is known, one way or another.
    pub fn settled(&self) -> bool {
        match &self.answer {
            None => false,
            Some((_, Answer::Accepted { .. })) => {
                self.ended.is_some() || self.vanished_t().is_some() || self.gave_up().is_some() || self.given_to().is_some()
            }
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

    /// When it was settled, and whether it went wrong; none for one that was not taken, or is open.
    pub fn went_wrong(&self) -> Option<(f64, bool)> {
        let (answered, answer) = self.answer.as_ref()?;
        match answer {
            Answer::Error { .. } | Answer::Unreachable { .. } | Answer::NoAnswer { .. } => Some((*answered, true)),
            Answer::Refused { .. } | Answer::Invalid { .. } | Answer::Taken { .. } => None,
            Answer::Accepted { .. } => match (&self.ended, self.vanished_t()) {
                (Some((t, view, _)), _) => Some((*t, view.state != JobState::Completed)),
                (None, vanished_t) => vanished_t.map(|t| (t, true)),
            },
        }
    }

    pub fn see(&mut self, t: f64, view: &Arc<JobView>) {
        if view.state == JobState::Running {
            self.running_t.get_or_insert(t);
            self.last_running_t = Some(t);
        }
        if view.state == JobState::Unknown {
            let rare = self.rare_mut();
            rare.unknown_state.get_or_insert_with(|| view.word.clone());
            rare.odd_t.get_or_insert(t);
        } else if let Some(rare) = &mut self.rare {
            rare.odd_t = None;
        }
        if let Some(progress) = view.progress {
            if progress < self.highest_progress - 1e-9 && !view.state.is_terminal() {
                let from = self.highest_progress;
                self.rare_mut().backwards.get_or_insert((from, progress));
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
    /// Empty until it was prepared, and in journals that do not say.
    pub kind: String,
    pub planned_t: Option<f64>,
    pub prepared: Option<Json>,
    pub injecting_t: Option<f64>,
    pub injected_t: Option<f64>,
    pub error: Option<String>,
    pub observed: BTreeMap<When, (f64, Observation)>,
    /// What was seen while it was held, or each of its parts.
    pub held: Vec<Held>,
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

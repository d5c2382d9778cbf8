//! The events of a run. Times are seconds since the run's start; wall-clock time is stored once, in the first event.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::values::Values;
use crate::experiment::JobShape;
use crate::fault::Observation;
use crate::plan::Plan;
use crate::words;

/// The number of a job within its run, dense from 0.
pub type JobNo = u32;

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Seconds since the run's start.
    pub t: f64,
    pub event: Event,
}

words! {
    /// The phases of a run, in their order.
    pub enum Phase("phase") {
        /// Nothing has been touched yet.
        Preflight = "preflight",
        /// Single jobs that nobody measures.
        WarmUp = "warm_up",
        /// Load without faults.
        Baseline = "baseline",
        /// Faults at their moments.
        Inject = "inject",
        /// Until the recovery checks are decided.
        Recover = "recover",
        /// The load has ended; the last jobs are followed to their end.
        Drain = "drain",
        /// Everything reversible is put back.
        Revert = "revert",
    }
}

words! {
    /// How a preflight item came out.
    pub enum Level("level") {
        /// As it should be.
        Ok = "ok",
        /// Worth knowing.
        Warning = "warning",
        /// The run cannot start.
        Failed = "failed",
    }
}

words! {
    /// When a fault's effect is looked at.
    pub enum When("moment") {
        /// Just before the injection.
        Before = "before",
        /// While it should be in effect.
        During = "during",
        /// After it should be gone.
        After = "after",
    }
}

/// What the target said to a submission.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Accepted {
        id: String,
    },
    /// An open refusal; honest when it is backpressure that says when to come back.
    Refused {
        status: u16,
        retry_after_s: Option<f64>,
        reason: String,
    },
    /// The driver takes the answer for the result, and it only says that a job was taken, of which nobody can ask.
    Taken {
        reason: String,
    },
    /// The target says that our input is wrong.
    Invalid {
        status: u16,
        reason: String,
    },
    /// The target answered with an error of its own, or a proxy did.
    Error {
        status: u16,
        proxy: bool,
        reason: String,
    },
    /// No connection: the target has not seen the job.
    Unreachable {
        reason: String,
    },
    /// Sent, but no whole answer came: the target may or may not have the job.
    NoAnswer {
        reason: String,
    },
}

/// A job's state in our words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    Queued,
    Running,
    Completed,
    Failed,
    Cancelled,
    /// A state that the driver does not know.
    Unknown,
}

impl JobState {
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// What the target says of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    pub state: JobState,
    /// The target's own word for the state.
    pub word: String,
    /// 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How often the target says that it completed this job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completions: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Tokens>,
}

/// How a streamed result came. Times are seconds of the clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tokens {
    /// Pieces that held something.
    pub count: u32,
    /// From the request to the first of them.
    pub first_s: f64,
    /// Between one and the next: the median and the longest.
    pub gap_s: f64,
    pub longest_gap_s: f64,
}

impl JobView {
    /// A job in a state, and nothing else.
    pub fn of(state: JobState) -> Self {
        let word = match state {
            JobState::Queued => "queued",
            JobState::Running => "running",
            JobState::Completed => "completed",
            JobState::Failed => "failed",
            JobState::Cancelled => "cancelled",
            JobState::Unknown => "unknown",
        };
        Self {
            state,
            word: word.to_owned(),
            progress: None,
            stage: None,
            attempts: None,
            batch: None,
            cold: None,
            error: None,
            completions: None,
            tokens: None,
        }
    }

    pub fn failed(error: impl Into<String>) -> Self {
        Self { error: Some(error.into()), ..Self::of(JobState::Failed) }
    }
}

/// What came out of a completed job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultLook {
    pub status: u16,
    pub bytes: u64,
    /// FNV-1a of the content.
    pub digest: u64,
    /// What its first bytes say that it is.
    pub kind: String,
    /// The first mark of ours that was found in it.
    pub mark: Option<String>,
    /// The first that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_mark: Option<String>,
    /// Width and height in pixels, of an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<[u16; 2]>,
    pub error: Option<String>,
}

words! {
    /// How a client learned of its job's end.
    pub enum Via("channel") {
        /// From its WebSocket.
        Socket = "socket",
        /// By asking.
        Poll = "poll",
        /// From the answer to its submission.
        Answer = "answer",
        /// From the slow poll behind a WebSocket that said nothing.
        SafetyNet = "safety_net",
    }
}

/// What happened to the process of the target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessEvent {
    Started {
        pid: u32,
        generation: u32,
    },
    Ready {
        generation: u32,
        after_s: f64,
    },
    /// `asked` when we made it end.
    Exited {
        generation: u32,
        status: String,
        asked: bool,
        /// Somebody else told the container's engine to end it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        elsewhere: bool,
    },
}

/// How much of a fault was there while it was held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// What of it, where its parts are held one after another; otherwise empty.
    pub part: String,
    pub planned_s: f64,
    pub from_t: f64,
    pub to_t: f64,
    /// The mean over that time of the share of the stated strength that was seen.
    pub strength: f64,
    pub looks: u32,
    /// When less than what is stated was seen, or it could not be told.
    pub lapses: Vec<Lapse>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lapse {
    pub from_t: f64,
    pub to_t: f64,
    pub seen: Observation,
}

impl Lapse {
    /// Both tell the same, but for the details.
    pub fn is_alike(&self, seen: &Observation) -> bool {
        std::mem::discriminant(&self.seen) == std::mem::discriminant(seen)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    RunStarted {
        schema: u32,
        run_id: String,
        version: String,
        began: String,
        overrides: Vec<String>,
        host: String,
        plan: Box<Plan>,
    },
    Phase {
        phase: Phase,
    },
    Preflight {
        what: String,
        level: Level,
        detail: String,
    },
    /// Something that a reader of the report should know.
    Note {
        text: String,
    },
    Submitting {
        job: JobNo,
        load: String,
        client: u32,
        shape: JobShape,
        mark: String,
        intended_t: f64,
    },
    Answered {
        job: JobNo,
        answer: Answer,
    },
    Progress {
        job: JobNo,
        view: JobView,
    },
    Ended {
        job: JobNo,
        view: JobView,
        via: Via,
    },
    ResultSeen {
        job: JobNo,
        look: ResultLook,
    },
    /// The target does not know a job that it accepted.
    Missing {
        job: JobNo,
    },
    /// It still does not know it after the grace time.
    Vanished {
        job: JobNo,
    },
    /// The client stopped following.
    GaveUp {
        job: JobNo,
        why: String,
    },
    /// A listener has lost its connection, or a fault has taken it away, while these jobs were open.
    ListenerLost {
        listener: String,
        why: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<String>,
        open: Vec<String>,
    },
    /// The fault lets it come back.
    ListenerFreed {
        listener: String,
    },
    /// It tried to connect and could not.
    ListenerTried {
        listener: String,
        why: String,
    },
    /// It is connected, for the first time or again.
    ListenerBack {
        listener: String,
        after_s: Option<f64>,
    },
    /// First news, or the end, of a job that was open when the connection was lost.
    ListenerHeard {
        listener: String,
        id: String,
        state: JobState,
    },
    /// We closed it ourselves: what it has not heard by then it was not given the time for.
    ListenerClosed {
        listener: String,
    },
    /// The client gives up on its job and cancels it.
    GivingUp {
        job: JobNo,
    },
    Cancelled {
        job: JobNo,
        error: Option<String>,
    },
    /// What puts it back, so that this line is enough to do it.
    FaultPrepared {
        fault: String,
        #[serde(default)]
        kind: String,
        undo: Json,
        /// [`super::undo::sum`] of `undo`; 0 in journals that have none.
        #[serde(default)]
        sum: u64,
    },
    FaultInjecting {
        fault: String,
        planned_t: f64,
    },
    FaultInjected {
        fault: String,
        error: Option<String>,
    },
    FaultObserved {
        fault: String,
        when: When,
        observation: Observation,
    },
    /// What was seen of it for as long as it was held.
    FaultHeld {
        fault: String,
        held: Held,
    },
    /// Its cause is gone: the flood has been sent, the process goes on, the restarted target is ready.
    FaultOver {
        fault: String,
    },
    FaultReverting {
        fault: String,
    },
    FaultReverted {
        fault: String,
        how: String,
    },
    FaultStuck {
        fault: String,
        error: String,
    },
    FaultSkipped {
        fault: String,
        why: String,
    },
    Process {
        event: ProcessEvent,
    },
    /// The engine told of a container: by its own word, with what matters of it.
    Container {
        id: String,
        name: String,
        action: String,
        detail: String,
    },
    LogLine {
        pattern: String,
        line: String,
        generation: u32,
    },
    /// Only what changed since the last sample.
    Sample {
        values: Values,
    },
    /// What the target says of the types of its metrics.
    MetricTypes {
        types: BTreeMap<String, String>,
    },
    /// A source of figures did not answer.
    Gap {
        source: String,
        error: String,
    },
    GuardTripped {
        guard: String,
        reason: String,
    },
    Interrupted {
        signal: String,
    },
    /// The run itself could not go on.
    Broken {
        reason: String,
    },
    LoadStopped {},
    RunEnded {},
}

impl Event {
    /// Whoever must put things back needs to know it.
    pub fn is_about_undo(&self) -> bool {
        matches!(
            self,
            Self::RunStarted { .. }
                | Self::FaultPrepared { .. }
                | Self::FaultInjecting { .. }
                | Self::FaultInjected { .. }
                | Self::FaultReverting { .. }
                | Self::FaultReverted { .. }
                | Self::FaultStuck { .. }
                | Self::FaultSkipped { .. }
                | Self::RunEnded {}
        )
    }
}

//! Ways to break something, and the way back.
//!
//! To add a fault: one file beside this one, and one line in `faults!` below.

use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use thiserror::Error;

use crate::experiment::decode::{At, Fields, ObjectSchema, Record};
use crate::experiment::diagnostic::{Diagnostics, Span};
use crate::journal::event::When;
use crate::plan::Plan;
use crate::run::world::World;
use crate::runtime::docker::select::Containers;
use crate::text;

/// Why a fault could not be injected or reverted.
#[derive(Debug, Error)]
pub enum FaultError {
    #[error("there is nothing to break: {0}")]
    Absent(String),
    #[error("{0}")]
    Failed(String),
    /// Who must do it cannot be reached now, and may come back.
    #[error("{0}")]
    Away(String),
}

impl FaultError {
    /// A fault's code that panicked has failed, and the run goes on to put things back.
    pub fn of_panic(panic: &(dyn std::any::Any + Send)) -> Self {
        Self::Failed(format!("its code panicked, which is a mistake in chaos: {}", text::panic(panic)))
    }
}

/// What is seen of a fault's effect, from the outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observation {
    /// Nothing is broken.
    Intact { detail: String },
    /// Broken at this share of the stated strength; 1 is all of it.
    Broken { strength: f64, detail: String },
    /// It cannot be told.
    Unknown { why: String },
}

/// An effect weaker than this share of what the experiment states did not happen as stated.
pub const ENOUGH: f64 = 0.9;

impl Observation {
    pub fn intact(detail: impl Into<String>) -> Self {
        Self::Intact { detail: detail.into() }
    }
    pub fn broken(strength: f64, detail: impl Into<String>) -> Self {
        // Of nothing at all no share is broken.
        Self::Broken { strength: if strength.is_finite() { strength } else { 0.0 }, detail: detail.into() }
    }
    pub fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown { why: why.into() }
    }

    /// Is this what must be seen at that moment?
    pub fn proves(&self, when: When) -> bool {
        match when {
            When::Before | When::After => matches!(self, Self::Intact { .. }),
            When::During => matches!(self, Self::Broken { strength, .. } if *strength >= ENOUGH),
        }
    }
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Intact { detail } => write!(f, "intact ({detail})"),
            Self::Broken { strength, detail } if *strength >= ENOUGH => write!(f, "broken ({detail})"),
            Self::Broken { strength, detail } => {
                write!(f, "broken at {:.0} % of the stated strength ({detail})", strength * 100.0)
            }
            Self::Unknown { why } => write!(f, "cannot be told ({why})"),
        }
    }
}

/// How long a fault is at work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lasts {
    /// Until it is reverted after this time.
    Held(Duration),
    /// It is over when the injection returns; the target must then be back by itself.
    Once,
    /// It is sent at once and ends as the target works it off; looked at again at the end of the run.
    WorkedOff,
}

/// When the cause of a fault is over: what follows is the target's own time, and deadlines of recovery count from here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CauseEnds {
    /// As soon as it begins: what it took is gone from then on.
    AtOnce,
    /// With the last job that it sends.
    Sent,
    /// So long after the injection, whatever the target does.
    After(Duration),
    /// When the injection has returned.
    Injected,
    /// When the process that it ends is gone (or, before that, refuses connections), and has stayed down for so long.
    ProcessEnd { down: Duration },
    /// When it is let go of: what puts it back starts the target, and that may take its time.
    LetGo,
    /// When it has been put back, which takes nothing from the target.
    PutBack,
}

/// What became of a revert.
#[derive(Debug, Clone, PartialEq)]
pub struct Reverted(pub String);

/// A way to break something, and the way back. Holds only what the plan says.
pub trait Fault: Record {
    /// What `revert` will need, as data: another process may use it, a week later.
    type Undo: Serialize + DeserializeOwned + Send + Sync;
    /// What it changes is still changed when a target that was started for the run has ended with it.
    const OUTLIVES_TARGET: bool = false;
    /// Somebody else could undo it while it is held, so that it is looked at all the time.
    const IS_WATCHED: bool = true;
    /// Problems with the settings, at the fault's place in the file.
    fn validate(&self, _place: Span, _diags: &mut Diagnostics) {}
    /// It stops, starts or limits the target's process, or its containers.
    fn needs_process(&self) -> bool;
    /// The containers that it is about, for a fault that only a container runtime can carry out.
    fn containers(&self) -> Option<&Containers> {
        None
    }
    /// The target's process ends by it, and that is no crash.
    fn ends_process(&self) -> bool {
        false
    }
    /// How long the target may take to be seen as itself again after the fault.
    fn back_within(&self) -> Duration {
        Duration::from_secs(5)
    }
    /// What is touched, as sentences, for `chaos plan`.
    fn touches(&self, plan: &Plan) -> Vec<String>;
    fn lasts(&self) -> Lasts;
    /// From when on recovery is the target's own matter.
    fn cause_ends(&self) -> CauseEnds {
        match self.lasts() {
            Lasts::WorkedOff => CauseEnds::Sent,
            Lasts::Once => CauseEnds::Injected,
            Lasts::Held(_) => CauseEnds::PutBack,
        }
    }
    /// The load whose clients it is about.
    fn load(&self) -> Option<&At<String>> {
        None
    }
    /// Reads, changes nothing. The engine syncs the undo to the journal before `inject`.
    fn prepare(&self, world: &World, name: &str) -> impl Future<Output = Result<Self::Undo, FaultError>> + Send;
    fn inject(&self, world: &World, name: &str) -> impl Future<Output = Result<(), FaultError>> + Send;
    /// Looks at the effect from the outside: the process, the socket, the target's own account; never the call's return.
    fn observe(&self, world: &World, name: &str, when: When) -> impl Future<Output = Observation> + Send;
    /// As `observe` during the fault, again and again while it is held: a look that costs the target nothing.
    fn still(&self, world: &World, name: &str) -> impl Future<Output = Observation> + Send {
        self.observe(world, name, When::During)
    }
    /// Who carries it out may tell of it on its own, and later than it is seen: what was seen, with that word beside it, or with
    /// less strength where the word never came. `None` where the look during the fault said it all.
    fn word(&self, _world: &World, _name: &str) -> impl Future<Output = Option<Observation>> + Send {
        std::future::ready(None)
    }
    /// Idempotent: right after a full, half or no injection.
    fn revert(undo: &Self::Undo, world: &World, name: &str) -> impl Future<Output = Result<Reverted, FaultError>> + Send;
}

macro_rules! faults {
    ($($(#[doc = $doc:literal])* $module:ident => $ty:ident),* $(,)?) => {
        $(pub mod $module;)*

        /// One of the faults, with its settings.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum FaultSpec { $($(#[doc = $doc])* $ty($module::$ty)),* }

        impl FaultSpec {
            pub const NAMES: &'static [&'static str] = &[$(stringify!($module)),*];

            pub fn kind(&self) -> &'static str {
                match self { $(Self::$ty(_) => stringify!($module)),* }
            }
            /// Reads the settings of the fault with that name.
            pub fn read(kind: &str, fields: &mut Fields<'_>) -> Option<Self> {
                match kind { $(stringify!($module) => $module::$ty::read(fields).map(Self::$ty),)* _ => None }
            }
            pub fn properties(kind: &str, schema: &mut ObjectSchema) {
                match kind { $(stringify!($module) => $module::$ty::properties(schema),)* _ => {} }
            }
            pub fn validate(&self, place: Span, diags: &mut Diagnostics) {
                match self { $(Self::$ty(fault) => fault.validate(place, diags)),* }
            }
            pub fn needs_process(&self) -> bool {
                match self { $(Self::$ty(fault) => fault.needs_process()),* }
            }
            pub fn containers(&self) -> Option<&Containers> {
                match self { $(Self::$ty(fault) => fault.containers()),* }
            }
            pub fn ends_process(&self) -> bool {
                match self { $(Self::$ty(fault) => fault.ends_process()),* }
            }
            /// A kind that nobody here knows may be about anything.
            pub fn outlives_target(kind: &str) -> bool {
                match kind { $(stringify!($module) => <$module::$ty as Fault>::OUTLIVES_TARGET,)* _ => true }
            }
            pub fn back_within(&self) -> Duration {
                match self { $(Self::$ty(fault) => Fault::back_within(fault)),* }
            }
            pub fn touches(&self, plan: &Plan) -> Vec<String> {
                match self { $(Self::$ty(fault) => fault.touches(plan)),* }
            }
            pub fn load(&self) -> Option<&At<String>> {
                match self { $(Self::$ty(fault) => fault.load()),* }
            }
            pub fn lasts(&self) -> Lasts {
                match self { $(Self::$ty(fault) => fault.lasts()),* }
            }
            pub fn cause_ends(&self) -> CauseEnds {
                match self { $(Self::$ty(fault) => fault.cause_ends()),* }
            }
            pub async fn prepare(&self, world: &World, name: &str) -> Result<Json, FaultError> {
                match self { $(Self::$ty(fault) => as_data(&fault.prepare(world, name).await?)),* }
            }
            pub async fn inject(&self, world: &World, name: &str) -> Result<(), FaultError> {
                match self { $(Self::$ty(fault) => fault.inject(world, name).await),* }
            }
            pub async fn observe(&self, world: &World, name: &str, when: When) -> Observation {
                match self { $(Self::$ty(fault) => fault.observe(world, name, when).await),* }
            }
            pub async fn word(&self, world: &World, name: &str) -> Option<Observation> {
                match self { $(Self::$ty(fault) => fault.word(world, name).await),* }
            }
            pub fn is_watched(&self) -> bool {
                match self { $(Self::$ty(_) => <$module::$ty as Fault>::IS_WATCHED),* }
            }
            pub async fn still(&self, world: &World, name: &str) -> Observation {
                match self { $(Self::$ty(fault) => fault.still(world, name).await),* }
            }
            /// Reverts a fault of a kind from what the journal holds; its settings are not needed.
            pub async fn revert(kind: &str, undo: &Json, world: &World, name: &str) -> Result<Reverted, FaultError> {
                match kind {
                    $(stringify!($module) => <$module::$ty as Fault>::revert(&from_data(undo)?, world, name).await,)*
                    _ => Err(FaultError::Failed(format!("this version of chaos knows no fault `{kind}`: use the one that made the run"))),
                }
            }
        }
    };
}

faults! {
    /// Many jobs at one moment.
    flood => Flood,
    /// Many ordinary jobs at one moment.
    burst => Burst,
    /// More users for a while.
    spike => Spike,
    /// WebSocket connections are taken away and given back.
    websocket_drop => WebsocketDrop,
    /// The model is dropped from memory.
    evict => Evict,
    /// A command of the user's.
    exec => Exec,
    /// A command of the user's inside containers.
    exec_inside => ExecInside,
    /// A request of the user's to the target.
    http => Http,
    /// The target's process is stopped (SIGSTOP) and goes on after a while (SIGCONT).
    pause => Pause,
    /// The target's process is ended and started again.
    restart => Restart,
    /// A signal to the main process of containers.
    kill => Kill,
    /// Containers are stopped and started again after a while.
    stop => Stop,
    /// Containers are removed and brought back.
    remove => Remove,
    /// Containers get less memory, if asked until the kernel kills.
    memory_limit => MemoryLimit,
    /// Containers get less CPU.
    cpu_limit => CpuLimit,
    /// Containers may have fewer processes.
    pids_limit => PidsLimit,
    /// Containers are taken off their networks.
    disconnect => Disconnect,
    /// A folder of containers is filled.
    fill_disk => FillDisk,
}

mod command;
pub mod containers;
mod limits;

fn as_data<T: Serialize>(undo: &T) -> Result<Json, FaultError> {
    serde_json::to_value(undo).map_err(|e| FaultError::Failed(format!("the undo cannot be written: {e}")))
}

fn from_data<T: DeserializeOwned>(undo: &Json) -> Result<T, FaultError> {
    serde_json::from_value(undo.clone()).map_err(|e| FaultError::Failed(format!("the undo in the journal cannot be read: {e}")))
}

//! Properties of a run. A check is a pure function of the record: the same record gives the same verdict, any day.
//!
//! To add a check: one file beside this one, and one line in `checks!` below.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::experiment::decode::{At, Fields, ObjectSchema, Record as FromFile};
use crate::experiment::diagnostic::{Diagnostics, Span};
use crate::experiment::units::Time;
use crate::journal::facts::JobFacts;
use crate::journal::record::Record;
use crate::load::ledger::{self, Class, Ledger};

/// What can be said of a property. `Failed` beats `Inconclusive` beats `Passed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    Passed,
    /// Only while the run goes on: not decided yet.
    Pending,
    Inconclusive,
    Failed,
}

/// A ruling with what it rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub ruling: Ruling,
    pub expected: String,
    pub observed: String,
    pub evidence: Vec<String>,
}

impl Verdict {
    fn new(ruling: Ruling, expected: &str, observed: impl Into<String>) -> Self {
        Self { ruling, expected: expected.to_owned(), observed: observed.into(), evidence: Vec::new() }
    }
    pub fn passed(expected: &str, observed: impl Into<String>) -> Self {
        Self::new(Ruling::Passed, expected, observed)
    }
    pub fn failed(expected: &str, observed: impl Into<String>) -> Self {
        Self::new(Ruling::Failed, expected, observed)
    }
    pub fn inconclusive(expected: &str, observed: impl Into<String>) -> Self {
        Self::new(Ruling::Inconclusive, expected, observed)
    }
    pub fn pending(expected: &str, observed: impl Into<String>) -> Self {
        Self::new(Ruling::Pending, expected, observed)
    }
    pub fn with(mut self, evidence: impl IntoIterator<Item = String>) -> Self {
        self.evidence.extend(evidence);
        self
    }
}

/// What a check sees.
pub struct View<'a> {
    pub record: &'a Record,
    pub ledger: Ledger,
}

impl<'a> View<'a> {
    pub fn of(record: &'a Record) -> Self {
        Self { record, ledger: ledger::of(record) }
    }

    /// The jobs of a load (all with `None`), with their classes and reasons.
    pub fn jobs(&self, load: Option<&At<String>>) -> impl Iterator<Item = (&'a JobFacts, Class, &str)> {
        let load = load.map(|l| l.value.clone());
        let entries = &self.ledger.entries;
        self.record
            .jobs
            .iter()
            .zip(entries)
            .filter(move |(job, _)| load.as_ref().is_none_or(|name| *name == job.load))
            .map(|(job, entry)| (job, entry.class, entry.why.as_str()))
    }
}

/// A property of a finished (or unfinished) run.
pub trait Check: FromFile {
    /// Pure: no clock, no file, no chance.
    fn judge(&self, view: &View<'_>) -> Verdict;
    fn validate(&self, _place: Span, _diags: &mut Diagnostics) {}
    /// It can only be decided while load is sent.
    fn needs_load(&self) -> bool {
        false
    }
    /// The percentile that it judges, if it judges one.
    fn percentile(&self) -> Option<f64> {
        None
    }
    /// It compares with the time before the first fault.
    fn needs_baseline(&self) -> bool {
        false
    }
    /// The load that it is about.
    fn load(&self) -> Option<&At<String>> {
        None
    }
    /// How long after the end of the load the last jobs may take for its sake.
    fn waits_for_jobs(&self) -> Option<Time> {
        None
    }
    /// Log patterns that it needs, by name.
    fn log_patterns(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

macro_rules! checks {
    ($($(#[doc = $doc:literal])* $module:ident => $ty:ident),* $(,)?) => {
        $(pub mod $module;)*

        /// One of the checks, with its settings.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum CheckSpec { $($(#[doc = $doc])* $ty($module::$ty)),* }

        impl CheckSpec {
            pub const NAMES: &'static [&'static str] = &[$(stringify!($module)),*];

            pub fn kind(&self) -> &'static str {
                match self { $(Self::$ty(_) => stringify!($module)),* }
            }
            pub fn read(kind: &str, fields: &mut Fields<'_>) -> Option<Self> {
                match kind { $(stringify!($module) => $module::$ty::read(fields).map(Self::$ty),)* _ => None }
            }
            pub fn properties(kind: &str, schema: &mut ObjectSchema) {
                match kind { $(stringify!($module) => $module::$ty::properties(schema),)* _ => {} }
            }
            pub fn validate(&self, place: Span, diags: &mut Diagnostics) {
                match self { $(Self::$ty(check) => check.validate(place, diags)),* }
            }
            pub fn judge(&self, view: &View<'_>) -> Verdict {
                match self { $(Self::$ty(check) => check.judge(view)),* }
            }
            pub fn needs_load(&self) -> bool {
                match self { $(Self::$ty(check) => check.needs_load()),* }
            }
            pub fn percentile(&self) -> Option<f64> {
                match self { $(Self::$ty(check) => check.percentile()),* }
            }
            pub fn needs_baseline(&self) -> bool {
                match self { $(Self::$ty(check) => check.needs_baseline()),* }
            }
            pub fn load(&self) -> Option<&At<String>> {
                match self { $(Self::$ty(check) => check.load()),* }
            }
            pub fn waits_for_jobs(&self) -> Option<Time> {
                match self { $(Self::$ty(check) => check.waits_for_jobs()),* }
            }
            pub fn log_patterns(&self) -> Vec<(String, String)> {
                match self { $(Self::$ty(check) => check.log_patterns()),* }
            }
        }
    };
}

checks! {
    /// The target's process did not end by itself.
    no_crash => NoCrash,
    /// An out-of-memory really happened.
    oom_seen => OomSeen,
    /// Jobs that ran out of memory were tried again in a smaller batch.
    retried_smaller => RetriedSmaller,
    /// Every accepted job ended, once, with its own result.
    all_jobs_complete => AllJobsComplete,
    /// The queue empties after the faults.
    queue_drains => QueueDrains,
    /// Latency returns to the run's own baseline.
    latency_recovers => LatencyRecovers,
    /// A percentile of the latency lies below a limit.
    latency => Latency,
    /// The share of jobs that went wrong lies below a limit.
    error_rate => ErrorRate,
    /// Lines of the target's log.
    logs => Logs,
}

pub mod fault_proven;

/// Judges every check of the plan, and whether every fault was proven.
pub fn judge_all(view: &View<'_>) -> Vec<(String, String, Verdict)> {
    let plan = view.record.plan();
    let proofs = plan
        .faults
        .iter()
        .map(|fault| (format!("fault {}", fault.name), "fault_proven".to_owned(), fault_proven::judge(fault, view)));
    let checks = plan.checks.iter().map(|check| (check.name.clone(), check.spec.kind().to_owned(), check.spec.judge(view)));
    proofs.chain(checks).map(|(name, kind, verdict)| (name, kind, settle(verdict, view.record))).collect()
}

/// At the end of a run nothing is pending any more.
fn settle(verdict: Verdict, record: &Record) -> Verdict {
    if record.ended && verdict.ruling == Ruling::Pending {
        let observed = format!("the run ended before it was decided: {}", verdict.observed);
        return Verdict { ruling: Ruling::Inconclusive, observed, ..verdict };
    }
    verdict
}

/// Is a check that needs load still undecided?
pub fn load_is_needed(view: &View<'_>) -> bool {
    view.record.plan().checks.iter().any(|check| check.spec.needs_load() && check.spec.judge(view).ruling == Ruling::Pending)
}

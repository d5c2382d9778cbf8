//! Properties of a run. A check is a pure function of the record: the same record gives the same verdict, any day.
//!
//! To add a check: one file beside this one, and one line in `checks!` below.

mod band;
pub mod blind;
mod ceiling;
pub mod counted;
pub mod dose;
mod gpu_level;
pub mod grade;
pub mod level;
pub mod noise;
mod oom;
pub mod queue;
pub mod scope;
mod stages;
pub mod standstill;
mod untold;
pub mod without_noise;

use std::cell::OnceCell;
use std::panic::{self, AssertUnwindSafe};

use dose::Dose;
use grade::Grade;
use noise::Bearing;
use schemars::JsonSchema;
use scope::Over;
use serde::{Deserialize, Serialize};
use standstill::Standstill;
use without_noise::Quiet;

use crate::experiment::decode::{At, Fields, ObjectSchema, Record as FromFile};
use crate::experiment::diagnostic::{Diagnostics, Span};
use crate::experiment::units::Time;
use crate::journal::facts::JobFacts;
use crate::journal::record::Record;
use crate::load::ledger::{self, Class, Ledger, Why};
use crate::plan::Plan;
use crate::text::{self, seconds};

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
    /// Against the limits of a table, where the check has some.
    pub grade: Option<Grade>,
    /// The figure that was judged, in a few characters.
    pub measured: Option<String>,
    /// How long the recovery took, in seconds of the clock, where the check is of one.
    pub took_s: Option<f64>,
}

impl Verdict {
    fn new(ruling: Ruling, expected: &str, observed: impl Into<String>) -> Self {
        let (expected, observed) = (expected.to_owned(), observed.into());
        Self { ruling, expected, observed, evidence: Vec::new(), grade: None, measured: None, took_s: None }
    }
    pub fn measuring(mut self, figure: impl Into<String>) -> Self {
        self.measured = Some(figure.into());
        self
    }
    /// A recovery that took so many seconds of the clock.
    pub fn taking(mut self, s: f64) -> Self {
        self.took_s = Some(s.max(0.0)).filter(|s| s.is_finite());
        self
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
    pub ledger: Ledger<'a>,
}

impl<'a> View<'a> {
    pub fn of(record: &'a Record) -> Self {
        Self { record, ledger: ledger::of(record) }
    }

    /// A time of the file as it is written there, before `time_scale`.
    pub fn time(&self, time: Time) -> Time {
        let ms = time.as_s() / self.record.plan().time_scale * 1e3;
        Time(std::time::Duration::try_from_secs_f64(ms.round() / 1e3).unwrap_or(std::time::Duration::MAX))
    }

    /// A measured time in the file's times, for a reader who compares it with those.
    pub fn seconds(&self, s: f64) -> String {
        if s.is_finite() { seconds(s / self.record.plan().time_scale) } else { "never (a job without an end)".to_owned() }
    }

    /// The jobs of a load (all with `None`), with their classes and reasons.
    pub fn jobs(&self, load: Option<&At<String>>) -> impl Iterator<Item = (&'a JobFacts, Class, Why<'_>)> {
        let load = load.map(|l| l.value.clone());
        let all = self.record.jobs.iter().zip(&self.ledger.classes);
        all.filter(move |(job, _)| load.as_ref().is_none_or(|name| *name == job.load))
            .map(|(job, class)| (job, *class, self.ledger.why(job)))
    }
}

/// A property of a finished (or unfinished) run.
pub trait Check: FromFile {
    /// Pure: no clock, no file, no chance.
    fn judge(&self, view: &View<'_>) -> Verdict;
    fn validate(&self, _place: Span, _diags: &mut Diagnostics) {}
    /// It can only be decided while load is sent: for so long after the last fault at the most.
    fn needs_load(&self) -> Option<Time> {
        None
    }
    /// Nothing but jobs of the load decides it: where none can come any more, there is nothing to wait for.
    fn needs_jobs(&self) -> bool {
        false
    }
    /// It needs time after the end of the load.
    fn needs_time(&self) -> bool {
        false
    }
    /// It has too few samples so far, and more load could bring them.
    fn wants_samples(&self, _view: &View<'_>) -> bool {
        false
    }
    /// The load may end before its time once this is decided.
    fn ends_load(&self) -> bool {
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
    /// The series that it judges by: every change of these is kept, however long the run is.
    fn series(&self) -> Vec<String> {
        Vec::new()
    }
    /// Of these, those without which there is no verdict.
    fn rests_on(&self, _record: &Record) -> Vec<String> {
        self.series()
    }
    /// It fails by the last value of these, too: where that cannot be read, it may have changed.
    fn fails_by_last(&self) -> bool {
        false
    }
    /// In which part of the run it looks at these.
    fn over(&self) -> Over {
        Over::All
    }
    /// The target's metrics that it judges by, of which there may be several series.
    fn metrics(&self) -> Vec<String> {
        Vec::new()
    }
    /// On what of time its verdict rests: what noise of the machine may have changed.
    fn bearing(&self) -> Bearing {
        Bearing::None
    }
    /// What the load has to do with its verdict.
    fn dose(&self) -> Dose {
        Dose::Any
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
            pub fn needs_load(&self) -> Option<Time> {
                match self { $(Self::$ty(check) => check.needs_load()),* }
            }
            pub fn needs_jobs(&self) -> bool {
                match self { $(Self::$ty(check) => check.needs_jobs()),* }
            }
            pub fn needs_time(&self) -> bool {
                match self { $(Self::$ty(check) => check.needs_time()),* }
            }
            pub fn wants_samples(&self, view: &View<'_>) -> bool {
                match self { $(Self::$ty(check) => check.wants_samples(view)),* }
            }
            pub fn ends_load(&self) -> bool {
                match self { $(Self::$ty(check) => check.ends_load()),* }
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
            pub fn series(&self) -> Vec<String> {
                match self { $(Self::$ty(check) => check.series()),* }
            }
            pub fn rests_on(&self, record: &Record) -> Vec<String> {
                match self { $(Self::$ty(check) => check.rests_on(record)),* }
            }
            pub fn fails_by_last(&self) -> bool {
                match self { $(Self::$ty(check) => check.fails_by_last()),* }
            }
            pub fn over(&self) -> Over {
                match self { $(Self::$ty(check) => check.over()),* }
            }
            pub fn metrics(&self) -> Vec<String> {
                match self { $(Self::$ty(check) => check.metrics()),* }
            }
            pub fn bearing(&self) -> Bearing {
                match self { $(Self::$ty(check) => check.bearing()),* }
            }
            pub fn dose(&self) -> Dose {
                match self { $(Self::$ty(check) => check.dose()),* }
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
    /// No out-of-memory happened.
    no_oom => NoOom,
    /// The mean of the latency lies within a range.
    mean_latency => MeanLatency,
    /// Latency does not drift over the run.
    latency_stable => LatencyStable,
    /// The share of the time in which the health endpoint answered.
    uptime => Uptime,
    /// The queue never grows beyond a length.
    queue_depth => QueueDepth,
    /// So many jobs are completed in a time.
    throughput => Throughput,
    /// The GPU is as busy as it should be.
    gpu_utilization => GpuUtilization,
    /// The GPU's memory never fills beyond a share.
    gpu_memory => GpuMemory,
    /// The GPU never becomes too hot.
    gpu_temperature => GpuTemperature,
    /// Memory does not grow for good.
    memory_growth => MemoryGrowth,
    /// Lost listeners come back and learn what they missed.
    reconnects => Reconnects,
    /// Lost listeners do not come back all at the same instant.
    reconnects_spread => ReconnectsSpread,
    /// After a restart or an eviction the first job is cold, and then jobs are warm again.
    cold_warm => ColdWarm,
    /// What became of jobs that met an out-of-memory.
    oom_outcome => OomOutcome,
    /// The experiment's canary completes again after the faults.
    canary => Canary,
    /// Jobs that were cancelled by their clients stop.
    no_abandoned_work => NoAbandonedWork,
    /// No job is done twice.
    no_duplicate_work => NoDuplicateWork,
    /// The named metrics exist and move while they should.
    metrics_live => MetricsLive,
    /// An indicator returns to the band of its own baseline, and stays there.
    time_to_recover => TimeToRecover,
    /// A restart is clean.
    restarts_cleanly => RestartsCleanly,
    /// The health endpoint agreed with what the jobs saw.
    health_is_honest => HealthIsHonest,
    /// Refusals say so, and nothing accepted is dropped for want of room.
    backpressure_is_honest => BackpressureIsHonest,
    /// How much the target can take.
    capacity => Capacity,
    /// No WebSocket connection is lost that no fault took away.
    listeners_stable => ListenersStable,
}

pub mod fault_proven;

/// Judges every check of the plan, and whether every fault was proven.
pub fn judge_all(view: &View<'_>) -> Vec<(String, String, Verdict)> {
    let plan = view.record.plan();
    let proofs = plan.faults.iter().map(|fault| {
        let verdict = caught(|| fault_proven::judge(fault, view));
        (format!("fault {}", fault.name), "fault_proven".to_owned(), verdict)
    });
    let proofs = proofs.map(|(name, kind, verdict)| (name, kind, settle(verdict, view.record)));
    let seen = OnceCell::new();
    let (quiet, standstill) = (Quiet::of(view.record), Standstill::of(view.record, &seen));
    let checks = plan.checks.iter().map(|check| {
        let verdict = settle(judge(&check.spec, view), view.record);
        let verdict = dose::weigh(&check.spec, noise::weigh(&check.spec, verdict, view, &quiet), view);
        let verdict = standstill.weigh(&check.spec, blind::weigh(&check.spec, verdict, view));
        (check.name.clone(), check.spec.kind().to_owned(), verdict)
    });
    proofs.chain(checks).collect()
}

/// Where nothing could be judged, for a mistake in chaos: no check of the plan has a verdict, nor has the proof of a fault.
pub fn none_judged(plan: &Plan, said: &str) -> Vec<(String, String, Verdict)> {
    let faults = plan.faults.iter().map(|fault| (format!("fault {}", fault.name), "fault_proven"));
    let checks = plan.checks.iter().map(|check| (check.name.clone(), check.spec.kind()));
    faults.chain(checks).map(|(name, kind)| (name, kind.to_owned(), mistake("judging", said))).collect()
}

/// One check's verdict. A check that panics has none, and the others still count.
fn judge(check: &CheckSpec, view: &View<'_>) -> Verdict {
    caught(|| check.judge(view))
}

fn caught(judge: impl FnOnce() -> Verdict) -> Verdict {
    panic::catch_unwind(AssertUnwindSafe(judge)).unwrap_or_else(|panic| mistake("the check itself", text::panic(panic.as_ref())))
}

fn mistake(of: &str, said: &str) -> Verdict {
    let report = format!("please report it with the run's events.jsonl and this version ({})", env!("CARGO_PKG_VERSION"));
    Verdict::inconclusive("a verdict", format!("{of} failed, which is a mistake in chaos: {said}")).with([report])
}

/// At the end of a run nothing is pending any more; and where lines of its journal are missing, nothing is certain.
fn settle(verdict: Verdict, record: &Record) -> Verdict {
    if record.ended && verdict.ruling == Ruling::Pending {
        let observed = format!("the run ended before it was decided: {}", verdict.observed);
        return Verdict { ruling: Ruling::Inconclusive, observed, ..verdict };
    }
    if record.damage.lines > 0 && matches!(verdict.ruling, Ruling::Passed | Ruling::Failed) {
        let observed = format!("{}, so this is not certain: {}", record.damage, verdict.observed);
        return Verdict { ruling: Ruling::Inconclusive, observed, ..verdict };
    }
    verdict
}

fn undecided(view: &View<'_>, of: impl Fn(&CheckSpec) -> bool) -> bool {
    view.record.plan().checks.iter().any(|check| of(&check.spec) && judge(&check.spec, view).ruling == Ruling::Pending)
}

/// Is a check that needs load still undecided?
pub fn load_is_needed(view: &View<'_>) -> bool {
    undecided(view, |spec| spec.needs_load().is_some())
}

/// Is one of them undecided that something besides jobs of the load decides?
pub fn load_is_needed_without_jobs(view: &View<'_>) -> bool {
    undecided(view, |spec| spec.needs_load().is_some() && !spec.needs_jobs())
}

/// Is a check that needs time after the load still undecided?
pub fn time_is_needed(view: &View<'_>) -> bool {
    undecided(view, CheckSpec::needs_time)
}

/// Could more load bring samples that a check is missing?
pub fn wants_samples(view: &View<'_>) -> bool {
    let wants = |check: &CheckSpec| panic::catch_unwind(AssertUnwindSafe(|| check.wants_samples(view))).unwrap_or(false);
    view.record.plan().checks.iter().any(|check| wants(&check.spec))
}

/// Every check that may end the load is decided, and there is one.
pub fn load_may_end(record: &Record) -> bool {
    let checks = &record.plan().checks;
    checks.iter().any(|check| check.spec.ends_load()) && !undecided(&View::of(record), CheckSpec::ends_load)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_panics_has_no_verdict_and_says_so() {
        let verdict = caught(|| panic!("index {} of 3", 7));
        assert_eq!(verdict.ruling, Ruling::Inconclusive);
        assert!(verdict.observed.contains("index 7 of 3") && verdict.observed.contains("mistake in chaos"), "{verdict:?}");
        assert!(verdict.evidence.iter().any(|e| e.contains("events.jsonl")), "{verdict:?}");
    }
}

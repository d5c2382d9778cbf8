//! Guards: conditions that stop a run at once, and revert.

use serde::{Deserialize, Serialize};

use crate::experiment::decode::{Fields, ObjectSchema, Record as FromFile};
use crate::experiment::units::{Bytes, Share, Time};
use crate::journal::event::{Answer, JobState};
use crate::journal::facts::JobFacts;
use crate::journal::record::Record;
use crate::record;

/// With fewer jobs than this no error rate is told.
const FEWEST_JOBS: usize = 5;

record! {
    /// Too many jobs go wrong.
    pub struct ErrorRate {
        /// This share of the jobs that were settled.
        above: Share,
        /// Over so long a time.
        r#for: Time = Time::secs(10),
    }

    /// A GPU is too hot.
    pub struct GpuTemperature {
        /// Degrees Celsius.
        above: f64,
    }

    /// Too many jobs wait.
    pub struct QueueDepth {
        /// So many.
        above: u32,
    }

    /// The target's process has too much memory.
    pub struct Memory {
        /// Resident memory.
        above: Bytes,
    }
}

macro_rules! guards {
    ($($(#[doc = $doc:literal])* $name:ident => $ty:ident),* $(,)?) => {
        /// One of the guards, with its settings.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum GuardSpec { $($(#[doc = $doc])* $ty($ty)),* }

        impl GuardSpec {
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            pub fn kind(&self) -> &'static str {
                match self { $(Self::$ty(_) => stringify!($name)),* }
            }
            pub fn read(kind: &str, fields: &mut Fields<'_>) -> Option<Self> {
                match kind { $(stringify!($name) => $ty::read(fields).map(Self::$ty),)* _ => None }
            }
            pub fn properties(kind: &str, schema: &mut ObjectSchema) {
                match kind { $(stringify!($name) => $ty::properties(schema),)* _ => {} }
            }
            /// Why the run must stop, if it must.
            pub fn trips(&self, record: &Record) -> Option<String> {
                match self { $(Self::$ty(guard) => guard.trips(record)),* }
            }
            /// The series without which it could never trip.
            pub fn series(&self) -> Option<&'static str> {
                match self { $(Self::$ty(_) => $ty::SERIES),* }
            }
        }
    };
}

guards! {
    /// Too many jobs go wrong.
    error_rate => ErrorRate,
    /// A GPU is too hot.
    gpu_temperature => GpuTemperature,
    /// Too many jobs wait.
    queue_depth => QueueDepth,
    /// The target's process has too much memory.
    memory => Memory,
}

fn last(record: &Record, series: &str) -> Option<f64> {
    record.series.get(series).and_then(|s| s.last())
}

impl ErrorRate {
    const SERIES: Option<&'static str> = None;

    fn trips(&self, record: &Record) -> Option<String> {
        let since = record.now - self.r#for.as_s();
        let begun = record.jobs.first().is_some_and(|job| job.submitting_t <= since);
        let settled: Vec<bool> = record.jobs.iter().filter_map(|job| settled_wrong(job, since)).collect();
        let wrong = settled.iter().filter(|wrong| **wrong).count();
        let rate = wrong as f64 / settled.len().max(1) as f64;
        let trips = begun && settled.len() >= FEWEST_JOBS && rate > self.above.0;
        trips.then(|| format!("{wrong} of {} jobs went wrong within {} (limit {})", settled.len(), self.r#for, self.above))
    }
}

/// Whether a job that was settled after `since` went wrong.
fn settled_wrong(job: &JobFacts, since: f64) -> Option<bool> {
    let (answered, answer) = job.answer.as_ref()?;
    let (t, wrong) = match answer {
        Answer::Error { .. } | Answer::Unreachable { .. } | Answer::NoAnswer { .. } => (*answered, true),
        Answer::Refused { .. } | Answer::Invalid { .. } => return None,
        Answer::Accepted { .. } => match (&job.ended, job.vanished_t) {
            (Some((t, view, _)), _) => (*t, view.state != JobState::Completed),
            (None, Some(t)) => (t, true),
            (None, None) => return None,
        },
    };
    (t >= since).then_some(wrong)
}

impl GpuTemperature {
    const SERIES: Option<&'static str> = Some("gpu.temperature_c");

    fn trips(&self, record: &Record) -> Option<String> {
        let now = last(record, "gpu.temperature_c")?;
        (now > self.above).then(|| format!("the GPU has {now:.0} °C (limit {})", self.above))
    }
}

impl QueueDepth {
    const SERIES: Option<&'static str> = Some("queue.depth");

    fn trips(&self, record: &Record) -> Option<String> {
        let now = last(record, "queue.depth")?;
        (now > f64::from(self.above)).then(|| format!("{now:.0} jobs wait (limit {})", self.above))
    }
}

impl Memory {
    const SERIES: Option<&'static str> = Some("process.rss_bytes");

    fn trips(&self, record: &Record) -> Option<String> {
        let now = last(record, "process.rss_bytes")?;
        (now > self.above.0 as f64)
            .then(|| format!("the target's process has {} of memory (limit {})", Bytes(now as u64), self.above))
    }
}

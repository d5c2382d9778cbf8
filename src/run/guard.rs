//! Guards: conditions that stop a run at once, and revert.

use serde::{Deserialize, Serialize};

use crate::experiment::decode::{Fields, ObjectSchema, Record as FromFile};
use crate::experiment::units::{Bytes, Share, Time};
use crate::journal::record::{MEMORY, Record};
use crate::record;

/// With fewer jobs than this no error rate is told.
const FEWEST_JOBS: u64 = 5;

record! {
    /// Too many jobs go wrong.
    pub struct ErrorRate {
        /// This share of the jobs that were settled.
        above: Share,
        /// For so long.
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

    /// The rate must be above the limit in each quarter of the time: a short outburst of quick failures is not enough.
    fn trips(&self, record: &Record) -> Option<String> {
        let length = self.r#for.as_s();
        let since = record.now - length;
        let rate_is_high = |quarter: u32| {
            let at = |quarter: u32| since + length * f64::from(quarter) / 4.0;
            let (settled, wrong) = record.jobs.settled_between(at(quarter), at(quarter + 1));
            settled > 0 && wrong as f64 / settled as f64 > self.above.0
        };
        let (settled, wrong) = record.jobs.settled_between(since, record.now);
        let trips = settled >= FEWEST_JOBS && (0..4).all(rate_is_high);
        trips.then(|| format!("{wrong} of {settled} jobs went wrong within {} (limit {})", self.r#for, self.above))
    }
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
    const SERIES: Option<&'static str> = Some(MEMORY[0]);

    fn trips(&self, record: &Record) -> Option<String> {
        let now = last(record, record.memory_series()?)?;
        (now > self.above.0 as f64).then(|| format!("the target has {} of memory (limit {})", Bytes(now as u64), self.above))
    }
}

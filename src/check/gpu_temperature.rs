//! The GPU never becomes too hot.

use super::dose::Dose;
use super::grade::{Limits, describe};
use super::scope::{Over, Part};
use super::{Check, Verdict, View};
use crate::record;

record! {
    /// The GPU never becomes too hot.
    pub struct GpuTemperature {
        /// The target: cooler than this at any moment, degrees Celsius.
        below: f64,
        /// Below this it still passes.
        acceptable: Option<f64> = None,
        /// From here on it is a failure; between the two it is only poor, and fails too.
        failure: Option<f64> = None,
        /// In which part of the run.
        over: Over = Over::All,
    }
}

impl Check for GpuTemperature {
    fn dose(&self) -> Dose {
        Dose::Pass
    }
    fn over(&self) -> Over {
        self.over
    }
    fn series(&self) -> Vec<String> {
        ["gpu.temperature_c"].map(str::to_owned).into()
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let text = |limit: Option<f64>| limit.map(|l| format!("{l} °C"));
        let expected = describe(format!("cooler than {} °C", self.below), text(self.acceptable), text(self.failure));
        if !view.record.ended {
            return Verdict::pending(&expected, "the run goes on");
        }
        let Some(part) = Part::of(view.record, "gpu.temperature_c", self.over) else {
            return Verdict::inconclusive(&expected, "nobody tells the temperature of the GPU");
        };
        let highest = part.highest();
        let limits = Limits {
            target: (highest < self.below).into(),
            acceptable: self.acceptable.map(|l| (highest < l).into()),
            failure: self.failure.map(|l| (highest < l).into()),
        };
        limits.verdict(&expected, format!("at most {:.0} °C", highest)).measuring(format!("{:.0} °C", highest))
    }
}

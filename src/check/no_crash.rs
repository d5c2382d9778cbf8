//! The target's process did not end by itself.

use super::{Check, Verdict, View};
use crate::journal::record::Record;
use crate::record;

const EXPECTED: &str = "the target's process never ends unless the experiment ends it";
/// A standard metric that changes when the process is another one.
const START_TIME: &str = "metric:process_start_time_seconds";

record! {
    /// The target's process did not end by itself.
    pub struct NoCrash {}
}

impl Check for NoCrash {
    fn metrics(&self) -> Vec<String> {
        START_TIME.strip_prefix("metric:").map(str::to_owned).into_iter().collect()
    }

    /// With a runtime its process is seen.
    fn rests_on(&self, record: &Record) -> Vec<String> {
        if record.generations.is_empty() { vec![START_TIME.to_owned()] } else { Vec::new() }
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let record = view.record;
        let crashed = record.generations.iter().filter_map(|g| g.crashed().map(|(t, status)| (g.pid, t, status)));
        let crashes: Vec<String> = crashed.map(|(pid, t, status)| format!("process {pid} ended by itself at {t:.1} s ({status})")).collect();
        if let Some(first) = crashes.first() {
            let fatal = record.log_hits.iter().filter(|hit| hit.pattern == "fatal" || hit.pattern == "oom").rev().take(3);
            return Verdict::failed(EXPECTED, first.clone()).with(crashes).with(fatal.map(|hit| format!("log at {:.1} s: {}", hit.t, hit.line)));
        }
        if !record.ended {
            return Verdict::pending(EXPECTED, "alive so far");
        }
        if let Some((life, (t, status, _))) = record.generations.iter().filter(|g| g.ended_elsewhere).find_map(|g| g.exited.as_ref().map(|e| (g, e))) {
            let observed = format!("somebody else had the container of process {} ended at {t:.1} s ({status})", life.pid);
            return Verdict::inconclusive(EXPECTED, observed);
        }
        if let Some(last) = record.generations.last() {
            return Verdict::passed(EXPECTED, format!("process {} was there to the end", last.pid));
        }
        match record.series.get(START_TIME) {
            Some(series) if series.ever_moved() => Verdict::failed(EXPECTED, "process_start_time_seconds changed: another process answers"),
            Some(_) if record.gaps.contains_key("metrics") => Verdict::inconclusive(EXPECTED, "the start time is the same, but some samples are missing"),
            Some(_) => Verdict::passed(EXPECTED, "process_start_time_seconds never changed"),
            None => Verdict::inconclusive(EXPECTED, "neither a runtime nor process_start_time_seconds shows the process"),
        }
    }
}

//! No connection of a listener's is lost that no fault took away, and over it each job's end is told.

use super::noise::Bearing;
use super::{Check, Verdict, View};
use crate::journal::event::Via;
use crate::journal::facts::JobFacts;
use crate::journal::record::Record;
use crate::record;

const EXPECTED: &str = "no connection of a listener's is lost unless a fault takes it, and each job's end is told over it";
const SHOWN: usize = 5;

record! {
    /// No connection of a listener's is lost that no fault took away, and over it each job's end is told.
    pub struct ListenersStable {}
}

impl Check for ListenersStable {
    fn bearing(&self) -> Bearing {
        Bearing::Clock
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let record = view.record;
        let connections: usize = record.listeners.values().map(|l| l.connected.len()).sum();
        let end = record.load_stopped_t.unwrap_or(f64::INFINITY);
        let losses = record.listeners.iter().flat_map(|(name, facts)| facts.losses.iter().map(move |loss| (name, loss)));
        let lost: Vec<String> = losses
            .filter(|(_, loss)| loss.fault.is_none() && loss.t < end)
            .map(|(name, loss)| format!("{name} at {:.1} s: {}", loss.t, loss.why))
            .collect();
        if !lost.is_empty() {
            let observed = format!("{} of {connections} connections were lost", lost.len());
            return Verdict::failed(EXPECTED, observed).with(lost.into_iter().take(SHOWN));
        }
        let untold: Vec<&JobFacts> = record.jobs.iter().filter(|job| untold(record, job)).collect();
        if !untold.is_empty() {
            let listened = record.jobs.iter().filter(|job| job.ended.is_some() && listened(record, job)).count();
            let observed = format!("of {} of {listened} jobs the end was not told over the connection that followed them", untold.len());
            let line = |job: &&JobFacts| {
                let (t, view, _) = job.ended.as_ref()?;
                Some(format!("job {} ({}): {} at {t:.1} s, as it said when asked", job.number, job.shown_id(), view.word))
            };
            return Verdict::failed(EXPECTED, observed).with(untold.iter().filter_map(line).take(SHOWN));
        }
        if !record.ended {
            return Verdict::pending(EXPECTED, "none lost so far");
        }
        if connections == 0 {
            return Verdict::inconclusive(EXPECTED, "there was no WebSocket connection");
        }
        Verdict::passed(EXPECTED, format!("{connections} connections, none lost")).measuring("0 lost")
    }
}

/// The target said when asked that the job had ended, and its listener, connected all the time, was not told within a second.
fn untold(record: &Record, job: &JobFacts) -> bool {
    matches!(job.ended, Some((_, _, Via::SafetyNet))) && listened(record, job)
}

/// Its listener was connected from before its submission to its end, and no fault kept it from hearing.
fn listened(record: &Record, job: &JobFacts) -> bool {
    let ended_t = job.ended.as_ref().map_or(f64::INFINITY, |(t, ..)| *t);
    let connected = record.listeners.get(&format!("{}/{}", job.load, job.client)).is_some_and(|listener| {
        listener.connected.iter().any(|(from, to)| *from <= job.submitting_t && to.is_none_or(|to| to >= ended_t))
    });
    let disturbed = record.faults.iter().any(|fault| {
        let over = fault.reverted.as_ref().map_or(f64::INFINITY, |(t, _)| *t);
        fault.injecting_t.is_some_and(|from| from <= ended_t && over >= job.submitting_t)
    });
    connected && !disturbed
}

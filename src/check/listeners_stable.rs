//! No WebSocket connection is lost that no fault took away.

use super::{Check, Verdict, View};
use crate::record;

const EXPECTED: &str = "no WebSocket connection is lost unless a fault takes it";

record! {
    /// No WebSocket connection is lost that no fault took away.
    pub struct ListenersStable {}
}

impl Check for ListenersStable {
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
            return Verdict::failed(EXPECTED, observed).with(lost.into_iter().take(5));
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

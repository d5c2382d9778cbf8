//! Clients that lost their connections together do not come back together: a server that has just started must not be hit
//! by all of them at the same instant. Backoff with full jitter spreads them (Brooker, Exponential Backoff and Jitter, AWS
//! Architecture Blog 2015).

use super::{Check, Verdict, View};
use crate::experiment::units::WallTime;
use crate::journal::facts::Loss;
use crate::record;

/// Losses within this time of each other are one event.
const TOGETHER_S: f64 = 1.0;
/// The share of the jitter's time in which they are counted.
const WINDOW: f64 = 0.1;
const RARE: f64 = 0.001;

record! {
    /// Listeners that were lost together do not reconnect all at the same instant.
    pub struct ReconnectsSpread {
        /// A good client's first wait is drawn from as long a time as this. More of them within a tenth of it than chance
        /// brings together once in a thousand times came together.
        jitter: WallTime = WallTime::millis(250),
        /// With fewer listeners nothing is said.
        listeners: u32 = 5,
    }
}

impl Check for ReconnectsSpread {
    fn needs_time(&self) -> bool {
        true
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let window = self.jitter.as_s() * WINDOW;
        let ms = window * 1e3;
        let expected = format!("no more of the listeners lost together try again within the same {ms:.0} ms than by chance");
        let record = view.record;
        let until = record.load_stopped_t.unwrap_or(f64::INFINITY);
        let mut losses: Vec<&Loss> = record.listeners.values().flat_map(|l| &l.losses).filter(|loss| loss.t < until).collect();
        losses.sort_by(|a, b| a.t.total_cmp(&b.t));
        let events = losses.chunk_by(|a, b| b.t - a.t < TOGETHER_S).filter(|event| event.len() >= self.listeners as usize);
        let waits = |event: &[&Loss]| event.iter().any(|loss| loss.back_t.is_none());
        let mut worst: Option<(f64, usize, usize)> = None;
        // Of the event that was seen best.
        let mut tried = 0;
        let mut still_away = false;
        for event in events {
            still_away |= waits(event);
            // One that did not try again is the target's client that gives up, unless we closed it first.
            let has_tried = |loss: &&&Loss| loss.closed_t.is_none() || loss.back_t.is_some() || !loss.tries.is_empty();
            tried = tried.max(event.iter().filter(has_tried).count());
            let (most, t) = busiest(event, window);
            if worst.is_none_or(|(_, n, of)| most * of > n * event.len()) {
                worst = Some((t, most, event.len()));
            }
        }
        let Some((t, most, of)) = worst else {
            let why = format!("no {} listeners were lost together", self.listeners);
            return if record.ended { Verdict::inconclusive(&expected, why) } else { Verdict::pending(&expected, why) };
        };
        let observed = format!("{most} of {of} within {ms:.0} ms at {t:.2} s");
        if together_by_chance(most, of) < RARE {
            return Verdict::failed(&expected, observed).measuring(format!("{most} of {of}"));
        }
        if !record.ended && (still_away || !record.faults_over()) {
            return Verdict::pending(&expected, observed);
        }
        if tried < self.listeners as usize {
            let why = format!("{tried} of {of} listeners lost together had tried again when chaos closed them: {} are needed", self.listeners);
            return Verdict::inconclusive(&expected, why);
        }
        Verdict::passed(&expected, observed).measuring(format!("{most} of {of}"))
    }
}

/// How probable it is at the most that some `k` of `n` moments, drawn evenly, lie within one window: each of the `n` may be
/// the first of them (Bonferroni's bound on the scan statistic; Naus, JASA 1965).
fn together_by_chance(k: usize, n: usize) -> f64 {
    let ways = (1..k).fold(n as f64, |ways, i| ways * (n - i) as f64 / i as f64);
    ways * WINDOW.powi(k as i32 - 1)
}

/// The most listeners that tried within one window, and when that was.
fn busiest(event: &[&Loss], window: f64) -> (usize, f64) {
    let mut tries: Vec<(f64, usize)> = event
        .iter()
        .enumerate()
        .flat_map(|(who, loss)| {
            let freed = loss.freed_t.unwrap_or(f64::INFINITY);
            loss.tries.iter().copied().chain(loss.back_t).filter(move |t| *t >= freed).map(move |t| (t, who))
        })
        .collect();
    tries.sort_by(|a, b| a.0.total_cmp(&b.0));
    let within = |from: usize| {
        let inside = tries[from..].iter().take_while(|(t, _)| *t <= tries[from].0 + window);
        inside.map(|(_, who)| who).collect::<std::collections::HashSet<_>>().len()
    };
    (0..tries.len()).map(|at| (within(at), tries[at].0)).max_by_key(|(n, _)| *n).unwrap_or((0, 0.0))
}

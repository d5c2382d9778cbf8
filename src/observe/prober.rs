//! Asks the health endpoint again and again, at a pace of its own: whether the port is open, whether it answers, how fast.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::listening;
use crate::journal::event::Event;
use crate::journal::series::Series;
use crate::plan::RuntimePlan;
use crate::run::world::World;

/// 1 while connections are accepted, else 0.
pub const OPEN: &str = "health.port_open";
/// 1 while the health endpoint answers with success, else 0.
pub const UP: &str = "health.up";
/// The process that listens on the target's port, whenever the target has become well: a child, where what was started starts the server.
pub const LISTENER: &str = "health.listener_pid";
/// How long it took.
const SECONDS: &str = "health.answer_s";
const EVERY: Duration = Duration::from_millis(50);
/// A health endpoint that takes longer than this works for its answer: it may be a job of its own.
pub const DEAR_S: f64 = 0.15;
/// ... which so many answers tell.
const FEWEST: usize = 3;
/// It is asked for no more than this share of the time.
const SHARE: f64 = 0.1;

/// Probes until stopped. Only changes are written down.
pub async fn run(world: World, stop: CancellationToken) {
    let (port, journal) = (&world.port, &world.journal);
    let (mut last, mut answers_s, mut was_well) = (None, Vec::new(), false);
    loop {
        let probe = tokio::select! {
            probe = port.probe() => probe,
            () = stop.cancelled() => return,
        };
        let number = |is: bool| f64::from(u8::from(is));
        let mut figures = vec![(OPEN, number(probe.open))];
        // Where there is no health endpoint, nothing is known of it.
        figures.extend(probe.healthy.iter().flat_map(|up| [(UP, number(*up)), (SECONDS, (probe.seconds * 50.0).round() / 50.0)]));
        if last.as_ref() != Some(&figures) {
            journal.emit(Event::Sample { values: figures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect() });
            last = Some(figures);
        }
        // Before, somebody else may listen there, who says that it is starting.
        let is_up = probe.healthy.unwrap_or(probe.open);
        if is_up && !was_well {
            tokio::spawn(listener(world.clone()));
        }
        was_well = is_up;
        // A container that its engine has started again, or a process that took longer than it was waited for. That it is
        // not ready yet is no news.
        if is_up && world.is_starting() {
            let _ = world.ready().await;
        }
        if probe.open && probe.healthy.is_some() {
            // One that is slow may be so for other reasons.
            answers_s.push(probe.seconds);
            answers_s.sort_by(f64::total_cmp);
            answers_s.truncate(FEWEST);
        }
        let least_s = answers_s.first().copied().filter(|_| answers_s.len() == FEWEST).unwrap_or(f64::INFINITY);
        let asked = Instant::now();
        let next = if probe.open { pause(least_s) } else { EVERY };
        // The port is looked at all the time, and what happened to it is asked at once.
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stop.cancelled() => return,
            }
            if asked.elapsed() >= next || !port.is_reachable().await {
                break;
            }
        }
    }
}

/// Writes down who listens there, of a target that is a process of ours.
async fn listener(world: World) {
    let RuntimePlan::Process(_) = &world.plan.runtime else { return };
    let Some(port) = world.plan.local_port() else { return };
    let life = || world.journal.read(|record| record.generations.last().map(|life| life.number));
    let (before, known) = (life(), world.journal.read(|record| record.series.get(LISTENER).and_then(Series::last_point)));
    // All processes are looked through.
    let Ok(all) = tokio::task::spawn_blocking(move || listening::processes_on(port)).await else { return };
    // Of several the one that is known; else the parent.
    let known = known.map(|point| point.value).filter(|known| all.iter().any(|pid| f64::from(*pid) == *known));
    let listens = known.or_else(|| all.iter().min().copied().map(f64::from));
    if let Some(pid) = listens.filter(|_| life() == before) {
        world.journal.emit(Event::Sample { values: [(LISTENER.to_owned(), pid)].into() });
    }
}

/// How long it is left alone after an answer, by the shortest time that one has taken.
pub fn pause(least_s: f64) -> Duration {
    if least_s > DEAR_S && least_s.is_finite() { Duration::from_secs_f64(least_s * (1.0 / SHARE - 1.0)) } else { EVERY }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dear_is_asked_for_a_tenth_of_the_time() {
        assert_eq!((pause(0.002), pause(f64::INFINITY)), (EVERY, EVERY), "before the first answer, too");
        assert!((pause(0.4).as_secs_f64() - 3.6).abs() < 1e-9);
    }
}

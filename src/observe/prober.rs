//! Asks the health endpoint again and again, at a pace of its own: whether the port is open, whether it answers, how fast.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::journal::event::Event;
use crate::run::world::World;

/// 1 while connections are accepted, else 0.
pub const OPEN: &str = "health.port_open";
/// 1 while the health endpoint answers with success, else 0.
pub const UP: &str = "health.up";
/// How long it took.
const SECONDS: &str = "health.answer_s";
const EVERY: Duration = Duration::from_millis(50);

/// Probes until stopped. Only changes are written down.
pub async fn run(world: World, stop: CancellationToken) {
    let (port, journal) = (&world.port, &world.journal);
    let mut last = None;
    loop {
        let probe = tokio::select! {
            probe = port.probe() => probe,
            () = stop.cancelled() => return,
        };
        let figures =
            (f64::from(u8::from(probe.open)), f64::from(u8::from(probe.healthy)), (probe.seconds * 50.0).round() / 50.0);
        if last != Some(figures) {
            let values = [(OPEN.to_owned(), figures.0), (UP.to_owned(), figures.1), (SECONDS.to_owned(), figures.2)];
            journal.emit(Event::Sample { values: values.into() });
            last = Some(figures);
        }
        // A container that its engine has started again, or a process that took longer than it was waited for. That it is
        // not ready yet is no news.
        if probe.healthy && world.is_starting() {
            let _ = world.ready().await;
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

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
        let number = |is: bool| f64::from(u8::from(is));
        let mut figures = vec![(OPEN, number(probe.open))];
        // Where there is no health endpoint, nothing is known of it.
        figures.extend(probe.healthy.iter().flat_map(|up| [(UP, number(*up)), (SECONDS, (probe.seconds * 50.0).round() / 50.0)]));
        if last.as_ref() != Some(&figures) {
            journal.emit(Event::Sample { values: figures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect() });
            last = Some(figures);
        }
        // A container that its engine has started again, or a process that took longer than it was waited for. That it is
        // not ready yet is no news.
        if probe.healthy.unwrap_or(probe.open) && world.is_starting() {
            let _ = world.ready().await;
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

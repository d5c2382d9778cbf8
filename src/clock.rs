//! The run's clock: everything that waits or measures takes its time from here, so that a run can be simulated.

use std::time::Duration;

use tokio::time::Instant;

/// Offsets since the run's start; cheap to copy. Follows tokio's clock, and so stands still when that is paused.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// A clock that was started so long ago: for going on with another process's run.
    pub fn started_ago(ago: Duration) -> Self {
        let now = Instant::now();
        Self { start: now.checked_sub(ago).unwrap_or(now) }
    }

    /// Seconds since the start, to the microsecond: the same figure in memory and in the journal.
    pub fn now_s(&self) -> f64 {
        round_us(self.start.elapsed().as_secs_f64())
    }

    /// Waits until an offset; returns at once for one that has passed.
    pub async fn sleep_until(&self, t: f64) {
        if let Ok(offset) = Duration::try_from_secs_f64(t) {
            tokio::time::sleep_until(self.start + offset).await;
        }
    }
}

pub fn round_us(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}

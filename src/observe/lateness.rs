//! How late this process is: a plain thread and a task of the loop sleep a little, again and again, and see when they wake. Who
//! wakes late also sends late and hears late.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Long enough to cost nothing, short enough to meet every stall that matters.
const NAP: Duration = Duration::from_millis(10);

/// A thread that sleeps. Dropping it ends the thread.
pub struct Sleeper {
    worst_us: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sleeper {
    /// Without a thread, where the system gives none, it is never late.
    pub fn start() -> Self {
        let (worst_us, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (worst, stopped) = (worst_us.clone(), stop.clone());
        let sleep = move || {
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                std::thread::sleep(NAP);
                note(&worst, began.elapsed().saturating_sub(NAP));
            }
        };
        let thread = std::thread::Builder::new().name("lateness".to_owned()).spawn(sleep).ok();
        Self { worst_us, stop, thread }
    }

    /// A sleep of the loop's own, beside the thread's.
    pub async fn nap(&self) {
        let began = Instant::now();
        tokio::time::sleep(NAP).await;
        note(&self.worst_us, began.elapsed().saturating_sub(NAP));
    }

    /// The worst lateness since this was asked last, in milliseconds.
    pub fn worst_ms(&self) -> f64 {
        self.worst_us.swap(0, Ordering::Relaxed) as f64 / 1e3
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It wakes within a nap; a thread that has panicked has nothing left to say.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn note(worst_us: &AtomicU64, late: Duration) {
    worst_us.fetch_max(u64::try_from(late.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loop_that_was_held_up_is_late() {
        let sleeper = Sleeper::start();
        let (nap, hold) = (sleeper.nap(), async { std::thread::sleep(Duration::from_millis(80)) });
        tokio::join!(nap, hold);
        assert!(sleeper.worst_ms() >= 50.0);
    }
}

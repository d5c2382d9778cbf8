//! A client's WebSocket: one connection for all of its jobs, opened again after a loss, with backoff and jitter.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::driver::{Channel, Port};
use crate::journal::event::{Event, JobView};
use crate::journal::writer::Journal;

/// The first wait after a loss; it doubles up to `LONGEST_WAIT`, and each is drawn from half to all of it.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A job's updates.
pub type Updates = mpsc::UnboundedReceiver<JobView>;
type Follow = (String, mpsc::UnboundedSender<JobView>);

/// The client's end; dropping it closes the connection.
#[derive(Clone)]
pub struct Listener {
    follow: mpsc::UnboundedSender<Follow>,
}

/// What a listener needs.
pub struct Setup {
    pub name: String,
    pub port: Arc<dyn Port>,
    pub journal: Journal,
    pub clock: Clock,
    pub rng: ChaCha8Rng,
    /// Ends the listener.
    pub stop: CancellationToken,
}

impl Listener {
    /// Starts a listener; it connects when there is something to follow.
    pub fn start(setup: Setup, tasks: &TaskTracker) -> Self {
        let (follow, wanted) = mpsc::unbounded_channel();
        let stop = setup.stop.clone();
        let task = Task { setup, jobs: HashMap::new(), lost_t: None };
        tasks.spawn(async move {
            tokio::select! {
                () = task.run(wanted) => {}
                () = stop.cancelled() => {}
            }
        });
        Self { follow }
    }

    /// Updates of a job, until its end.
    pub fn follow(&self, id: &str) -> Updates {
        let (sender, updates) = mpsc::unbounded_channel();
        // A listener that has stopped sends nothing: the caller's own poll goes on.
        let _ = self.follow.send((id.to_owned(), sender));
        updates
    }
}

struct Task {
    setup: Setup,
    jobs: HashMap<String, mpsc::UnboundedSender<JobView>>,
    lost_t: Option<f64>,
}

impl Task {
    async fn run(mut self, mut wanted: mpsc::UnboundedReceiver<Follow>) {
        while let Some((id, sender)) = wanted.recv().await {
            self.jobs.insert(id, sender);
            let mut wait = FIRST_WAIT;
            while !self.jobs.is_empty() {
                match self.setup.port.connect().await {
                    None => return,
                    Some(Ok(channel)) => {
                        self.back();
                        wait = FIRST_WAIT;
                        match self.serve(channel, &mut wanted).await {
                            Ok(()) => return,
                            Err(why) => self.lost(&why),
                        }
                    }
                    Some(Err(why)) => self.lost(&why),
                }
                self.jobs.retain(|_, sender| !sender.is_closed());
                let jittered = wait.mul_f64(self.setup.rng.random_range(0.5..1.0));
                tokio::time::sleep(jittered).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }

    /// Passes messages on until the connection is lost (`Err`) or nobody wants anything any more (`Ok`).
    async fn serve(&mut self, mut channel: Box<dyn Channel>, wanted: &mut mpsc::UnboundedReceiver<Follow>) -> Result<(), String> {
        for id in self.jobs.keys() {
            channel.subscribe(id).await?;
        }
        loop {
            tokio::select! {
                follow = wanted.recv() => match follow {
                    None => return Ok(()),
                    Some((id, sender)) => {
                        let subscribed = channel.subscribe(&id).await;
                        self.jobs.insert(id, sender);
                        subscribed?;
                    }
                },
                message = channel.next() => {
                    let (id, view) = message?;
                    let ended = view.state.is_terminal();
                    let gone = self.jobs.get(&id).is_some_and(|sender| sender.send(view).is_err());
                    if ended || gone {
                        self.jobs.remove(&id);
                    }
                }
            }
        }
    }

    fn lost(&mut self, why: &str) {
        if self.lost_t.is_none() {
            self.lost_t = Some(self.setup.clock.now_s());
            self.setup.journal.emit(Event::ListenerLost { listener: self.setup.name.clone(), why: why.to_owned() });
        }
    }

    fn back(&mut self) {
        if let Some(lost) = self.lost_t.take() {
            let after_s = self.setup.clock.now_s() - lost;
            self.setup.journal.emit(Event::ListenerBack { listener: self.setup.name.clone(), after_s });
        }
    }
}

//! A client's WebSocket: one connection for all of its jobs, opened again after a loss as its policy says, with backoff and
//! full jitter unless told otherwise.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::early::Early;
use super::registry::{Order, Registry, Status};
use super::{How, Reconnect};
use crate::clock::Clock;
use crate::driver::{Channel, Port};
use crate::journal::event::{Event, JobView};
use crate::journal::writer::Journal;

/// The first wait after a loss is drawn from a tenth of this to all of it; it doubles up to `LONGEST_WAIT`.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// What a client without backoff waits.
const FIXED_WAIT: Duration = Duration::from_millis(250);

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
    /// Its name to the target.
    pub client: String,
    pub port: Arc<dyn Port>,
    pub journal: Journal,
    pub clock: Clock,
    pub rng: ChaCha8Rng,
    pub registry: Registry,
    /// Ends the listener.
    pub stop: CancellationToken,
}

impl Listener {
    /// Starts a listener; it connects when there is something to follow. Its end, whether its client has nothing left to
    /// follow or the run is over, is ours and is written down.
    pub fn start(setup: Setup, tasks: &TaskTracker) -> Self {
        let (follow, wanted) = mpsc::unbounded_channel();
        let (status, orders) = setup.registry.enter(&setup.name);
        let stop = setup.stop.clone();
        let (journal, listener, met) = (setup.journal.clone(), setup.name.clone(), Arc::new(AtomicBool::new(false)));
        let task = Task {
            setup,
            status,
            orders,
            jobs: HashMap::new(),
            owed: HashMap::new(),
            away_since: None,
            policy: Reconnect::Backoff,
            silent: Vec::new(),
            early: Early::default(),
            met: met.clone(),
        };
        tasks.spawn(async move {
            tokio::select! {
                () = task.run(wanted) => {}
                () = stop.cancelled() => {}
            }
            if met.load(Ordering::Relaxed) {
                journal.emit(Event::ListenerClosed { listener });
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
    status: Arc<Status>,
    orders: mpsc::UnboundedReceiver<Order>,
    jobs: HashMap<String, mpsc::UnboundedSender<JobView>>,
    /// Jobs that were followed when a connection was lost, and whether anything was heard of them since.
    owed: HashMap<String, bool>,
    away_since: Option<f64>,
    policy: Reconnect,
    /// Connections that nobody reads any more and nobody has closed.
    silent: Vec<Box<dyn Channel>>,
    early: Early,
    /// It has connected, or tried to.
    met: Arc<AtomicBool>,
}

/// Why a connection is no longer served.
enum Left {
    /// Nobody wants anything any more.
    Done,
    Lost(String),
    /// A fault took it away.
    Ordered(Order),
}

impl Task {
    async fn run(mut self, mut wanted: mpsc::UnboundedReceiver<Follow>) {
        let Some((id, sender)) = wanted.recv().await else { return };
        self.early.take(&id);
        self.jobs.insert(id, sender);
        let mut tries = 0;
        while !wanted.is_closed() || !self.jobs.is_empty() {
            match self.setup.port.connect(&self.setup.client).await {
                None => return,
                Some(Ok(channel)) => {
                    self.back(channel.local_addr());
                    tries = 0;
                    match self.serve(channel, &mut wanted).await {
                        Left::Done => return,
                        Left::Lost(why) => self.lost(&why, None),
                        Left::Ordered(order) => self.stay_away(order).await,
                    }
                }
                Some(Err(why)) => self.refused(&why),
            }
            self.jobs.retain(|_, sender| !sender.is_closed());
            let Some(wait) = self.wait(tries) else {
                // It does not come back, as the target told it: that is no closing of ours while its client has jobs.
                self.jobs.clear();
                while wanted.recv().await.is_some() {}
                return;
            };
            tokio::time::sleep(wait).await;
            tries += 1;
        }
    }

    /// How long until the next try; `None` for a client that does not come back.
    fn wait(&mut self, tries: u32) -> Option<Duration> {
        match self.policy {
            Reconnect::Never => None,
            Reconnect::AtOnce => Some(if tries == 0 { Duration::ZERO } else { FIXED_WAIT }),
            Reconnect::Together => Some(FIXED_WAIT),
            Reconnect::Backoff | Reconnect::AsServed => {
                let longest = (FIRST_WAIT * 2u32.pow(tries.min(8))).min(LONGEST_WAIT);
                Some(longest.mul_f64(self.setup.rng.random_range(0.1..1.0)))
            }
        }
    }

    /// Passes messages on until there is a reason to stop.
    async fn serve(&mut self, mut channel: Box<dyn Channel>, wanted: &mut mpsc::UnboundedReceiver<Follow>) -> Left {
        let ids: HashSet<String> = self.jobs.keys().chain(self.owed.keys()).cloned().collect();
        for id in ids {
            if let Err(why) = channel.subscribe(&id).await {
                return Left::Lost(why);
            }
            self.status.set_connected(Some(channel.local_addr()));
        }
        loop {
            self.status.follows(self.jobs.values().filter(|sender| !sender.is_closed()).count());
            tokio::select! {
                follow = wanted.recv() => match follow {
                    None => return Left::Done,
                    Some((id, sender)) => {
                        if let Some(end) = self.early.take(&id) {
                            // Whoever wanted it may have gone.
                            let _ = sender.send(end);
                            continue;
                        }
                        let subscribed = channel.subscribe(&id).await;
                        self.jobs.insert(id, sender);
                        if let Err(why) = subscribed {
                            return Left::Lost(why);
                        }
                        // Where each job has a connection of its own, it is another one now.
                        self.status.set_connected(Some(channel.local_addr()));
                    }
                },
                Some(mut order) = self.orders.recv() => {
                    if order.how == How::Stall {
                        self.stall(&mut order).await;
                        continue;
                    }
                    let lasting = channel.leave(order.how).await;
                    self.silent.extend(lasting);
                    return Left::Ordered(order);
                }
                message = channel.next() => match message {
                    Ok((id, view)) => self.hear(&id, view),
                    Err(why) => return Left::Lost(why),
                },
            }
            if let Some(served) = channel.policy() {
                self.policy = served;
            }
        }
    }

    fn hear(&mut self, id: &str, view: JobView) {
        let ended = view.state.is_terminal();
        if let Some(heard) = self.owed.get_mut(id)
            && (!*heard || ended)
        {
            *heard = true;
            let event = Event::ListenerHeard { listener: self.setup.name.clone(), id: id.to_owned(), state: view.state };
            self.setup.journal.emit(event);
            if ended {
                self.owed.remove(id);
            }
        }
        let gone = match self.jobs.get(id) {
            Some(sender) => sender.send(view).is_err(),
            None => return self.early.keep(id, view),
        };
        if ended || gone {
            self.jobs.remove(id);
        }
    }

    /// Reads nothing until the fault lets go; the connection stays.
    async fn stall(&mut self, order: &mut Order) {
        self.status.set_stalled(true);
        order.done();
        order.released().await;
        self.status.set_stalled(false);
    }

    /// The connection is gone; stays away until the fault lets go, and then comes back as told.
    async fn stay_away(&mut self, mut order: Order) {
        if order.reconnect != Reconnect::AsServed {
            self.policy = order.reconnect;
        }
        self.lost(&format!("dropped ({})", order.how), Some(order.fault.clone()));
        order.done();
        order.released().await;
        self.setup.journal.emit(Event::ListenerFreed { listener: self.setup.name.clone() });
    }

    fn lost(&mut self, why: &str, fault: Option<String>) {
        self.early.forget();
        self.status.set_connected(None);
        let open: Vec<String> = self.jobs.iter().filter(|(_, sender)| !sender.is_closed()).map(|(id, _)| id.clone()).collect();
        self.owed.extend(open.iter().map(|id| (id.clone(), false)));
        self.away_since = Some(self.setup.clock.now_s());
        self.setup.journal.emit(Event::ListenerLost { listener: self.setup.name.clone(), why: why.to_owned(), fault, open });
    }

    fn refused(&mut self, why: &str) {
        self.met.store(true, Ordering::Relaxed);
        self.away_since.get_or_insert(self.setup.clock.now_s());
        self.setup.journal.emit(Event::ListenerTried { listener: self.setup.name.clone(), why: why.to_owned() });
    }

    fn back(&mut self, local: Option<std::net::SocketAddr>) {
        self.met.store(true, Ordering::Relaxed);
        self.status.set_connected(Some(local));
        let after_s = self.away_since.take().map(|since| self.setup.clock.now_s() - since);
        self.setup.journal.emit(Event::ListenerBack { listener: self.setup.name.clone(), after_s });
    }
}

//! The listeners of a run, by name, so that a fault can find them and take their connections away.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{mpsc, oneshot};

use super::{How, Reconnect};

/// What a fault tells a listener to do.
pub struct Order {
    pub fault: String,
    pub how: How,
    pub reconnect: Reconnect,
    done: Option<oneshot::Sender<()>>,
    release: oneshot::Receiver<()>,
}

impl Order {
    /// The connection is gone, or nobody reads it any more.
    pub fn done(&mut self) {
        if let Some(done) = self.done.take() {
            // A fault that no longer waits has been reverted already.
            let _ = done.send(());
        }
    }

    /// Waits until the fault is reverted.
    pub async fn released(&mut self) {
        // A fault that is gone holds nobody back.
        let _ = (&mut self.release).await;
    }
}

/// How a listener is doing.
#[derive(Default)]
pub struct Status(Mutex<Now>);

#[derive(Default, Clone)]
pub struct Now {
    pub connected: bool,
    pub stalled: bool,
    pub local: Option<SocketAddr>,
    /// Jobs whose end it waits for.
    pub follows: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Status {
    pub fn set_connected(&self, to: Option<Option<SocketAddr>>) {
        let mut now = lock(&self.0);
        now.connected = to.is_some();
        now.local = to.flatten();
    }
    pub fn set_stalled(&self, stalled: bool) {
        lock(&self.0).stalled = stalled;
    }
    pub fn follows(&self, jobs: usize) {
        lock(&self.0).follows = jobs;
    }
    pub fn now(&self) -> Now {
        lock(&self.0).clone()
    }
}

struct Entry {
    status: Arc<Status>,
    orders: mpsc::UnboundedSender<Order>,
    /// Whoever holds it away, and how to let it go.
    held: Option<(String, oneshot::Sender<()>)>,
}

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Registry(Arc<Mutex<BTreeMap<String, Entry>>>);

impl Registry {
    pub fn enter(&self, name: &str) -> (Arc<Status>, mpsc::UnboundedReceiver<Order>) {
        let (orders, received) = mpsc::unbounded_channel();
        let status = Arc::new(Status::default());
        let entry = Entry { status: status.clone(), orders, held: None };
        lock(&self.0).insert(name.to_owned(), entry);
        (status, received)
    }

    /// The listeners that are connected, in the order of their names.
    pub fn connected(&self) -> Vec<(String, Now)> {
        let all: Vec<(String, Now)> = lock(&self.0).iter().map(|(name, e)| (name.clone(), e.status.now())).collect();
        all.into_iter().filter(|(_, now)| now.connected).collect()
    }

    pub fn now(&self, name: &str) -> Option<Now> {
        lock(&self.0).get(name).map(|e| e.status.now())
    }

    /// Takes a listener's connection away; what comes back is told when that is done. `None` when there is no such listener.
    pub fn order(&self, name: &str, fault: &str, how: How, reconnect: Reconnect) -> Option<oneshot::Receiver<()>> {
        let (done, wait) = oneshot::channel();
        let (release, released) = oneshot::channel();
        let mut entries = lock(&self.0);
        let entry = entries.get_mut(name)?;
        entry.held = Some((fault.to_owned(), release));
        let order = Order { fault: fault.to_owned(), how, reconnect, done: Some(done), release: released };
        entry.orders.send(order).ok().map(|()| wait)
    }

    /// Lets go of everybody that a fault holds; how many they were.
    pub fn release(&self, fault: &str) -> usize {
        let mut entries = lock(&self.0);
        let held = entries.values_mut().filter(|e| e.held.as_ref().is_some_and(|(by, _)| by == fault));
        let releases: Vec<_> = held.filter_map(|e| e.held.take()).collect();
        let count = releases.len();
        for (_, release) in releases {
            // A listener that has ended needs no release.
            let _ = release.send(());
        }
        count
    }
}

//! The WebSocket: progress of the jobs that a client subscribes to, with a snapshot at every subscription.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::ws::{Message, WebSocket};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::core::{Core, Job};
use super::defect::Defect;

#[derive(Deserialize)]
struct Subscribe {
    subscribe: String,
}

/// Serves one client until it goes away or the backend stops.
pub async fn serve(core: Core, socket: WebSocket) {
    core.metrics.sockets.inc();
    let (mut sink, mut stream) = socket.split();
    if sink.send(Message::Text(greeting(&core).into())).await.is_err() {
        core.metrics.sockets.dec();
        return;
    }
    let mut followed = Vec::new();
    let (updates, mut outgoing) = mpsc::channel::<String>(64);
    let watchers = TaskTracker::new();
    loop {
        tokio::select! {
            message = stream.next() => match message {
                Some(Ok(Message::Text(text))) => followed.extend(subscribe(&core, &text, &updates, &watchers)),
                Some(Ok(Message::Close(_))) | None => break,
                Some(Ok(_)) => {}
                Some(Err(_)) => {
                    core.metrics.socket_errors.inc();
                    break;
                }
            },
            Some(text) = outgoing.recv() => {
                core.metrics.messages.inc();
                if sink.send(Message::Text(text.into())).await.is_err() {
                    core.metrics.socket_errors.inc();
                    break;
                }
            },
            () = core.stop.cancelled() => {
                // The client may be gone already; there is nobody left to tell.
                let _ = sink.send(Message::Close(None)).await;
                break;
            },
        }
    }
    drop(outgoing);
    core.metrics.sockets.dec();
    let unfinished = |job: &Arc<Job>| !job.view.borrow().status.is_terminal();
    if core.config.has(Defect::DisconnectStopsQueue) && !core.stop.is_cancelled() && followed.iter().any(unfinished) {
        core.worker_dead.store(true, Ordering::Relaxed);
    }
}

/// The first message: how the client that this backend serves comes back after a loss.
fn greeting(core: &Core) -> String {
    let reconnect = if core.config.has(Defect::ClientNeverReconnects) {
        "never"
    } else if core.config.has(Defect::ReconnectStorm) {
        "together"
    } else {
        "backoff"
    };
    json!({ "hello": { "reconnect": reconnect } }).to_string()
}

/// Begins to tell of a job; returns it.
fn subscribe(core: &Core, text: &str, updates: &mpsc::Sender<String>, watchers: &TaskTracker) -> Option<Arc<Job>> {
    let Ok(wanted) = serde_json::from_str::<Subscribe>(text) else {
        core.metrics.socket_errors.inc();
        return None;
    };
    let found = core.find(&wanted.subscribe);
    match &found {
        Some(job) => {
            let told_elsewhere = core.config.has(Defect::ListenerBoundToDeadSocket) && !core.lock().bound.insert(job.number);
            let missed = core.config.has(Defect::MissedTerminalEvent) && job.view.borrow().status.is_terminal();
            if !told_elsewhere && !missed {
                watchers.spawn(watch(job.clone(), updates.clone()));
            }
        }
        None => {
            // A full channel means a client that does not read; it asks again or polls.
            let _ = updates.try_send(json!({ "id": wanted.subscribe, "error": "unknown job" }).to_string());
        }
    }
    found
}

/// Sends the snapshot, then every change, until the job has ended or the client is gone.
async fn watch(job: Arc<Job>, updates: mpsc::Sender<String>) {
    let mut view = job.view.subscribe();
    loop {
        let (text, ended) = {
            let view = view.borrow_and_update();
            (serde_json::to_string(&*view).unwrap_or_default(), view.status.is_terminal())
        };
        if updates.send(text).await.is_err() || ended {
            return;
        }
        tokio::select! {
            changed = view.changed() => if changed.is_err() { return },
            () = updates.closed() => return,
        }
    }
}

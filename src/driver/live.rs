//! Jobs whose end this program sees itself: those that were answered with their result, and those that it reads as a stream.
//! Also what was captured of a job, for the requests that come later.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};

use super::inputs::Vars;
use crate::journal::event::{JobView, ResultLook};
use crate::listen::How;

/// One of them.
pub struct LiveJob {
    view: watch::Sender<JobView>,
    /// Takes the connection away from whoever reads it.
    cut: Option<mpsc::UnboundedSender<How>>,
    result: Option<ResultLook>,
    local: Option<SocketAddr>,
}

#[derive(Default)]
pub struct Live {
    jobs: Mutex<HashMap<String, LiveJob>>,
    vars: Mutex<HashMap<String, Vars>>,
}

impl Live {
    fn jobs(&self) -> MutexGuard<'_, HashMap<String, LiveJob>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn begin(&self, id: &str, view: JobView, cut: Option<mpsc::UnboundedSender<How>>) {
        self.jobs().insert(id.to_owned(), LiveJob { view: watch::Sender::new(view), cut, result: None, local: None });
    }

    /// Our end of the connection over which it comes.
    pub fn opened(&self, id: &str, local: Option<SocketAddr>) {
        if let Some(job) = self.jobs().get_mut(id) {
            job.local = local;
        }
    }

    pub fn local(&self, id: &str) -> Option<SocketAddr> {
        self.jobs().get(id)?.local
    }

    /// The result comes before the view that says so.
    pub fn end(&self, id: &str, view: JobView, result: Option<ResultLook>) {
        if let Some(job) = self.jobs().get_mut(id) {
            (job.result, job.cut) = (result, None);
            job.view.send_replace(view);
        }
    }

    pub fn view(&self, id: &str) -> Option<JobView> {
        self.jobs().get(id).map(|job| job.view.borrow().clone())
    }

    pub fn watch(&self, id: &str) -> Option<watch::Receiver<JobView>> {
        self.jobs().get(id).map(|job| job.view.subscribe())
    }

    pub fn result(&self, id: &str) -> Option<ResultLook> {
        self.jobs().get(id)?.result.clone()
    }

    /// Keeps a result that was told with the job's end.
    pub fn keep_result(&self, id: &str, view: &JobView, result: ResultLook) {
        let mut jobs = self.jobs();
        let job = jobs.entry(id.to_owned()).or_insert_with(|| LiveJob {
            view: watch::Sender::new(view.clone()),
            cut: None,
            result: None,
            local: None,
        });
        job.result = Some(result);
    }

    pub fn cut(&self, id: &str, how: How) {
        if let Some(cut) = self.jobs().get(id).and_then(|job| job.cut.as_ref()) {
            // A reader that has ended needs no cutting.
            let _ = cut.send(how);
        }
    }

    pub fn remember(&self, id: &str, more: Vars) {
        if !more.is_empty() {
            self.vars.lock().unwrap_or_else(PoisonError::into_inner).entry(id.to_owned()).or_default().extend(more);
        }
    }

    pub fn vars(&self, id: &str) -> Vars {
        let mut vars = self.vars.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned().unwrap_or_default();
        vars.insert("id".to_owned(), id.into());
        vars
    }
}

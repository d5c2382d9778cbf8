//! A backend's job protocol as data, and what the rest of the program asks of a target.

pub mod http;
pub mod socket;
pub mod template;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use async_trait::async_trait;
use regex::Regex;
use serde_json::Value as Json;

use crate::experiment::JobShape;
use crate::experiment::decode::{At, Decode};
use crate::experiment::diagnostic::Diagnostics;
use crate::experiment::file::read_text;
use crate::experiment::node;
use crate::experiment::units::{Bytes, Time};
use crate::journal::event::{Answer, JobView, ResultLook};
use crate::listen::{How, Reconnect};
use crate::{record, words};

record! {
    /// A driver: how to send jobs to a kind of backend, follow them, and observe it.
    pub struct Driver {
        /// The version of this format; 1.
        version: u32,
        /// A name for reports.
        name: String,
        /// What it drives.
        description: String = String::new(),
        /// How a job is submitted.
        submit: Submit,
        /// How its state is asked for.
        status: Status,
        /// Where progress is pushed, if anywhere.
        websocket: Option<Socket> = None,
        /// Where the result of a completed job is, if it can be fetched.
        result: Option<ResultRoute> = None,
        /// How a job is cancelled.
        cancel: Option<Route> = None,
        /// How the model is dropped from memory, so that the next job is cold.
        evict: Option<Route> = None,
        /// Where the queue depth is, if anywhere.
        queue: Option<Queue> = None,
        /// Answers 200 while the server lives.
        health: Option<Route> = None,
        /// Answers 200 when jobs can be sent.
        ready: Option<Route> = None,
        /// The Prometheus exposition.
        metrics: Option<Route> = None,
        /// Which of its metrics hold the figures of the GPU.
        gpu: Gpu = Gpu::default(),
        /// Counters of its own that must agree with the ledger.
        counters: Counters = Counters::default(),
        /// Regular expressions over its log and its error texts.
        patterns: Patterns = Patterns::default(),
    }

    /// One request.
    pub struct Route {
        /// The HTTP method.
        method: Method = Method::Get,
        /// The path below the target's URL; `{{id}}` stands for the job's id.
        path: String,
    }

    /// How a job is submitted. In texts `{{width}}`, `{{height}}`, `{{batch}}`, `{{mark}}` and `{{seed}}` are filled in.
    pub struct Submit {
        /// The path below the target's URL.
        path: String,
        /// The JSON body; a text that is one placeholder becomes the value itself.
        json: Json,
        /// The field for the image, for jobs with `image: true`; the entries of `json` become text fields beside it.
        image_field: Option<String> = None,
        /// Headers, for authentication for example.
        headers: BTreeMap<String, String> = BTreeMap::new(),
        /// Statuses that mean that the job was taken.
        accepted: Vec<u16> = vec![200, 201, 202],
        /// Where the id is in the answer (JSON pointer).
        id: String,
        /// Statuses that mean that our input is wrong.
        invalid: Vec<u16> = vec![400, 413, 415, 422],
        /// Statuses that are an open refusal.
        refused: Vec<u16> = vec![429, 503],
        /// Where the body says when to come back, in seconds; the header `Retry-After` is read in any case.
        retry_after: Option<String> = None,
        /// How long to wait for the answer.
        timeout: Time = Time::secs(30),
    }

    /// How a job's state is read. Fields are JSON pointers into the answer.
    pub struct Status {
        /// The path; `{{id}}` stands for the job's id.
        path: String,
        /// How often to ask.
        every: Time = Time::millis(250),
        /// For how long after the acceptance a 404 means "not yet".
        unknown_for: Time = Time::secs(2),
        /// Where the state is.
        state: String,
        /// The target's words for states, and ours: queued, running, completed, failed, cancelled.
        states: BTreeMap<String, StateWord>,
        /// Where the progress is, in percent.
        progress: Option<String> = None,
        /// Where the stage is.
        stage: Option<String> = None,
        /// Where the number of attempts is.
        attempts: Option<String> = None,
        /// Where the batch size of the latest attempt is.
        batch: Option<String> = None,
        /// Where it says that the model had to be loaded.
        cold: Option<String> = None,
        /// Where the error is.
        error: Option<String> = None,
        /// Where it says how often the job was completed.
        completions: Option<String> = None,
    }

    /// Progress over a WebSocket. Its messages have the fields of `status`.
    pub struct Socket {
        /// The path below the target's URL.
        path: String,
        /// What to send to hear of a job.
        subscribe: Json,
        /// Where a message says which job it is about (JSON pointer).
        id: String,
        /// Where a message says how the backend's own client reconnects: backoff, at_once, together or never.
        reconnect: Option<String> = None,
    }

    /// Where results are.
    pub struct ResultRoute {
        /// The path; `{{id}}` stands for the job's id.
        path: String,
        /// The result holds the job's mark: any other is not its own.
        carries_mark: bool = false,
        /// The largest result that is read.
        at_most: Bytes = Bytes::mib(64),
    }

    /// Where the queue depth is.
    pub struct Queue {
        /// The path.
        path: String,
        /// Jobs waiting (JSON pointer).
        depth: String,
        /// Jobs running (JSON pointer).
        running: Option<String> = None,
    }

    /// Metrics that hold the figures of the GPU, as `name` or `name{label="value"}`.
    #[derive(Default)]
    pub struct Gpu {
        /// The figures are simulated, and reports say so.
        simulated: bool = false,
        /// Memory in use, bytes.
        memory_used: Option<String> = None,
        /// Memory in all, bytes.
        memory_total: Option<String> = None,
        /// Utilisation, percent.
        utilization: Option<String> = None,
        /// Temperature, degrees Celsius.
        temperature: Option<String> = None,
    }

    /// The target's own account, to be held against the ledger.
    #[derive(Default)]
    pub struct Counters {
        /// Jobs completed.
        completed: Option<String> = None,
        /// Jobs failed.
        failed: Option<String> = None,
        /// Out-of-memory errors.
        out_of_memory: Option<String> = None,
    }

    /// Regular expressions over log lines and error texts.
    #[derive(Default)]
    pub struct Patterns {
        /// An out-of-memory.
        oom: Option<String> = None,
        /// A job tried again in a smaller batch.
        retry: Option<String> = None,
        /// A cold start.
        cold: Option<String> = None,
        /// An error of a job that means: accepted, then there was no room for it.
        shed: Option<String> = None,
        /// A line that says that the server itself is failing.
        fatal: Option<String> = None,
    }
}

impl Patterns {
    /// Every pattern that is set, with its name.
    pub fn all(&self) -> Vec<(&'static str, &str)> {
        let named =
            [("oom", &self.oom), ("retry", &self.retry), ("cold", &self.cold), ("shed", &self.shed), ("fatal", &self.fatal)];
        named.into_iter().filter_map(|(name, pattern)| pattern.as_deref().map(|p| (name, p))).collect()
    }

    /// A pattern ready for use, to be made once for many texts. Patterns are checked when the driver is read.
    pub fn compiled(pattern: Option<&String>) -> Option<Regex> {
        pattern.and_then(|p| Regex::new(p).ok())
    }
}

words! {
    /// An HTTP method.
    pub enum Method("method") {
        /// GET.
        Get = "GET",
        /// POST.
        Post = "POST",
        /// PUT.
        Put = "PUT",
        /// DELETE.
        Delete = "DELETE",
    }
}

words! {
    /// A job's state in our words.
    pub enum StateWord("job state") {
        /// Waiting.
        Queued = "queued",
        /// Worked on.
        Running = "running",
        /// Done.
        Completed = "completed",
        /// Ended without a result.
        Failed = "failed",
        /// Ended because somebody asked for it.
        Cancelled = "cancelled",
    }
}

const BUILT_IN: &[(&str, &str)] = &[("reference", include_str!("reference.yaml"))];

/// Finds a driver by the name of a built-in one or by the path of a file (relative to `beside`).
pub fn find(name: &At<String>, beside: &Path, diags: &mut Diagnostics) -> Option<Driver> {
    if let Some((_, text)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name.value) {
        return parse(&format!("driver {}", name.value), (*text).to_owned(), diags);
    }
    if !name.contains(['/', '.']) {
        let known: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        node::unknown_word(diags, name.span, "driver", name, &known);
        return None;
    }
    let path = beside.join(&name.value);
    match read_text(&path) {
        Ok(text) => parse(&path.display().to_string(), text, diags),
        Err(reason) => {
            diags
                .error(name.span, reason, "this driver")
                .help("give a path relative to the experiment, or the name of a built-in driver");
            None
        }
    }
}

fn parse(source_name: &str, text: String, diags: &mut Diagnostics) -> Option<Driver> {
    let source = diags.add_source(source_name, text);
    let tree = node::parse(source, diags)?;
    // A driver's times are the protocol's; an experiment's scale is not theirs.
    let scale = std::mem::replace(&mut diags.time_scale, 1.0);
    let driver = Driver::decode(&tree, diags);
    diags.time_scale = scale;
    let driver = driver?;
    for (name, pattern) in driver.patterns.all() {
        if let Err(error) = Regex::new(pattern) {
            let span = tree.get("patterns").and_then(|p| p.get(name)).map_or(tree.span, |n| n.span);
            diags.error(span, format!("this is no regular expression: {}", error.to_string().replace('\n', " ")), "here");
        }
    }
    diags.is_empty().then_some(driver)
}

/// What one job asks for, with what makes it recognisable.
#[derive(Debug, Clone)]
pub struct Ask {
    pub shape: JobShape,
    pub mark: String,
    pub seed: u64,
}

/// What the target says when asked about a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    View(JobView),
    /// It does not know the job.
    Missing,
    /// It did not answer, or not in a way that can be read.
    Unclear(String),
}

/// How full the target is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Depth {
    pub waiting: f64,
    pub running: Option<f64>,
}

/// What a look at the health endpoint shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Probe {
    /// A connection was accepted.
    pub open: bool,
    /// The answer was a success.
    pub healthy: bool,
    pub seconds: f64,
}

/// What is asked of a target, whatever speaks to it. No call panics on what the target sends; every answer is bounded.
#[async_trait]
pub trait Port: Send + Sync {
    async fn submit(&self, ask: &Ask) -> Answer;
    async fn status(&self, id: &str) -> Seen;
    /// Opens a channel for pushed progress; `None` where the target has none.
    async fn connect(&self) -> Option<Result<Box<dyn Channel>, String>>;
    /// Fetches the result of a completed job; `None` where there is no way to.
    async fn result(&self, id: &str) -> Option<ResultLook>;
    async fn cancel(&self, id: &str) -> Result<(), String>;
    /// `None` where the target has no queue to look at.
    async fn depth(&self) -> Option<Result<Depth, String>>;
    /// The health endpoint answers.
    async fn health(&self) -> Result<(), String>;
    /// The target says that jobs can be sent.
    async fn ready(&self) -> Result<(), String>;
    /// The text of `/metrics`; `None` where there is none.
    async fn scrape(&self) -> Option<Result<String, String>>;
    /// Whether its port is open and its health endpoint answers, with a short patience.
    async fn probe(&self) -> Probe;
    /// One request of a user's, below the target's URL.
    ///
    /// # Errors
    /// When no whole answer came.
    async fn call(&self, method: Method, path: &str, body: Option<&Json>) -> Result<(u16, String), String>;
}

/// Pushed progress.
#[async_trait]
pub trait Channel: Send {
    async fn subscribe(&mut self, id: &str) -> Result<(), String>;
    /// Our end of the connection, where there is one that the kernel knows.
    fn local_addr(&self) -> Option<SocketAddr> {
        None
    }
    /// How the backend's own client comes back, once it has said so.
    fn policy(&self) -> Option<Reconnect> {
        None
    }
    /// Ends the connection in one of the ways in which connections end. What must outlive this (a connection that nobody
    /// closes) comes back.
    async fn leave(self: Box<Self>, how: How) -> Option<Box<dyn Channel>>;
    /// The next message about a job. Safe to drop while waiting.
    ///
    /// # Errors
    /// Why the channel has ended.
    async fn next(&mut self) -> Result<(String, JobView), String>;
}

//! The driver file: a backend's job protocol as data.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value as Json;

use super::place::Place;
use crate::experiment::units::{Bytes, Time};
use crate::{record, words};

/// Where vLLM, SGLang, llama.cpp, OpenRouter and others put what is no content.
const THOUGHTS: [&str; 3] =
    ["/choices/0/delta/reasoning_content", "/choices/0/delta/reasoning", "/choices/0/delta/tool_calls/0/function/arguments"];
/// The reasons for a good end of OpenAI, vLLM, TGI, Anthropic and others; an engine that gives a job up says something else.
const GOOD_ENDS: [&str; 14] = [
    "stop",
    "length",
    "tool_calls",
    "function_call",
    "eos",
    "eos_token",
    "stop_sequence",
    "end_turn",
    "max_tokens",
    "tool_use",
    "model_length",
    "pause_turn",
    "completed",
    "complete",
];

record! {
    /// A driver: how to send jobs to a kind of backend, follow them, and observe it.
    pub struct Driver {
        /// The version of this format; 1.
        version: u32,
        /// A name for reports.
        name: String,
        /// What it drives.
        description: String = String::new(),
        /// What an experiment sets with `target.with`; `${name}` stands for it anywhere in this file.
        parameters: BTreeMap<String, Parameter> = BTreeMap::new(),
        /// Headers of every request.
        headers: BTreeMap<String, String> = BTreeMap::new(),
        /// How requests are authenticated.
        auth: Auth = Auth::default(),
        /// A file (PEM) with the certificate of a private authority that is trusted besides the usual ones.
        ca: Option<String> = None,
        /// A proxy for every request, as `http://host:port`. The environment's proxies are not used.
        proxy: Option<String> = None,
        /// What a job does outside the target, such as calls of third parties. It is then refused unless `target.effects: allowed`.
        effects: Option<String> = None,
        /// How a job is submitted.
        submit: Submit,
        /// How its state is asked for.
        status: Status = Status::default(),
        /// Lists of waiting and running jobs, for what `status` does not tell.
        listing: Option<Listing> = None,
        /// Where progress is pushed over a WebSocket, if anywhere.
        websocket: Option<Socket> = None,
        /// Where progress is pushed over Socket.IO, if anywhere.
        socketio: Option<SocketIo> = None,
        /// Where each job's progress is pushed as server-sent events, if anywhere.
        sse: Option<Sse> = None,
        /// Where the result of a completed job is, if it can be had.
        result: Option<ResultRoute> = None,
        /// How a job is cancelled: these requests, in order.
        cancel: Vec<Route> = Vec::new(),
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

    /// What an experiment may set.
    pub struct Parameter {
        /// What it is.
        about: String,
        /// The value where the experiment sets none; without it the experiment has to set one. Null leaves the key out.
        default: Option<Json> = None,
    }

    /// How requests are authenticated: one of these.
    #[derive(Default)]
    pub struct Auth {
        /// A token, sent as `Authorization: Bearer …`.
        bearer: Option<String> = None,
        /// A user's name and password.
        basic: Option<Basic> = None,
        /// A request before the first one. Cookies that it sets are kept; what it captures can be used in `headers`.
        login: Option<Step> = None,
    }

    /// A user's name and password.
    pub struct Basic {
        user: String,
        password: String,
    }

    /// One request without much around it.
    pub struct Route {
        /// The HTTP method.
        method: Method = Method::Get,
        /// The path below the target's URL; `{{id}}` stands for the job's id.
        path: String,
        /// A JSON body.
        json: Option<Json> = None,
    }

    /// One request of a submission. At most one of the bodies is sent.
    pub struct Step {
        /// For messages.
        name: String = String::new(),
        /// The HTTP method.
        method: Method = Method::Post,
        /// The path below the target's URL.
        path: String,
        /// A JSON body. A text that is nothing but one placeholder becomes the value itself, number or not.
        json: Option<Json> = None,
        /// A form.
        form: BTreeMap<String, String> = BTreeMap::new(),
        /// A form of several parts. A part that is nothing but `{{image}}` or `{{file}}` is sent as a file. Beside `json` it is for
        /// the jobs with `image: true`.
        multipart: BTreeMap<String, String> = BTreeMap::new(),
        /// A text.
        text: Option<String> = None,
        /// Headers of this request.
        headers: BTreeMap<String, String> = BTreeMap::new(),
        /// Statuses that mean that it was taken.
        accepted: Vec<u16> = vec![200, 201, 202],
        /// Values of the answer that later requests fill in, by name.
        capture: BTreeMap<String, Place> = BTreeMap::new(),
        /// How long to wait for the answer.
        timeout: Time = Time::secs(30),
    }

    /// How a job is submitted.
    pub struct Submit {
        /// The requests, in order.
        steps: Vec<Step>,
        /// Where the job's id is: in the last answer, or made of what was captured. Not needed where the answer is the result.
        id: Option<Place> = None,
        /// What the last answer is.
        answer: AnswerIs = AnswerIs::Acceptance,
        /// How a streamed answer is read.
        stream: Stream = Stream::default(),
        /// Statuses that mean that our input is wrong.
        invalid: Vec<u16> = vec![400, 413, 415, 422],
        /// Statuses that are an open refusal.
        refused: Vec<u16> = vec![429, 503],
        /// Where the body says when to come back, in seconds; the header `Retry-After` is read in any case.
        retry_after: Option<String> = None,
    }

    /// How a streamed answer (server-sent events) is read: JSON pointers into each event's data.
    pub struct Stream {
        /// A piece of the result.
        token: String = "/choices/0/delta/content".into(),
        /// Pieces of other kinds, which are tokens too: what a model thinks, and what it calls.
        also: Vec<String> = THOUGHTS.map(str::to_owned).into(),
        /// It says why the job has ended.
        finish: String = "/choices/0/finish_reason".into(),
        /// Reasons for a good end, in any case. With any other one the job has failed. `true` is one.
        good: Vec<String> = GOOD_ENDS.map(str::to_owned).into(),
        /// It says that the job has failed.
        error: String = "/error".into(),
        /// The data of the last event. A stream that ends without it has failed.
        done: String = "[DONE]".into(),
    }

    /// How a job's state is asked for. Where a field is, is a place; `{{id}}` can stand in it.
    pub struct Status {
        /// The path; `{{id}}` stands for the job's id. Without it a job cannot be asked about.
        path: Option<String> = None,
        /// How often to ask.
        every: Time = Time::millis(250),
        /// For how long after the acceptance a 404 means "not yet".
        unknown_for: Time = Time::secs(2),
        /// Statuses that mean that the target does not know the job.
        missing: Vec<u16> = vec![404, 410],
        /// Statuses that mean that the job is completed, whatever the body says. Where the job was named by a header `Location`,
        /// 303 is one: it sends to the result. Elsewhere it may send to a login.
        done: Vec<u16> = vec![],
        /// Where the state is.
        state: Place = Place::Pointer("/status".into()),
        /// The target's words for states, and ours: queued, running, completed, failed, cancelled.
        states: BTreeMap<String, StateWord> = BTreeMap::new(),
        /// Where the progress is, in percent.
        progress: Option<Place> = None,
        /// What it shows at the end, where that is not 100: 1 of a fraction, or the number of steps.
        progress_of: Option<f64> = None,
        /// Where the stage is.
        stage: Option<Place> = None,
        /// Where the number of attempts is.
        attempts: Option<Place> = None,
        /// Where the batch size of the latest attempt is.
        batch: Option<Place> = None,
        /// Where it says that the model had to be loaded.
        cold: Option<Place> = None,
        /// Where the error is. Null, an empty text or list, 0 and false are none. Beside a state that is true or false, which only
        /// says that the job is over, it says that it failed.
        error: Option<Place> = None,
        /// Where it says how often the job was completed.
        completions: Option<Place> = None,
        /// Values that `result` fills in, by name.
        capture: BTreeMap<String, Place> = BTreeMap::new(),
    }

    /// Lists of jobs. One that is in neither list, and of which `status` tells no state, is unknown to the target.
    pub struct Listing {
        /// The path.
        path: String,
        /// The list of waiting jobs (JSON pointer).
        waiting: String,
        /// The list of running jobs (JSON pointer).
        running: String,
        /// Where a job's id is in an entry (JSON pointer; empty: the entry itself).
        id: String = String::new(),
    }

    /// What a pushed message means. The first rule that fits counts.
    pub struct Rule {
        /// JSON pointers into the message, and what must stand there; `"*"` is anything but null.
        when: BTreeMap<String, Json> = BTreeMap::new(),
        /// The job's state; without it the message says nothing about it and is left out.
        state: StateWord,
        /// Where the progress is (JSON pointer).
        progress: Option<String> = None,
        /// Where the progress at the end is; without it progress is in percent.
        of: Option<String> = None,
        /// What it is at the end, where that is always the same and not 100: 1 of a fraction.
        progress_of: Option<f64> = None,
        /// Where the stage is.
        stage: Option<String> = None,
        /// Where the error is.
        error: Option<String> = None,
        /// Values that `result` fills in, by name.
        capture: BTreeMap<String, Place> = BTreeMap::new(),
    }

    /// Progress over a WebSocket. Without `events` its messages have the fields of `status`.
    pub struct Socket {
        /// The path below the target's URL; `{{client}}` is a name of this client's, the same as in its submissions.
        path: String,
        /// What to send to hear of a job; nothing where it is heard of anyway.
        subscribe: Option<Json> = None,
        /// Where a message says which job it is about (JSON pointer).
        id: String,
        /// What messages mean.
        events: Vec<Rule> = Vec::new(),
        /// Where a message says how the backend's own client reconnects: backoff, at_once, together or never.
        reconnect: Option<String> = None,
    }

    /// Progress over Socket.IO (Engine.IO 4). A message is `{"event": name, "data": first argument}`.
    pub struct SocketIo {
        /// The path below the target's URL.
        path: String = "/socket.io/".into(),
        /// The namespace.
        namespace: String = "/".into(),
        /// How the connection is made.
        transport: Transport = Transport::Websocket,
        /// Sent when connecting.
        auth: Option<Json> = None,
        /// An event to send to hear of a job; nothing where it is heard of anyway.
        subscribe: Option<Emit> = None,
        /// Where a message says which job it is about (JSON pointer).
        id: String = "/data/job_id".into(),
        /// What messages mean; without it their data have the fields of `status`.
        events: Vec<Rule> = Vec::new(),
    }

    /// An event that is sent.
    pub struct Emit {
        /// Its name.
        event: String,
        /// Its argument.
        data: Json = Json::Null,
    }

    /// A stream of server-sent events for each job. A message is `{"event": name, "data": JSON or text}`.
    pub struct Sse {
        /// The path; `{{id}}` stands for the job's id.
        path: String,
        /// What messages mean; without it their data have the fields of `status`.
        events: Vec<Rule> = Vec::new(),
    }

    /// Where results are.
    pub struct ResultRoute {
        /// The path; `{{id}}` stands for the job's id. A path that is nothing but a captured value is used as it stands, on the
        /// same target only.
        path: Option<String> = None,
        /// Instead: where the result is in the last answer or message (JSON pointer; empty: all of it).
        inline: Option<String> = None,
        /// It is in base64.
        base64: bool = false,
        /// The result holds the job's mark: any other is not its own.
        carries_mark: bool = false,
        /// Its size and content do not follow from what was asked for, as with texts: a short one, and one that another job had
        /// too, are no sign of a stand-in.
        free_form: bool = false,
        /// The largest result that is read.
        at_most: Bytes = Bytes::mib(64),
    }

    /// Where the queue depth is.
    pub struct Queue {
        /// The path.
        path: String,
        /// Jobs waiting: a JSON pointer to a number or to a list that is counted, or `metric NAME` where the path is that of
        /// Prometheus metrics (the sum over its labels).
        depth: String,
        /// Jobs running (likewise).
        running: Option<String> = None,
    }

    /// Metrics that hold the figures of the GPU, as `name` or `name{label="value"}`.
    #[derive(Default)]
    pub struct Gpu {
        /// The figures are simulated, and reports say so.
        simulated: bool = false,
        /// Memory in use, bytes.
        memory_used: Option<String> = None,
        /// Of the memory in use, what the target's allocator keeps for later jobs and no job holds, bytes: reserved less
        /// allocated, in PyTorch's words.
        memory_reusable: Option<String> = None,
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
        /// An error of a job that means: the target does not know it any more.
        lost: Option<String> = None,
        /// A line that says that the server itself is failing.
        fatal: Option<String> = None,
    }
}

impl Default for Status {
    fn default() -> Self {
        Self {
            path: None,
            every: Time::millis(250),
            unknown_for: Time::secs(2),
            missing: vec![404, 410],
            done: vec![],
            state: Place::Pointer("/status".into()),
            states: BTreeMap::new(),
            progress: None,
            progress_of: None,
            stage: None,
            attempts: None,
            batch: None,
            cold: None,
            error: None,
            completions: None,
            capture: BTreeMap::new(),
        }
    }
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            token: "/choices/0/delta/content".into(),
            also: THOUGHTS.map(str::to_owned).into(),
            finish: "/choices/0/finish_reason".into(),
            good: GOOD_ENDS.map(str::to_owned).into(),
            error: "/error".into(),
            done: "[DONE]".into(),
        }
    }
}

impl Patterns {
    /// Every pattern that is set, with its name.
    pub fn all(&self) -> Vec<(&'static str, &str)> {
        let named = [
            ("oom", &self.oom),
            ("retry", &self.retry),
            ("cold", &self.cold),
            ("shed", &self.shed),
            ("lost", &self.lost),
            ("fatal", &self.fatal),
        ];
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
    /// What the answer to a submission is.
    pub enum AnswerIs("kind of answer") {
        /// It names a job that is followed.
        Acceptance = "acceptance",
        /// It comes when the job has ended, and holds the result.
        Result = "result",
        /// Server-sent events that end with the job.
        Stream = "stream",
    }
}

words! {
    /// How a Socket.IO connection is made.
    pub enum Transport("transport") {
        /// As a WebSocket at once.
        Websocket = "websocket",
        /// By long polling, and then upgraded to a WebSocket, as browsers do.
        Upgrade = "upgrade",
        /// By long polling only.
        Polling = "polling",
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

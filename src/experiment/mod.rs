//! The experiment file: its types, and the way from a text to them with every error at once.

pub mod command_line;
pub mod decode;
pub mod diagnostic;
pub mod file;
pub mod interpolate;
pub mod node;
pub mod schema;
pub mod units;

use serde_json::{Value as Json, json};

use crate::backend::config::Embedded;
use crate::check::CheckSpec;
use crate::fault::FaultSpec;
use crate::record;
use crate::run::guard::GuardSpec;
use crate::runtime::docker::select::Docker;
use crate::words;
use command_line::CommandLine;
use decode::{At, Decode, Fields, ObjectSchema, Record, single_entry};
use diagnostic::{Diagnostics, Span};
use node::{Node, Value};
use units::{Rate, Time, TimeRange, WallTime};

record! {
    /// An experiment: a target, load, faults, guards and checks.
    pub struct Experiment {
        /// The version of this format; 1.
        version: At<u32>,
        /// A short name; it becomes part of the run's folder.
        name: At<String>,
        /// What the experiment shows, for people.
        description: String = String::new(),
        /// Every random choice of the run follows from this number.
        seed: Option<u64> = None,
        /// Multiplies every time of this file, and the embedded backend's own: 0.005 makes an hour of 18 seconds. Another target
        /// that is named with `--url` works in the file's own times unless `--time-scale` says otherwise.
        time_scale: At<f64> = At { value: 1.0, span: Span::default() },
        /// The backend under test.
        target: Target,
        /// Background traffic.
        load: Vec<Load> = Vec::new(),
        /// So many jobs of the first load's shape are sent one after another before the load starts; they are in the ledger, and
        /// in no figure.
        warm_up: u32 = 0,
        /// A small job of our own at intervals, under the load name `canary`: what readiness means.
        canary: Option<Canary> = None,
        /// How long the target is only measured before the clock of the faults starts: a time, or `steady` (until it is steady).
        baseline: Option<Baseline> = None,
        /// When the load ends. Without it the load goes on until the checks that need it are decided.
        duration: Option<At<Time>> = None,
        /// How much longer the load may go on while a check has too few samples.
        longer: Time = Time::secs(0),
        /// How long to wait for recovery at the most, from the last fault. Without it, as long as the checks may need.
        recover_at_most: Option<Time> = None,
        /// The distance between two samples of the target's figures.
        sample_every: Option<WallTime> = None,
        /// Something broken on purpose.
        faults: Vec<FaultEntry> = Vec::new(),
        /// Conditions that stop the experiment at once.
        guards: Vec<GuardEntry> = Vec::new(),
        /// Properties that must hold.
        checks: Vec<CheckEntry>,
    }

    /// The backend under test.
    pub struct Target {
        /// The job protocol: the name of a built-in driver, or the path of a driver file.
        driver: At<String> = At { value: "reference".into(), span: Span::default() },
        /// What the driver's parameters are set to. A value `{ file: x.json, set: { /pointer: value } }` is a JSON file of yours,
        /// with values put at some of its places.
        with: crate::driver::With = crate::driver::With::new(),
        /// Whether jobs may have effects outside the target; asked for by drivers that have some.
        effects: Effects = Effects::Refused,
        /// Where it is, or `embedded` to start the reference backend for this run.
        url: At<String>,
        /// What it runs in, and so what can restart it.
        runtime: Runtime = Runtime::Auto,
        /// Settings of the embedded reference backend.
        backend: Embedded = Embedded::default(),
    }

    /// A command that runs the target; it is started for the run and never outlives it.
    pub struct Process {
        /// The program and its arguments; no shell.
        command: CommandLine,
        /// Added to the environment.
        env: std::collections::BTreeMap<String, String> = Default::default(),
        /// The working directory.
        cwd: Option<String> = None,
        /// How long to wait until it is ready.
        ready_within: WallTime = WallTime::secs(60),
        /// How long it may take to end after SIGTERM before SIGKILL.
        stop_grace: WallTime = WallTime::secs(10),
    }

    /// Background traffic: users that wait for each job, or arrivals that do not.
    pub struct Load {
        /// A name for reports and for `load:` in checks.
        name: Option<String> = None,
        /// So many closed-loop users: each waits for its job, thinks, sends the next.
        users: Option<At<u32>> = None,
        /// Open-loop arrivals at this rate, whatever the target does.
        rate: Option<At<Rate>> = None,
        /// How open-loop arrivals are spaced.
        arrivals: Arrivals = Arrivals::Constant,
        /// Users or rates that follow each other.
        stages: Option<At<Vec<Stage>>> = None,
        /// Open-loop arrivals as they were recorded: a file with one JSON object a line, `at_s` (seconds of the experiment, from
        /// the start of this load) and whatever differs from the first `job`. The path is relative to this file.
        trace: Option<At<String>> = None,
        /// What a user waits between the end of a job and the next.
        think: TimeRange = TimeRange::exactly(Time::secs(0)),
        /// What each job asks for; a list is drawn from by `weight`.
        job: Vec<JobShape> = vec![JobShape::default()],
        /// How clients follow their jobs.
        listen: Listen = Listen::Websocket,
        /// When it starts, from the start of the load.
        start: Time = Time::secs(0),
        /// How long it lasts; without it, as long as the run needs load.
        r#for: Option<Time> = None,
        /// It ends after so many jobs in all.
        jobs: Option<u32> = None,
        /// A user that has waited this long for a job gives up: it cancels the job and goes on.
        patience: Option<Time> = None,
    }

    /// A small job of our own at intervals.
    pub struct Canary {
        /// The distance between two of them.
        every: Time,
        /// What it asks for.
        job: JobShape = JobShape { width: 64, height: 64, batch: 1, ..JobShape::default() },
    }

    /// One step of a load.
    pub struct Stage {
        /// So many closed-loop users.
        users: Option<At<u32>> = None,
        /// Open-loop arrivals at this rate.
        rate: Option<Rate> = None,
        /// How long the step lasts.
        r#for: Time,
    }

    /// What one job asks for.
    pub struct JobShape {
        /// Pixels across.
        width: u32 = 512,
        /// Pixels down.
        height: u32 = 512,
        /// Images worked on at once.
        batch: u32 = 4,
        /// Send a generated PNG of this size along (multipart) instead of plain JSON.
        image: bool = false,
        /// Tokens of the generated prompt, about one everyday word each.
        prompt: u32 = 32,
        /// Tokens that are asked for.
        tokens: u32 = 64,
        /// A folder with files of yours; each job sends one of them, where the driver sends `{{file}}`.
        files: Option<String> = None,
        /// How often this shape is drawn, against the others of the list.
        weight: u32 = 1,
    }
}

impl Default for JobShape {
    fn default() -> Self {
        Self { width: 512, height: 512, batch: 4, image: false, prompt: 32, tokens: 64, files: None, weight: 1 }
    }
}

words! {
    /// Whether jobs may have effects outside the target.
    pub enum Effects("rule for effects") {
        /// A driver whose jobs have some is refused.
        Refused = "refused",
        /// They may.
        Allowed = "allowed",
    }
}

words! {
    /// How open-loop arrivals are spaced.
    pub enum Arrivals("kind of arrivals") {
        /// At equal distances.
        Constant = "constant",
        /// As independent events (exponential gaps).
        Poisson = "poisson",
    }
}

words! {
    /// How a client follows its job.
    pub enum Listen("way to listen") {
        /// Over a WebSocket, with a slow poll behind it as a safety net.
        Websocket = "websocket",
        /// By asking again and again.
        Poll = "poll",
    }
}

words! {
    /// What to do when a trigger has not fired in time.
    pub enum OnTimeout("answer to a time-out") {
        /// Leave the fault out; the run cannot pass.
        Skip = "skip",
        /// End the run: it could not be carried out.
        Fail = "fail",
        /// Inject the fault anyway.
        Fire = "fire",
    }
}

/// What the target runs in.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    /// `process` for the embedded backend, else `none`.
    Auto,
    /// Nothing that `chaos` may restart.
    None,
    /// A command of the user's.
    Process(Process),
    /// Containers.
    Docker(At<Docker>),
}

const RUNTIMES: &[&str] = &["auto", "none", "process", "docker"];

impl Decode for Runtime {
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self> {
        match &node.value {
            Value::Text(word) if word == "auto" => Some(Self::Auto),
            Value::Text(word) if word == "none" => Some(Self::None),
            Value::Text(word) => {
                node::unknown_word(diags, node.span, "runtime", word, RUNTIMES);
                None
            }
            _ => {
                let (kind, _, inside) = single_entry(node, "runtime", &["process", "docker"], diags)?;
                match kind {
                    "docker" => At::<Docker>::decode(inside, diags).map(Self::Docker),
                    _ => Process::decode(inside, diags).map(Self::Process),
                }
            }
        }
    }
    fn schema() -> Json {
        let one = |name: &str, inside: Json| json!({ "type": "object", "properties": { name: inside }, "required": [name], "additionalProperties": false });
        json!({ "anyOf": [{ "enum": ["auto", "none"] }, one("process", Process::schema()), one("docker", Docker::schema())] })
    }
}

/// How the end of the baseline is found.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Baseline {
    Steady,
    Lasts(Time),
}

impl Decode for Baseline {
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self> {
        match &node.value {
            Value::Text(word) if word == "steady" => Some(Self::Steady),
            _ => Time::decode(node, diags).map(Self::Lasts),
        }
    }
    fn schema() -> Json {
        json!({ "anyOf": [{ "const": "steady" }, Time::schema()] })
    }
}

record! {
    /// When a fault happens. Times count from the end of the baseline, or from the start of the load where none is asked for.
    pub struct Timing {
        /// A name for reports and for `after:`.
        name: Option<At<String>> = None,
        /// At this moment.
        at: Option<At<Time>> = None,
        /// After another fault has ended: `flood`, or `flood + 5s`.
        after: Option<At<String>> = None,
        /// At a moment drawn from the seed within this range.
        between: Option<At<TimeRange>> = None,
        /// When this happens: `job.progress >= 50%`, `queue_depth > 5`, `log =~ "VAE decode"`, `metric NAME > 3`.
        when: Option<At<String>> = None,
        /// Again after this time; needs `times`.
        every: Option<At<Time>> = None,
        /// How often in all.
        times: Option<At<u32>> = None,
        /// How long to wait for `when`.
        timeout: Time = Time::secs(60),
        /// What to do when `when` has not happened by then.
        on_timeout: OnTimeout = OnTimeout::Fail,
    }
}

/// A fault and its moment.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct FaultEntry {
    pub timing: Timing,
    pub spec: FaultSpec,
    #[serde(skip)]
    pub span: Span,
}

impl Decode for FaultEntry {
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self> {
        let (kind, span, inside) = single_entry(node, "fault", FaultSpec::NAMES, diags)?;
        let mut fields = Fields::open(inside, diags)?;
        let timing = Timing::read(&mut fields);
        let spec = FaultSpec::read(kind, &mut fields);
        fields.close();
        Some(Self { timing: timing?, spec: spec?, span })
    }
    fn schema() -> Json {
        named_schema(FaultSpec::NAMES, |kind| {
            let mut object = ObjectSchema::default();
            FaultSpec::properties(kind, &mut object);
            let description = std::mem::take(&mut object.description);
            Timing::properties(&mut object);
            object.description = description;
            object.into_json()
        })
    }
}

/// A check and its name.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct CheckEntry {
    pub name: Option<String>,
    pub spec: CheckSpec,
    #[serde(skip)]
    pub span: Span,
}

impl Decode for CheckEntry {
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self> {
        let (kind, span, inside) = single_entry(node, "check", CheckSpec::NAMES, diags)?;
        let mut fields = Fields::open(inside, diags)?;
        let name = fields.optional::<String>("name");
        let spec = CheckSpec::read(kind, &mut fields);
        fields.close();
        Some(Self { name: name.ok()?, spec: spec?, span })
    }
    fn schema() -> Json {
        named_schema(CheckSpec::NAMES, |kind| {
            let mut object = ObjectSchema::default();
            CheckSpec::properties(kind, &mut object);
            object.field("name", &["A name for reports."], String::schema(), Some("None"));
            object.into_json()
        })
    }
}

/// A guard.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct GuardEntry {
    pub spec: GuardSpec,
    #[serde(skip)]
    pub span: Span,
}

impl Decode for GuardEntry {
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self> {
        let (kind, span, inside) = single_entry(node, "guard", GuardSpec::NAMES, diags)?;
        let mut fields = Fields::open(inside, diags)?;
        let spec = GuardSpec::read(kind, &mut fields);
        fields.close();
        Some(Self { spec: spec?, span })
    }
    fn schema() -> Json {
        named_schema(GuardSpec::NAMES, |kind| {
            let mut object = ObjectSchema::default();
            GuardSpec::properties(kind, &mut object);
            object.into_json()
        })
    }
}

fn named_schema(names: &[&str], inside: impl Fn(&str) -> Json) -> Json {
    let variants: Vec<Json> = names
        .iter()
        .map(|kind| {
            json!({ "type": "object", "properties": { *kind: inside(kind) }, "required": [kind], "additionalProperties": false })
        })
        .collect();
    json!({ "oneOf": variants })
}

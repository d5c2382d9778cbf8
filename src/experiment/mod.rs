//! The experiment file: its types, and the way from a text to them with every error at once.

pub mod decode;
pub mod diagnostic;
pub mod interpolate;
pub mod node;
pub mod schema;
pub mod units;

use std::path::Path;

use serde_json::{Value as Json, json};

use crate::backend::config::Embedded;
use crate::check::CheckSpec;
use crate::fault::FaultSpec;
use crate::record;
use crate::run::guard::GuardSpec;
use crate::secret::Redactor;
use crate::words;
use decode::{At, Decode, Fields, ObjectSchema, Record, single_entry};
use diagnostic::{Diagnostics, Span};
use node::{Key, Node, Value};
use units::{Rate, Time, TimeRange};

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
        /// The backend under test.
        target: Target,
        /// Background traffic.
        load: Vec<Load> = Vec::new(),
        /// How long the target is only measured before the clock of the faults starts: a time, or `steady` (until it is steady).
        baseline: Option<Baseline> = None,
        /// When the load ends. Without it the load goes on until the checks that need it are decided.
        duration: Option<At<Time>> = None,
        /// How long to wait for recovery at the most, from the last fault.
        recover_at_most: Time = Time::secs(300),
        /// The distance between two samples of the target's figures.
        sample_every: Time = Time::millis(250),
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
        command: Vec<String>,
        /// Added to the environment.
        env: std::collections::BTreeMap<String, String> = Default::default(),
        /// The working directory.
        cwd: Option<String> = None,
        /// How long to wait until it is ready.
        ready_within: Time = Time::secs(60),
        /// How long it may take to end after SIGTERM before SIGKILL.
        stop_grace: Time = Time::secs(10),
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
        /// How often this shape is drawn, against the others of the list.
        weight: u32 = 1,
    }
}

impl Default for JobShape {
    fn default() -> Self {
        Self { width: 512, height: 512, batch: 4, image: false, weight: 1 }
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
}

const RUNTIMES: &[&str] = &["auto", "none", "process"];

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
                let (_, _, inside) = single_entry(node, "runtime", &["process"], diags)?;
                Process::decode(inside, diags).map(Self::Process)
            }
        }
    }
    fn schema() -> Json {
        json!({ "anyOf": [{ "enum": ["auto", "none"] }, { "type": "object", "properties": { "process": Process::schema() }, "required": ["process"], "additionalProperties": false }] })
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

/// What the command line changes about a file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `PATH=VALUE`, in order.
    pub set: Vec<String>,
    pub seed: Option<u64>,
    pub url: Option<String>,
    pub defects: Vec<String>,
}

/// A file that was read, with all that is needed to store and explain it.
#[derive(Debug)]
pub struct Loaded {
    pub experiment: Experiment,
    /// The tree as it ran: with overrides, before the environment was filled in.
    pub tree: Node,
    pub redactor: Redactor,
    /// What is wrong so far; planning adds to it, and nothing runs while there is anything.
    pub diags: Diagnostics,
    /// Entries of lists could not be read: names that seem unknown may be theirs.
    pub incomplete: bool,
}

/// Reads an experiment. On failure every problem found comes back at once.
pub fn load(path: &Path, overrides: &Overrides, lookup: interpolate::Lookup<'_>) -> Result<Loaded, Diagnostics> {
    let mut diags = Diagnostics::default();
    let name = path.display().to_string();
    match read_text(path) {
        Ok(text) => load_text(&name, text, overrides, lookup),
        Err(reason) => {
            diags.add_source(&name, "");
            diags.error(Span::default(), reason, "this file");
            Err(diags)
        }
    }
}

/// Reads an experiment that is already in memory.
pub fn load_text(
    name: &str,
    text: String,
    overrides: &Overrides,
    lookup: interpolate::Lookup<'_>,
) -> Result<Loaded, Diagnostics> {
    let mut diags = Diagnostics::default();
    let source = diags.add_source(name, text);
    let Some(mut tree) = node::parse(source, &mut diags) else { return Err(diags) };
    apply_overrides(&mut tree, overrides, &mut diags);
    let mut redactor = Redactor::default();
    let mut filled = tree.clone();
    interpolate::interpolate(&mut filled, lookup, &mut redactor, &mut diags);
    let experiment = Experiment::decode(&filled, &mut diags);
    if let Some(experiment) = &experiment {
        basic_rules(experiment, &mut diags);
    }
    let count = |key: &str| filled.get(key).map_or(0, |n| if let Value::List(items) = &n.value { items.len() } else { 1 });
    match experiment {
        Some(experiment) => {
            let incomplete = experiment.load.len() < count("load") || experiment.faults.len() < count("faults");
            Ok(Loaded { experiment, tree, redactor, diags, incomplete })
        }
        None => Err(diags),
    }
}

/// The text of a file that may be an experiment or a driver.
///
/// # Errors
/// A sentence: it cannot be read, is too large, or is not text.
pub fn read_text(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?.len();
    if size > node::MAX_BYTES {
        return Err(format!("{} has {size} bytes; the limit is {} bytes", path.display(), node::MAX_BYTES));
    }
    std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

fn basic_rules(experiment: &Experiment, diags: &mut Diagnostics) {
    if *experiment.version != 1 {
        diags.error(experiment.version.span, format!("version {} is not known", experiment.version.value), "expected 1");
    }
    let fitting = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
    let name = &experiment.name;
    if name.is_empty() || name.len() > 64 || !name.chars().all(fitting) || name.starts_with('.') {
        diags.error(
            name.span,
            "this name cannot be part of a folder's name",
            "expected 1 to 64 of: letters, digits, `-`, `_`, `.`",
        );
    }
}

fn apply_overrides(tree: &mut Node, overrides: &Overrides, diags: &mut Diagnostics) {
    for assignment in &overrides.set {
        apply_set(tree, assignment, diags);
    }
    let mut put = |path: &[&str], value: Value, name: &str, text: &str| {
        let source = diags.add_source(name, text);
        let span = Span { source, start: 0, end: text.len() };
        if let Err(reason) = tree.set(path, Node { value, span, interpolated: false }) {
            diags.error(span, reason, "here");
        }
    };
    if let Some(seed) = overrides.seed {
        let value = i64::try_from(seed).map_or(Value::Float(seed as f64), Value::Int);
        put(&["seed"], value, "--seed", &seed.to_string());
    }
    if let Some(url) = &overrides.url {
        put(&["target", "url"], Value::Text(url.clone()), "--url", url);
    }
    for defect in &overrides.defects {
        add_defect(tree, defect, diags);
    }
}

fn apply_set(tree: &mut Node, assignment: &str, diags: &mut Diagnostics) {
    let Some((path, value)) = assignment.split_once('=') else {
        let source = diags.add_source("--set", assignment);
        let span = Span { source, start: 0, end: assignment.len() };
        diags.error(span, "this is no assignment", "expected PATH=VALUE, such as faults.0.flood.jobs=2");
        return;
    };
    let source = diags.add_source(format!("--set {path}"), value);
    let Some(node) = node::parse(source, diags) else { return };
    let steps: Vec<&str> = path.split('.').collect();
    if let Err(reason) = tree.set(&steps, node) {
        diags.error(Span { source, start: 0, end: value.len() }, format!("--set {path}: {reason}"), "cannot be put there");
    }
}

/// Appends to `target.backend.defects`.
fn add_defect(tree: &mut Node, defect: &str, diags: &mut Diagnostics) {
    let source = diags.add_source("--defect", defect);
    let span = Span { source, start: 0, end: defect.len() };
    let path = ["target", "backend", "defects"];
    let mut items = match path.iter().try_fold(&*tree, |node, step| node.get(step)).map(|n| n.value.clone()) {
        Some(Value::List(items)) => items,
        Some(one @ Value::Text(_)) => vec![Node { value: one, span, interpolated: false }],
        _ => Vec::new(),
    };
    items.push(Node { value: Value::Text(defect.to_owned()), span, interpolated: false });
    if let Err(reason) = tree.set(&path, Node { value: Value::List(items), span, interpolated: false }) {
        diags.error(span, reason, "cannot be planted");
    }
}

/// The tree with the seed that was used, so that the stored file repeats the run.
pub fn with_seed(tree: &Node, seed: u64) -> Node {
    let mut tree = tree.clone();
    let value = i64::try_from(seed).map_or(Value::Float(seed as f64), Value::Int);
    let node = Node { value, span: Span::default(), interpolated: false };
    if let Value::Map(entries) = &mut tree.value {
        match entries.iter_mut().find(|(k, _)| k.name == "seed") {
            Some((_, old)) => *old = node,
            None => entries.push((Key { name: "seed".into(), span: Span::default() }, node)),
        }
    }
    tree
}

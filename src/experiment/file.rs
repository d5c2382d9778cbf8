//! Reads an experiment's file: its text, what the command line changes about it, the environment, and then its types.

use std::path::Path;

use super::Experiment;
use super::decode::Decode;
use super::diagnostic::{Diagnostics, Span};
use super::interpolate;
use super::node::{self, Key, Node, Value};
use crate::secret::Redactor;

/// What an experiment is called in the folder of its run.
pub const KEPT: &str = "experiment.yaml";

/// What the command line changes about a file.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Overrides {
    /// Change a field: PATH=VALUE, such as faults.0.flood.jobs=2. May be given again.
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// The seed of every random choice, instead of the file's.
    #[arg(long)]
    pub seed: Option<u64>,
    /// The target's URL, instead of the file's.
    #[arg(long)]
    pub url: Option<String>,
    /// Plant a defect in the embedded backend. May be given again; `chaos backend --help` lists them.
    #[arg(long = "defect", value_name = "NAME")]
    pub defects: Vec<String>,
    /// Make the embedded backend behave in a way that looks suspicious and is healthy. May be given again.
    #[arg(long = "mode", value_name = "NAME")]
    pub modes: Vec<String>,
    /// Permit that the experiment breaks the container of this name. May be given again.
    #[arg(long, value_name = "NAME")]
    pub allow: Vec<String>,
    /// Multiply every time of the experiment, and of the embedded backend: 0.01 is a hundred times faster.
    #[arg(long, value_name = "FACTOR")]
    pub time_scale: Option<f64>,
}

impl Overrides {
    /// As they are typed.
    pub fn spelled_out(&self) -> Vec<String> {
        let set = self.set.iter().map(|s| format!("--set {s}"));
        let seed = self.seed.iter().map(|s| format!("--seed {s}"));
        let url = self.url.iter().map(|s| format!("--url {s}"));
        let defects = self.defects.iter().map(|s| format!("--defect {s}"));
        let modes = self.modes.iter().map(|s| format!("--mode {s}"));
        let allow = self.allow.iter().map(|s| format!("--allow {s}"));
        let scale = self.time_scale.iter().map(|s| format!("--time-scale {s}"));
        set.chain(seed).chain(url).chain(defects).chain(modes).chain(allow).chain(scale).collect()
    }
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
    diags.time_scale = time_scale(&filled);
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

/// The slowest and the fastest that a run may be made; `build` says what is wrong with others.
pub const TIME_SCALES: std::ops::RangeInclusive<f64> = 0.0001..=100.0;

/// It must be known before any time is read.
fn time_scale(tree: &Node) -> f64 {
    let asked = tree.get("time_scale").and_then(Node::scalar).and_then(|text| text.trim().parse().ok());
    asked.filter(|scale| TIME_SCALES.contains(scale)).unwrap_or(1.0)
}

fn basic_rules(experiment: &Experiment, diags: &mut Diagnostics) {
    if *experiment.version != 1 {
        diags.error(experiment.version.span, format!("version {} is not known", experiment.version.value), "expected 1");
    }
    let fitting = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
    if !TIME_SCALES.contains(&*experiment.time_scale) {
        diags.error(
            experiment.time_scale.span,
            format!("a time scale of {} cannot be", experiment.time_scale.value),
            "expected 0.0001 to 100",
        );
    }
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
        if let Err(reason) = tree.set(path, Node { value, span, interpolated: false, secret: false }) {
            diags.error(span, reason, "here");
        }
    };
    if let Some(seed) = overrides.seed {
        let value = i64::try_from(seed).map_or(Value::Float(seed as f64), Value::Int);
        put(&["seed"], value, "--seed", &seed.to_string());
    }
    if let Some(url) = &overrides.url {
        put(&["target", "url"], Value::Text(url.clone()), "--url", url);
        // The file's scale is for the backend that it embeds; another target works in the plan's own times.
        if overrides.time_scale.is_none() && url != "embedded" {
            put(&["time_scale"], Value::Int(1), "--url", url);
        }
    }
    if let Some(scale) = overrides.time_scale {
        put(&["time_scale"], Value::Float(scale), "--time-scale", &scale.to_string());
    }
    let lists: [(&str, &[&str], &Vec<String>); 3] = [
        ("--defect", &["target", "backend", "defects"], &overrides.defects),
        ("--mode", &["target", "backend", "modes"], &overrides.modes),
        ("--allow", &["target", "runtime", "docker", "allow"], &overrides.allow),
    ];
    for (option, path, words) in lists {
        words.iter().for_each(|word| add_word(tree, option, path, word, diags));
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

/// Appends to a list.
fn add_word(tree: &mut Node, option: &str, path: &[&str], word: &str, diags: &mut Diagnostics) {
    let source = diags.add_source(option, word);
    let span = Span { source, start: 0, end: word.len() };
    let mut items = match path.iter().try_fold(&*tree, |node, step| node.get(step)).map(|n| n.value.clone()) {
        Some(Value::List(items)) => items,
        Some(one @ Value::Text(_)) => vec![Node { value: one, span, interpolated: false, secret: false }],
        _ => Vec::new(),
    };
    items.push(Node { value: Value::Text(word.to_owned()), span, interpolated: false, secret: false });
    if let Err(reason) = tree.set(path, Node { value: Value::List(items), span, interpolated: false, secret: false }) {
        diags.error(span, reason, "cannot be added");
    }
}

/// The tree with the seed that was used, so that the stored file repeats the run.
pub fn with_seed(tree: &Node, seed: u64) -> Node {
    let mut tree = tree.clone();
    let value = i64::try_from(seed).map_or(Value::Float(seed as f64), Value::Int);
    let node = Node { value, span: Span::default(), interpolated: false, secret: false };
    if let Value::Map(entries) = &mut tree.value {
        match entries.iter_mut().find(|(k, _)| k.name == "seed") {
            Some((_, old)) => *old = node,
            None => entries.push((Key { name: "seed".into(), span: Span::default() }, node)),
        }
    }
    tree
}

//! A smaller experiment: which faults and loads are kept, and how large the rest is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::experiment::diagnostic::Span;
use crate::experiment::node::{Node, Value};
use crate::experiment::units::Time;

/// What may be left out or made smaller.
#[derive(Debug, Clone, PartialEq)]
pub struct Sizes {
    pub faults: usize,
    pub loads: usize,
    /// Whole numbers above 1, by their path in the file.
    pub counts: Vec<(String, u64)>,
    pub duration_ms: Option<u64>,
}

/// A smaller experiment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Candidate {
    /// The kept ones, by their place in the original.
    pub faults: Vec<usize>,
    pub loads: Vec<usize>,
    pub counts: BTreeMap<String, u64>,
    pub duration_ms: Option<u64>,
}

/// The numbers of a load or a fault that say how much.
const COUNTS: [&str; 3] = ["users", "jobs", "times"];

impl Sizes {
    /// Of an experiment's tree, in which `faults` and `load` are lists (see [`normal`]).
    /// `recorded` says how many arrivals a trace has.
    pub fn of(tree: &Node, recorded: impl Fn(&str) -> Option<u64>) -> Self {
        let mut counts = Vec::new();
        for (at, load) in items(tree, "load").iter().enumerate() {
            counts.extend(COUNTS.iter().filter_map(|key| Some((format!("load.{at}.{key}"), count(load.get(key)?)?))));
            let trace = load.get("trace").filter(|_| load.get("jobs").is_none()).and_then(Node::scalar);
            // Of a trace the first so many.
            counts.extend(trace.and_then(|path| Some((format!("load.{at}.jobs"), recorded(&path)?))));
        }
        for (at, fault) in items(tree, "faults").iter().enumerate() {
            let Value::Map(entries) = &fault.value else { continue };
            for (kind, inside) in entries {
                let of =
                    COUNTS.iter().filter_map(|key| Some((format!("faults.{at}.{}.{key}", kind.name), count(inside.get(key)?)?)));
                counts.extend(of);
            }
        }
        let duration = tree.get("duration").and_then(Node::scalar).and_then(|text| text.parse::<Time>().ok());
        Self {
            faults: items(tree, "faults").len(),
            loads: items(tree, "load").len(),
            counts,
            duration_ms: duration.map(|time| time.0.as_millis() as u64),
        }
    }
}

impl Candidate {
    pub fn whole(sizes: &Sizes) -> Self {
        Self {
            faults: (0..sizes.faults).collect(),
            loads: (0..sizes.loads).collect(),
            counts: BTreeMap::new(),
            duration_ms: None,
        }
    }

    /// Without one fault.
    pub fn without(&self, fault: usize) -> Self {
        Self { faults: self.faults.iter().copied().filter(|f| *f != fault).collect(), ..self.clone() }
    }

    /// The tree of the smaller experiment.
    ///
    /// # Errors
    /// A path that leads nowhere.
    pub fn apply(&self, tree: &Node) -> Result<Node, String> {
        let mut tree = tree.clone();
        let node = |value| Node { value, span: Span::default(), interpolated: false };
        for (path, value) in &self.counts {
            let steps: Vec<&str> = path.split('.').collect();
            tree.set(&steps, node(Value::Int(i64::try_from(*value).unwrap_or(i64::MAX))))?;
        }
        if let Some(ms) = self.duration_ms {
            tree.set(&["duration"], node(Value::Text(format!("{ms}ms"))))?;
        }
        for (name, kept) in [("faults", &self.faults), ("load", &self.loads)] {
            let all = items(&tree, name);
            let kept: Vec<Node> = kept.iter().filter_map(|at| all.get(*at).cloned()).collect();
            if !all.is_empty() {
                tree.set(&[name], node(Value::List(kept)))?;
            }
        }
        Ok(tree)
    }
}

/// The tree with lists in place of single entries.
pub fn normal(mut tree: Node) -> Node {
    if let Value::Map(entries) = &mut tree.value {
        for (_, one) in entries.iter_mut().filter(|(key, _)| key.name == "faults" || key.name == "load") {
            if matches!(one.value, Value::Map(_)) {
                let span = one.span;
                *one = Node { value: Value::List(vec![one.clone()]), span, interpolated: false };
            }
        }
    }
    tree
}

/// What a fault is called, for people.
pub fn label(tree: &Node, fault: usize) -> String {
    let all = items(tree, "faults");
    let Some(Node { value: Value::Map(entries), .. }) = all.get(fault) else { return format!("fault {fault}") };
    entries.first().map_or_else(String::new, |(kind, inside)| {
        let name = inside.get("name").and_then(Node::scalar).map_or_else(String::new, |name| format!(" {name}"));
        let at = inside.get("at").and_then(Node::scalar).map_or_else(String::new, |at| format!(" at {at}"));
        format!("{}{name}{at}", kind.name)
    })
}

fn items(tree: &Node, name: &str) -> Vec<Node> {
    match tree.get(name).map(|node| &node.value) {
        Some(Value::List(items)) => items.clone(),
        _ => Vec::new(),
    }
}

fn count(node: &Node) -> Option<u64> {
    match node.value {
        Value::Int(n) if n > 1 => u64::try_from(n).ok(),
        _ => None,
    }
}

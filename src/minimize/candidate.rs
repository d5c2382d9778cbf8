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
    pub amounts: Vec<Amount>,
}

/// A number of the file that says how much.
#[derive(Debug, Clone, PartialEq)]
pub struct Amount {
    /// Its path in the file, such as `faults.0.flood.jobs`.
    pub path: String,
    /// As it is in the original, in its unit.
    pub full: u64,
    pub unit: Unit,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Unit {
    /// A whole number.
    Count,
    /// Milliseconds.
    Time,
    /// Thousandths of a rate, and what stands after its number.
    Rate(String),
}

/// A smaller experiment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Candidate {
    /// The kept ones, by their place in the original.
    pub faults: Vec<usize>,
    pub loads: Vec<usize>,
    /// What is smaller than in the original, by its path.
    pub amounts: BTreeMap<String, u64>,
}

const COUNTS: [&str; 3] = ["users", "jobs", "times"];
/// Smaller than this share of the original is not tried.
const LEAST_SHARE: u64 = 1024;

impl Amount {
    /// What the number may be made of. A count of 1 cannot be less.
    fn of(path: String, key: &str, node: &Node) -> Option<Self> {
        let of = |full: u64, unit| (full > 1).then_some(Self { path: path.clone(), full, unit });
        match (key, &node.value) {
            ("for" | "duration", _) => of(node.scalar()?.parse::<Time>().ok()?.0.as_millis() as u64, Unit::Time),
            ("rate", _) => {
                let text = node.scalar()?;
                let (number, per) = text.split_once('/')?;
                of((number.trim().parse::<f64>().ok()? * 1e3) as u64, Unit::Rate(per.trim().to_owned()))
            }
            (key, Value::Int(n)) if COUNTS.contains(&key) => of(u64::try_from(*n).ok()?, Unit::Count),
            _ => None,
        }
    }

    /// The numbers in a mapping.
    fn all(path: &str, of: &Node) -> Vec<Self> {
        let Value::Map(entries) = &of.value else { return Vec::new() };
        let found = entries.iter().filter_map(|(key, value)| Self::of(format!("{path}.{}", key.name), &key.name, value));
        found.collect()
    }

    pub fn least(&self) -> u64 {
        self.full.div_ceil(LEAST_SHARE)
    }

    /// A value of it, as it stands in a file.
    pub fn text(&self, value: u64) -> String {
        match &self.unit {
            Unit::Count => value.to_string(),
            Unit::Time => format!("{value}ms"),
            Unit::Rate(per) => format!("{}/{per}", value as f64 / 1e3),
        }
    }
}

impl Sizes {
    /// Of an experiment's tree, in which `faults` and `load` are lists (see [`normal`]).
    /// `recorded` says how many arrivals a trace has.
    pub fn of(tree: &Node, recorded: impl Fn(&str) -> Option<u64>) -> Self {
        // What is shorter makes everything after it cheaper to try.
        let duration = tree.get("duration").and_then(|node| Amount::of("duration".into(), "duration", node));
        let mut amounts = Vec::from_iter(duration);
        for (at, load) in items(tree, "load").iter().enumerate() {
            amounts.extend(Amount::all(&format!("load.{at}"), load));
            for (step, stage) in items(load, "stages").iter().enumerate() {
                amounts.extend(Amount::all(&format!("load.{at}.stages.{step}"), stage));
            }
            let trace = load.get("trace").filter(|_| load.get("jobs").is_none()).and_then(Node::scalar);
            // Of a trace the first so many.
            amounts.extend(trace.and_then(|path| {
                let full = recorded(&path).filter(|n| *n > 1)?;
                Some(Amount { path: format!("load.{at}.jobs"), full, unit: Unit::Count })
            }));
        }
        for (at, fault) in items(tree, "faults").iter().enumerate() {
            let Value::Map(entries) = &fault.value else { continue };
            amounts.extend(entries.iter().flat_map(|(kind, inside)| Amount::all(&format!("faults.{at}.{}", kind.name), inside)));
        }
        Self { faults: items(tree, "faults").len(), loads: items(tree, "load").len(), amounts }
    }
}

impl Candidate {
    pub fn whole(sizes: &Sizes) -> Self {
        Self { faults: (0..sizes.faults).collect(), loads: (0..sizes.loads).collect(), amounts: BTreeMap::new() }
    }

    /// Without one fault.
    pub fn without(&self, fault: usize) -> Self {
        Self { faults: self.faults.iter().copied().filter(|f| *f != fault).collect(), ..self.clone() }
    }

    /// Whether what an amount belongs to is still there.
    pub fn has(&self, amount: &Amount) -> bool {
        let mut steps = amount.path.split('.');
        let list = match steps.next() {
            Some("faults") => &self.faults,
            Some("load") => &self.loads,
            _ => return true,
        };
        steps.next().and_then(|at| at.parse().ok()).is_some_and(|at| list.contains(&at))
    }

    pub fn amount(&self, of: &Amount) -> u64 {
        self.amounts.get(&of.path).copied().unwrap_or(of.full)
    }

    /// The tree of the smaller experiment.
    ///
    /// # Errors
    /// A path that leads nowhere.
    pub fn apply(&self, tree: &Node, sizes: &Sizes) -> Result<Node, String> {
        let mut tree = tree.clone();
        let node = |value| Node { value, span: Span::default(), interpolated: false, secret: false };
        for amount in sizes.amounts.iter().filter(|amount| self.amounts.contains_key(&amount.path)) {
            let value = self.amount(amount);
            let steps: Vec<&str> = amount.path.split('.').collect();
            let new = match amount.unit {
                Unit::Count => Value::Int(i64::try_from(value).unwrap_or(i64::MAX)),
                Unit::Time | Unit::Rate(_) => Value::Text(amount.text(value)),
            };
            tree.set(&steps, node(new))?;
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
                *one = Node { value: Value::List(vec![one.clone()]), span, interpolated: false, secret: false };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::diagnostic::Diagnostics;
    use crate::experiment::node;

    const TEXT: &str = "duration: 2m\nload: [{users: 3, for: 14s}, {rate: 0.5/s, stages: [{rate: 30/m, for: 2m 30s}]}, {trace: x}, {users: 1}]\nfaults: [{flood: {at: 5s, jobs: 12}}, {pause: {at: 1s, for: 5s, times: 2}}]\n";

    fn tree() -> Node {
        let mut diags = Diagnostics::default();
        let source = diags.add_source("x", TEXT);
        node::parse(source, &mut diags).unwrap()
    }

    #[test]
    fn every_number_that_says_how_much_is_found_and_put_back() {
        let tree = tree();
        let sizes = Sizes::of(&tree, |_| Some(40));
        let found: Vec<(String, String)> = sizes.amounts.iter().map(|a| (a.path.clone(), a.text(a.full / 2))).collect();
        let expected = [
            ("duration", "60000ms"),
            ("load.0.users", "1"),
            ("load.0.for", "7000ms"),
            ("load.1.rate", "0.25/s"),
            ("load.1.stages.0.rate", "15/m"),
            ("load.1.stages.0.for", "75000ms"),
            ("load.2.jobs", "20"),
            ("faults.0.flood.jobs", "6"),
            ("faults.1.pause.for", "2500ms"),
            ("faults.1.pause.times", "1"),
        ];
        assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        let mut half = Candidate::whole(&sizes);
        half.amounts = sizes.amounts.iter().map(|a| (a.path.clone(), a.full / 2)).collect();
        (half.faults, half.loads) = (vec![1], vec![1, 2]);
        let small = half.apply(&tree, &sizes).unwrap();
        let at = |path: &[&str]| {
            path.iter().try_fold(&small, |node, step| match &node.value {
                Value::List(items) => items.get(step.parse::<usize>().ok()?),
                _ => node.get(step),
            })
        };
        assert_eq!(at(&["faults", "0", "pause", "times"]).and_then(Node::scalar).as_deref(), Some("1"));
        assert_eq!(at(&["load", "0", "stages", "0", "rate"]).and_then(Node::scalar).as_deref(), Some("15/m"));
        assert_eq!(at(&["load", "1", "jobs"]).and_then(Node::scalar).as_deref(), Some("20"));
        assert!(at(&["load", "2"]).is_none() && at(&["faults", "1"]).is_none());
    }

    #[test]
    fn what_belongs_to_something_left_out_is_left_alone() {
        let sizes = Sizes::of(&tree(), |_| None);
        let mut small = Candidate::whole(&sizes);
        (small.faults, small.loads) = (vec![1], vec![0]);
        let kept: Vec<&str> = sizes.amounts.iter().filter(|a| small.has(a)).map(|a| a.path.as_str()).collect();
        assert_eq!(kept, ["duration", "load.0.users", "load.0.for", "faults.1.pause.for", "faults.1.pause.times"]);
    }
}

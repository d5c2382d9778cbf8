//! What a run has changed and not put back, from the lines of its journal that say so, each on its own: whatever stands around
//! them, of whichever version of chaos they are, and though the plan cannot be read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::Value as Json;

use super::FILE;
use super::reader::Lines;
use crate::seed::fnv;

/// What puts one fault back.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Open {
    pub fault: String,
    /// Which kind of fault it is; empty where an older version did not say, and the plan must.
    pub kind: String,
    pub undo: Json,
    /// Its injection is known to have begun.
    pub injecting: bool,
    /// ... and had ended.
    pub injected: bool,
}

/// What is left of a run.
#[derive(Debug, Clone, Default)]
pub struct Left {
    /// In the order of their injection.
    pub open: Vec<Open>,
    /// Why it cannot be told whether there is more.
    pub unreadable: Option<String>,
    /// The run came to its own end, which comes after its reverts.
    pub ended: bool,
    /// The plan, as far as it can be read as data.
    pub plan: Option<Json>,
}

impl Left {
    /// Nothing is left, as far as anybody can know: a run that came to its own end has told.
    pub fn is_clear(&self) -> bool {
        self.open.is_empty() && (self.unreadable.is_none() || self.ended)
    }
}

/// A sum over what puts a fault back, so that damage to it is seen before it is used.
pub fn sum(undo: &Json) -> u64 {
    fnv(undo.to_string().as_bytes())
}

/// Reads what is left of a run. Never an error: what cannot be read is part of the answer.
pub fn left(run: &Path) -> Left {
    Scan::of(run).result()
}

/// The same from two accounts of one run, each of which may be damaged or end early: what either says was broken, unless either says
/// that it was put back.
pub fn left_by_both(run: &Path, copy: &Path) -> Left {
    Scan::of(run).and(Scan::of(copy)).result()
}

/// As [`left`], of the text of a journal.
pub fn left_in(text: &[u8]) -> Left {
    let mut scan = Scan::default();
    scan.lines(text);
    scan.result()
}

#[derive(Default)]
struct Scan {
    faults: BTreeMap<String, Seen>,
    order: Vec<String>,
    trouble: Option<String>,
    ended: bool,
    plan: Option<Json>,
    lines: usize,
}

/// What the lines say of one fault.
#[derive(Default)]
struct Seen {
    kind: String,
    undo: Option<Json>,
    injecting: bool,
    injected: bool,
    /// Somebody tried to put it back.
    tried: bool,
    reverted: bool,
    skipped: bool,
}

impl Seen {
    fn join(&mut self, other: Self) {
        if self.undo.is_none() {
            (self.kind, self.undo) = (other.kind, other.undo);
        }
        self.injecting |= other.injecting;
        self.injected |= other.injected;
        self.tried |= other.tried;
        self.reverted |= other.reverted;
        self.skipped |= other.skipped;
    }
}

impl Scan {
    fn of(run: &Path) -> Self {
        let path = if run.is_dir() { run.join(FILE) } else { run.to_owned() };
        let mut scan = Self::default();
        match File::open(&path) {
            Ok(file) => scan.lines(BufReader::new(file)),
            // A folder that is gone can tell nothing; one that is there and has no journal is damaged.
            Err(_) if !run.exists() => {}
            Err(error) => scan.trouble(format!("{} cannot be read: {error}", path.display())),
        }
        scan
    }

    fn and(mut self, other: Self) -> Self {
        for name in other.order {
            if !self.faults.contains_key(&name) {
                self.order.push(name);
            }
        }
        for (name, theirs) in other.faults {
            self.faults.entry(name).or_default().join(theirs);
        }
        // Where one of them is whole, nothing is missing that the other one would have said.
        self.trouble = self.trouble.filter(|_| other.trouble.is_some());
        self.ended |= other.ended;
        self.plan = self.plan.or(other.plan);
        self
    }

    fn trouble(&mut self, what: String) {
        self.trouble.get_or_insert(what);
    }

    fn lines(&mut self, text: impl BufRead) {
        let mut lines = Lines(text);
        for number in 1.. {
            match lines.read() {
                Ok(Some((bytes, _))) if bytes.is_empty() => {}
                Ok(Some((bytes, whole))) => self.line(number, &bytes, whole),
                Ok(None) => break,
                Err(error) => return self.trouble(format!("the journal cannot be read from line {number} on: {error}")),
            }
        }
        if self.lines == 0 {
            self.trouble("the journal is empty".to_owned());
        }
    }

    fn line(&mut self, number: usize, bytes: &[u8], whole: bool) {
        self.lines += 1;
        // A line that does not end was cut off by the run's death: what it announced was not done yet.
        let Ok(mut line) = serde_json::from_slice::<Json>(bytes) else {
            if whole {
                self.trouble(format!("line {number} of the journal cannot be read"));
            }
            return;
        };
        let event = line.get_mut("event").map(Json::take);
        match event {
            Some(Json::String(word)) if word == "run_ended" => self.ended = true,
            Some(Json::Object(mut map)) => {
                for (name, data) in &mut map {
                    self.event(number, name, data);
                }
            }
            _ => self.trouble(format!("line {number} of the journal holds no event")),
        }
    }

    fn event(&mut self, number: usize, name: &str, data: &mut Json) {
        match name {
            "run_ended" => self.ended = true,
            "run_started" => self.plan = data.get_mut("plan").map(Json::take),
            "fault_prepared" | "fault_injecting" | "fault_injected" | "fault_reverting" | "fault_stuck" | "fault_reverted"
            | "fault_skipped" => {
                let Some(fault) = data.get("fault").and_then(Json::as_str).map(str::to_owned) else {
                    return self.trouble(format!("line {number} of the journal names no fault"));
                };
                self.fault(number, name, fault, data);
            }
            _ => {}
        }
    }

    fn fault(&mut self, number: usize, event: &str, fault: String, data: &mut Json) {
        if !self.faults.contains_key(&fault) {
            self.order.push(fault.clone());
        }
        let seen = self.faults.entry(fault).or_default();
        match event {
            "fault_prepared" => {
                let undo = data.get_mut("undo").map(Json::take).unwrap_or_default();
                let told = data.get("sum").and_then(Json::as_u64).unwrap_or(0);
                if told != 0 && told != sum(&undo) {
                    return self.trouble(format!("line {number} of the journal is damaged: it holds what puts a fault back"));
                }
                seen.kind = data.get("kind").and_then(Json::as_str).unwrap_or_default().to_owned();
                seen.undo = Some(undo);
            }
            "fault_injecting" => seen.injecting = true,
            "fault_injected" => seen.injected = true,
            "fault_reverting" | "fault_stuck" => seen.tried = true,
            "fault_reverted" => seen.reverted = true,
            _ => seen.skipped = true,
        }
    }

    fn result(mut self) -> Left {
        let mut open = Vec::new();
        for name in std::mem::take(&mut self.order) {
            let Some(seen) = self.faults.remove(&name).filter(|seen| !seen.reverted) else { continue };
            // What was prepared was used, unless something says that it was not: a line of the fault's own, or a run that came to
            // its end and of which every line can be read. The line that says that the injection began may be missing: cut off by
            // the end of the machine, or damaged.
            let is_proven = seen.skipped || (self.ended && self.trouble.is_none());
            let begun = seen.injecting || seen.injected || seen.tried || !is_proven;
            match seen.undo {
                Some(undo) if begun => {
                    open.push(Open { fault: name, kind: seen.kind, undo, injecting: seen.injecting, injected: seen.injected });
                }
                None if seen.injecting || seen.injected || seen.tried => {
                    self.trouble.get_or_insert(format!("fault `{name}` was injected, and what puts it back cannot be read"));
                    // A run that ended has tried, and its line would say that it could.
                    self.ended = false;
                }
                _ => {}
            }
        }
        Left { open, unreadable: self.trouble, ended: self.ended, plan: self.plan }
    }
}

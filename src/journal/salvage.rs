//! A record for putting things back, of a journal that need not be readable as a whole.

use std::path::Path;
use std::sync::Arc;

use super::facts::FaultFacts;
use super::reader;
use super::record::Record;
use super::undo::Left;
use crate::plan::salvage::salvage;

/// The record of a run; of one whose plan cannot be read, as much of the plan as can be. Everything that is left is in it.
pub fn record(path: &Path, left: Left) -> Record {
    let mut record = match reader::read(path) {
        Ok(record) => record,
        Err(error) => without_plan(&left, error.to_string()),
    };
    let mut last = 0.0;
    for open in left.open {
        let known = record.fault(&open.fault).and_then(|facts| facts.injecting_t);
        // What was only prepared came last: it is put back first.
        let t = known.unwrap_or(if open.injecting || open.injected { last } else { record.now.max(last) } + 1e-6);
        last = t;
        let at = record.faults.iter().position(|facts| facts.name == open.fault).unwrap_or_else(|| {
            record.faults.push(FaultFacts { name: open.fault.clone(), ..FaultFacts::default() });
            record.faults.len() - 1
        });
        let facts = &mut record.faults[at];
        if !facts.is_open() || facts.prepared.is_none() {
            (facts.kind, facts.prepared, facts.injecting_t) = (open.kind, Some(open.undo), Some(t));
            (facts.reverted, facts.injected_t) = (None, facts.injected_t.or(open.injected.then_some(t)));
        }
    }
    record
}

fn without_plan(left: &Left, why: String) -> Record {
    let mut record = Record::default();
    (record.ended, record.salvaged) = (left.ended, true);
    record.damage.add(why);
    record.plan = salvage(left.plan.as_ref().unwrap_or(&serde_json::Value::Null)).map(Arc::new);
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::undo::left_in;

    /// What is only known to have been prepared came last, and goes first: its undo may be a state that another fault had made.
    #[test]
    fn what_was_prepared_last_is_put_back_first() {
        let prepared = |fault: &str| {
            format!(
                "{{\"t\":1.0,\"event\":{{\"fault_prepared\":{{\"fault\":\"{fault}\",\"kind\":\"exec\",\"undo\":{{}},\"sum\":0}}}}}}"
            )
        };
        let injecting = "{\"t\":20.0,\"event\":{\"fault_injecting\":{\"fault\":\"a\",\"planned_t\":20.0}}}";
        let text = [prepared("a"), injecting.to_owned(), prepared("b")].join("\n") + "\n";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        std::fs::write(&path, &text).unwrap();
        let record = record(&path, left_in(text.as_bytes()));
        let at = |fault: &str| record.fault(fault).filter(|facts| facts.is_open()).and_then(|facts| facts.injecting_t).unwrap();
        assert!(at("b") > at("a"), "{} {}", at("a"), at("b"));
    }
}

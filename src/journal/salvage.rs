//! A record for putting things back, of a journal that need not be readable as a whole.

use std::path::Path;
use std::sync::Arc;

use super::facts::FaultFacts;
use super::reader;
use super::record::Record;
use super::undo::{Left, Open};
use crate::plan::salvage::salvage;

/// The record of a run; of one whose plan cannot be read, as much of the plan as can be. Everything that is left is in it.
pub fn record(path: &Path, left: Left) -> Record {
    let mut record = match reader::read(path) {
        Ok(record) => record,
        Err(error) => without_plan(&left, error.to_string()),
    };
    for (at, open) in left.open.into_iter().enumerate() {
        if record.fault(&open.fault).is_none_or(|facts| !facts.is_open() || facts.prepared.is_none()) {
            record.faults.retain(|facts| facts.name != open.fault);
            record.faults.push(facts(at, open));
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

/// When it was is not known here, but the order is.
fn facts(at: usize, open: Open) -> FaultFacts {
    let t = at as f64 * 1e-6;
    FaultFacts {
        name: open.fault,
        kind: open.kind,
        prepared: Some(open.undo),
        injecting_t: Some(t),
        injected_t: open.injected.then_some(t),
        ..FaultFacts::default()
    }
}

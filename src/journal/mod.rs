//! What happened in a run: typed events, the append-only file that holds them, and the record made from them.

pub mod chunks;
pub mod event;
pub mod facts;
pub mod jobs;
pub mod label;
pub mod outage;
pub mod reader;
pub mod record;
pub mod retime;
pub mod salvage;
pub mod series;
pub mod undo;
pub mod values;
pub mod writer;

/// The version of the journal's format. Readers refuse a higher one.
pub const SCHEMA: u32 = 1;
/// The journal's name in a run's folder.
pub const FILE: &str = "events.jsonl";

//! The engine: the life of a run from preflight to the last revert.

pub mod claims;
pub mod engine;
pub mod folder;
pub mod guard;
pub mod guardian;
pub mod inject;
pub mod judging;
pub mod outcome;
pub mod preflight;
pub mod steady;
pub mod takeover;
pub mod undo;
pub mod world;

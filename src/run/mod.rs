//! The engine: the life of a run from preflight to the last revert.

pub mod address;
pub mod claims;
pub mod engine;
pub mod folder;
pub mod guard;
pub mod guardian;
pub mod hold;
pub mod inject;
pub mod judging;
pub mod late;
pub mod leftover;
pub mod load_end;
pub mod outcome;
pub mod preflight;
pub mod steady;
pub mod stranger;
pub mod takeover;
pub mod undo;
pub mod world;

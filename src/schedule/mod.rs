//! Experiments that run by themselves: cron, windows, memory, and who is told.

pub mod calendar;
pub mod daemon;
pub mod export;
pub mod file;
pub mod keeper;
pub mod metrics;
pub mod notices;
pub mod process;
pub mod store;

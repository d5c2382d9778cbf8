//! `chaos` breaks a GPU generation backend on purpose and proves that it recovers.
//!
//! ```text
//! YAML ─▶ experiment ─▶ plan ─▶ run ─▶ events ─▶ journal ─▶ record ─▶ check ─▶ verdicts ─▶ report
//! ```

#![forbid(unsafe_code)]

pub mod backend;
pub mod check;
pub mod cli;
pub mod clock;
pub mod crash;
pub mod driver;
pub mod exit;
pub mod experiment;
pub mod fault;
pub mod history;
pub mod incident;
pub mod init;
pub mod journal;
pub mod listen;
pub mod load;
pub mod minimize;
pub mod notify;
pub mod observe;
pub mod plan;
pub mod private;
pub mod readers;
pub mod report;
pub mod run;
pub mod runtime;
pub mod schedule;
pub mod secret;
pub mod seed;
pub mod state;
pub mod stats;
pub mod text;

//! The reference backend: a server that behaves like a GPU generation backend and says that it is simulated.
//!
//! The core knows no socket and no wall clock: it runs under tokio's paused clock as well as behind HTTP.

pub mod boot;
pub mod config;
pub mod core;
pub mod defect;
pub mod http;
pub mod image;
pub mod job;
pub mod memory;
pub mod metrics;
pub mod mode;
pub mod pipeline;
pub mod socket;
pub mod store;

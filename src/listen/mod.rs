//! How a client hears of its jobs.

pub mod websocket;

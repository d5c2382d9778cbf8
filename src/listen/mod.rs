//! Clients that watch their jobs.

mod early;
pub mod registry;
pub mod websocket;

use crate::words;

words! {
    /// How a connection is taken away.
    pub enum How("way to drop a connection") {
        /// With a close frame, as a well-behaved client leaves.
        Close = "close",
        /// The TCP connection ends (FIN) without a close frame.
        Fin = "fin",
        /// The TCP connection is reset (RST).
        Reset = "reset",
        /// Nothing is sent and nothing read any more: the server still believes in it.
        HalfOpen = "half_open",
        /// Nothing is read for a while, and then again on the same connection.
        Stall = "stall",
    }
}

words! {
    /// How a client comes back after a loss.
    pub enum Reconnect("way to reconnect") {
        /// As the backend's own client would, where the driver says how; else with backoff.
        AsServed = "as_served",
        /// With exponential backoff and full jitter.
        Backoff = "backoff",
        /// At once.
        AtOnce = "at_once",
        /// After a fixed time, the same for everybody.
        Together = "together",
        /// Not at all.
        Never = "never",
    }
}

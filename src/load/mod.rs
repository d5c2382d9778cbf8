//! Load: when jobs are sent, how one is followed to its end, and the account of them all.

pub mod arrivals;
mod bytes;
pub mod drive;
mod ids;
pub mod ledger;
pub mod patience;
mod refusals;
mod scale;
mod sides;
pub mod users;

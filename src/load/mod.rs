//! Load: when jobs are sent, how one is followed to its end, and the account of them all.

pub mod arrivals;
pub mod drive;
mod ids;
pub mod ledger;
pub mod patience;
mod refusals;
pub mod users;

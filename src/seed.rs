//! Chance: every random choice follows from one number and the purpose it is for.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::experiment::units::{Time, TimeRange};

/// The seed of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed(pub u64);

impl Seed {
    /// A generator for one purpose, such as `load/users/3`. It does not depend on what else draws, nor in what order.
    pub fn stream(self, purpose: &str) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.0);
        rng.set_stream(fnv(purpose.as_bytes()));
        rng
    }

    /// A seed for a run that was given none.
    pub fn from_entropy() -> Self {
        let nanos = jiff::Timestamp::now().as_nanosecond() as u64;
        // Small enough to be typed again, and exact in every JSON reader.
        Self(fnv(format!("{nanos}/{}", std::process::id()).as_bytes()) % 1_000_000_000)
    }
}

/// A time drawn evenly from a range.
pub fn draw(rng: &mut ChaCha8Rng, range: TimeRange) -> Time {
    let nanos = rng.random_range(range.from.0.as_nanos() as u64..=range.to.0.as_nanos() as u64);
    Time(std::time::Duration::from_nanos(nanos))
}

/// FNV-1a, 64 bits: a fixed hash, the same in every version of this program.
pub fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

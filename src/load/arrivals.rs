//! When open-loop jobs are due: a pure function of the rate, the pattern and the seed.

use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp};

use crate::experiment::Arrivals;

/// The intended moments, in seconds from the start, for ever. Each is counted from the start and not from the one before
/// it, so that rounding does not add up.
pub fn moments(rate_per_s: f64, pattern: Arrivals, rng: ChaCha8Rng) -> impl Iterator<Item = f64> {
    Moments { rate: rate_per_s, pattern, rng, sent: 0, last: 0.0 }
}

struct Moments {
    rate: f64,
    pattern: Arrivals,
    rng: ChaCha8Rng,
    sent: u64,
    last: f64,
}

impl Iterator for Moments {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        self.last = match self.pattern {
            Arrivals::Constant => self.sent as f64 / self.rate,
            // Rates are checked to be above 0 when they are read.
            Arrivals::Poisson => self.last + Exp::new(self.rate).ok()?.sample(&mut self.rng),
        };
        self.sent += 1;
        Some(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn constant_is_a_metronome() {
        let first: Vec<f64> = moments(4.0, Arrivals::Constant, Seed(1).stream("a")).take(5).collect();
        assert_eq!(first, [0.0, 0.25, 0.5, 0.75, 1.0]);
    }

    #[test]
    fn poisson_is_poisson() {
        let at: Vec<f64> = moments(100.0, Arrivals::Poisson, Seed(7).stream("a")).take(4000).collect();
        let mut gaps: Vec<f64> = at.windows(2).map(|w| w[1] - w[0]).collect();
        gaps.sort_by(f64::total_cmp);
        let n = gaps.len() as f64;
        let distance = |(i, gap): (usize, &f64)| ((1.0 - (-100.0 * gap).exp()) - i as f64 / n).abs();
        let kolmogorov = gaps.iter().enumerate().map(distance).fold(0.0, f64::max);
        assert!(kolmogorov < 1.63 / n.sqrt(), "{kolmogorov}");
        let counts: Vec<f64> = (0..39).map(|s| at.iter().filter(|t| **t as u32 == s).count() as f64).collect();
        let mean = counts.iter().sum::<f64>() / counts.len() as f64;
        assert!((mean - 100.0).abs() < 5.0, "{mean}");
    }

    #[test]
    fn the_same_seed_gives_the_same_moments() {
        let draw = |seed| moments(5.0, Arrivals::Poisson, Seed(seed).stream("x")).take(50).collect::<Vec<_>>();
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }
}

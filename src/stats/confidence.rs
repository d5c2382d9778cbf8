//! How sure a verdict must be. 99 % where a run is judged once; surer where it may be looked at several times, so that all its
//! looks together are wrong no more often than that (`plan::looks`).

use std::fmt;

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// What a bound may be wrong in, on its one side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Confidence {
    alpha: f64,
}

impl Confidence {
    /// That of a run that is judged once: 99 %.
    pub const USUAL: Self = Self { alpha: 0.01 };

    /// A share of what the usual one may be wrong in.
    pub fn spending(share: f64) -> Self {
        Self { alpha: Self::USUAL.alpha * share.clamp(1e-6, 1.0) }
    }

    /// The same for an interval with two sides, each of which may be wrong in half of it.
    pub fn of_two_sides(self) -> Self {
        Self { alpha: self.alpha / 2.0 }
    }

    pub fn alpha(self) -> f64 {
        self.alpha
    }

    /// The point of the normal distribution.
    pub fn z(self) -> f64 {
        -Normal::standard().inverse_cdf(self.alpha)
    }

    /// The point of Student's t; with fewer than one degree of freedom there is none, and one is taken.
    pub fn student(self, freedom: f64) -> f64 {
        StudentsT::new(0.0, 1.0, freedom.max(1.0)).map_or(f64::INFINITY, |t| -t.inverse_cdf(self.alpha))
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = (1.0 - self.alpha) * 100.0;
        let shown = format!("{percent:.2}");
        write!(f, "{} %", shown.trim_end_matches('0').trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_table() {
        for (share, z) in [(1.0, 2.326_35), (0.6, 2.512_14), (0.5, 2.575_83), (0.1, 3.090_23), (0.01, 3.719_02)] {
            assert!((Confidence::spending(share).z() - z).abs() < 1e-4, "{share}: {}", Confidence::spending(share).z());
        }
    }

    #[test]
    fn students_table() {
        let two = Confidence::USUAL.of_two_sides();
        for (freedom, t) in [
            (1.0, 63.657),
            (2.0, 9.925),
            (3.0, 5.841),
            (4.0, 4.604),
            (5.0, 4.032),
            (10.0, 3.169),
            (29.0, 2.756),
            (30.0, 2.750),
            (1000.0, 2.581),
        ] {
            assert!((two.student(freedom) - t).abs() < 2e-3, "{freedom}: {}", two.student(freedom));
        }
        assert!((Confidence::spending(0.05).student(3.0) - 12.924).abs() < 1e-2);
    }

    #[test]
    fn it_is_told_in_percent() {
        let told = [1.0, 0.6, 0.1].map(|share| Confidence::spending(share).to_string());
        assert_eq!(told, ["99 %", "99.4 %", "99.9 %"]);
    }
}

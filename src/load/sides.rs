//! How large images are against what was asked for. Models round, and some make everything twice as large: what counts is how the sizes
//! of this run's own images follow from what was asked for, before anything was broken.

use crate::journal::facts::JobFacts;
use crate::stats::median;

/// So many images tell it, of which so many must agree.
pub const FEWEST: usize = 5;
const AGREE: f64 = 0.9;
/// A side may differ by this share, or by what models round to, in pixels of what was asked for.
const SHARE: f64 = 0.1;
const ROUNDED_TO: f64 = 64.0;

/// How many times as wide and as high as what was asked for images are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sides([f64; 2]);

impl Sides {
    pub const AS_ASKED: Self = Self([1.0, 1.0]);

    /// By these images; `None` where they are too few, or do not follow it.
    pub fn of(images: &[(&JobFacts, [u32; 2])]) -> Option<Self> {
        let usual = |at: usize| {
            let ratios = images.iter().map(|(job, sides)| f64::from(sides[at]) / f64::from(asked(job)[at].max(1)));
            median(&mut ratios.collect::<Vec<f64>>())
        };
        let usual = Self([usual(0)?, usual(1)?]);
        let agree = images.iter().filter(|(job, sides)| usual.fit(job, *sides)).count();
        (images.len() >= FEWEST && agree as f64 >= AGREE * images.len() as f64).then_some(usual)
    }

    pub fn expected(self, job: &JobFacts) -> [f64; 2] {
        let [width, height] = asked(job);
        [f64::from(width) * self.0[0], f64::from(height) * self.0[1]]
    }

    /// An image of this size may be the job's.
    pub fn fit(self, job: &JobFacts, sides: [u32; 2]) -> bool {
        let each = sides.into_iter().zip(self.expected(job)).zip(self.0);
        each.into_iter()
            .all(|((side, expected), usual)| (f64::from(side) - expected).abs() <= (SHARE * expected).max(ROUNDED_TO * usual))
    }
}

fn asked(job: &JobFacts) -> [u32; 2] {
    [job.shape.width, job.shape.height]
}

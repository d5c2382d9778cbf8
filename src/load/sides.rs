//! How large images are against what was asked for. Models round, some make everything twice as large, and some make one size whatever is
//! asked: what counts is how the sizes of this run's own images follow from what was asked for, before anything was broken.

use crate::journal::facts::JobFacts;
use crate::stats::median;

/// So many images tell it, and all of them must agree.
pub const FEWEST: usize = 5;
/// A side may differ by this share, or by what models round to, in pixels of what was asked for.
const SHARE: f64 = 0.1;
const ROUNDED_TO: f64 = 64.0;
/// How wide and how high images are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sides {
    /// So many times as much as was asked for.
    usual: [f64; 2],
    /// One size was asked for, and so large they were: whether they follow it was not seen.
    only: Option<([f64; 2], [f64; 2])>,
    /// Of batches of so many.
    batch: Option<u32>,
}

impl Sides {
    /// By these images; `None` where they are too few, or do not follow it.
    pub fn of(images: &[(&JobFacts, [u16; 2])]) -> Option<Self> {
        let (first, _) = images.first()?;
        let of = |at: usize, by: &dyn Fn(&JobFacts) -> f64| {
            median(&mut images.iter().map(|(job, sides)| f64::from(sides[at]) / by(job)).collect::<Vec<f64>>())
        };
        let ratio = |at: usize| of(at, &|job| asked(job)[at].max(1.0));
        let is_one_size = images.iter().all(|(job, _)| asked(job) == asked(first));
        let only = [of(0, &|_| 1.0)?, of(1, &|_| 1.0)?];
        let is_one_batch = images.iter().all(|(job, _)| batch(job) == batch(first));
        let sides = Self {
            usual: [ratio(0)?, ratio(1)?],
            only: is_one_size.then_some((asked(first), only)),
            batch: is_one_batch.then(|| batch(first)),
        };
        (images.len() >= FEWEST && images.iter().all(|(job, size)| sides.follow(job, *size))).then_some(sides)
    }

    pub fn expected(self, job: &JobFacts) -> [f64; 2] {
        let [width, height] = asked(job);
        [width * self.usual[0], height * self.usual[1]]
    }

    /// An image of this size may be the job's.
    pub fn fit(self, job: &JobFacts, size: [u16; 2]) -> bool {
        let of_another = |of: &[f64; 2]| asked(job) != *of;
        let is_one_for_all = || {
            let other = self.only.filter(|(of, _)| of_another(of));
            other.is_some_and(|(_, only)| are_near(size, only, self.usual) || is_as_asked(job, size))
        };
        self.follow(job, size) || is_one_for_all() || self.is_of_a_grid(job, size)
    }

    fn follow(self, job: &JobFacts, size: [u16; 2]) -> bool {
        are_near(size, self.expected(job), self.usual)
    }

    /// The pictures of a batch came as one, so many beside one another: of another batch they are others.
    fn is_of_a_grid(self, job: &JobFacts, size: [u16; 2]) -> bool {
        let [columns, rows] = self.usual.map(f64::round);
        let is_whole = (self.usual[0] - columns).abs() < SHARE && (self.usual[1] - rows).abs() < SHARE;
        let is_grid = self.batch.is_some_and(|batch| batch > 1 && (columns * rows - f64::from(batch)).abs() < 0.5);
        let ([width, height], count) = (asked(job), batch(job));
        let of = |columns: u32| [width * f64::from(columns), height * f64::from(count / columns)];
        let mut grids = (1..=count).filter(|columns| count.is_multiple_of(*columns));
        is_whole && is_grid && grids.any(|columns| are_near(size, of(columns), [1.0, 1.0]))
    }
}

/// As large as was asked for.
pub fn is_as_asked(job: &JobFacts, size: [u16; 2]) -> bool {
    are_near(size, asked(job), [1.0, 1.0])
}

fn are_near(size: [u16; 2], expected: [f64; 2], scale: [f64; 2]) -> bool {
    let mut sides = size.into_iter().zip(expected).zip(scale);
    sides.all(|((side, expected), scale)| (f64::from(side) - expected).abs() <= (SHARE * expected).max(ROUNDED_TO * scale))
}

fn asked(job: &JobFacts) -> [f64; 2] {
    [job.shape.width.into(), job.shape.height.into()]
}

/// In which it was done in the end.
fn batch(job: &JobFacts) -> u32 {
    job.smallest_batch.unwrap_or(job.shape.batch)
}

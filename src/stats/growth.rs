//! Does a figure grow for good? Told apart from a warm-up, from a sawtooth, and from what the load of the moment explains.
//!
//! 1. What varies with the number of jobs at work is taken out, by regression on the figure's own short-term changes.
//! 2. A sawtooth (a garbage collector's, say) is laid flat: each tooth counts from where it began.
//! 3. The warm-up is cut off where the standard error of the rest is least, at most half of the run (MSER: White, An
//!    Effective Truncation Heuristic for Bias Reduction in Simulation Output, Simulation 1997).
//! 4. The slope of the rest and its confidence interval are compared with the bound (`trend`).
//! 5. Growth must show in the lowest values as well.

use super::confidence::Confidence;
use super::median;
use super::trend::{self, Trend};

/// The series is reduced to at most this many windows, each with the median of its points.
const MOST_WINDOWS: usize = 72;
const FEWEST_PER_WINDOW: usize = 3;
/// The floor must grow by at least this share of what the slope says.
const FLOOR_SHARE: f64 = 0.3;

/// A point: when, how much, and how many jobs were at work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    pub t: f64,
    pub value: f64,
    pub load: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Growth {
    /// Per second, after the warm-up.
    pub trend: Trend,
    /// When the warm-up was over.
    pub warm_t: f64,
    /// How long what was judged is.
    pub length_s: f64,
    /// What the figure was when the warm-up was over.
    pub level: f64,
    /// The lowest values grow too.
    pub floor_grows: bool,
}

/// What can be said against a bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Judgement {
    Grows,
    Flat,
    /// How long it would take to decide, in seconds; endless where more time does not help.
    Undecided {
        needed_s: f64,
    },
}

/// Looks at samples at equal distances; `None` for too few.
pub fn growth(samples: &[Sample], confidence: Confidence) -> Option<Growth> {
    let windows = without_teeth(windows(&without_load(samples)));
    let warm = warm_up(&windows.iter().map(|w| w.1).collect::<Vec<_>>());
    let rest = &windows[warm..];
    let trend = trend::trend(rest, confidence)?;
    let (first, last) = (rest.first()?.0, rest.last()?.0);
    let mut begin: Vec<f64> = rest.iter().take((rest.len() / 4).max(2)).map(|w| w.1).collect();
    let floor = |part: &[(f64, f64)]| part.iter().map(|w| w.1).fold(f64::INFINITY, f64::min);
    let (early, late) = rest.split_at(rest.len() / 2);
    let risen = floor(late) - floor(early);
    let floor_grows = risen >= FLOOR_SHARE * trend.slope * (last - first) / 2.0;
    Some(Growth { trend, warm_t: first, length_s: last - first, level: median(&mut begin)?, floor_grows })
}

impl Growth {
    /// Against a bound per second.
    pub fn against(&self, bound: f64) -> Judgement {
        let Trend { slope, low, high, .. } = self.trend;
        if low > bound && self.floor_grows {
            return Judgement::Grows;
        }
        if high < bound {
            return Judgement::Flat;
        }
        // The width of the interval falls with the length to the power of 1.5.
        let (width, gap) = ((high - low) / 2.0, (bound - slope).abs());
        let factor = if width.is_finite() && gap > 0.0 { (width / gap).powf(2.0 / 3.0).max(1.2) } else { 4.0 };
        Judgement::Undecided { needed_s: self.length_s * factor }
    }
}

/// Takes out what short-term changes of the load explain.
fn without_load(samples: &[Sample]) -> Vec<(f64, f64)> {
    let reach = (samples.len() / 20).max(2);
    let smooth = |of: &dyn Fn(&Sample) -> f64, at: usize| {
        let around = &samples[at.saturating_sub(reach)..(at + reach + 1).min(samples.len())];
        around.iter().map(of).sum::<f64>() / around.len() as f64
    };
    let rest: Vec<(f64, f64)> = samples
        .iter()
        .enumerate()
        .map(|(at, s)| (s.load - smooth(&|s| s.load, at), s.value - smooth(&|s| s.value, at)))
        .collect();
    let (both, square): (f64, f64) = rest.iter().fold((0.0, 0.0), |(b, s), (x, y)| (b + x * y, s + x * x));
    let per_job = if square > 1e-9 { (both / square).max(0.0) } else { 0.0 };
    let mean = samples.iter().map(|s| s.load).sum::<f64>() / samples.len().max(1) as f64;
    samples.iter().map(|s| (s.t, s.value - per_job * (s.load - mean))).collect()
}

fn windows(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let count = (points.len() / FEWEST_PER_WINDOW).clamp(1, MOST_WINDOWS);
    let of = |part: &[(f64, f64)]| {
        let mut values: Vec<f64> = part.iter().map(|p| p.1).collect();
        Some((part.iter().map(|p| p.0).sum::<f64>() / part.len() as f64, median(&mut values)?))
    };
    let cut = |at: usize| at * points.len() / count;
    (0..count).filter_map(|at| of(&points[cut(at)..cut(at + 1)])).collect()
}

/// So many sudden falls make a sawtooth.
const FEWEST_TEETH: usize = 3;
/// A fall that is this many standard deviations of the usual change is sudden.
const SUDDEN: f64 = 5.0;

/// Counts each tooth from where it began, if these are teeth. What lies before the first fall has no known beginning.
fn without_teeth(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let mut steps: Vec<f64> = points.windows(2).map(|w| w[1].1 - w[0].1).collect();
    let changes = steps.clone();
    let Some(usual) = median(&mut steps) else { return points };
    let mut far: Vec<f64> = steps.iter().map(|s| (s - usual).abs()).collect();
    // 1.4826 makes a standard deviation of a median absolute deviation.
    let limit = usual - SUDDEN * 1.4826 * median(&mut far).unwrap_or(0.0).max(1e-9);
    let falls = |at: usize| changes[at] < limit;
    // A fall may take two windows; the tooth begins after the last of them.
    let begins: Vec<usize> =
        (0..changes.len()).filter(|at| falls(*at) && !(at + 1 < changes.len() && falls(at + 1))).map(|at| at + 1).collect();
    if begins.len() < FEWEST_TEETH || usual <= 0.0 {
        return points;
    }
    let mut rises: Vec<f64> = points
        .windows(2)
        .zip(&changes)
        .filter(|(_, change)| **change >= limit)
        .map(|(w, change)| change / (w[1].0 - w[0].0).max(1e-9))
        .collect();
    let rise = median(&mut rises).unwrap_or(0.0);
    let began = |at: usize| begins.iter().rev().find(|begin| **begin <= at).map(|begin| points[*begin].0);
    let flat = points.iter().enumerate().filter_map(|(at, (t, y))| Some((*t, y - rise * (t - began(at)?))));
    flat.collect()
}

/// How many values at the beginning are warm-up.
fn warm_up(values: &[f64]) -> usize {
    let error = |from: usize| {
        let rest = &values[from..];
        let n = rest.len() as f64;
        let mean = rest.iter().sum::<f64>() / n;
        rest.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n * n)
    };
    (0..=values.len() / 2)
        .filter(|from| values.len() - from >= trend::FEWEST)
        .min_by(|a, b| error(*a).total_cmp(&error(*b)))
        .unwrap_or(0)
}

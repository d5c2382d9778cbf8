//! When the baseline is long enough: three windows in a row that agree in rate and latency within 10 %, as
//! perf_analyzer (Triton) asks for; after ten windows it is called unsteady.

use crate::journal::record::Record;
use crate::stats::median;

const WINDOW_S: f64 = 3.0;
const AGREEING: usize = 3;
const MOST_WINDOWS: usize = 10;
const TOLERANCE: f64 = 0.10;
/// A window with fewer jobs says nothing.
const FEWEST_JOBS: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steady {
    NotYet,
    Yes,
    /// It never became steady within the longest baseline.
    Never,
}

/// Looks at the jobs since `begin`. Windows are as long as several jobs take, and three seconds at least.
pub fn judge(record: &Record, begin: f64) -> Steady {
    let mut all: Vec<f64> = record.jobs.iter().filter_map(|job| job.total_s()).collect();
    let Some(typical) = median(&mut all) else { return Steady::NotYet };
    let window = WINDOW_S.max(typical * 3.0);
    let whole = ((record.now - begin) / window) as usize;
    let figures: Vec<(f64, f64)> =
        (0..whole.min(MOST_WINDOWS)).filter_map(|at| figures(record, begin + at as f64 * window, window)).collect();
    if figures.windows(AGREEING).any(agree) {
        Steady::Yes
    } else if whole >= MOST_WINDOWS {
        Steady::Never
    } else {
        Steady::NotYet
    }
}

/// Jobs per second and median latency of one window.
fn figures(record: &Record, from: f64, length: f64) -> Option<(f64, f64)> {
    let inside = |t: f64| t >= from && t < from + length;
    let mut latencies: Vec<f64> =
        record.jobs.iter().filter(|j| j.ended.as_ref().is_some_and(|e| inside(e.0))).filter_map(|j| j.total_s()).collect();
    let n = latencies.len();
    (n >= FEWEST_JOBS).then(|| median(&mut latencies)).flatten().map(|latency| (n as f64 / length, latency))
}

fn agree(windows: &[(f64, f64)]) -> bool {
    let close = |values: Vec<f64>| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.iter().all(|v| (v - mean).abs() <= TOLERANCE * mean)
    };
    close(windows.iter().map(|w| w.0).collect()) && close(windows.iter().map(|w| w.1).collect())
}

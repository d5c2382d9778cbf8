//! What a figure of memory cannot grow beyond: a leak that has filled a device looks as flat as no leak at all.

use super::gpu_level::Floods;
use super::oom::Signs;
use crate::journal::record::Record;
use crate::observe::prometheus::canonical_name;
use crate::stats::growth::Sample;
use crate::stats::median;

/// A figure above this share of its limit is at it: the last allocation that did not fit may have been this large.
const NEAR: f64 = 0.95;
/// The series of limits.
pub const LIMITS: [&str; 2] = ["gpu.memory_total_bytes", "container.memory_limit_bytes"];
/// This share of the samples from a moment on makes it stand there; single ones may fall out of it.
const MOST_OF: f64 = 0.9;
/// The part of the samples, at their end, whose median says where the figure stands.
const LAST: usize = 4;

const PARTS: usize = 5;
/// What rises by less is not worth the name.
const FLOOR_FACTOR: f64 = 1.1;

/// Memory that cannot grow any more.
#[derive(Debug, Clone, PartialEq)]
pub struct Full {
    /// Since when.
    pub since_t: f64,
    /// As a sentence.
    pub why: String,
    /// Jobs of the usual load ran out of memory from then on.
    pub starved: bool,
}

/// Whether a series had no room left at the end of these samples, and since when.
pub fn full(record: &Record, series: &str, samples: &[Sample]) -> Option<Full> {
    let (begin, end) = (samples.first()?.t, samples.last()?.t);
    let of_gpu = is_of_gpu(record, series, level(samples)?);
    let starved = of_gpu.then(|| first_starved(record, begin, end)).flatten();
    let reached = limit(record, series, of_gpu).and_then(|(limit, of)| Some((reached(samples, NEAR * limit)?, limit, of)));
    match (reached, starved) {
        (None, None) => None,
        (None, Some(t)) => {
            let why = format!("from {t:.1} s on jobs of the usual load ran out of memory");
            Some(Full { since_t: t, why, starved: true })
        }
        (Some((t, limit, of)), starved) => {
            let also =
                starved.map_or_else(String::new, |t| format!("; from {t:.1} s on jobs of the usual load ran out of memory"));
            let why = format!("from {t:.1} s on it was at its limit, {:.1} GiB ({of}){also}", limit / f64::from(1 << 30));
            Some(Full { since_t: starved.map_or(t, |s| s.min(t)), why, starved: starved.is_some() })
        }
    }
}

/// What it cannot exceed, and whose limit that is.
fn limit(record: &Record, series: &str, of_gpu: bool) -> Option<(f64, &'static str)> {
    let (name, of) = match series {
        _ if of_gpu => (LIMITS[0], "the GPU's memory"),
        "container.memory_bytes" | "process.rss_bytes" => (LIMITS[1], "the container's limit"),
        _ => return None,
    };
    let limit = record.series.get(name)?.max;
    (limit > 0.0).then_some((limit, of))
}

/// The GPU's gauge, by its own name or its metric's; or a metric whose level can hardly be anything else, such as what is in use
/// inside the target.
fn is_of_gpu(record: &Record, series: &str, level: f64) -> bool {
    let total = record.series.get(LIMITS[0]).map_or(f64::INFINITY, |series| series.max);
    let like_it = series.starts_with("metric:") && (0.5 * total..=total).contains(&level);
    let used = record.plan().driver.gpu.memory_used.as_ref();
    let own = series.strip_prefix("metric:").zip(used).is_some_and(|(name, used)| canonical_name(name) == canonical_name(used));
    own || like_it || series == "gpu.memory_used_bytes"
}

/// From when on the samples stood at a bound, to their end.
fn reached(samples: &[Sample], bound: f64) -> Option<f64> {
    let mut above = 0;
    let stays = samples.iter().rev().enumerate().map(|(at, sample)| {
        above += usize::from(sample.value >= bound);
        (sample, above as f64 >= MOST_OF * (at + 1) as f64)
    });
    let since_t = stays.filter(|(sample, most)| *most && sample.value >= bound).last()?.0.t;
    (level(samples)? >= bound).then_some(since_t)
}

/// Its lowest values rose from part to part, as what is never given back does; an allocator that saws is no matter then.
pub fn floor_rises(samples: &[Sample]) -> bool {
    let lowest = |part: &[Sample]| part.iter().map(|s| s.value).fold(f64::INFINITY, f64::min);
    let floors: Vec<f64> = samples.chunks(samples.len().div_ceil(PARTS).max(1)).map(lowest).collect();
    let rises = floors.windows(2).all(|pair| pair[1] >= pair[0]);
    floors.len() == PARTS && rises && floors[PARTS - 1] > FLOOR_FACTOR * floors[0]
}

/// Where the figure stands at the end.
fn level(samples: &[Sample]) -> Option<f64> {
    let last = &samples[samples.len() - samples.len().div_ceil(LAST)..];
    median(&mut last.iter().map(|s| s.value).collect::<Vec<_>>())
}

/// When the first job of the usual load ran out of memory while none of a fault's was there.
fn first_starved(record: &Record, begin: f64, end: f64) -> Option<f64> {
    let (signs, floods) = (Signs::of(record), Floods::of(record));
    let usual = record.jobs.iter().filter(|job| (begin..=end).contains(&job.submitting_t));
    let starved = usual.filter(|job| signs.met(job) && floods.leave_alone(job));
    starved.map(|job| job.submitting_t).reduce(f64::min)
}

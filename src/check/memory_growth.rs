//! Memory does not grow for good: a slope with its confidence interval after the warm-up, for each life of the process.
//! The method stands in `stats::growth`.

use super::ceiling::{self, Full};
use super::grade::{Limits, Met, describe};
use super::{Check, Verdict, View, level};
use crate::experiment::diagnostic::{Diagnostics, Span};
use crate::experiment::units::{Bytes, Share};
use crate::journal::event::Phase;
use crate::journal::facts::Generation;
use crate::journal::record::{MEMORY, Record};
use crate::record;
use crate::text::{figure, seconds};
use crate::stats::growth::{Growth, Judgement, Sample, growth};

/// What explains short-term changes of memory.
const LOAD: [&str; 2] = ["queue.running", "jobs.in_flight"];
/// A life shorter than this share of the longest is not held against the run when nothing can be said of it.
const SHORT_LIFE: f64 = 0.5;
/// Growth that goes on for this share of a life is no warm-up (as where the warm-up is cut off, in `stats::growth`) ...
const LATE: f64 = 0.5;
/// ... and for this share where jobs run out of memory then.
const STARVED_LATE: f64 = 0.1;

record! {
    /// Memory, or any series, does not grow faster than a bound.
    pub struct MemoryGrowth {
        /// Which series: `gpu.memory_used_bytes`, or `metric:NAME`. Without it `process.rss_bytes`, or `container.memory_bytes`
        /// where the process is not to be seen from here.
        series: Option<String> = None,
        /// The target: less than this share of its level in an hour.
        per_hour: Option<Share> = None,
        /// Less than this in an hour.
        bytes_per_hour: Option<Bytes> = None,
        /// Less than this for each job that was completed.
        bytes_per_job: Option<Bytes> = None,
        /// Below this share in an hour it still passes.
        acceptable: Option<Share> = None,
        /// Above this share in an hour it is a failure; between the two it is only poor, and fails too.
        failure: Option<Share> = None,
    }
}

/// What one life of the process shows.
struct Life {
    name: String,
    from_t: f64,
    length_s: f64,
    growth: Option<Growth>,
    /// It had no room left at its end; how it grew until then, and whether its lowest values did.
    full: Option<(Full, Option<Growth>, bool)>,
    /// Completed jobs per second.
    jobs_per_s: f64,
}

impl Check for MemoryGrowth {
    fn validate(&self, place: Span, diags: &mut Diagnostics) {
        let given = [self.per_hour.is_some(), self.bytes_per_hour.is_some(), self.bytes_per_job.is_some()];
        if given.iter().filter(|g| **g).count() != 1 {
            diags.error(place, "growth needs one bound", "expected one of `per_hour`, `bytes_per_hour`, `bytes_per_job`");
        }
        if self.per_hour.is_none() && (self.acceptable.is_some() || self.failure.is_some()) {
            diags.error(place, "`acceptable` and `failure` go with `per_hour`", "here");
        }
    }

    fn wants_samples(&self, view: &View<'_>) -> bool {
        lives(view.record, self.series(view.record)).iter().any(|life| {
            let bound = life.growth.as_ref().map(|g| self.bound(g, life, view.record));
            let undecided = life.growth.zip(bound).is_none_or(|(g, bound)| matches!(g.against(bound), Judgement::Undecided { .. }));
            // What is full shows no more growth, however long it is looked at.
            undecided && life.full.is_none()
        })
    }

    fn series(&self) -> Vec<String> {
        let own = self.series.iter().map(String::as_str);
        own.chain(MEMORY).chain(LOAD).chain(ceiling::LIMITS).map(str::to_owned).collect()
    }

    fn rests_on(&self, record: &Record) -> Vec<String> {
        vec![self.series(record).to_owned()]
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let record = view.record;
        let name = self.series(record);
        let expected = self.expected(name);
        if !record.ended {
            return Verdict::pending(&expected, "the run goes on");
        }
        let lives = lives(record, name);
        if lives.is_empty() {
            return Verdict::inconclusive(&expected, format!("there is no series `{name}`"));
        }
        let longest = lives.iter().map(|l| l.length_s).fold(0.0, f64::max);
        let judged: Vec<Verdict> = lives
            .iter()
            .map(|life| self.judge_life(&expected, life, record))
            .zip(&lives)
            .filter(|(verdict, life)| verdict.ruling != super::Ruling::Inconclusive || life.length_s >= SHORT_LIFE * longest)
            .map(|(verdict, _)| verdict)
            .collect();
        // The worst life speaks for the run: a restart does not hide a leak.
        let worst = judged.into_iter().max_by_key(|v| (v.ruling, v.grade.map(|g| g as u8)));
        worst.unwrap_or_else(|| Verdict::inconclusive(&expected, "no life of the process was long enough"))
    }
}

impl MemoryGrowth {
    fn series<'a>(&'a self, record: &Record) -> &'a str {
        self.series.as_deref().unwrap_or_else(|| record.memory_series().unwrap_or(MEMORY[0]))
    }

    fn expected(&self, name: &str) -> String {
        let text = |share: Option<Share>| share.map(|s| format!("{s}/h"));
        let bound = match (self.per_hour, self.bytes_per_hour, self.bytes_per_job) {
            (Some(share), ..) => format!("{share}/h"),
            (_, Some(bytes), _) => format!("{bytes}/h"),
            (.., bytes) => format!("{} for each job", bytes.unwrap_or_default()),
        };
        describe(format!("{name} grows by less than {bound}"), text(self.acceptable), text(self.failure))
    }

    /// Per second of the run.
    fn bound(&self, growth: &Growth, life: &Life, record: &Record) -> f64 {
        let hour = 3600.0 * record.plan().time_scale;
        match (self.per_hour, self.bytes_per_hour, self.bytes_per_job) {
            (Some(share), ..) => share.0 * growth.level / hour,
            (_, Some(bytes), _) => bytes.0 as f64 / hour,
            (.., bytes) => bytes.unwrap_or_default().0 as f64 * life.jobs_per_s,
        }
    }

    fn judge_life(&self, expected: &str, life: &Life, record: &Record) -> Verdict {
        let scale = record.plan().time_scale;
        let Some(growth) = &life.growth else {
            return Verdict::inconclusive(expected, format!("{}: {} is too short to see a slope", life.name, seconds(life.length_s)));
        };
        let hour = 3600.0 * scale;
        let share = |slope: f64| slope * hour / growth.level.max(1.0) * 100.0;
        let trend = &growth.trend;
        let bound = self.bound(growth, life, record);
        let needed = match growth.against(bound) {
            Judgement::Undecided { needed_s } => Some(needed_s),
            _ => None,
        };
        let met = |bound: f64| match growth.against(bound) {
            Judgement::Flat => Met::Yes,
            Judgement::Grows => Met::No,
            Judgement::Undecided { .. } => Met::Unsure,
        };
        let of_level = |s: Share| s.0 * growth.level / hour;
        let limits = Limits { target: met(bound), acceptable: self.acceptable.map(|s| met(of_level(s))), failure: self.failure.map(|s| met(of_level(s))) };
        let observed = format!(
            "{:+.1} %/h ({}: {:+.1} to {:+.1}) from {} after a warm-up of {}",
            share(trend.slope), level::of(record), share(trend.low), share(trend.high), figure("_bytes", growth.level),
            seconds((growth.warm_t - record.phase_start(Phase::Baseline).unwrap_or(0.0)).max(0.0) / scale),
        );
        let per_job = (life.jobs_per_s > 0.0).then(|| format!("{} for each completed job", figure("_bytes", (trend.slope / life.jobs_per_s).max(0.0))));
        let verdict = limits.verdict(expected, observed).measuring(format!("{:+.1} %/h", share(trend.slope))).with([format!("{}: {} long", life.name, seconds(life.length_s / scale))]).with(per_job);
        let verdict = match needed.filter(|_| verdict.ruling == super::Ruling::Inconclusive) {
            Some(needed_s) => verdict.with([format!("about {} of load after the warm-up would decide it", seconds(needed_s / scale))]),
            None => verdict,
        };
        self.where_full(verdict, expected, life, record)
    }

    /// What has no room left to grow is not flat. It is a leak where it grew until then, and until late, or until jobs ran out of
    /// memory; else nobody can tell.
    fn where_full(&self, verdict: Verdict, expected: &str, life: &Life, record: &Record) -> Verdict {
        let Some((full, until_then, floor_rises)) = life.full.as_ref().filter(|_| verdict.ruling != super::Ruling::Failed) else { return verdict };
        let lasted = (full.since_t - life.from_t) / life.length_s;
        let late = lasted >= if full.starved { STARVED_LATE } else { LATE };
        let grew = until_then.as_ref().is_some_and(|g| matches!(g.against(self.bound(g, life, record)), Judgement::Grows));
        if late && (grew || (full.starved && *floor_rises)) {
            return Verdict::failed(expected, format!("it grew until there was no room left: {}", full.why)).with(verdict.evidence);
        }
        if verdict.ruling == super::Ruling::Inconclusive {
            return verdict.with([full.why.clone()]);
        }
        let remedy = "judge a figure that has room, such as a metric of what is in use inside the target";
        Verdict::inconclusive(expected, format!("what is full cannot grow: {}", full.why)).with(verdict.evidence).with([remedy.to_owned()])
    }
}

/// The lives of the process during the load; one for a target whose process nobody sees.
fn lives(record: &Record, of: &str) -> Vec<Life> {
    let Some(series) = record.series.get(of) else { return Vec::new() };
    let begin = record.phase_start(Phase::Baseline).unwrap_or(0.0);
    let end = record.load_stopped_t.unwrap_or(record.now);
    let whole = vec![("the run".to_owned(), begin, end)];
    let overlap = |pair: &[Generation]| pair[0].exited.as_ref().is_none_or(|(t, ..)| *t > pair[1].started_t);
    // What several processes use together is one thing from beginning to end.
    let spans: Vec<(String, f64, f64)> = if record.generations.is_empty() || record.generations.windows(2).any(overlap) {
        whole
    } else {
        let life = |g: &Generation| {
            let from = (g.started_t + g.ready_after_s.unwrap_or(0.0)).max(begin);
            (format!("process {}", g.pid), from, g.exited.as_ref().map_or(end, |e| e.0.min(end)))
        };
        record.generations.iter().map(life).collect()
    };
    let load = LOAD.iter().find_map(|name| record.series.get(*name));
    let step = record.plan().sample_every_s.max(0.02);
    let made = spans.into_iter().filter(|(_, from, to)| to - from > step).map(|(name, from, to)| {
        let count = (((to - from) / step) as usize).min(4_000);
        let samples: Vec<Sample> = (0..count)
            .filter_map(|i| {
                let t = from + (to - from) * (i as f64 + 0.5) / count as f64;
                Some(Sample { t, value: series.at(t)?, load: load.and_then(|l| l.at(t)).unwrap_or(0.0) })
            })
            .collect();
        let ended = record.jobs.iter().filter(|j| j.ended.as_ref().is_some_and(|(t, ..)| (from..to).contains(t))).count();
        let level = level::of(record);
        let full = ceiling::full(record, of, &samples).map(|full| {
            let until_then = samples.partition_point(|s| s.t < full.since_t);
            let grown = growth(&samples[..until_then], level);
            let floor = ceiling::floor_rises(&samples[..until_then]);
            (full, grown, floor)
        });
        Life { name, from_t: from, length_s: to - from, growth: growth(&samples, level), full, jobs_per_s: ended as f64 / (to - from) }
    });
    made.collect()
}

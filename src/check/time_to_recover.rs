//! Time to recover: the first moment from which an indicator stays within the band of its own baseline for a hold time
//! (Brown and Patterson, Towards Availability Benchmarks, USENIX ATC 2000).
//!
//! A stretch is outside the band when it is surely *and* considerably off (`stats::compare`): with many samples every
//! difference is certain, with few a large one may be chance. What follows a recovery is looked at as a whole and in parts: an hour
//! within the band does not hide that it has left it since. After a restart the stages stand in the evidence.
//!
//! "Not surely off" is weak when it is asked again and again, and the load ends at the first yes: a target that stays 40 % slower
//! passed in 76 of 100 runs, and in 2 when it was asked once. So before its time is over it is recovered only when what follows is
//! surely *within* the band.

use super::band::{Band, FEWEST, Samples};
use super::dose::Dose;
use super::latency::latency;
use super::noise::Bearing;
use super::scope::Over;
use super::stages::{closed, opened, ready_t, stages};
use super::{Check, Verdict, View};
use super::untold::{is_untold, is_without_end, too_many};
use crate::experiment::decode::At;
use crate::experiment::units::{Share, Time};
use crate::journal::facts::{Generation, JobFacts};
use crate::journal::event::Phase;
use crate::journal::record::Record;
use crate::plan::build::{CANARY, WARM_UP};
use crate::plan::{LoadPlan, StagePlan};
use crate::load::ledger::Class;
use crate::record;

const STEPS: usize = 200;
/// A series is looked at so often at the most, but so often in `hold` however long the run is; throughput in so many parts of it.
const MOST_SAMPLES: f64 = 20_000.0;
const IN_HOLD: f64 = 10.0;
const MOST_OF_ALL: f64 = 200_000.0;
/// What follows a recovery is looked at in so many parts, each of so many times `hold` at the least: who is off in one of them has not
/// stayed within the band, however long it was within it before.
const PARTS: f64 = 8.0;
const LEAST_HOLDS: f64 = 4.0;
const MOST_BINS: f64 = 1e6;

record! {
    /// An indicator returns to the band of its own baseline, and stays there.
    pub struct TimeToRecover {
        /// `latency`, `throughput`, or a series such as `queue.depth` or `process.rss_bytes`.
        indicator: String = "latency".into(),
        /// Counted from the moment that the outage began: the end of the last fault's cause.
        within: Time = Time::secs(300),
        /// For how long it must stay.
        hold: Time = Time::secs(60),
        /// How far off the baseline still counts as within.
        tolerance: Share = Share(0.25),
        /// Only the jobs of this load.
        load: Option<At<String>> = None,
    }
}

/// When it was within the band for good, and when before that it only seemed so.
struct Recovery {
    t: Option<f64>,
    relapse: Option<Relapse>,
}

/// When it was within the band, and from when on it was not any more.
struct Relapse {
    back_t: f64,
    off_t: f64,
}

impl Check for TimeToRecover {
    fn dose(&self) -> Dose {
        Dose::Pass
    }
    fn bearing(&self) -> Bearing {
        Bearing::Clock
    }
    fn load(&self) -> Option<&At<String>> {
        self.load.as_ref()
    }
    fn needs_load(&self) -> Option<Time> {
        Some(Time(self.within.0 + self.hold.0))
    }
    fn needs_baseline(&self) -> bool {
        true
    }

    fn series(&self) -> Vec<String> {
        vec![self.indicator.clone()]
    }
    fn fails_by_last(&self) -> bool {
        true
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let expected = format!("{} back to within {} of its baseline, within {}, held for {}", self.indicator, self.tolerance, view.time(self.within), view.time(self.hold));
        let record = view.record;
        let (Some(begin), Some(first)) = (Over::All.window(record).map(|w| w.0), record.baseline_end()) else {
            return Verdict::pending(&expected, "no fault yet");
        };
        let baseline: Vec<f64> = self.samples(view, begin, first).into_iter().map(|s| s.1).collect();
        if baseline.len() < FEWEST {
            return Verdict::inconclusive(&expected, format!("{} samples before the first fault, {FEWEST} are needed", baseline.len()));
        }
        let band = Band::of(baseline, self.tolerance.0, self.indicator == "throughput");
        let Some((since, outage)) = record.faults_end().zip(record.outage()) else { return Verdict::pending(&expected, "a fault is at work") };
        // Looked at from the moment that the target is back; the deadline counts from the moment that it was gone.
        let end = self.known_until(view, since).min(record.load_stopped_t.unwrap_or(record.now));
        let after = self.samples(view, since, end);
        let stages = stages(view, self.load(), &outage);
        let Recovery { t, relapse } = self.recovered_at(record, &band, &after, (since, end));
        let is_over = record.load_stopped_t.is_some() || self.time_is_over(record, outage.t);
        match t {
            Some(t) if !is_shown(&band, &after, t, is_over) => {
                let observed = "it seems to have recovered, which few samples do not show";
                let verdict = if is_over { Verdict::inconclusive(&expected, observed) } else { Verdict::pending(&expected, observed) };
                verdict.with(stages)
            }
            Some(t) => {
                let took = t - outage.t;
                let observed = match (took < 0.005, relapse) {
                    (true, _) => "within the band from the end of the last fault on".to_owned(),
                    (false, None) => format!("recovered {} after {}", view.seconds(took), outage.what),
                    (false, Some(Relapse { back_t, off_t })) => format!(
                        "recovered for good {} after {} (it was back after {}, and off again from {off_t:.1} s on)",
                        view.seconds(took),
                        outage.what,
                        view.seconds(back_t - outage.t)
                    ),
                };
                let is_in_time = took <= self.within.as_s();
                // A slow job may be among those of which nobody can tell; and what they completed is missing in a throughput.
                let untold = match self.indicator.as_str() {
                    "latency" if is_in_time => self.untold(view, t),
                    "throughput" if !is_in_time => self.untold(view, since),
                    _ => None,
                };
                let verdict = match (is_in_time, untold) {
                    (_, Some(untold)) => Verdict::inconclusive(&expected, format!("{observed}; {untold}")),
                    (true, None) => Verdict::passed(&expected, observed),
                    (false, None) => Verdict::failed(&expected, format!("{observed}: too late")),
                };
                verdict.measuring(view.seconds(took)).taking(took).with(stages)
            }
            None => self.not_yet(view, &expected, (&band, &after), (outage.t, end), relapse).with(stages),
        }
    }
}

impl TimeToRecover {
    /// The verdict while it has not recovered. A deadline that had not run out when the load ended decides nothing: the
    /// indicator may still have come back at the deadline itself, and only what follows for `hold` would show it.
    fn not_yet(
        &self,
        view: &View<'_>,
        expected: &str,
        (band, after): (&Band, Samples<'_>),
        (outage_t, end): (f64, f64),
        relapse: Option<Relapse>,
    ) -> Verdict {
        let record = view.record;
        let time_is_over = self.time_is_over(record, outage_t);
        let looked_until = record.load_stopped_t.unwrap_or(record.now);
        if !time_is_over && !record.ended {
            return Verdict::pending(expected, "not yet");
        }
        if after.len() < FEWEST && end - outage_t < self.within.as_s() {
            return Verdict::inconclusive(expected, format!("{} samples since the last fault", after.len()));
        }
        let late = &after[after.partition_point(|(t, _)| *t < outage_t + self.within.as_s())..];
        let surely_off = late.len() >= FEWEST && band.is_off(late);
        let hold = self.hold.as_s();
        if !surely_off && !after.windows(FEWEST).any(|few| few[FEWEST - 1].0 - few[0].0 < hold) {
            let observed = format!("never {FEWEST} samples within {}: too few to say that it is back, or that it is not", view.time(self.hold));
            return Verdict::inconclusive(expected, observed).measuring("not within the run");
        }
        if !time_is_over && !surely_off {
            let (looked, within, hold) = (view.seconds(looked_until - outage_t), view.time(self.within), view.time(self.hold));
            let observed = format!("not recovered when the load ended, {looked} after the outage began: {within} and {hold} are allowed");
            return Verdict::inconclusive(expected, observed).measuring("not within the run");
        }
        let observed = match relapse {
            Some(Relapse { back_t, off_t }) => {
                format!("it was back {} after the outage began, and is off again since {off_t:.1} s", view.seconds(back_t - outage_t))
            }
            None => format!("not within the run: {} after the last fault it is still off", view.seconds(end - outage_t)),
        };
        match self.untold(view, outage_t).filter(|_| self.indicator == "throughput") {
            Some(untold) => Verdict::inconclusive(expected, format!("{observed}; {untold}")),
            None => Verdict::failed(expected, observed),
        }
        .measuring("not within the run")
    }

    /// Of so many jobs since that moment nobody can tell what became of them that the indicator is not known. An error that a client
    /// saw is no completed job, but its client may have waited for long.
    fn untold(&self, view: &View<'_>, since: f64) -> Option<String> {
        let jobs = view.background(self.load(), Over::All);
        let later = || jobs.iter().filter(|(job, _)| job.intended_t >= since);
        let is_latency = self.indicator == "latency";
        let is_one = |job: &JobFacts, class| if is_latency { is_without_end(job, class) } else { is_untold(job, class) };
        let untold = later().filter(|(job, class)| is_one(job, *class)).count();
        too_many(untold, later().filter(|(_, class)| *class == Class::Completed).count())
    }

    /// It has been looked at for as long as the file allows.
    fn time_is_over(&self, record: &Record, outage_t: f64) -> bool {
        record.load_stopped_t.unwrap_or(record.now) - outage_t > self.within.as_s() + self.hold.as_s()
    }

    /// Until when the indicator is known: the latency of jobs that have not ended yet is not, and they are the slow ones.
    fn known_until(&self, view: &View<'_>, since: f64) -> f64 {
        if self.indicator != "latency" {
            return f64::INFINITY;
        }
        let open = view.background(self.load(), Over::All).into_iter().filter(|(job, class)| *class == Class::Open && job.intended_t >= since);
        open.map(|(job, _)| job.intended_t).fold(f64::INFINITY, f64::min)
    }

    /// The indicator's samples in a stretch: when, and how much.
    fn samples(&self, view: &View<'_>, from: f64, to: f64) -> Vec<(f64, f64)> {
        let record = view.record;
        let jobs = || view.background(self.load(), Over::All);
        let mut samples: Vec<(f64, f64)> = match self.indicator.as_str() {
            "latency" => jobs()
                .into_iter()
                .filter(|(job, _)| !job.cold)
                .filter(|(job, _)| job.intended_t >= from && (to > from && job.intended_t < to))
                .filter_map(|(job, class)| Some((job.intended_t, latency(job, class)?)))
                .filter(|(_, l)| l.is_finite())
                .collect(),
            "throughput" => {
                let step = self.hold.as_s().max(0.05) / 5.0;
                let ends = jobs().into_iter().filter(|(_, class)| *class == Class::Completed).filter_map(|(job, _)| job.ended.as_ref().map(|e| e.0));
                let mut bins = vec![0_u32; ((to - from) / step).clamp(0.0, MOST_BINS) as usize];
                for end in ends.filter(|end| *end >= from) {
                    if let Some(bin) = bins.get_mut(((end - from) / step) as usize) {
                        *bin += 1;
                    }
                }
                bins.into_iter().enumerate().map(|(at, count)| (from + at as f64 * step, f64::from(count) / step)).collect()
            }
            series => {
                let Some(series) = record.series.get(series) else { return Vec::new() };
                // Of a long run fewer, but from all of it.
                let often = ((to - from) / MOST_SAMPLES).min(self.hold.as_s() / IN_HOLD);
                let step = record.plan().sample_every_s.max(often).max((to - from) / MOST_OF_ALL);
                let count = ((to - from) / step) as usize;
                (0..count).filter_map(|at| {
                    let t = from + at as f64 * step;
                    Some((t, series.at(t)?))
                }).collect()
            }
        };
        samples.sort_by(|a, b| a.0.total_cmp(&b.0));
        samples
    }

    /// The same load all the time: what changes is not its doing.
    fn load_is_steady(record: &Record) -> bool {
        let Some(begin) = record.phase_start(Phase::Baseline) else { return false };
        let lasts = record.load_stopped_t.unwrap_or(record.now) - begin;
        let stays = |stage: &StagePlan| stage.until_s.is_none_or(|until| until >= lasts - 1.0);
        let is_steady = |load: &LoadPlan| {
            load.trace.is_empty() && load.jobs.is_none() && load.stages.len() <= 1 && load.stages.iter().all(stays)
        };
        record.plan().loads.iter().filter(|load| load.name != CANARY && load.name != WARM_UP).all(is_steady)
    }

    /// The begin of the first part of what follows a moment in which the indicator is off, and for most of the time; and its middle. A part
    /// is long, so that a queue that is long for a moment is none; the last one ends with the run.
    fn off_again(&self, band: &Band, later: Samples<'_>, from: f64, end: f64) -> Option<(f64, f64)> {
        let length = (LEAST_HOLDS * self.hold.as_s()).max((end - from) / PARTS);
        let begins = (0..).map(|at| from + f64::from(at) * length / 2.0).take_while(|begin| begin + length < end);
        // Shorter than a part: it was looked at as a whole.
        let last = Some(end - length).filter(|begin| *begin > from);
        let is_off = |begin: &f64| band.is_mostly_off(between(later, *begin, begin + length));
        begins.chain(last).find(is_off).map(|begin| (begin, begin + length / 2.0))
    }

    /// When it was back for good, and when it was before that, and off again.
    fn recovered_at(&self, record: &Record, band: &Band, after: Samples<'_>, (since, end): (f64, f64)) -> Recovery {
        let (hold, is_steady) = (self.hold.as_s(), Self::load_is_steady(record));
        let mut relapse = None;
        // As fine as the deadline asks, however long the run is; what comes later is too late anyway.
        let near = self.within.as_s().min(end - since);
        let coarse = ((end - since) / STEPS as f64).max(0.005);
        let fine = (near / STEPS as f64).max(0.005);
        let mut from = since;
        while from + hold <= end {
            let stretch = between(after, from, from + hold);
            // Each sample on its own is large too often; the stretch as a whole must not be, nor what follows.
            let calm = stretch.len() >= FEWEST && band.begins_calm(stretch) && !band.is_off(stretch);
            let mut next = from + if from - since < near { fine } else { coarse };
            if calm && !band.is_off(between(after, from, end)) {
                let again = is_steady.then(|| self.off_again(band, between(after, from, end), from, end)).flatten();
                let Some((off_t, middle)) = again else { return Recovery { t: Some(from), relapse } };
                next = next.max(middle);
                relapse = Some(Relapse { back_t: from, off_t });
            }
            from = next;
        }
        Recovery { t: None, relapse }
    }
}

fn between(samples: Samples<'_>, from: f64, to: f64) -> Samples<'_> {
    let at = |t: f64| samples.partition_point(|(s, _)| *s < t);
    &samples[at(from)..at(to).max(at(from))]
}

/// What was seen from a moment on shows that it is back. At the end of all it is enough that most of what came after the
/// fault is not off: a quiet stretch near the end, found among many, may be chance.
fn is_shown(band: &Band, after: Samples<'_>, from_t: f64, is_over: bool) -> bool {
    let before = after.partition_point(|(t, _)| *t < from_t);
    let seen = &after[before..];
    (is_over && 2 * seen.len() >= after.len()) || band.is_surely_within(seen, before)
}

/// How long nothing answered around the restart that took longest: from the first refused connection to the first that was taken.
/// `None` where no connection was seen refused: what was written down later tells of other changes.
pub fn downtime(record: &Record) -> Option<(f64, f64)> {
    let of = |life: &Generation| {
        let ended = record.generations.iter().find(|g| g.number + 1 == life.number)?.exited.as_ref()?.0;
        let closed = closed(record, ended)?;
        // The port may close before the process ends: a graceful end stops listening first.
        let opened = opened(record, closed).or(ready_t(life))?;
        Some((closed.min(ended), opened))
    };
    let length = |(from, to): &(f64, f64)| to - from;
    record.generations.iter().filter(|g| g.number > 1).filter_map(of).max_by(|a, b| length(a).total_cmp(&length(b)))
}

//! After a restart or an eviction the first job is cold, and then jobs are warm again.
//!
//! Times are those on the worker (from running to ended), so that a queue does not look like a cold start; where nobody tells
//! when a job starts to run, the whole time. A cold start is known from its time, and from the driver's evidence where there
//! is some. Warm again is the first job from which a row of jobs is not larger than the warm baseline, surely and by more than
//! the tolerance (`stats::compare`).

use super::noise::Bearing;
use super::stages::{ended_before, ready_t};
use super::{Check, Verdict, View};
use crate::experiment::decode::At;
use crate::experiment::units::{Share, Time};
use crate::fault::FaultSpec;
use crate::journal::facts::{FaultFacts, Generation, JobFacts};
use crate::journal::outage::Outage;
use crate::journal::record::Record;
use crate::load::ledger::Class;
use crate::plan::build::CANARY;
use crate::record;
use crate::stats::compare::{compare, is_surely_within};
use crate::stats::confidence::Confidence;
use crate::stats::median;

/// A job that takes this much longer than a warm one is cold by its time.
pub const COLD_RATIO: f64 = 1.3;
/// Warm jobs that a baseline takes.
const FEWEST_WARM: usize = 5;
/// Jobs in a row that show that it is warm again.
const ROW: usize = 5;
/// Of so many rows each is asked at the usual level; of more at a stricter one.
const USUAL_ROWS: f64 = 20.0;
/// Of a baseline with more jobs, evenly so many.
const ENOUGH_BASELINE: usize = 1_000;

record! {
    /// After a restart or an eviction the first job is cold, and then jobs are warm again.
    pub struct ColdWarm {
        /// Warm again within this time of the moment that the outage began.
        within: Time = Time::secs(600),
        /// ... or within so many jobs, whichever is later, if it was ready in that time.
        jobs: u32 = 8,
        /// How much above the warm baseline still counts as warm.
        to_within: Share = Share(0.2),
        /// What a cold job should take.
        cold: Option<Time> = None,
        /// What a warm job should take.
        warm: Option<Time> = None,
        /// How far from those it may lie.
        tolerance: Share = Share(0.15),
        /// Only the jobs of this load.
        load: Option<At<String>> = None,
    }
}

/// The first cold job.
#[derive(Clone, Copy)]
pub struct Cold {
    pub number: u32,
    pub seconds: f64,
    /// To the warm jobs of its own load.
    pub ratio: f64,
}

/// What one restart or eviction did.
pub struct Episode {
    /// The target was ready again, or the model was gone.
    pub from_t: f64,
    /// From when its deadline counts: the end of the cause.
    pub outage: Outage,
    pub cold: Option<Cold>,
    /// Every later job: when it ended, its time, whether it was cold.
    pub later: Vec<(f64, f64, bool)>,
    /// From which of `later` on it is warm.
    pub warm_from: Option<usize>,
}

impl Check for ColdWarm {
    fn bearing(&self) -> Bearing {
        Bearing::Clock
    }
    fn load(&self) -> Option<&At<String>> {
        self.load.as_ref()
    }
    fn needs_jobs(&self) -> bool {
        true
    }
    fn needs_load(&self) -> Option<Time> {
        // Jobs that stay cold take their time until there are enough of them.
        Some(Time(2 * self.within.0))
    }
    fn needs_baseline(&self) -> bool {
        true
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let expected = format!("cold first, and within {} or {} jobs warm again, to within {} of the baseline", view.time(self.within), self.jobs, self.to_within);
        let record = view.record;
        let Some(first) = record.baseline_end() else { return Verdict::pending(&expected, "no fault yet") };
        let mut baseline = warm_times(view, self.load(), first);
        let Some(warm) = median(&mut baseline).filter(|_| baseline.len() >= FEWEST_WARM) else {
            return Verdict::inconclusive(&expected, format!("{} warm jobs before the first fault, {FEWEST_WARM} are needed", baseline.len()));
        };
        let Some(last_t) = record.outage().map(|outage| outage.t) else { return Verdict::pending(&expected, "a fault is at work") };
        let episodes = episodes(view, self.load(), &baseline, self.to_within.0);
        let Some(episode) = episodes.last() else {
            return Verdict::inconclusive(&expected, "nothing restarted or evicted the model");
        };
        self.of_episode(&expected, episode, (&baseline, warm), view, last_t)
    }
}

impl ColdWarm {
    fn of_episode(&self, expected: &str, episode: &Episode, (baseline, warm): (&[f64], f64), view: &View<'_>, last_t: f64) -> Verdict {
        let record = view.record;
        let shown = |s: f64| view.seconds(s);
        let deadline = episode.outage.t.max(last_t) + self.within.as_s();
        let patience_over = record.now > deadline && episode.later.len() >= self.jobs as usize;
        let Some(Cold { number, seconds: cold, ratio }) = episode.cold else {
            return match patience_over || record.ended {
                true => Verdict::inconclusive(expected, format!("no job was cold afterwards (warm takes {}): what should be cold was not", shown(warm))),
                false => Verdict::pending(expected, "no job has ended since"),
            };
        };
        let facts = format!("job {number} cold in {}, warm baseline {}: {ratio:.2} times as long", shown(cold), shown(warm));
        let measured = format!("cold {}, warm {}", shown(cold), shown(warm));
        let Some(at) = episode.warm_from else {
            let slow = episode.later.iter().filter(|(_, s, is_cold)| *is_cold || *s > warm * (1.0 + self.to_within.0)).count();
            let observed = format!("not warm again: {slow} of {} later jobs were cold or slow", episode.later.len());
            if episode.later.is_empty() && record.ended {
                return Verdict::inconclusive(expected, "no job ended after the cold one").with([facts]);
            }
            return match patience_over {
                // That no row of jobs is surely warm may be chance, where jobs take as different times as they please.
                true if self.stays_cold(&episode.later, deadline, baseline) => {
                    Verdict::failed(expected, observed).with([facts]).measuring(measured)
                }
                true => Verdict::inconclusive(expected, format!("{observed}, which may be chance")).with([facts]),
                false => Verdict::pending(expected, observed).with([facts]),
            };
        };
        let outage = &episode.outage;
        let took = episode.later.get(at).map_or(0.0, |job| job.0 - outage.t);
        let ready = episode.from_t - outage.t;
        // Jobs that come seldom are no fault of the target's; that it came back late is.
        let in_time = took <= self.within.as_s() || (at <= self.jobs as usize && ready <= self.within.as_s());
        // A row of five is weak when it is asked for again and again, and found among many: all since then must be surely warm, or
        // at the end of all be most of what there is.
        let since: Vec<f64> = episode.later[at..].iter().map(|job| job.1).collect();
        let is_over = patience_over || record.load_stopped_t.is_some();
        let is_most = is_over && 2 * since.len() >= episode.later.len();
        if (in_time || !is_over) && !is_most && !is_surely_within(baseline, &since, self.to_within.0, at) {
            let observed = "it seems to be warm again, which few jobs do not show";
            return if is_over { Verdict::inconclusive(expected, observed) } else { Verdict::pending(expected, observed) }.with([facts]);
        }
        let observed = format!("cold {}, then warm again {}, {} after {}", shown(cold), after_jobs(at), shown(took), outage.what);
        let evidence = [facts, format!("ratio {ratio:.2}, time to warm {}, of which {} until it was ready", shown(took), shown(ready)), outage.told()];
        let wrong = self.against_figures(cold, warm, view);
        if let Some(wrong) = wrong {
            return Verdict::failed(expected, format!("{observed}; {wrong}")).with(evidence).measuring(measured);
        }
        let verdict = if in_time { Verdict::passed(expected, observed) } else { Verdict::failed(expected, format!("{observed}: too late")) };
        verdict.with(evidence).measuring(measured)
    }

    /// The jobs from the deadline on (or the second half, where few came so late) are cold by the target's own word, or surely
    /// slower than warm ones.
    fn stays_cold(&self, later: &[(f64, f64, bool)], deadline: f64, baseline: &[f64]) -> bool {
        let late = later.partition_point(|job| job.0 < deadline);
        let late = &later[if later.len() - late < ROW { later.len() / 2 } else { late }..];
        let told = late.iter().filter(|job| job.2).count();
        let times: Vec<f64> = late.iter().map(|job| job.1).collect();
        2 * told > late.len() || compare(baseline, &times).is_some_and(|c| c.is_larger(self.to_within.0))
    }

    /// What does not agree with the figures that the file gives.
    fn against_figures(&self, cold: f64, warm: f64, view: &View<'_>) -> Option<String> {
        let off = |what: &str, seen: f64, wanted: Option<Time>| {
            let wanted = wanted?;
            let far = (seen / wanted.as_s() - 1.0).abs() > self.tolerance.0;
            far.then(|| format!("{what} is not {} to within {}", view.time(wanted), self.tolerance))
        };
        off("cold", cold, self.cold).or_else(|| off("warm", warm, self.warm))
    }
}

/// The canary may be the job that found the model gone: by the target's own word, since its jobs are of another size.
fn cold_canary(view: &View<'_>, from_t: f64, until: f64) -> Option<Cold> {
    let canaries = || view.jobs(None).filter(|(job, class, _)| job.load == CANARY && *class == Class::Completed).map(|(job, ..)| job);
    let ended = |job: &JobFacts| job.ended.as_ref().map_or(f64::NAN, |e| e.0);
    let mut warm: Vec<f64> = canaries().filter(|job| ended(job) < from_t && !job.cold).filter_map(work_s).collect();
    let job = canaries().find(|job| job.cold && ended(job) > from_t && ended(job) < until)?;
    let seconds = work_since(job, from_t, 0.0)?;
    Some(Cold { number: job.number, seconds, ratio: seconds / median(&mut warm)? })
}

fn after_jobs(n: usize) -> String {
    if n == 0 { "with the next job".to_owned() } else { format!("after {n} more jobs") }
}

/// A job's time on the worker, or all of it.
pub fn work_s(job: &JobFacts) -> Option<f64> {
    let end = job.ended.as_ref()?.0;
    Some(end - job.running_t.unwrap_or(job.submitting_t))
}

/// The same, since the target was ready again. Of the jobs from before only those count that were cold: the others may have
/// ended before, and their clients heard of it late.
fn work_since(job: &JobFacts, from_t: f64, warm: f64) -> Option<f64> {
    let (begin, end) = (job.running_t.unwrap_or(job.submitting_t), job.ended.as_ref()?.0);
    let since = end - begin.max(from_t);
    (job.submitting_t >= from_t || job.cold || since > COLD_RATIO * warm).then_some(since)
}

/// The times of jobs that were warm before the first fault.
pub fn warm_times(view: &View<'_>, load: Option<&At<String>>, until: f64) -> Vec<f64> {
    let jobs = view.background(load, super::scope::Over::All).into_iter().filter(|(job, class)| *class == Class::Completed && !job.cold);
    jobs.filter(|(job, _)| job.ended.as_ref().is_some_and(|e| e.0 < until)).filter_map(|(job, _)| work_s(job)).collect()
}

/// What happened after each restart and each eviction.
pub fn episodes(view: &View<'_>, load: Option<&At<String>>, baseline: &[f64], tolerance: f64) -> Vec<Episode> {
    let record = view.record;
    let warm = median(&mut baseline.to_vec()).unwrap_or(f64::INFINITY);
    let restarts = record.generations.iter().skip(1).filter_map(|g| Some((ready_t(g)?, outage_before(record, g))));
    let evictions = record.plan().faults.iter().filter(|f| matches!(f.spec, FaultSpec::Evict(_)));
    let evicted = evictions.filter_map(|f| record.fault(&f.name)).filter_map(|f| {
        let from_t = f.injected_t?;
        Some((from_t, record.outage_of(f).unwrap_or(Outage { t: from_t, what: format!("the end of `{}`", f.name) })))
    });
    let mut moments: Vec<(f64, Outage)> = restarts.chain(evicted).collect();
    moments.sort_by(|a, b| a.0.total_cmp(&b.0));
    let jobs = view.background(load, super::scope::Over::All);
    let ends: Vec<f64> = moments.iter().skip(1).map(|m| m.0).chain([f64::INFINITY]).collect();
    let of = |((from_t, outage), until): ((f64, Outage), f64)| {
        let mut done: Vec<(f64, f64, bool, u32)> = jobs
            .iter()
            .filter(|(_, class)| *class == Class::Completed)
            .filter_map(|(job, _)| Some((job.ended.as_ref()?.0, work_since(job, from_t, warm)?, job.cold, job.number)))
            .filter(|(t, ..)| *t > from_t && *t < until)
            .collect();
        done.sort_by(|a, b| a.0.total_cmp(&b.0));
        let is_cold = |(_, s, flagged, _): &(f64, f64, bool, u32)| *flagged || *s > warm * COLD_RATIO;
        // Jobs that waited for the same model end together, and which of them is told as cold, or first, is chance.
        let soon = warm * COLD_RATIO / 2.0;
        let together = done.iter().take_while(|job| job.0 - done[0].0 < soon).count();
        let first = done[..together].iter().find(|job| is_cold(job)).map(|job| Cold { number: job.3, seconds: job.1, ratio: job.1 / warm });
        let together = done[..together].iter().rposition(is_cold).map_or(0, |last| last + 1);
        let cold = first.or_else(|| cold_canary(view, from_t, until));
        let later: Vec<(f64, f64, bool)> = done[together..].iter().map(|(t, s, flagged, _)| (*t, *s, *flagged)).collect();
        Episode { from_t, outage, cold, warm_from: warm_from(&later, baseline, tolerance), later }
    };
    moments.into_iter().zip(ends).map(of).collect()
}

/// From when the recovery of one restart counts: by the fault that ended the process before it, or by that end alone.
fn outage_before(record: &Record, life: &Generation) -> Outage {
    let ended = ended_before(record, life);
    let of_fault = |f: &FaultFacts| {
        let at_work = f.injecting_t.zip(f.over_t).zip(ended).is_some_and(|((from, to), t)| (from..=to).contains(&t));
        record.outage_of(f).filter(|_| at_work)
    };
    let outage = record.faults.iter().rev().find_map(of_fault);
    outage.unwrap_or_else(|| Outage { t: ended.unwrap_or(life.started_t), what: "the end of the process".to_owned() })
}

/// From which job on a row is warm, and nothing after it is surely slower. In a long run there are many rows: what they may be
/// wrong in is spent on all of them, long ones and short ones.
fn warm_from(later: &[(f64, f64, bool)], baseline: &[f64], tolerance: f64) -> Option<usize> {
    let few: Vec<f64> = baseline.iter().step_by(baseline.len() / ENOUGH_BASELINE + 1).copied().collect();
    let slow = |row: &[(f64, f64, bool)], length: usize| {
        let rows = later.len().div_ceil(length) as f64;
        let z = Confidence::spending((USUAL_ROWS / rows).min(1.0)).z();
        let times: Vec<f64> = row.iter().map(|job| job.1).collect();
        compare(&few, &times).is_some_and(|c| c.z > z && c.ratio > 1.0 + tolerance)
    };
    let last_slow = |length: usize| {
        // The cold jobs at the beginning are in the first row, short as it may be: there the search goes on job by job.
        later.chunks(length).rposition(|row| slow(row, length)).map_or(0, |at| at * length)
    };
    let from = last_slow(2 * ROW).max(last_slow(20 * ROW));
    let warm_row = |row: &[(f64, f64, bool)]| row.iter().all(|job| !job.2) && compare(baseline, &row.iter().map(|j| j.1).collect::<Vec<_>>()).is_some_and(|c| c.ratio <= 1.0 + tolerance);
    (from..later.len().saturating_sub(ROW - 1)).find(|at| {
        let next = &later[*at..later.len().min(at + 2 * ROW)];
        warm_row(&next[..ROW]) && !slow(next, 2 * ROW)
    })
}

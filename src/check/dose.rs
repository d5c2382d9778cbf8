//! How much of the load was really sent, and in time. A target that was spared half of its load has not shown that it bears all of
//! it; and a limit that only more load could have reached was not missed by the target.

use super::{CheckSpec, Ruling, Verdict, View};
use crate::experiment::Arrivals;
use crate::journal::event::Phase;
use crate::journal::record::Record;
use crate::load::arrivals;
use crate::plan::build::CANARY;
use crate::plan::{LoadPlan, StagePlan};

/// Less than this share of the load is another load.
const ENOUGH: f64 = 0.9;
/// A job that is late by more than this share of its stage was not sent in time ...
const LATE_SHARE: f64 = 0.05;
/// ... where that is no less than a scheduler at ease may take, and no more than a reader would call in time.
const LATE_BETWEEN_S: (f64, f64) = (0.05, 1.0);
/// With fewer jobs a share of them is chance.
const FEWEST: f64 = 10.0;
const REMEDY: &str = "run it again with less beside chaos, or send the load from a machine that can";

/// What the load has to do with a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dose {
    /// Nothing.
    Any,
    /// A pass needs the load that the file asks for.
    Pass,
    /// It is failed where too little was sent.
    Fail,
    Both,
}

/// What was sent of a load.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sent {
    planned: f64,
    in_time: f64,
}

impl Sent {
    fn share(self) -> f64 {
        if self.planned > 0.0 { self.in_time / self.planned } else { 1.0 }
    }
}

/// A verdict that depends on how much load there was, held against what was sent.
pub fn weigh(check: &CheckSpec, verdict: Verdict, view: &View<'_>) -> Verdict {
    let needs = match verdict.ruling {
        Ruling::Passed => matches!(check.dose(), Dose::Pass | Dose::Both),
        Ruling::Failed => matches!(check.dose(), Dose::Fail | Dose::Both),
        Ruling::Pending | Ruling::Inconclusive => false,
    };
    let Some((load, sent)) = worst(check, view.record).filter(|_| needs) else { return verdict };
    let told = told(load, sent);
    Verdict { ruling: Ruling::Inconclusive, observed: format!("{told}: {}", verdict.observed), ..verdict }
        .with([REMEDY.to_owned()])
}

fn told(load: &LoadPlan, sent: Sent) -> String {
    let percent = (sent.share() * 100.0).floor();
    let name = &load.name;
    match is_open(load) {
        true => format!(
            "only {percent:.0} % of the load `{name}` could be sent in time ({:.0} of {:.0} jobs)",
            sent.in_time, sent.planned
        ),
        false => format!(
            "only {percent:.0} % of the load `{name}` could be sent: its users were late for {:.0} % of their time",
            100.0 - percent
        ),
    }
}

/// The load that the check is about of which too little was sent; of all of them the worst.
fn worst<'a>(check: &CheckSpec, record: &'a Record) -> Option<(&'a LoadPlan, Sent)> {
    let wanted = check.load().map(|load| load.value.clone());
    // A canary only watches: it is no load to speak of.
    let meant = |load: &&LoadPlan| wanted.as_ref().map_or(load.name != CANARY, |name| *name == load.name);
    let loads = record.plan().loads.iter().filter(meant);
    let short = loads.filter_map(|load| Some((load, sent(record, load)?))).filter(|(_, sent)| sent.share() < ENOUGH);
    short.min_by(|a, b| a.1.share().total_cmp(&b.1.share()))
}

fn is_open(load: &LoadPlan) -> bool {
    !load.trace.is_empty() || load.stages.iter().any(|stage| stage.rate_per_s.is_some())
}

/// `None` where it had hardly begun.
fn sent(record: &Record, load: &LoadPlan) -> Option<Sent> {
    let begin = record.phase_start(Phase::Baseline)?;
    let end = record.load_stopped_t.unwrap_or(record.now);
    if is_open(load) { open(record, load, begin, end) } else { closed(record, load, begin, end) }
}

/// Of jobs that are due whatever the target does: how many were due, and how many of them were sent when they were.
fn open(record: &Record, load: &LoadPlan, begin: f64, end: f64) -> Option<Sent> {
    let mut planned = 0.0;
    for (at, stage) in load.stages.iter().enumerate() {
        // What was due only just before the end need not have been sent.
        let length =
            (stage.until_s.map_or(end, |until| end.min(begin + until)) - begin - stage.from_s - tolerance_s(stage)).max(0.0);
        planned += due(record, load, at, stage, length) as f64;
    }
    let planned = load.jobs.map_or(planned, |most| planned.min(f64::from(most)));
    let allowed = load.stages.iter().map(tolerance_s).fold(LATE_BETWEEN_S.0, f64::max);
    let in_time = record.jobs_of(Some(&load.name)).filter(|job| job.submitting_t - job.intended_t <= allowed).count();
    (planned >= FEWEST).then_some(Sent { planned, in_time: (in_time as f64).min(planned) })
}

/// How many jobs of a stage were due in its first seconds: the moments follow from the seed.
fn due(record: &Record, load: &LoadPlan, number: usize, stage: &StagePlan, length: f64) -> usize {
    if !load.trace.is_empty() {
        return load.trace.iter().take_while(|arrival| arrival.at_s < length).count();
    }
    let Some(rate) = stage.rate_per_s else { return 0 };
    match load.arrivals {
        Arrivals::Constant => (rate * length).ceil() as usize,
        Arrivals::Poisson => {
            let rng = record.plan().seed.stream(&format!("load/{}/open/{number}", load.name));
            arrivals::moments(rate, load.arrivals, rng).take_while(|t| *t < length).count()
        }
    }
}

fn tolerance_s(stage: &StagePlan) -> f64 {
    let length = stage.until_s.map_or(f64::INFINITY, |until| until - stage.from_s);
    (LATE_SHARE * length).clamp(LATE_BETWEEN_S.0, LATE_BETWEEN_S.1)
}

/// Of users that wait for their jobs: the time in which they should have sent one and had not, in all of theirs.
fn closed(record: &Record, load: &LoadPlan, begin: f64, end: f64) -> Option<Sent> {
    let of = |stage: &StagePlan| {
        let until = stage.until_s.map_or(end, |until| end.min(begin + until));
        f64::from(stage.users) * (until - begin - stage.from_s).max(0.0)
    };
    let planned: f64 = load.stages.iter().map(of).sum();
    let jobs = || record.jobs_of(Some(&load.name)).filter(|job| job.intended_t < end);
    let late: f64 = jobs().map(|job| (job.submitting_t - job.intended_t).max(0.0)).sum();
    let enough = planned > 0.0 && jobs().count() as f64 >= FEWEST;
    enough.then_some(Sent { planned, in_time: (planned - late).max(0.0) })
}

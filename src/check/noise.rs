//! How noisy it was where chaos measured, and when: the time that other work took from the target and from chaos, and how late
//! chaos itself was. A pure function of the record; `without_noise` says what a verdict would be had it been quiet.
//!
//! A target that uses up the CPUs itself makes pressure too, and that is no excuse for it: what it waited for counts as taken only
//! as far as others used CPU time meanwhile.

use super::without_noise::Quiet;
use super::{CheckSpec, Ruling, Verdict, View};
use crate::journal::event::Phase;
use crate::journal::facts::JobFacts;
use crate::journal::record::Record;
use crate::journal::series::Series;
use crate::observe::machine::{DELAYED, EVERY, LATE, OTHERS_CPU, OWN_CPU, PRESSURE, STEAL, TARGET_CPU, THROTTLED};
use crate::plan::RuntimePlan;

/// What is taken of less than this share of the time is found on every machine that does anything besides, and excuses nothing.
const QUIET: f64 = 0.1;
/// Lateness below this is that of timers and of a scheduler at ease.
pub const LATE_S: f64 = 0.02;
/// Chaos that is late by this much saw nothing meanwhile: that time was not measured at all.
const BLIND_S: f64 = 0.5;
/// No more than this share of any stretch of time is taken out: things must stay in their order.
const STEEPEST: f64 = 0.95;
/// How often chaos' own lateness counts for one job: when it is sent, answered, asked about, and seen to end.
const HOPS: f64 = 4.0;
/// Spells with less between them are told as one.
const APART_S: f64 = 1.0;
/// So many of them are told, those that took the most.
const TOLD: usize = 3;
/// What is said first where a verdict fell for noise. `benches/verdicts.py` knows a run by it that is worth another try.
pub const TOO_NOISY: &str = "too noisy to tell";
const REMEDY: &str = "run it again on a quieter machine, or with chaos and the target on machines of their own";

/// On what of time a verdict rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearing {
    /// It does not depend on how fast anything was.
    None,
    /// On how long jobs took.
    Jobs,
    /// On how long jobs and everything else took.
    Clock,
}

/// What was measured over one stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Step {
    from: f64,
    to: f64,
    /// The share of the time that others took.
    taken: f64,
    /// The worst lateness of chaos, in seconds.
    late_s: f64,
    /// From when to when the figures that tell of it were the latest: they come at its end.
    told: (f64, f64),
}

impl Step {
    fn late_share(&self) -> f64 {
        if self.late_s < LATE_S { 0.0 } else { self.late_s / (EVERY.as_secs_f64() + self.late_s) }
    }
    fn is_noisy(&self) -> bool {
        self.taken > 0.0 || self.late_s >= LATE_S
    }
}

/// A share of the time, over time.
#[derive(Debug, Clone, Default)]
pub struct Shares(Vec<Share>);

#[derive(Debug, Clone, Copy)]
struct Share {
    from: f64,
    to: f64,
    share: f64,
    /// Seconds until it began.
    before: f64,
}

impl Shares {
    fn of(steps: &[Step], share: impl Fn(&Step) -> f64) -> Self {
        let mut before = 0.0;
        let of = |step: &Step| {
            let share = Share { from: step.from, to: step.to, share: share(step), before };
            before += share.share * (share.to - share.from);
            share
        };
        Self(steps.iter().map(of).collect())
    }

    /// Seconds until a moment.
    pub fn until(&self, t: f64) -> f64 {
        let last = self.0.partition_point(|s| s.from <= t).checked_sub(1).and_then(|at| self.0.get(at));
        last.map_or(0.0, |s| s.before + s.share * (t.min(s.to) - s.from))
    }

    pub fn between(&self, from: f64, to: f64) -> f64 {
        (self.until(to) - self.until(from)).max(0.0)
    }
}

/// The noise of a run.
#[derive(Debug, Clone, Default)]
pub struct Noise {
    /// One after the other, without an overlap.
    steps: Vec<Step>,
    /// What others took.
    taken: Shares,
    late: Shares,
    /// The worst lateness of a job's submission, in seconds.
    sent_late_s: f64,
}

impl Noise {
    pub fn of(record: &Record) -> Self {
        let begin = record.phase_start(Phase::Baseline).unwrap_or(0.0);
        let late = |job: &JobFacts| job.submitting_t - job.intended_t;
        let sent_late_s = record.jobs.iter().filter(|job| job.intended_t >= begin).map(late).fold(0.0, f64::max);
        let steps = steps(record);
        let (taken, late) = (Shares::of(&steps, |s| s.taken), Shares::of(&steps, Step::late_share));
        Self { steps, taken, late, sent_late_s }
    }

    pub fn is_quiet(&self) -> bool {
        self.sent_late_s < LATE_S && !self.steps.iter().any(Step::is_noisy)
    }

    /// Seconds that others took between two moments.
    pub fn taken_s(&self, from: f64, to: f64) -> f64 {
        self.taken.between(from, to)
    }

    /// What others took, up to `generous` times as much as was measured.
    pub fn taken(&self, generous: f64) -> Shares {
        Shares::of(&self.steps, |s| stretched(s.taken, generous))
    }

    /// The same, and the time in which chaos saw nothing.
    pub fn away(&self, generous: f64) -> Shares {
        let blind = |s: &Step| if s.late_s >= BLIND_S { s.late_share() } else { 0.0 };
        Shares::of(&self.steps, |s| blind(s).max(stretched(s.taken, generous)).min(STEEPEST))
    }

    /// By how much chaos' own lateness may have lengthened something between two moments, in seconds.
    pub fn own_s(&self, from: f64, to: f64) -> f64 {
        let first = self.steps.partition_point(|s| s.to <= from);
        let within = self.steps[first..].iter().take_while(|s| s.from < to);
        let worst = within.map(|s| s.late_s).filter(|s| *s >= LATE_S).fold(0.0, f64::max);
        (HOPS * worst).min(self.late.between(from, to))
    }
}

/// So many times the share that was taken, and yet no more than leaves that part of what was left: who got half of the CPUs in spite
/// of it all would not have been done at once without.
fn stretched(taken: f64, generous: f64) -> f64 {
    (taken * generous).min(1.0 - (1.0 - taken) / generous)
}

/// The stretches between two changes of what was measured of the machine and of chaos.
fn steps(record: &Record) -> Vec<Step> {
    let sources = Sources::of(record);
    let every = EVERY.as_secs_f64();
    let moments = sources.moments();
    let ends = moments.iter().skip(1).copied().chain([record.now + every]);
    let mut steps: Vec<Step> = Vec::new();
    for (t, next) in moments.iter().copied().zip(ends) {
        let late_s = sources.late_s(t);
        // A sample tells of the time before it, and one that came late of so much more.
        let (from, to) = (t - every - late_s, (next - every).max(t));
        let mut step = Step { from: from.max(0.0), to, taken: sources.taken(t), late_s, told: (t, next) };
        if let Some(last) = steps.last_mut() {
            if step.is_noisy() && !last.is_noisy() {
                last.to = last.to.min(step.from).max(last.from);
            }
            step.from = step.from.max(last.to);
            step.to = step.to.max(step.from);
        }
        steps.push(step);
    }
    steps
}

/// The series that tell of noise.
struct Sources<'a> {
    record: &'a Record,
    /// Other work on this machine is no excuse for a target on another.
    elsewhere: bool,
}

impl<'a> Sources<'a> {
    fn of(record: &'a Record) -> Self {
        let plan = record.plan();
        let seen = record.series.contains_key(OTHERS_CPU);
        let elsewhere = if plan.runtime == RuntimePlan::None { !plan.is_local() } else { !plan.is_local() && !seen };
        Self { record, elsewhere }
    }

    fn series(&self, name: &str) -> Option<&'a Series> {
        self.record.series.get(name)
    }

    fn moments(&self) -> Vec<f64> {
        let names = [LATE, DELAYED, OTHERS_CPU, TARGET_CPU, OWN_CPU, STEAL, THROTTLED, PRESSURE[0].0];
        let mut moments: Vec<f64> = names.iter().filter_map(|n| self.series(n)).flat_map(|s| s.iter().map(|p| p.t)).collect();
        moments.sort_by(f64::total_cmp);
        moments.dedup();
        moments
    }

    fn share(&self, name: &str, t: f64) -> Option<f64> {
        self.series(name)?.at(t).map(|percent| percent / 100.0)
    }

    fn late_s(&self, t: f64) -> f64 {
        self.series(LATE).and_then(|late| late.at(t)).map_or(0.0, |ms| ms / 1e3)
    }

    /// The share of the time that was taken from a target on this machine by what is not the target.
    fn taken(&self, t: f64) -> f64 {
        if self.elsewhere {
            return 0.0;
        }
        let waited = self.share(DELAYED, t).or_else(|| self.share(PRESSURE[0].0, t)).unwrap_or(0.0);
        // That chaos waited too is in its lateness. Whose CPU time it was is not known of a target that cannot be seen.
        let others = self.share(OTHERS_CPU, t).map_or(0.0, |others| others + self.share(OWN_CPU, t).unwrap_or(0.0));
        let used = others + self.share(TARGET_CPU, t).unwrap_or(0.0);
        // Nobody waits for others for longer than they ran; and while the target ran too it also waited for itself.
        let by_others = waited.min(1.0) * if used > 0.0 { others / used } else { 0.0 };
        let elsewhere = self.share(STEAL, t).unwrap_or(0.0) + self.share(THROTTLED, t).unwrap_or(0.0);
        let taken = (by_others.min(others) + elsewhere).min(1.0);
        if taken < QUIET { 0.0 } else { taken }
    }
}

/// Steps that are told as one.
struct Spell {
    from: f64,
    to: f64,
    told: (f64, f64),
    /// Seconds that it took.
    cost: f64,
    late_s: f64,
}

impl Noise {
    /// When it was noisy, how, and how bad: the worst spells, in their order.
    pub fn told(&self, record: &Record) -> Vec<String> {
        let mut spells = self.spells(record.phase_start(Phase::Baseline).unwrap_or(0.0));
        let all = spells.len();
        spells.sort_by(|a, b| b.cost.total_cmp(&a.cost));
        spells.truncate(TOLD);
        spells.sort_by(|a, b| a.from.total_cmp(&b.from));
        let mut told: Vec<String> = spells.iter().map(|spell| self.spell(record, spell)).collect();
        if all > TOLD {
            told.push(format!("and {} shorter spells of noise", all - TOLD));
        }
        if self.sent_late_s >= LATE_S {
            told.push(format!("chaos sent jobs up to {:.0} ms late", self.sent_late_s * 1e3));
        }
        told
    }

    fn spells(&self, begin: f64) -> Vec<Spell> {
        let mut spells: Vec<Spell> = Vec::new();
        for step in self.steps.iter().filter(|s| s.is_noisy() && s.to > begin && s.to > s.from) {
            let cost = step.taken.max(step.late_share()) * (step.to - step.from);
            match spells.last_mut().filter(|last| step.from - last.to < APART_S) {
                Some(last) => {
                    (last.to, last.told.1, last.cost) = (step.to, step.told.1, last.cost + cost);
                    last.late_s = last.late_s.max(step.late_s);
                }
                None => {
                    let (from, to) = (step.from.max(begin), step.to);
                    spells.push(Spell { from, to, told: step.told, cost, late_s: step.late_s });
                }
            }
        }
        spells
    }

    fn spell(&self, record: &Record, spell: &Spell) -> String {
        let (from, to) = spell.told;
        let mean = |name: &str| record.series.get(name).and_then(|s| s.mean(from, to)).unwrap_or(0.0);
        let mut said = Vec::new();
        if self.taken_s(spell.from, spell.to) > 0.0 {
            let (waited, others, own) = (mean(DELAYED), mean(OTHERS_CPU), mean(OWN_CPU));
            let figures = [
                (waited, format!("the target waited for a CPU for {waited:.0} % of the time")),
                (others, format!("other processes used {others:.0} % of one CPU")),
                (mean(TARGET_CPU), format!("the target used {:.0} %", mean(TARGET_CPU))),
                (own, format!("chaos itself used {own:.0} %")),
                (mean(STEAL), format!("the hypervisor gave {:.0} % of the CPU time away", mean(STEAL))),
                (mean(THROTTLED), format!("a CPU limit held them back for {:.0} % of the time", mean(THROTTLED))),
            ];
            said.extend(figures.into_iter().filter(|(value, _)| *value >= 1.0).map(|(_, text)| text));
        }
        if spell.late_s >= LATE_S {
            said.push(format!("chaos was up to {:.0} ms late", spell.late_s * 1e3));
        }
        let pressures = PRESSURE.iter().map(|(name, of)| (mean(name), *of)).filter(|(value, _)| *value >= 1.0);
        let pressures: Vec<String> = pressures.map(|(value, of)| format!("{of} {value:.0} %")).collect();
        if !pressures.is_empty() {
            said.push(format!("pressure: {}", pressures.join(", ")));
        }
        format!("from {:.1} s to {:.1} s {}", spell.from, spell.to.min(record.now), said.join("; "))
    }
}

/// A verdict of a check that depends on time, weighed against the noise: what noise can explain is not certain.
pub fn weigh(check: &CheckSpec, verdict: Verdict, view: &View<'_>, quiet: &Quiet<'_>) -> Verdict {
    let bearing = check.bearing();
    if bearing == Bearing::None || quiet.noise.is_quiet() {
        return verdict;
    }
    let falls = match verdict.ruling {
        Ruling::Failed => quiet.may_excuse(check, bearing).then_some("without the noise it would not have failed"),
        Ruling::Passed => (quiet.without(check, bearing) == Ruling::Failed).then_some("without the noise it would have failed"),
        // It stays so, and its reader learns what to do.
        Ruling::Inconclusive => {
            (quiet.without(check, bearing) == Ruling::Passed).then_some("without the noise it would have passed")
        }
        Ruling::Pending => None,
    };
    let Some(why) = falls else { return verdict };
    let told = quiet.noise.told(view.record);
    let first = told.first().map_or_else(String::new, |first| format!(" ({first})"));
    let rest = told.into_iter().skip(1).chain([REMEDY.to_owned()]);
    if verdict.ruling == Ruling::Inconclusive {
        let noise = std::iter::once(format!("{TOO_NOISY}{first}; {why}")).chain(rest);
        return Verdict { evidence: noise.chain(verdict.evidence).collect(), ..verdict };
    }
    let observed = format!("{TOO_NOISY}{first}: {}; {why}", verdict.observed);
    Verdict { ruling: Ruling::Inconclusive, observed, took_s: None, ..verdict }.with(rest)
}

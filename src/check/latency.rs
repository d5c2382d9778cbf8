//! A percentile of the latency lies below a limit: counted from the moment that a job should have been sent, judged with
//! the binomial rule of MLPerf LoadGen, so that too few samples are inconclusive.

use super::dose::Dose;
use super::grade::{Limits, Met, describe};
use super::noise::Bearing;
use super::scope::Over;
use super::untold::is_without_end;
use super::{Check, Ruling, Verdict, View};
use crate::experiment::decode::At;
use crate::experiment::diagnostic::{Diagnostics, Span};
use crate::experiment::units::Time;
use crate::journal::facts::JobFacts;
use crate::journal::record::Record;
use crate::load::ledger::Class;
use crate::load::patience::followed_until;
use crate::text::jobs;
use crate::{record, words};
use crate::stats::confidence::Confidence;
use crate::stats::{Against, percentile_against, quantile, samples_for_percentile};

/// A generator that is late by more than this share of the limit has no say about it.
const OWN_LATENESS: f64 = 0.05;

words! {
    /// Which time of a job is meant.
    pub enum TimeOf("time of a job") {
        /// To its end.
        Completion = "completion",
        /// To the first token of a streamed answer.
        FirstToken = "first_token",
        /// Between two tokens of a streamed answer: the job's median.
        BetweenTokens = "between_tokens",
    }
}

record! {
    /// A percentile of the jobs' latency lies below a limit.
    pub struct Latency {
        /// Which time.
        of: TimeOf = TimeOf::Completion,
        /// Which percentile, 50 to 99.99.
        percentile: f64 = 95.0,
        /// The target.
        below: Time,
        /// Below this it still passes.
        acceptable: Option<Time> = None,
        /// Above this it is a failure; between the two it is only poor, and fails too.
        failure: Option<Time> = None,
        /// Only the jobs that were due in this part of the run.
        over: Over = Over::All,
        /// Only the jobs of this load or fault.
        load: Option<At<String>> = None,
    }
}

impl Check for Latency {
    fn dose(&self) -> Dose {
        Dose::Pass
    }
    fn bearing(&self) -> Bearing {
        Bearing::Jobs
    }
    fn load(&self) -> Option<&At<String>> {
        self.load.as_ref()
    }
    fn percentile(&self) -> Option<f64> {
        Some(self.percentile)
    }
    fn validate(&self, place: Span, diags: &mut Diagnostics) {
        check_percentile(self.percentile, place, diags);
    }

    /// More jobs help where too few were there, or too few to decide.
    fn wants_samples(&self, view: &View<'_>) -> bool {
        let jobs = view.measured(self.load(), self.over);
        let latencies: Vec<f64> = jobs.iter().filter_map(|(job, class)| self.of.seconds(job, *class)).collect();
        let limit = self.acceptable.unwrap_or(self.below).as_s();
        let over = latencies.iter().filter(|l| **l >= limit).count();
        percentile_against(self.percentile, over as u64, latencies.len() as u64, view.confidence()) == Against::Undecided
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let text = |limit: Option<Time>| limit.map(|l| view.time(l).to_string());
        let of = if self.of == TimeOf::Completion { String::new() } else { format!(" ({})", self.of) };
        let target = format!("p{}{of} below {}", self.percentile, view.time(self.below));
        let expected = describe(target, text(self.acceptable), text(self.failure));
        if !view.record.ended {
            return Verdict::pending(&expected, "jobs are still being sent");
        }
        let jobs = view.measured(self.load(), self.over);
        let times = Times::of(self.of, &jobs, view.record);
        let told = jobs.iter().any(|(job, _)| job.tokens().is_some());
        if self.of != TimeOf::Completion && !told {
            return Verdict::inconclusive(&expected, "no job's answer was streamed in tokens");
        }
        let limit = self.below.as_s();
        let mut known = times.known(limit);
        let shown = quantile(&mut known, self.percentile / 100.0);
        // What is too slow by more than that is too slow whoever was late.
        let without = |late: f64| shown.is_none_or(|shown| shown - late <= limit);
        if let Some(late) = own_lateness(&jobs).filter(|late| *late > OWN_LATENESS * limit && without(*late)) {
            return Verdict::inconclusive(&expected, format!("chaos itself was {:.0} ms late (p99): too much against this limit", late * 1e3));
        }
        let confidence = view.confidence();
        let against = |limit: Time| Met::from(times.against(self.percentile, limit.as_s(), confidence));
        let limits = Limits { target: against(self.below), acceptable: self.acceptable.map(against), failure: self.failure.map(against) };
        let (over, n) = (times.over(limit), known.len() as u64);
        let shown = shown.map_or_else(|| "no job".to_owned(), |s| view.seconds(s));
        let observed = format!("{shown}; {over} of {n} jobs over the limit");
        let verdict = limits.verdict(&expected, observed).measuring(shown).with(times.unknown_told(limit));
        if verdict.ruling == Ruling::Inconclusive { verdict.with([needed(self.percentile, n, confidence)]) } else { verdict }
    }
}

/// The times of the jobs that are known, in order; and how long those had waited that had not ended when nobody followed them any
/// more, and those of which nobody can tell.
pub struct Times {
    known: Vec<f64>,
    waited: Vec<f64>,
    untold: Vec<f64>,
}

/// So many jobs that took as long as one has waited tell what is to be expected of it.
const ALIKE: usize = 10;

impl Times {
    pub fn of(of: TimeOf, jobs: &[(&JobFacts, Class)], record: &Record) -> Self {
        let mut known: Vec<f64> = jobs.iter().filter_map(|(job, class)| of.seconds(job, *class)).collect();
        known.sort_by(f64::total_cmp);
        let (mut waited, mut untold) = (Vec::new(), Vec::new());
        for (job, class) in jobs.iter().filter(|(job, class)| is_open(job, *class) || is_without_end(job, *class)) {
            let seconds = match of {
                TimeOf::Completion => waited_s(job, record),
                // When tokens came is told with the end.
                TimeOf::FirstToken | TimeOf::BetweenTokens => 0.0,
            };
            if *class == Class::Unknown { untold.push(seconds) } else { waited.push(seconds) }
        }
        Self { known, waited, untold }
    }

    /// Of all whose time is not known, for how long they have waited at least.
    fn unknown(&self) -> impl Iterator<Item = f64> {
        self.waited.iter().chain(&self.untold).copied()
    }

    /// Who has waited for longer than the limit is over it, whatever came later.
    fn known(&self, limit: f64) -> Vec<f64> {
        self.known.iter().copied().chain(self.unknown().filter(|s| *s >= limit)).collect()
    }

    fn n(&self) -> u64 {
        (self.known.len() + self.unknown().count()) as u64
    }

    fn over(&self, limit: f64) -> u64 {
        let known = self.known.len() - self.known.partition_point(|s| *s < limit);
        (known + self.unknown().filter(|s| *s >= limit).count()) as u64
    }

    /// Those that took at least as long as somebody has waited, where there are enough of them.
    fn like(&self, waited: f64) -> Option<&[f64]> {
        Some(&self.known[self.known.partition_point(|s| *s < waited)..]).filter(|like| like.len() >= ALIKE)
    }

    /// How many of those that may still have been in time would not have been: as many as of those that took as long, or all. That
    /// nobody can tell of a job may be because it was slow: it is not like the others.
    fn may_be_over(&self, limit: f64) -> u64 {
        let share = |waited: f64| {
            self.like(waited).map_or(1.0, |like| (like.len() - like.partition_point(|s| *s < limit)) as f64 / like.len() as f64)
        };
        let untold = self.untold.iter().filter(|s| **s < limit).count() as u64;
        untold + self.waited.iter().filter(|s| **s < limit).map(|s| share(*s)).sum::<f64>().ceil() as u64
    }

    /// Decided where it would be the same whatever became of the jobs that are not known, as far as one can tell.
    fn against(&self, percentile: f64, limit: f64, confidence: Confidence) -> Against {
        let (over, n) = (self.over(limit), self.n());
        let at_best = percentile_against(percentile, over, n, confidence);
        let at_worst = percentile_against(percentile, (over + self.may_be_over(limit)).min(n), n, confidence);
        if at_best == at_worst { at_best } else { Against::Undecided }
    }

    /// The time of each job, where it has not ended the mean of those that took as long; and for how many there is none.
    pub fn expected(&self) -> (Vec<f64>, usize) {
        let mean = |like: &[f64]| like.iter().sum::<f64>() / like.len() as f64;
        let unlike = self.untold.len() + self.waited.iter().filter(|waited| self.like(**waited).is_none()).count();
        let expected = self.waited.iter().map(|waited| self.like(*waited).map_or(*waited, mean)).chain(self.untold.iter().copied());
        (self.known.iter().copied().chain(expected).collect(), unlike)
    }

    fn unknown_told(&self, limit: f64) -> Option<String> {
        let waited = self.waited.iter().filter(|s| **s < limit).count();
        let untold = self.untold.iter().filter(|s| **s < limit).count();
        let told = |n: usize, what: &str| (n > 0).then(|| format!("{} {what}, and may have been faster or slower than the limit", jobs(n as u64)));
        told(waited, "had not ended").into_iter().chain(told(untold, "came to an end that nobody can tell")).reduce(|a, b| format!("{a}; {b}"))
    }
}

/// Sent, not refused, and what became of it was not looked at.
pub fn is_open(job: &JobFacts, class: Class) -> bool {
    class == Class::Open && job.ended.is_none() && (job.accepted() || job.answer.is_none())
}

/// How long the client of such a job had waited for it.
pub fn waited_s(job: &JobFacts, record: &Record) -> f64 {
    let answered_t = job.answer.as_ref().filter(|_| !job.accepted()).map(|(t, _)| *t);
    // In a state that nobody knows it may have ended.
    let known_t = || job.odd_t().unwrap_or(f64::INFINITY).min(followed_until(job, record));
    (answered_t.unwrap_or_else(known_t) - job.intended_t).max(0.0)
}

fn needed(percentile: f64, n: u64, confidence: Confidence) -> String {
    let least = samples_for_percentile(percentile, confidence);
    match least.checked_sub(n).filter(|missing| *missing > 0) {
        Some(missing) => format!("{missing} samples are missing: a p{percentile} takes at least {least}, with none over the limit"),
        None => format!("so many over the limit neither show that it holds nor that it does not ({confidence} confidence)"),
    }
}

impl TimeOf {
    /// A job's time, as `latency` has it.
    fn seconds(self, job: &JobFacts, class: Class) -> Option<f64> {
        // It has ended, and its result was not looked at any more.
        let unseen = || job.total_s().filter(|_| matches!(class, Class::Open | Class::Unknown));
        let whole = latency(job, class).or_else(unseen)?;
        match (self, job.tokens()) {
            (Self::Completion, _) => Some(whole),
            _ if whole.is_infinite() => Some(whole),
            // The time that we were late ourselves belongs to it.
            (Self::FirstToken, Some(tokens)) => Some(tokens.first_s + (job.submitting_t - job.intended_t).max(0.0)),
            (Self::BetweenTokens, Some(tokens)) => (tokens.count > 1).then_some(tokens.gap_s),
            (_, None) => None,
        }
    }
}

/// A job's latency; endless for one that was accepted and did not complete, none for one that was not accepted.
pub fn latency(job: &JobFacts, class: Class) -> Option<f64> {
    match class {
        Class::Completed => job.total_s(),
        Class::Rejected | Class::Invalid | Class::Open | Class::Unknown => None,
        Class::Failed | Class::Shed | Class::Lost | Class::Duplicated | Class::Mismatched | Class::Abandoned => {
            Some(f64::INFINITY)
        }
    }
}

/// How late the jobs were sent by ourselves: the 99th percentile, in seconds.
pub fn own_lateness(jobs: &[(&JobFacts, Class)]) -> Option<f64> {
    let mut late: Vec<f64> = jobs.iter().map(|(job, _)| (job.submitting_t - job.intended_t).max(0.0)).collect();
    quantile(&mut late, 0.99)
}

pub fn check_percentile(percentile: f64, place: Span, diags: &mut Diagnostics) {
    if !(50.0..=99.99).contains(&percentile) {
        diags.error(place, format!("there is no percentile {percentile} here"), "expected 50 to 99.99");
    }
}

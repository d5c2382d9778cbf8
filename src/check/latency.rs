//! A percentile of the latency lies below a limit: counted from the moment that a job should have been sent, judged with
//! the binomial rule of MLPerf LoadGen, so that too few samples are inconclusive.

use super::grade::{Limits, Met, describe};
use super::scope::Over;
use super::{Check, Ruling, Verdict, View};
use crate::experiment::decode::At;
use crate::experiment::diagnostic::{Diagnostics, Span};
use crate::experiment::units::Time;
use crate::journal::facts::JobFacts;
use crate::load::ledger::Class;
use crate::{record, words};
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
        percentile_against(self.percentile, over as u64, latencies.len() as u64) == Against::Undecided
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
        let mut latencies: Vec<f64> = jobs.iter().filter_map(|(job, class)| self.of.seconds(job, *class)).collect();
        let told = jobs.iter().any(|(job, _)| job.tokens().is_some());
        if self.of != TimeOf::Completion && !told {
            return Verdict::inconclusive(&expected, "no job's answer was streamed in tokens");
        }
        let limit = self.below.as_s();
        if let Some(late) = own_lateness(&jobs).filter(|late| *late > OWN_LATENESS * limit) {
            return Verdict::inconclusive(&expected, format!("chaos itself was {:.0} ms late (p99): too much against this limit", late * 1e3));
        }
        let n = latencies.len() as u64;
        let against = |limit: Time| {
            let over = latencies.iter().filter(|l| **l >= limit.as_s()).count() as u64;
            Met::from(percentile_against(self.percentile, over, n))
        };
        let limits = Limits { target: against(self.below), acceptable: self.acceptable.map(against), failure: self.failure.map(against) };
        let over = latencies.iter().filter(|l| **l >= limit).count();
        let shown = quantile(&mut latencies, self.percentile / 100.0).map_or_else(|| "no job".to_owned(), |s| view.seconds(s));
        let observed = format!("{shown}; {over} of {n} jobs over the limit");
        let verdict = limits.verdict(&expected, observed).measuring(shown);
        if verdict.ruling == Ruling::Inconclusive { verdict.with([needed(self.percentile, n)]) } else { verdict }
    }
}

fn needed(percentile: f64, n: u64) -> String {
    let least = samples_for_percentile(percentile);
    match least.checked_sub(n).filter(|missing| *missing > 0) {
        Some(missing) => format!("{missing} samples are missing: a p{percentile} takes at least {least}, with none over the limit"),
        None => "so many over the limit neither show that it holds nor that it does not (99 % confidence)".to_owned(),
    }
}

impl TimeOf {
    /// A job's time, as `latency` has it.
    fn seconds(self, job: &JobFacts, class: Class) -> Option<f64> {
        let whole = latency(job, class)?;
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
        Class::Rejected | Class::Invalid | Class::Open => None,
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

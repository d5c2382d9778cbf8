//! The account of every job: which class it belongs to, and why. A pure function of the record.

use std::sync::{Arc, OnceLock};

use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ids::{self, GivenTwice};
use super::patience;
use super::scale::{Scale, Unruly, area, pixels};
use crate::driver::{AnswerIs, gateway};
use crate::journal::event::{Answer, JobNo, JobState, JobView};
use crate::journal::facts::{Generation, JobFacts, ResultFacts};
use crate::journal::record::Record;
use crate::seed::fnv;
use crate::words;

words! {
    /// What became of a job.
    pub enum Class("job class") {
        /// Not settled yet, or not when the run was stopped before its time.
        Open = "open",
        /// Refused openly, before acceptance.
        Rejected = "rejected",
        /// Refused because our input was wrong: the load's fault.
        Invalid = "invalid",
        /// Done, and the result is its own.
        Completed = "completed",
        /// Accepted, then ended without a result.
        Failed = "failed",
        /// Accepted, then failed for want of room.
        Shed = "shed",
        /// Accepted, then unknown or never ended.
        Lost = "lost",
        /// Completed more than once.
        Duplicated = "duplicated",
        /// Its client gave up on it and cancelled it; `no_abandoned_work` judges what became of it.
        Abandoned = "abandoned",
        /// Called completed, with another job's result or no plausible one.
        Mismatched = "mismatched",
        /// It was taken, or may have been, and nobody can tell what became of it.
        Unknown = "unknown",
    }
}

/// How many jobs there are of each class.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    pub submitted: u64,
    pub accepted: u64,
    pub rejected: u64,
    pub invalid: u64,
    pub completed: u64,
    pub failed: u64,
    pub shed: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub mismatched: u64,
    /// Cancelled by their own clients, which had waited long enough.
    #[serde(default)]
    pub abandoned: u64,
    /// Taken, or perhaps taken, and nobody can tell what became of them.
    #[serde(default)]
    pub unknown: u64,
    /// Refusals that were no open backpressure: errors, no connection, no answer. They are part of `rejected`, or of `unknown`.
    pub errors: u64,
}

/// The account of a whole run.
pub struct Ledger<'a> {
    record: &'a Record,
    scale: Scale,
    /// Sums of the jobs' marks, in order, and whose they are: made when it is asked for.
    owners: OnceLock<Vec<(u64, JobNo)>>,
    /// By the number of the job.
    pub classes: Vec<Class>,
    pub counts: Counts,
}

/// The reason for a class, made into a sentence where somebody reads it.
type Reason<'a> = Box<dyn Fn() -> String + 'a>;

/// A gateway learns of the end of a process at once, and who watches it writes that down a little later.
const LATE_WORD_S: f64 = 1.0;

/// Makes the account.
pub fn of(record: &Record) -> Ledger<'_> {
    let scale = Scale::of(record);
    let mut ledger = Ledger {
        record,
        scale,
        owners: OnceLock::new(),
        classes: Vec::with_capacity(record.jobs.len()),
        counts: Counts::default(),
    };
    for job in &record.jobs {
        let class = ledger.classify(job).0;
        let refused = ledger.refused_wrongly(job);
        ledger.counts.add(job, class, refused);
        ledger.classes.push(class);
    }
    ledger
}

/// How a refusal is not the fault of whom its status names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrongly {
    /// As invalid, by a target that takes such requests at other times: its error.
    ByTheTarget,
    /// There is nothing to send jobs to, or we may not: the driver's fault.
    SentAstray,
}

/// Why a job is in its class.
#[derive(Clone, Copy)]
pub struct Why<'a> {
    ledger: &'a Ledger<'a>,
    job: &'a JobFacts,
}

impl std::fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.ledger.classify(self.job).1())
    }
}

impl Counts {
    /// All that were accepted, or may have been.
    pub fn asked_for(&self) -> u64 {
        self.submitted.saturating_sub(self.rejected + self.invalid).max(self.accepted)
    }

    fn add(&mut self, job: &JobFacts, class: Class, refused: Option<Wrongly>) {
        self.submitted += 1;
        self.accepted += u64::from(job.accepted());
        let is_error =
            |answer: &Answer| matches!(answer, Answer::Error { .. } | Answer::Unreachable { .. } | Answer::NoAnswer { .. });
        let error = job.answer.as_ref().is_some_and(|(_, answer)| is_error(answer));
        self.errors += u64::from(refused.map_or(error, |wrongly| wrongly == Wrongly::ByTheTarget));
        match class {
            Class::Open => {}
            Class::Rejected => self.rejected += 1,
            Class::Invalid => self.invalid += 1,
            Class::Completed => self.completed += 1,
            Class::Failed => self.failed += 1,
            Class::Shed => self.shed += 1,
            Class::Lost => self.lost += 1,
            Class::Duplicated => self.duplicated += 1,
            Class::Mismatched => self.mismatched += 1,
            Class::Abandoned => self.abandoned += 1,
            Class::Unknown => self.unknown += 1,
        }
    }
}

impl Ledger<'_> {
    /// The class of a job.
    pub fn class(&self, job: &JobFacts) -> Class {
        self.classes.get(job.number as usize).copied().unwrap_or(Class::Open)
    }

    /// Whose fault a refusal is, where it is not that of whom its status names.
    pub fn refused_wrongly(&self, job: &JobFacts) -> Option<Wrongly> {
        let (_, answer) = job.answer.as_ref().filter(|_| self.scale.misnamed.contains(&job.number))?;
        Some(if matches!(answer, Answer::Invalid { .. }) { Wrongly::ByTheTarget } else { Wrongly::SentAstray })
    }

    /// Jobs whose id the target gave to another before they were seen to end.
    pub fn given_twice(&self) -> impl Iterator<Item = GivenTwice<'_>> {
        self.record.jobs.iter().filter_map(|job| ids::given_twice(job, self.record))
    }

    /// It was asked about to the end, and is in a state that the driver does not know. Where others passed through that state to
    /// their ends, or nobody is left who could end it, that says nothing.
    fn is_in_an_unknown_state(&self, job: &JobFacts) -> bool {
        let is_passed_by_others = || job.last_view.as_ref().is_some_and(|view| self.scale.passed.contains(&view.word));
        job.is_out_of_sight()
            && (self.record.ended || job.gave_up().is_some())
            && !patience::is_gone(self.record, patience::followed_until(job, self.record))
            && !is_passed_by_others()
    }

    /// A gateway stands for the answer that would hold the result, and the backend may have been at work on the job: whether it was
    /// done nobody knows.
    fn is_cut_off_by_a_gateway(&self, job: &JobFacts) -> bool {
        let Some((t, Answer::Error { status, proxy: true, reason })) = &job.answer else { return false };
        let submit = &self.record.plan().driver.submit;
        // What came before it, an upload, is no job yet.
        let is_last_step = submit.steps.last().is_none_or(|last| reason.contains(&format!("{} {}: ", last.method, last.path)));
        let ended_meanwhile = |life: &Generation| {
            life.exited.as_ref().is_some_and(|(exited, ..)| (job.submitting_t..=t + LATE_WORD_S).contains(exited))
        };
        submit.answer != AnswerIs::Acceptance
            && (is_last_step || submit.steps.len() == 1)
            && (gateway::may_have_reached(*status, reason, t - job.submitting_t)
                || (matches!(status, 502 | 503) && self.record.generations.iter().any(ended_meanwhile)))
    }

    /// How many results are of jobs whose input another job had, too: of them it cannot be told whose is whose.
    pub fn alike(&self) -> usize {
        self.scale.alike
    }

    /// Images whose sizes do not follow from what was asked for.
    pub fn unruly_images(&self) -> Option<&Unruly> {
        self.scale.unruly.as_ref()
    }

    pub fn why<'a>(&'a self, job: &'a JobFacts) -> Why<'a> {
        Why { ledger: self, job }
    }

    fn classify<'a>(&'a self, job: &'a JobFacts) -> (Class, Reason<'a>) {
        match &job.answer {
            None if self.record.ended && !self.record.cut_short() => {
                self.unended(job, || "submitted, and no answer came before the run ended".to_owned())
            }
            None => (Class::Open, Box::new(|| "being submitted".to_owned())),
            Some((_, Answer::Accepted { .. })) => self.accepted(job),
            Some((_, Answer::Taken { reason })) => (Class::Unknown, Box::new(move || reason.clone())),
            Some((t, Answer::Error { status, .. })) if self.is_cut_off_by_a_gateway(job) => {
                let after = t - job.submitting_t;
                let told = move || {
                    format!("a gateway answered {status} after {after:.1} s: whether the backend did the job is not known")
                };
                (Class::Unknown, Box::new(told))
            }
            Some((_, answer)) => not_accepted(answer, self.refused_wrongly(job)),
        }
    }

    fn accepted<'a>(&'a self, job: &'a JobFacts) -> (Class, Reason<'a>) {
        if let Some((t, error)) = job.cancelled() {
            let said = error.unwrap_or("the target agreed");
            return (Class::Abandoned, Box::new(move || format!("its client gave up at {t:.1} s and cancelled it ({said})")));
        }
        if let Some(twice) = ids::given_twice(job, self.record) {
            let class = if twice.restarted_t.is_some() { Class::Lost } else { Class::Unknown };
            return (class, Box::new(move || twice.to_string()));
        }
        if let Some((t, view, _)) = &job.ended {
            return match view.state {
                JobState::Completed => self.completed(job),
                JobState::Cancelled => (Class::Failed, Box::new(|| "cancelled".to_owned())),
                _ => self.failed(job, *t, view.error.as_deref().unwrap_or("without a reason")),
            };
        }
        if let Some(t) = job.vanished_t() {
            return (Class::Lost, Box::new(move || self.unknown_since(job, t).to_owned()));
        }
        if self.record.cut_short() {
            return (Class::Open, Box::new(|| format!("the run was stopped before it ended ({})", last_seen(job))));
        }
        if job.gave_up().is_some() || self.record.ended {
            return self.unended(job, || last_seen(job));
        }
        (Class::Open, Box::new(|| last_seen(job)))
    }

    /// A job that nobody follows any more, and that has not ended: lost, or not looked at for long enough.
    fn unended<'a>(&'a self, job: &'a JobFacts, last: impl Fn() -> String + 'a) -> (Class, Reason<'a>) {
        if self.is_in_an_unknown_state(job) {
            let told = || format!("{}, a state that the driver does not know (`status.states`)", last_seen(job));
            return (Class::Unknown, Box::new(told));
        }
        let lost = patience::is_lost(job, self.record, self.scale.longest);
        let class = if lost { Class::Lost } else { Class::Open };
        (class, Box::new(move || patience::told(job, self.record, lost, &last())))
    }

    fn failed<'a>(&'a self, job: &'a JobFacts, t: f64, error: &'a str) -> (Class, Reason<'a>) {
        let means = |pattern: &Option<Regex>| pattern.as_ref().is_some_and(|re| re.is_match(error));
        match () {
            () if means(&self.scale.shed) => (Class::Shed, Box::new(move || format!("{error} (at {t:.1} s)"))),
            () if means(&self.scale.lost) => (Class::Lost, Box::new(move || format!("{} ({error})", self.unknown_since(job, t)))),
            () => (Class::Failed, Box::new(move || format!("{error} (at {t:.1} s)"))),
        }
    }

    /// What became of a job that the target does not know any more at that moment.
    fn unknown_since(&self, job: &JobFacts, t: f64) -> &'static str {
        let restart = |g: &Generation| g.number > 0 && job.submitting_t < g.started_t && g.started_t <= t;
        if self.record.generations.iter().any(restart) {
            "lost by the restart: accepted before it, unknown after it"
        } else {
            "accepted, then unknown to the target (404)"
        }
    }

    fn completed<'a>(&'a self, job: &'a JobFacts) -> (Class, Reason<'a>) {
        if let Some(times) = job.last_view.as_ref().and_then(|v| v.completions).filter(|n| *n > 1) {
            return (Class::Duplicated, Box::new(move || format!("the target completed it {times} times")));
        }
        if let Some(later) = job.later_ends().first() {
            return (Class::Duplicated, Box::new(|| format!("it ended completed, and then once more as {}", later.word)));
        }
        let Some(result) = &job.result else {
            return match self.record.plan().driver.result {
                None => (Class::Completed, Box::new(|| "completed (the driver knows no way to its result)".to_owned())),
                Some(_) => self.unseen(job),
            };
        };
        match self.implausible(job, result) {
            Some(problem) => (Class::Mismatched, Box::new(move || format!("called completed, but {}", problem()))),
            None => (Class::Completed, Box::new(|| format!("completed, {} bytes of {}", result.bytes, result.kind))),
        }
    }

    /// A completed job whose result nobody has seen.
    fn unseen<'a>(&'a self, job: &'a JobFacts) -> (Class, Reason<'a>) {
        match job.gave_up() {
            None => (Class::Open, Box::new(|| "completed, its result not looked at yet".to_owned())),
            Some(why) if patience::was_given_time(job, self.record) => {
                (Class::Mismatched, Box::new(move || format!("called completed, but its result cannot be had: {why}")))
            }
            Some(why) => (Class::Unknown, Box::new(move || format!("completed, its result not seen: {why}"))),
        }
    }

    /// Why a result cannot be this job's.
    fn implausible<'a>(&'a self, job: &'a JobFacts, result: &'a ResultFacts) -> Option<Reason<'a>> {
        if let Some(error) = &result.error {
            return Some(Box::new(move || format!("its result cannot be had: {error}")));
        }
        if result.bytes == 0 {
            return Some(Box::new(|| "its result is empty".to_owned()));
        }
        if let Some(mark) = result.mark.as_ref().filter(|mark| **mark != job.mark) {
            return Some(Box::new(move || format!("it got the result of {}", self.owner(mark))));
        }
        // A list in JSON or a page may name others; a picture or a text that holds somebody else's is not this job's alone.
        let is_list = matches!(&*result.kind, "json" | "markup");
        if let Some(other) =
            result.other_mark.as_ref().filter(|other| !is_list && self.owner_of(other).is_some_and(|of| of != job.number))
        {
            return Some(Box::new(move || format!("beside its own it holds the result of {}", self.owner(other))));
        }
        let (scale, route) = (&self.scale, self.record.plan().driver.result.as_ref());
        let free_form = route.is_some_and(|r| r.free_form);
        let asked_for = result.size.zip(scale.sides).filter(|_| !free_form && scale.sent.asks_for_a_size(&job.shape));
        if let Some(([w, h], sides)) = asked_for.filter(|(size, sides)| !sides.fit(job, *size)) {
            return Some(Box::new(move || {
                let (asked_w, asked_h) = (job.shape.width, job.shape.height);
                let [usual_w, usual_h] = sides.expected(job);
                format!("its image has {w}x{h} pixels, and for {asked_w}x{asked_h} this run's have {usual_w:.0}x{usual_h:.0}")
            }));
        }
        let least = scale.bytes.as_ref().map(|usual| usual.least(pixels(job), result.size.map(area)));
        if !free_form && least.is_some_and(|least| (result.bytes as f64) < least) {
            let (w, h) = (job.shape.width, job.shape.height);
            return Some(Box::new(move || {
                format!("its result is a stand-in: {} bytes of {} for {w}x{h}", result.bytes, result.kind)
            }));
        }
        if route.is_some_and(|r| r.carries_mark) && result.mark.is_none() {
            return Some(Box::new(|| format!("its result does not carry its mark: {} bytes of {}", result.bytes, result.kind)));
        }
        let others = if free_form { 0 } else { scale.others(job, result.digest) };
        (others > 0).then(|| -> Reason<'a> {
            Box::new(move || format!("{} jobs with different inputs got the very same result", others + 1))
        })
    }

    /// Whose mark it is.
    fn owner(&self, mark: &str) -> String {
        self.owner_of(mark).map_or_else(|| "an unknown job".to_owned(), |number| format!("job {number}"))
    }

    fn owner_of(&self, mark: &str) -> Option<JobNo> {
        let owners = self.owners.get_or_init(|| {
            let mut owners: Vec<(u64, JobNo)> =
                self.record.jobs.iter().map(|job| (fnv(job.mark.as_bytes()), job.number)).collect();
            owners.sort_unstable();
            owners
        });
        let sum = fnv(mark.as_bytes());
        let alike = owners[owners.partition_point(|(of, _)| *of < sum)..].iter().take_while(|(of, _)| *of == sum);
        let is_its = |number: &JobNo| self.record.jobs.get(*number as usize).is_some_and(|job| job.mark == mark);
        alike.map(|(_, number)| *number).find(is_its)
    }
}

fn not_accepted(answer: &Answer, wrongly: Option<Wrongly>) -> (Class, Reason<'_>) {
    match answer {
        Answer::Error { status, reason, .. } if wrongly == Some(Wrongly::SentAstray) => (
            Class::Invalid,
            Box::new(move || match status {
                200..300 => format!("nothing can be made of its answers ({status}): {reason}"),
                _ => format!(
                    "refused with {status}, and no job was ever taken there: are the path and the credentials right? {reason}"
                ),
            }),
        ),
        Answer::Invalid { status, reason } if wrongly == Some(Wrongly::ByTheTarget) => {
            let told =
                move || format!("refused as invalid with {status}, though it takes such requests at other times: {reason}");
            (Class::Rejected, Box::new(told))
        }
        Answer::Refused { status, retry_after_s, .. } => {
            let when =
                || retry_after_s.map_or_else(|| "without saying when to come back".to_owned(), |s| format!("come back in {s} s"));
            (Class::Rejected, Box::new(move || format!("refused with {status}, {}", when())))
        }
        Answer::Invalid { status, reason } => {
            (Class::Invalid, Box::new(move || format!("refused as invalid with {status}: {reason}")))
        }
        Answer::Error { status, proxy: true, .. } => {
            let told = move || match gateway::gave_up_waiting(*status) {
                true => {
                    format!("a gateway answered {status}: it gave up waiting, and whether the backend has the job is not known")
                }
                false => format!("a gateway answered {status}: the backend was not reached"),
            };
            (Class::Rejected, Box::new(told))
        }
        Answer::Error { status, reason, .. } => (Class::Rejected, Box::new(move || format!("error {status}: {reason}"))),
        Answer::Unreachable { reason } => (Class::Rejected, Box::new(move || format!("unreachable: {reason}"))),
        Answer::NoAnswer { reason } => {
            (Class::Rejected, Box::new(move || format!("no answer, so it is unknown whether it was taken: {reason}")))
        }
        // Told of elsewhere.
        Answer::Accepted { .. } | Answer::Taken { .. } => (Class::Open, Box::new(|| "taken".to_owned())),
    }
}

fn last_seen(job: &JobFacts) -> String {
    let said = |v: &Arc<JobView>| format!("last seen {} at {:.0} %", v.word, v.progress.unwrap_or(0.0));
    job.last_view.as_ref().map_or_else(|| "never seen".to_owned(), said)
}

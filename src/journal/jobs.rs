//! Every job of a run, and what is asked of them again and again while it goes on: which are open, how many were sent, how many
//! went wrong. None of these answers takes a walk over all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use super::chunks::Chunks;
use super::event::{Answer, Event, JobNo, JobState, JobView, ResultLook, Via};
use super::facts::{Given, JobFacts, ResultFacts};
use super::label::{Label, Labels};
use crate::driver::sent::{Input, Sent as Inputs};
use crate::experiment::JobShape;
use crate::seed::fnv;

/// A number that is so far ahead of the last one is damage, not a gap.
const LARGEST_GAP: usize = 100_000;
/// So many different views of jobs are kept at hand, to be shared.
const KNOWN_VIEWS: usize = 12;

#[derive(Debug, Clone, Default)]
pub struct Jobs {
    list: Chunks<JobFacts>,
    /// Those that something is still awaited of.
    open: BTreeSet<JobNo>,
    /// By the hash of its id, a job whose end has not been seen.
    holders: HashMap<u64, JobNo>,
    sent: BTreeMap<Label, Sent>,
    settled: Chunks<Settled>,
    labels: Labels,
    shapes: Vec<Arc<JobShape>>,
    views: Vec<Arc<JobView>>,
    /// A completed job is done with once its result was looked at.
    pub has_results: bool,
    /// What the driver sends of each.
    pub inputs: Option<Inputs>,
}

/// What was sent of one load.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sent {
    pub jobs: u64,
    pub latest_t: f64,
}

/// A job was settled; how many were by then, and how many of them went wrong.
#[derive(Debug, Clone, Copy)]
struct Settled {
    t: f64,
    wrong: u32,
}

impl Jobs {
    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &JobFacts> + Clone {
        self.list.iter()
    }

    pub fn get(&self, number: usize) -> Option<&JobFacts> {
        self.list.get(number)
    }

    /// Those that something is still awaited of: an answer, an end, a look at the result.
    pub fn open(&self) -> impl Iterator<Item = &JobFacts> + Clone {
        self.open.iter().filter_map(|number| self.list.get(*number as usize))
    }

    /// The job that an id stood for at a moment: the latest that had been given it by then.
    pub fn of_id(&self, id: &str, t: f64) -> Option<&JobFacts> {
        let given = |job: &&JobFacts| job.id() == Some(id) && job.answer.as_ref().is_some_and(|(given_t, _)| *given_t <= t);
        let sent = self.sent_by(t);
        (0..sent).rev().filter_map(|number| self.list.get(number)).find(given)
    }

    /// How many had been sent by then; they are in the order in which they were.
    fn sent_by(&self, t: f64) -> usize {
        let (mut from, mut to) = (0, self.list.len());
        while from < to {
            let middle = from + (to - from) / 2;
            if self.list.get(middle).is_some_and(|job| job.submitting_t <= t) { from = middle + 1 } else { to = middle }
        }
        from
    }

    pub fn sent(&self, load: &str) -> Sent {
        self.sent.get(load).copied().unwrap_or_default()
    }

    /// How many jobs were settled from one moment to another, and how many of them went wrong.
    pub fn settled_between(&self, from: f64, to: f64) -> (u64, u64) {
        let (begin, end) = (self.settled.partition_point(|s| s.t < from), self.settled.partition_point(|s| s.t <= to));
        let wrong_by = |at: usize| at.checked_sub(1).and_then(|at| self.settled.get(at)).map_or(0, |s| s.wrong);
        (end.saturating_sub(begin) as u64, u64::from(wrong_by(end).saturating_sub(wrong_by(begin))))
    }

    /// All but some of them, numbered anew.
    pub fn without(&self, leaves_out: impl Fn(&JobFacts) -> bool) -> Self {
        let inputs = self.inputs.clone();
        let mut kept = Self { has_results: self.has_results, inputs, labels: self.labels.clone(), ..Self::default() };
        let mut settled: Vec<(f64, bool)> = Vec::new();
        for job in self.list.iter().filter(|job| !leaves_out(job)) {
            let number = kept.list.len() as JobNo;
            let sent = kept.sent.entry(job.load.clone()).or_default();
            (sent.jobs, sent.latest_t) = (sent.jobs + 1, sent.latest_t.max(job.submitting_t));
            if !is_done(job, self.has_results) {
                kept.open.insert(number);
            }
            settled.extend(job.went_wrong());
            let mut job = job.clone();
            job.number = number;
            kept.list.push(job);
        }
        settled.sort_by(|a, b| a.0.total_cmp(&b.0));
        settled.into_iter().for_each(|(t, wrong)| kept.settle(t, wrong));
        kept
    }

    /// Takes in an event that is about a job. An error says that the journal is damaged.
    pub fn apply(&mut self, t: f64, event: &Event) -> Result<(), String> {
        let Some(number) = number(event) else { return Ok(()) };
        if let Event::Submitting { load, client, shape, mark, intended_t, .. } = event {
            return self.submitting(t, number, load, *client, shape, mark, *intended_t);
        }
        let view = match event {
            Event::Progress { view, .. } | Event::Ended { view, .. } => Some(self.shared(view)),
            _ => None,
        };
        let result = match event {
            Event::ResultSeen { look, .. } => Some(self.result(number, look)),
            _ => None,
        };
        let Some(job) = self.list.get_mut(number as usize) else {
            return Err(format!("it is about job {number}, whose submission is missing"));
        };
        if job.given_to().is_some() {
            return Ok(());
        }
        let before = job.went_wrong();
        change(job, t, event, view.as_ref(), result);
        let after = job.went_wrong();
        let done = is_done(job, self.has_results);
        if let (None, Some((t, wrong))) = (before, after) {
            self.settle(t, wrong);
        }
        if done {
            self.open.remove(&number)
        } else {
            self.open.insert(number)
        };
        match event {
            Event::Answered { answer: Answer::Accepted { id }, .. } => self.gives(t, id, number),
            Event::Ended { .. } | Event::Vanished { .. } => self.release(number),
            _ => {}
        }
        Ok(())
    }

    /// From now on the id is this job's. Answers may overtake one another: of two the one that was sent later has it.
    fn gives(&mut self, t: f64, id: &str, number: JobNo) {
        let hash = fnv(id.as_bytes());
        let Some(holder) = self.holders.insert(hash, number).filter(|holder| *holder != number) else { return };
        let (Some(one), Some(other)) = (self.list.get(holder as usize), self.list.get(number as usize)) else { return };
        if one.id() != Some(id) {
            return;
        }
        let alike = self.inputs.as_ref().is_some_and(|inputs| {
            let [a, b] = [one, other].map(|job| inputs.input(&job.shape, &job.mark));
            a != Input::Own && a == b
        });
        let (first, to) = if one.submitting_t <= other.submitting_t { (holder, number) } else { (number, holder) };
        let sent_t = one.submitting_t.max(other.submitting_t);
        self.holders.insert(hash, to);
        if !alike {
            self.open.remove(&first);
        }
        if let Some(job) = self.list.get_mut(first as usize) {
            job.rare_mut().given_to = Some(Given { to, t, sent_t, alike });
        }
    }

    /// Its end is known, whoever has its id afterwards.
    fn release(&mut self, number: JobNo) {
        let hash = self.list.get(number as usize).and_then(JobFacts::id).map(|id| fnv(id.as_bytes()));
        if let Some(hash) = hash.filter(|hash| self.holders.get(hash) == Some(&number)) {
            self.holders.remove(&hash);
        }
    }

    #[allow(clippy::too_many_arguments)] // They are the fields of one event.
    fn submitting(
        &mut self,
        t: f64,
        number: JobNo,
        load: &str,
        client: u32,
        shape: &JobShape,
        mark: &str,
        due: f64,
    ) -> Result<(), String> {
        let (at, len) = (number as usize, self.list.len());
        if at < len || at - len > LARGEST_GAP {
            return Err(format!("it submits job {number} after {len} jobs"));
        }
        let (load, shape) = (self.labels.of(load), self.shape(shape));
        // Lines that are missing are missing jobs: what comes after must keep its number.
        for lost in len..at {
            self.list.push(JobFacts::new(lost as JobNo, Label::from("?"), 0, shape.clone(), Label::from(""), (due, t)));
        }
        let sent = self.sent.entry(load.clone()).or_default();
        (sent.jobs, sent.latest_t) = (sent.jobs + 1, sent.latest_t.max(t));
        self.list.push(JobFacts::new(number, load, client, shape, Label::from(mark), (due, t)));
        self.open.insert(number);
        match at - len {
            0 => Ok(()),
            lost => Err(format!("{lost} submissions before it are missing")),
        }
    }

    fn settle(&mut self, t: f64, wrong: bool) {
        let last = self.settled.last().copied().unwrap_or(Settled { t: 0.0, wrong: 0 });
        self.settled.push(Settled { t: t.max(last.t), wrong: last.wrong + u32::from(wrong) });
    }

    fn shape(&mut self, shape: &JobShape) -> Arc<JobShape> {
        share(&mut self.shapes, shape)
    }

    fn shared(&mut self, view: &JobView) -> Arc<JobView> {
        share(&mut self.views, view)
    }

    fn result(&mut self, number: JobNo, look: &ResultLook) -> ResultFacts {
        let own = self.list.get(number as usize).map(|job| job.mark.clone());
        let mark = look.mark.as_deref().map(|mark| own.filter(|own| *own == mark).unwrap_or_else(|| Label::from(mark)));
        let error = look.error.as_deref().map(|error| self.labels.of(error));
        let kind = self.labels.of(&look.kind);
        let other_mark = look.other_mark.as_deref().map(|mark| Box::new(Label::from(mark)));
        ResultFacts { bytes: look.bytes, digest: look.digest, kind, mark, other_mark, size: look.size, error }
    }
}

/// One of the latest that is the same, or a new one that is at hand from now on.
fn share<T: Clone + PartialEq>(known: &mut Vec<Arc<T>>, one: &T) -> Arc<T> {
    if let Some(same) = known.iter().rev().find(|k| ***k == *one) {
        return same.clone();
    }
    if known.len() >= KNOWN_VIEWS {
        known.remove(0);
    }
    known.push(Arc::new(one.clone()));
    known[known.len() - 1].clone()
}

/// Its end is known, and its result has been looked at: the target may go.
fn is_done(job: &JobFacts, has_results: bool) -> bool {
    let awaits_result = has_results && job.state() == Some(JobState::Completed);
    job.settled() && (!awaits_result || job.result.is_some() || job.cancelled().is_some() || job.gave_up().is_some())
}

fn number(event: &Event) -> Option<JobNo> {
    match event {
        Event::Submitting { job, .. }
        | Event::Answered { job, .. }
        | Event::Progress { job, .. }
        | Event::Ended { job, .. }
        | Event::ResultSeen { job, .. }
        | Event::Missing { job }
        | Event::Vanished { job }
        | Event::GivingUp { job }
        | Event::Cancelled { job, .. }
        | Event::GaveUp { job, .. } => Some(*job),
        _ => None,
    }
}

fn change(job: &mut JobFacts, t: f64, event: &Event, view: Option<&Arc<JobView>>, result: Option<ResultFacts>) {
    match (event, view) {
        (Event::Answered { answer, .. }, _) => job.answer = Some((t, answer.clone())),
        (Event::Progress { .. }, Some(view)) => job.see(t, view),
        (Event::Ended { via, .. }, Some(view)) => end(job, t, view, *via),
        (Event::ResultSeen { .. }, _) => job.result = result,
        (Event::Missing { .. }, _) => {
            job.rare_mut().missing_t.get_or_insert(t);
        }
        (Event::Vanished { .. }, _) => job.rare_mut().vanished_t = Some(t),
        (Event::GivingUp { .. }, _) => job.rare_mut().cancelled = Some((t, None)),
        (Event::Cancelled { error, .. }, _) => {
            let cancelled = &mut job.rare_mut().cancelled;
            *cancelled = Some((cancelled.as_ref().map_or(t, |c| c.0), error.clone()));
        }
        (Event::GaveUp { why, .. }, _) => {
            let rare = job.rare_mut();
            (rare.gave_up, rare.gave_up_t) = (Some(why.clone()), Some(t));
        }
        _ => {}
    }
}

fn end(job: &mut JobFacts, t: f64, view: &Arc<JobView>, via: Via) {
    job.see(t, view);
    match &job.ended {
        None => job.ended = Some((t, view.clone(), via)),
        Some((_, first, _)) if first.state != view.state || view.state == JobState::Unknown => {
            job.rare_mut().later_ends.push((**view).clone());
        }
        Some(_) => {}
    }
}

impl Index<usize> for Jobs {
    type Output = JobFacts;
    fn index(&self, number: usize) -> &JobFacts {
        self.list.get(number).unwrap_or_else(|| panic!("there is no job {number}"))
    }
}

impl IndexMut<usize> for Jobs {
    fn index_mut(&mut self, number: usize) -> &mut JobFacts {
        self.list.get_mut(number).unwrap_or_else(|| panic!("there is no job {number}"))
    }
}

impl<'a> IntoIterator for &'a Jobs {
    type Item = &'a JobFacts;
    type IntoIter = Box<dyn Iterator<Item = &'a JobFacts> + 'a>;
    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

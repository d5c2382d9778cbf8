//! What results and errors of a run are held against: what its own were like before anything was broken.

use std::collections::HashSet;

use regex::Regex;

use super::bytes::Usual;
use super::patience::Longest;
use super::refusals;
use super::sides::{self, Sides};
use crate::driver::Patterns;
use crate::driver::sent::{Input, Sent};
use crate::journal::event::JobNo;
use crate::journal::facts::JobFacts;
use crate::journal::record::Record;

/// What results and errors of this run are held against.
pub struct Scale {
    /// How many times as large as what was asked for images are, by those that came before the first fault.
    pub sides: Option<Sides>,
    /// Images that came before the first fault, where their sizes follow from nothing.
    pub unruly: Option<Unruly>,
    /// Of results that came before the first fault.
    pub bytes: Option<Usual>,
    /// Of every result, in order.
    digests: Vec<u64>,
    /// The same with what was sent, of jobs whose input others had too.
    equal: Vec<(u64, u64)>,
    /// How many those are.
    pub alike: usize,
    pub sent: Sent,
    /// What an error says that means: there was no room.
    pub shed: Option<Regex>,
    pub lost: Option<Regex>,
    /// What a job of this run takes at the most.
    pub longest: Option<Longest>,
    /// Refused, and not by the fault of whom the status names.
    pub misnamed: HashSet<JobNo>,
    /// States that the driver does not know, and through which jobs passed that ended.
    pub passed: HashSet<String>,
}

/// Images whose sizes do not follow from what was asked for.
pub struct Unruly {
    pub count: usize,
    /// One that is far from it, and its width and height.
    pub example: (JobNo, [u16; 2]),
}

impl Unruly {
    /// `None` where they are too few, or all as large as was asked for.
    fn of(images: &[(&JobFacts, [u16; 2])]) -> Option<Self> {
        let (job, size) = images.iter().find(|(job, size)| !sides::is_as_asked(job, *size))?;
        (images.len() >= sides::FEWEST).then_some(Self { count: images.len(), example: (job.number, *size) })
    }
}

impl Scale {
    pub fn of(record: &Record) -> Self {
        let until = record.baseline_end().unwrap_or(f64::INFINITY);
        let mut images_too = true;
        let (mut sizes, mut digests, mut equal, mut images) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let sent = Sent::of(&record.plan().driver);
        for job in &record.jobs {
            let Some(result) = job.result.as_ref().filter(|r| r.error.is_none()) else { continue };
            digests.push(result.digest);
            if let Input::Shared(input) = sent.input(&job.shape, &job.mark) {
                equal.push((result.digest, input));
            }
            if job.ended.as_ref().is_some_and(|(t, ..)| *t <= until) {
                sizes.push((result.size.map_or_else(|| pixels(job), area), result.bytes as f64));
                images_too &= result.size.is_some();
                images.extend(result.size.filter(|_| sent.asks_for_a_size(&job.shape)).map(|sides| (job, sides)));
            }
        }
        digests.sort_unstable();
        equal.sort_unstable();
        let mut inputs: Vec<u64> = equal.iter().map(|(_, input)| *input).collect();
        inputs.sort_unstable();
        let alike = inputs.chunk_by(|a, b| a == b).map(<[u64]>::len).filter(|count| *count > 1).sum();
        let shed = Patterns::compiled(record.plan().driver.patterns.shed.as_ref());
        let lost = Patterns::compiled(record.plan().driver.patterns.lost.as_ref());
        let (longest, misnamed) = (Longest::of(record), refusals::misnamed(record, &sent));
        let ended = record.jobs.iter().filter(|job| job.ended.is_some());
        let passed = ended.filter_map(|job| Some(job.unknown_state()?.to_owned())).collect();
        let (sides, bytes) = (Sides::of(&images), Usual::of(&sizes, images_too));
        let is_free_form = record.plan().driver.result.as_ref().is_some_and(|route| route.free_form);
        let unruly = if sides.is_none() && !is_free_form { Unruly::of(&images) } else { None };
        Self { sides, unruly, bytes, digests, equal, alike, sent, shed, lost, longest, misnamed, passed }
    }

    /// How many jobs with another input have this very result.
    pub fn others(&self, job: &JobFacts, digest: u64) -> usize {
        let twins = count(&self.digests, &digest);
        match self.sent.input(&job.shape, &job.mark) {
            Input::Own => twins.saturating_sub(1),
            Input::OfAFile => 0,
            Input::Shared(input) => twins - count(&self.equal, &(digest, input)),
        }
    }
}

/// How often it is there, in what is in order.
fn count<T: Ord>(all: &[T], one: &T) -> usize {
    all.partition_point(|other| other <= one) - all.partition_point(|other| other < one)
}

/// In pixels.
pub fn area([width, height]: [u16; 2]) -> f64 {
    f64::from(width) * f64::from(height)
}

/// As many as were asked for.
pub fn pixels(job: &JobFacts) -> f64 {
    f64::from(job.shape.width) * f64::from(job.shape.height)
}

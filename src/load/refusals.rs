//! Whose fault a refusal as invalid is: a request that the same target takes at other times is not wrong. Servers that are not
//! ready answer with 400, too.

use std::collections::HashSet;

use crate::driver::sent::{Input, Sent};
use crate::experiment::JobShape;
use crate::journal::event::{Answer, JobNo};
use crate::journal::facts::JobFacts;
use crate::journal::record::Record;

/// There is no such route, or we may not use it: the driver's fault, where the target never took anything there.
const NO_ROUTE: [u16; 6] = [401, 403, 404, 405, 406, 501];

/// Whoever may not use the target is not told when.
const NOT_ALLOWED: [u16; 2] = [401, 403];
/// Of many different inputs some may be wrong; so many in a row, all with one status, where something changed, are not.
const ROW: usize = 3;

/// Of one kind of job, what was refused since one was taken.
#[derive(Default)]
struct Kind<'a> {
    accepted_t: Option<f64>,
    refused: Vec<&'a JobFacts>,
}

impl Kind<'_> {
    /// None is refused whom the same target would not have taken before something happened to it, or takes later.
    fn is_targets(&self, record: &Record, is_taken_later: bool) -> bool {
        let status = |job: &&JobFacts| status_of(job);
        let Some(first) = self.refused.first() else { return false };
        let is_one = self.refused.iter().all(|job| status(job) == status(first));
        let has_changed = match self.accepted_t {
            Some(t) => changed_between(record, t, first),
            None => is_taken_later,
        };
        is_one && has_changed && self.refused.len() >= ROW
    }
}

/// Jobs whose refusal is not the fault of whom its status names.
///
/// Refused as invalid although nothing is wrong with them: the very same input was taken; or three and more in a row were refused alike
/// after the target was started or a fault began, of a kind that was taken before, or before the first that was taken. And
/// refused with an answer that says that there is nothing to send jobs to, by a target that never took one.
pub fn misnamed(record: &Record, sent: &Sent) -> HashSet<JobNo> {
    let mut found: HashSet<JobNo> = HashSet::new();
    if record.jobs.iter().all(|job| !job.accepted()) {
        found.extend(record.jobs.iter().filter(|job| has_no_route(job)).map(|job| job.number));
        return found;
    }
    if !record.jobs.iter().any(is_invalid) {
        return found;
    }
    let shared = |job: &JobFacts| match sent.input(&job.shape, &job.mark) {
        Input::Shared(input) => Some(input),
        Input::Own | Input::OfAFile => None,
    };
    let taken: HashSet<u64> = record.jobs.iter().filter(|job| job.accepted()).filter_map(shared).collect();
    let mut kinds: Vec<(&JobShape, Kind<'_>)> = Vec::new();
    for job in &record.jobs {
        let at = kinds.iter().position(|(shape, _)| **shape == *job.shape).unwrap_or(kinds.len());
        if at == kinds.len() {
            kinds.push((&job.shape, Kind::default()));
        }
        let Some((_, kind)) = kinds.get_mut(at) else { continue };
        if job.accepted() {
            let row = std::mem::replace(kind, Kind { accepted_t: Some(job.submitting_t), refused: Vec::new() });
            if row.is_targets(record, true) {
                found.extend(row.refused.iter().map(|job| job.number));
            }
        } else if is_invalid(job) {
            if shared(job).is_some_and(|input| taken.contains(&input)) {
                found.insert(job.number);
            } else {
                kind.refused.push(job);
            }
        }
    }
    for (_, kind) in kinds.iter().filter(|(_, kind)| kind.is_targets(record, false)) {
        found.extend(kind.refused.iter().map(|job| job.number));
    }
    found
}

fn status_of(job: &JobFacts) -> Option<u16> {
    match job.answer {
        Some((_, Answer::Invalid { status, .. } | Answer::Error { status, .. })) => Some(status),
        _ => None,
    }
}

fn is_invalid(job: &JobFacts) -> bool {
    matches!(job.answer, Some((_, Answer::Invalid { .. }))) && status_of(job).is_some_and(|s| s > 0 && !NOT_ALLOWED.contains(&s))
}

fn has_no_route(job: &JobFacts) -> bool {
    // Of a success nothing could be made, and a redirect leads elsewhere: the driver looks in the wrong place.
    let is_drivers = |status: u16| NO_ROUTE.contains(&status) || (200..400).contains(&status);
    matches!(job.answer, Some((_, Answer::Error { status, .. })) if is_drivers(status))
}

/// The target was started, or a fault began, after that moment and before the job was answered.
fn changed_between(record: &Record, t: f64, job: &JobFacts) -> bool {
    let until = job.answer.as_ref().map_or(job.submitting_t, |(answered_t, _)| *answered_t);
    let is_between = |moment: f64| (t..=until).contains(&moment);
    record.generations.iter().any(|life| life.number > 0 && is_between(life.started_t))
        || record.faults.iter().filter_map(|fault| fault.injecting_t).any(is_between)
}

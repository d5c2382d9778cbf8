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

/// Of one kind of job, what has been seen so far.
#[derive(Default)]
struct Kind {
    accepted_t: Option<f64>,
    /// Refused before the first that was taken.
    before: Vec<JobNo>,
}

/// Jobs whose refusal is not the fault of whom its status names.
///
/// Refused as invalid although nothing is wrong with them: the very same input was taken, or one of the same kind was taken before the
/// target was started or a fault began and none since, or the target began to take them later. And refused with an error that
/// says that there is nothing to send jobs to, by a target that never took one.
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
    let mut kinds: Vec<(&JobShape, Kind)> = Vec::new();
    for job in &record.jobs {
        let at = kinds.iter().position(|(shape, _)| **shape == *job.shape).unwrap_or(kinds.len());
        if at == kinds.len() {
            kinds.push((&job.shape, Kind::default()));
        }
        let Some((_, kind)) = kinds.get_mut(at) else { continue };
        if job.accepted() {
            found.extend(kind.before.drain(..));
            kind.accepted_t = Some(job.submitting_t);
        } else if is_invalid(job) {
            match kind.accepted_t {
                _ if shared(job).is_some_and(|input| taken.contains(&input)) => _ = found.insert(job.number),
                None => kind.before.push(job.number),
                Some(t) if changed_between(record, t, job) => _ = found.insert(job.number),
                Some(_) => {}
            }
        }
    }
    found
}

fn is_invalid(job: &JobFacts) -> bool {
    matches!(job.answer, Some((_, Answer::Invalid { status: 1.., .. })))
}

fn has_no_route(job: &JobFacts) -> bool {
    matches!(job.answer, Some((_, Answer::Error { status, proxy: false, .. })) if NO_ROUTE.contains(&status))
}

/// The target was started, or a fault began, after that moment and before the job was answered.
fn changed_between(record: &Record, t: f64, job: &JobFacts) -> bool {
    let until = job.answer.as_ref().map_or(job.submitting_t, |(answered_t, _)| *answered_t);
    let is_between = |moment: f64| (t..=until).contains(&moment);
    record.generations.iter().any(|life| life.number > 0 && is_between(life.started_t))
        || record.faults.iter().filter_map(|fault| fault.injecting_t).any(is_between)
}

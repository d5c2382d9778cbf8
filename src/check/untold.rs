//! Jobs of which nobody can tell what became of them, for checks that go on without them.

use super::error_rate::is_error;
use crate::journal::facts::JobFacts;
use crate::load::ledger::Class;
use crate::text::jobs;

/// A larger share of them decides over what is known of the others: they may be the slow ones, or may have completed.
const SHARE: f64 = 0.05;

/// Nobody can tell, and its client saw no error.
pub fn is_untold(job: &JobFacts, class: Class) -> bool {
    class == Class::Unknown && !is_error(job, class)
}

/// It has not ended either, as far as anybody knows.
pub fn is_without_end(job: &JobFacts, class: Class) -> bool {
    class == Class::Unknown && job.ended.is_none()
}

/// They are too many beside so many that are known.
pub fn too_many(untold: usize, known: usize) -> Option<String> {
    (untold as f64 > SHARE * (untold + known) as f64).then(|| told(untold))
}

pub fn told(untold: usize) -> String {
    format!("nobody can tell what became of {} more", jobs(untold as u64))
}

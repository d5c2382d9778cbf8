//! What became of each job that met an out-of-memory, which of these are allowed, and whether the memory came back.

use std::collections::BTreeMap;

use super::oom::Signs;
use super::gpu_level::Memory;
use super::{Check, Verdict, View};
use super::untold;
use crate::experiment::units::Share;
use crate::journal::event::Answer;
use crate::journal::facts::JobFacts;
use crate::journal::record::Record;
use crate::load::ledger::Class;
use crate::{record, words};

const SHOWN: usize = 5;

words! {
    /// What becomes of a job that meets an out-of-memory.
    pub enum Outcome("outcome of an out-of-memory") {
        /// It was refused openly.
        Refused = "refused",
        /// It was tried again in a smaller batch, and completed.
        RetriedSmaller = "retried_smaller",
        /// It completed with its own result, without a smaller batch being told.
        Completed = "completed",
        /// It is called a success, and its result is none.
        FakeSuccess = "fake_success",
        /// It failed.
        Failed = "failed",
        /// It was lost, or never ended.
        Lost = "lost",
        /// It was lost when the server died.
        Died = "died",
    }
}

record! {
    /// What becomes of jobs that meet an out-of-memory, and of the memory: it must be usable again.
    pub struct OomOutcome {
        /// Which outcomes are in order.
        allow: Vec<Outcome> = vec![Outcome::Refused, Outcome::RetriedSmaller],
        /// GPU memory must come back to what it was before, to within this share of all of it; or, where an allocator keeps it,
        /// later jobs of that size must be able to use it.
        memory_back_to_within: Share = Share(0.1),
    }
}

impl Check for OomOutcome {
    fn series(&self) -> Vec<String> {
        super::gpu_level::SERIES.map(str::to_owned).into()
    }
    /// Levels are made of what could be read; where there is none, that is said.
    fn rests_on(&self, _record: &Record) -> Vec<String> {
        Vec::new()
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let allowed: Vec<&str> = self.allow.iter().map(|o| o.word()).collect();
        let expected = format!("jobs that meet an out-of-memory are {}, and the memory can be used again", allowed.join(" or "));
        let record = view.record;
        if !record.ended {
            return Verdict::pending(&expected, "the run goes on");
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let (mut is_wrong, mut shown) = (false, Vec::new());
        let signs = Signs::of(record);
        let mut untold = 0;
        for (job, class, why) in view.jobs(None) {
            untold += usize::from(class == Class::Unknown && signs.met(job));
            let Some(outcome) = outcome(job, class, &signs, record) else { continue };
            *counts.entry(outcome.word()).or_default() += 1;
            if !self.allow.contains(&outcome) {
                is_wrong = true;
                if shown.len() < SHOWN {
                    shown.push(format!("job {} ({}): {}: {why}", job.number, job.load, outcome.word()));
                }
            }
        }
        if counts.is_empty() && untold == 0 {
            return Verdict::inconclusive(&expected, "no job is known to have met an out-of-memory (one whose process was ended meanwhile tells nothing)");
        }
        let told: Vec<String> = counts.iter().map(|(what, n)| format!("{n} {what}")).collect();
        let memory = Memory::of(record, self.memory_back_to_within.0);
        let outcomes = told.join(", ");
        let verdict = match (&memory, !is_wrong) {
            (Memory::Kept(_), _) => Verdict::failed(&expected, format!("{outcomes}; the memory did not come back")),
            (_, false) => Verdict::failed(&expected, &outcomes),
            (_, true) if untold > 0 => Verdict::inconclusive(&expected, format!("{outcomes}; of those that met one {}", untold::told(untold))),
            (Memory::Unknown(_), true) => Verdict::inconclusive(&expected, format!("{outcomes}; whether the memory can be used again is not known")),
            (Memory::Back(_) | Memory::Reused(_), true) => Verdict::passed(&expected, &outcomes),
        };
        verdict.measuring(outcomes).with(shown).with([memory.told().to_owned()])
    }
}

/// `None` for a job that did not meet one.
fn outcome(job: &JobFacts, class: Class, signs: &Signs<'_>, record: &Record) -> Option<Outcome> {
    let of_fault = record.plan().faults.iter().any(|f| f.name == job.load);
    if signs.met(job) {
        return Some(match class {
            Class::Completed if signs.retried(job) => Outcome::RetriedSmaller,
            Class::Completed => Outcome::Completed,
            Class::Mismatched => Outcome::FakeSuccess,
            Class::Lost if crashed(record) => Outcome::Died,
            Class::Lost => Outcome::Lost,
            // Chaos stopped looking before its time was over, or nobody can tell.
            Class::Open | Class::Unknown => return None,
            _ => Outcome::Failed,
        });
    }
    // An out-of-memory that is hidden shows only in what came out, or did not.
    // An error is no refusal: somebody else may have it, too, and nobody is told to come back.
    let openly = matches!(job.answer, Some((_, Answer::Refused { .. } | Answer::Invalid { .. })));
    match class {
        Class::Rejected if of_fault && matches!(job.answer, Some((_, Answer::Refused { .. }))) => Some(Outcome::Refused),
        Class::Rejected | Class::Invalid if signs.in_refusal(job) => Some(if openly { Outcome::Refused } else { Outcome::Failed }),
        Class::Mismatched if of_fault => Some(Outcome::FakeSuccess),
        Class::Lost if of_fault && crashed(record) => Some(Outcome::Died),
        _ => None,
    }
}

fn crashed(record: &Record) -> bool {
    record.generations.iter().any(|g| g.crashed().is_some())
}

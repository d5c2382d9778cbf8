//! Refusals say that they are refusals, and when to come back; what was accepted is not dropped for want of room.

use super::dose::Dose;
use super::queue::{self, Source, peak};
use super::scope::Over;
use super::{Check, Verdict, View};
use crate::journal::event::Answer;
use crate::load::ledger::{Class, Wrongly};
use crate::record;

const EXPECTED: &str = "refusals are open and say when to come back, and nothing accepted is dropped for want of room";
/// Nobody means this long.
const LONGEST_WAIT_S: f64 = 86_400.0;
const SHOWN: usize = 5;

record! {
    /// Refusals are open and say when to come back, and nothing accepted is dropped for want of room.
    pub struct BackpressureIsHonest {}
}

impl Check for BackpressureIsHonest {
    fn dose(&self) -> Dose {
        Dose::Pass
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let record = view.record;
        if !record.ended {
            return Verdict::pending(EXPECTED, "the run goes on");
        }
        let mut refused = 0;
        let mut wrong = 0;
        let mut shown = Vec::new();
        for (job, class, why) in view.jobs(None) {
            // What is wrong, and whether its reason says more.
            let problem = match (&job.answer, class) {
                (Some((_, Answer::Refused { retry_after_s, .. })), _) => {
                    refused += 1;
                    let sensible = retry_after_s.is_some_and(|s| s > 0.0 && s < LONGEST_WAIT_S);
                    (!sensible).then_some(("it was not told when to come back", false))
                }
                (Some((_, Answer::Error { proxy: false, .. })), Class::Rejected) => Some(("", true)),
                _ if view.ledger.refused_wrongly(job) == Some(Wrongly::ByTheTarget) => Some(("", true)),
                (_, Class::Shed) => Some(("accepted, and then: ", true)),
                _ => None,
            };
            let Some((what, says_why)) = problem else { continue };
            wrong += 1;
            // Of so many a reader sees the sentence; of thousands it is not made.
            if shown.len() < SHOWN {
                let why = if says_why { why.to_string() } else { String::new() };
                shown.push(format!("job {} ({}): {what}{why}", job.number, job.load));
            }
        }
        if wrong > 0 {
            return Verdict::failed(EXPECTED, format!("{wrong} jobs were not treated so")).with(shown);
        }
        let depth = queue::depth(record);
        let longest = Over::All.window(record).map_or(0.0, |(from, to)| peak(depth.series(), from, to));
        let pressure = match depth.source {
            // A job waits until it is seen running, be there pressure or not.
            Source::Waiting => 2.0,
            Source::Told | Source::Overdue => 1.0,
        };
        if refused == 0 && longest < pressure {
            let observed = match depth.source {
                Source::Overdue => "nothing was refused, and no job took much longer than before the faults: no pressure was seen",
                Source::Told | Source::Waiting => "nothing was refused and nothing waited: there was no pressure",
            };
            return Verdict::inconclusive(EXPECTED, observed);
        }
        Verdict::passed(EXPECTED, format!("{refused} refused openly; at most {longest:.0} waited, none was dropped")).measuring(format!("{refused} refused"))
    }
}

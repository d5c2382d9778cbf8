//! Refusals say that they are refusals, and when to come back; what was accepted is not dropped for want of room.

use super::dose::Dose;
use super::queue::{self, Source, peak};
use super::scope::Over;
use super::{Check, Verdict, View};
use crate::journal::event::Answer;
use crate::load::ledger::Class;
use crate::record;

const EXPECTED: &str = "refusals are open and say when to come back, and nothing accepted is dropped for want of room";
/// Nobody means this long.
const LONGEST_WAIT_S: f64 = 86_400.0;

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
        let mut wrong = Vec::new();
        for (job, class, why) in view.jobs(None) {
            let problem = match (&job.answer, class) {
                (Some((_, Answer::Refused { retry_after_s, .. })), _) => {
                    refused += 1;
                    let sensible = retry_after_s.is_some_and(|s| s > 0.0 && s < LONGEST_WAIT_S);
                    (!sensible).then(|| "it was not told when to come back".to_owned())
                }
                (Some((_, Answer::Error { proxy: false, .. })), _) => Some(why.to_string()),
                (_, Class::Shed) => Some(format!("accepted, and then: {why}")),
                _ => None,
            };
            wrong.extend(problem.map(|what| format!("job {} ({}): {what}", job.number, job.load)));
        }
        if !wrong.is_empty() {
            return Verdict::failed(EXPECTED, format!("{} jobs were not treated so", wrong.len())).with(wrong.into_iter().take(5));
        }
        let depth = queue::depth(record);
        let highest = Over::All.window(record).map_or(0.0, |(from, to)| peak(depth.series(), from, to));
        let longest = highest - depth.at_work();
        let pressure = match depth.source {
            Source::Told => 1.0,
            // A job waits until it is seen running, be there pressure or not.
            Source::Waiting => 2.0,
            // Nobody knows how many were at work, unless there is a time before the faults to hold it against.
            Source::Sent if depth.at_work() < 1.0 => f64::INFINITY,
            Source::Sent => 1.0,
        };
        if refused == 0 && longest < pressure {
            let observed = match depth.source {
                Source::Sent => "nothing was refused, and never were more under way than before the faults: no pressure was seen",
                _ => "nothing was refused and nothing waited: there was no pressure",
            };
            return Verdict::inconclusive(EXPECTED, observed);
        }
        Verdict::passed(EXPECTED, format!("{refused} refused openly; at most {longest:.0} waited, none was dropped")).measuring(format!("{refused} refused"))
    }
}

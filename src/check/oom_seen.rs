//! An out-of-memory really happened: without it, nothing about recovery from one is proven.

use super::{Check, Verdict, View};
use crate::driver::Patterns;
use crate::journal::record::Record;
use crate::observe::prometheus::canonical_name;
use crate::record;

record! {
    /// An out-of-memory really happened.
    pub struct OomSeen {
        /// How many there must be.
        at_least: u32 = 1,
    }
}

impl Check for OomSeen {
    fn judge(&self, view: &View<'_>) -> Verdict {
        let expected = format!("at least {} out-of-memory", self.at_least);
        let record = view.record;
        let sources = sources(record);
        if sources.is_empty() && record.ended {
            return Verdict::inconclusive(&expected, "nothing could show one: the driver has neither an `oom` pattern nor a counter");
        }
        let seen = sources.iter().map(|(_, count)| *count).max().unwrap_or(0);
        let evidence = sources.iter().map(|(source, count)| format!("{source}: {count}"));
        if seen >= u64::from(self.at_least) {
            let lines = record.log_hits.iter().filter(|hit| hit.pattern == "oom").take(3).map(|hit| format!("log at {:.1} s: {}", hit.t, hit.line));
            return Verdict::passed(&expected, format!("{seen} seen")).with(evidence).with(lines);
        }
        if record.ended && !record.cut_short() {
            Verdict::failed(&expected, format!("{seen} seen: the fault did not exhaust the memory")).with(evidence)
        } else {
            Verdict::pending(&expected, format!("{seen} so far"))
        }
    }
}

/// How many each source saw.
fn sources(record: &Record) -> Vec<(&'static str, u64)> {
    let driver = &record.plan().driver;
    let mut sources = Vec::new();
    if driver.patterns.oom.is_some() {
        if !record.generations.is_empty() {
            sources.push(("lines in the log", record.log_counts.get("oom").copied().unwrap_or(0)));
        }
        let pattern = Patterns::compiled(driver.patterns.oom.as_ref());
        let matches = |text: &str| pattern.as_ref().is_some_and(|re| re.is_match(text));
        let errors = record.jobs.iter().filter(|job| job.error().is_some_and(matches));
        sources.push(("errors of jobs", errors.count() as u64));
    }
    if let Some(name) = &driver.counters.out_of_memory
        && let Some(series) = record.series.get(&format!("metric:{}", canonical_name(name)))
    {
        sources.push(("the target's counter", (series.max - series.points.first().map_or(0.0, |p| p.value)).max(0.0) as u64));
    }
    sources
}

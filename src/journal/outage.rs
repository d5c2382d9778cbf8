//! From which moment recovery counts. A deadline that began only when the target is back would never be missed.
//!
//! Where a fault came while the target was still away because of an earlier one, it counts from that one's.
//!
//! All of it follows from events that every journal has, old ones too: nothing is judged by the moment at which chaos had
//! finished looking.

use super::facts::{FaultFacts, Generation};
use super::record::Record;
use crate::fault::{CauseEnds, FaultSpec};
use crate::journal::event::Phase;
use crate::observe::prober::{OPEN, UP};

/// Who asks a target that is away knows of it by then: a question is given up after a second.
const SEEN_WITHIN_S: f64 = 2.0;

/// The moment from which recovery counts, and what happened then.
#[derive(Debug, Clone, PartialEq)]
pub struct Outage {
    pub t: f64,
    /// As a noun: "the end of process 7".
    pub what: String,
}

impl Outage {
    fn new(t: f64, what: impl Into<String>) -> Self {
        Self { t, what: what.into() }
    }

    /// For the evidence of a verdict.
    pub fn told(&self) -> String {
        format!("counted from {} at {:.1} s", self.what, self.t)
    }
}

impl Record {
    /// From when the recovery of the whole run counts: from the end of the last fault's cause. `None` while one is still to
    /// come or at work.
    pub fn outage(&self) -> Option<Outage> {
        if !self.faults_over() {
            return None;
        }
        if self.plan().faults.is_empty() {
            return self.phase_start(Phase::Recover).map(|t| Outage::new(t, "the end of the load's own time"));
        }
        let outages = self.faults.iter().filter_map(|fault| Some((fault, self.outage_of(fault)?)));
        let mut outages: Vec<(&FaultFacts, Outage)> = outages.collect();
        outages.sort_by(|a, b| a.1.t.total_cmp(&b.1.t));
        let (mut last, mut counted) = outages.pop()?;
        // A target that an earlier fault has taken away, and that was not back when the last one came, owes its return since then.
        while let Some((fault, earlier)) = outages.pop() {
            if self.begins_anew(last) || !self.is_still_away(fault, &earlier, counted.t) {
                break;
            }
            (last, counted) = (fault, earlier);
        }
        Some(counted)
    }

    /// What it does may take the target away by itself, whatever was before.
    fn begins_anew(&self, fault: &FaultFacts) -> bool {
        let plan = self.plan().faults.iter().find(|plan| plan.name == fault.name);
        plan.is_some_and(|plan| plan.spec.needs_process() || FaultSpec::outlives_target(plan.spec.kind()))
    }

    /// From a fault's outage to that moment no connection was taken, or the health endpoint did not answer.
    fn is_still_away(&self, fault: &FaultFacts, outage: &Outage, until_t: f64) -> bool {
        let Some(begin) = fault.injecting_t else { return false };
        [OPEN, UP].into_iter().any(|name| {
            let stretches = self.series.get(name).map(|series| series.stretches(begin, until_t)).unwrap_or_default();
            stretches.last().is_some_and(|(from, to, value)| *value < 0.5 && *from <= outage.t + SEEN_WITHIN_S && to > from)
        })
    }

    /// When the cause of one fault was over; `None` while it is at work, and for one that was skipped.
    pub fn outage_of(&self, fault: &FaultFacts) -> Option<Outage> {
        let (begin, over) = (fault.injecting_t?, fault.over_t?);
        let name = &fault.name;
        let ends = self.plan().faults.iter().find(|plan| plan.name == *name).map(|plan| plan.spec.cause_ends());
        let ended = self.ended_by(begin, over);
        let injected = fault.injected_t.unwrap_or(over);
        let outage = match ends {
            Some(CauseEnds::AtOnce) => Outage::new(begin, format!("the beginning of `{name}`")),
            Some(CauseEnds::Sent) => {
                let sent = self.jobs.iter().filter(|job| job.load == *name).map(|job| job.submitting_t).reduce(f64::max);
                Outage::new(sent.unwrap_or(injected), format!("the moment that `{name}` had been sent"))
            }
            Some(CauseEnds::After(time)) => Outage::new(injected + time.as_secs_f64(), format!("the planned end of `{name}`")),
            Some(CauseEnds::Injected) => Outage::new(injected, format!("the end of `{name}`")),
            Some(CauseEnds::ProcessEnd { down }) => {
                let down = down.as_secs_f64();
                match ended {
                    Some(life) if down > 0.0 => {
                        let t = exit_t(life) + down;
                        Outage::new(t, format!("the planned end of `{name}`, {down:.1} s after the end of process {},", life.pid))
                    }
                    ended => {
                        self.begun(begin, over, ended).unwrap_or_else(|| Outage::new(injected, format!("the end of `{name}`")))
                    }
                }
            }
            Some(CauseEnds::LetGo) => {
                // A process that ends only after it was let go of has kept the target down itself, by our order.
                let last = ended.map_or(begin, exit_t);
                Outage::new(fault.reverting_t.unwrap_or(over).max(last), format!("the planned end of `{name}`"))
            }
            Some(CauseEnds::PutBack) | None => {
                let back = fault.reverted.as_ref().map(|(t, _)| *t);
                Outage::new(back.unwrap_or(over), format!("the moment that `{name}` was put back"))
            }
        };
        // Of a damaged journal the end may lie before the beginning.
        Some(Outage { t: outage.t.max(begin).min(over.max(begin)), ..outage })
    }

    /// The last of the processes that ran when the fault began and ended in its course. One that was started later, and
    /// ended too, is the target's own affair.
    fn ended_by(&self, begin: f64, over: f64) -> Option<&Generation> {
        let ran = self.generations.iter().filter(|life| life.started_t <= begin && (begin..=over).contains(&exit_t(life)));
        ran.max_by(|a, b| exit_t(a).total_cmp(&exit_t(b)))
    }

    /// The first refused connection, or the end of the process, whichever came first: a process that is asked to end may
    /// close its port long before.
    fn begun(&self, begin: f64, over: f64, ended: Option<&Generation>) -> Option<Outage> {
        let end = ended.map(|life| Outage::new(exit_t(life), format!("the end of process {}", life.pid)));
        let until = end.as_ref().map_or(over, |end| end.t);
        let points = self.series.get(OPEN).map(|open| open.between(begin, until)).unwrap_or_default();
        let fell = points.iter().rev().take_while(|p| p.value < 0.5).last().filter(|p| p.t > begin).map(|p| p.t);
        // Where no process was seen to end, any refusal will do.
        let fell = fell.or_else(|| ended.is_none().then(|| points.iter().find(|p| p.value < 0.5).map(|p| p.t)).flatten());
        match (fell, end) {
            (Some(t), end) if end.as_ref().is_none_or(|end| t < end.t) => Some(Outage::new(t, "the first refused connection")),
            (_, end) => end,
        }
    }

    /// The first start of the target that chaos saw from its beginning: one that ran already was only found.
    pub fn first_start(&self) -> Option<&Generation> {
        let ours = self.plan().runtime.is_started();
        let begin = self.phase_start(Phase::Baseline).unwrap_or(f64::INFINITY);
        let seen = self.generations.iter().filter(|life| ours || life.started_t > begin);
        seen.min_by_key(|life| life.number).filter(|life| life.ready_after_s.is_some())
    }
}

fn exit_t(life: &Generation) -> f64 {
    life.exited.as_ref().map_or(f64::NAN, |(t, ..)| *t)
}

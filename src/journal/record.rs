//! The record: what the journal adds up to. Checks and reports see this and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::chunks::Chunks;
use super::event::{Event, Level, Line, Phase, ProcessEvent};
use super::facts::{ContainerEvent, FaultFacts, Generation, JobFacts, ListenerFacts, LogHit, Loss};
use super::jobs::Jobs;
use super::series::{Detail, Series};
use super::undo;
use crate::driver::sent::Sent as Inputs;
use crate::observe::prober::LISTENER;
use crate::observe::prometheus::canonical_name;
use crate::observe::unread::is_mark;
use crate::plan::Plan;

/// Log lines kept for each pattern; the rest are counted.
const MOST_HITS: usize = 2_000;

/// The source of a gap: the last lines of the target's log.
pub const LOG_END: &str = "the end of the target's log";

#[derive(Debug, Clone, Default)]
pub struct Record {
    pub run_id: String,
    pub version: String,
    pub began: String,
    pub host: String,
    pub overrides: Vec<String>,
    pub plan: Option<Arc<Plan>>,
    /// The latest moment that is known of.
    pub now: f64,
    pub phases: Vec<(f64, Phase)>,
    pub preflight: Vec<(String, Level, String)>,
    pub notes: Vec<String>,
    pub jobs: Jobs,
    pub faults: Vec<FaultFacts>,
    pub generations: Vec<Generation>,
    pub containers: Chunks<ContainerEvent>,
    pub log_hits: Chunks<LogHit>,
    pub log_counts: BTreeMap<String, u64>,
    pub series: Arc<BTreeMap<String, Series>>,
    /// Of which every change is kept, because something judges by them.
    judged: Arc<BTreeSet<String>>,
    pub samples: u64,
    pub metric_types: BTreeMap<String, String>,
    pub gaps: BTreeMap<String, (u64, String)>,
    pub listeners: Arc<BTreeMap<String, ListenerFacts>>,
    pub guard: Option<(f64, String, String)>,
    pub interrupted: Option<(f64, String)>,
    pub broken: Option<String>,
    pub load_stopped_t: Option<f64>,
    pub ended: bool,
    /// Lines that could not be read.
    pub damage: Damage,
    /// Only what is left to put back could be read.
    pub salvaged: bool,
}

/// What of a journal could not be read.
#[derive(Debug, Clone, Default)]
pub struct Damage {
    pub lines: u64,
    /// The first of them, as a sentence.
    pub first: Option<String>,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let first = self.first.as_deref().unwrap_or("none");
        match self.lines {
            1 => write!(f, "a line of the journal is damaged ({first})"),
            lines => write!(f, "{lines} lines of the journal are damaged (the first: {first})"),
        }
    }
}

impl Damage {
    pub fn add(&mut self, what: String) {
        self.lines += 1;
        self.first.get_or_insert(what);
    }
}

/// How much is kept of a series.
fn detail(name: &str, judged: &BTreeSet<String>) -> Detail {
    // What is known of the machine and of chaos itself decides whether anything can be judged.
    let of_ours = name.starts_with("machine.") || name.starts_with("chaos.") || name == LISTENER || is_mark(name);
    if of_ours || judged.contains(name) { Detail::Every } else { Detail::Outline }
}

/// The memory of the target: of its process where this machine sees it, else of its containers as their engine tells it.
pub const MEMORY: [&str; 2] = ["process.rss_bytes", "container.memory_bytes"];

impl Record {
    /// The one of `MEMORY` that was measured.
    pub fn memory_series(&self) -> Option<&'static str> {
        MEMORY.into_iter().find(|name| self.series.contains_key(*name))
    }

    /// When the target's metrics were read for the first time.
    pub fn first_metric_t(&self) -> Option<f64> {
        self.series_from("metric:").filter_map(|(_, series)| Some(series.first_point()?.t)).reduce(f64::min)
    }

    /// The series of one of the target's metrics: itself, or one for each set of labels.
    pub fn metric<'a>(&'a self, name: &str) -> impl Iterator<Item = (&'a str, &'a Series)> + use<'a> {
        let wanted = format!("metric:{}", canonical_name(name));
        let after = wanted.len();
        self.series_from(&wanted).filter(move |(key, _)| key[after..].is_empty() || key[after..].starts_with('{'))
    }

    /// The series whose names begin so.
    fn series_from<'a>(&'a self, begin: &str) -> impl Iterator<Item = (&'a str, &'a Series)> + use<'a> {
        let begin = begin.to_owned();
        let from = self.series.range::<str, _>((Bound::Included(begin.as_str()), Bound::Unbounded));
        from.take_while(move |(key, _)| key.starts_with(&begin)).map(|(key, series)| (key.as_str(), series))
    }

    /// The plan of the run.
    ///
    /// # Panics
    /// Never for a record that `reader::read` returned or whose first event is `RunStarted`: both have one.
    pub fn plan(&self) -> &Plan {
        self.plan.as_deref().expect("a record begins with its plan")
    }

    /// Of what the target printed at the end not all could be read.
    pub fn log_end_is_missing(&self) -> bool {
        self.gaps.contains_key(LOG_END)
    }

    pub fn phase_start(&self, phase: Phase) -> Option<f64> {
        self.phases.iter().find(|(_, p)| *p == phase).map(|(t, _)| *t)
    }

    /// When the baseline ended: the first injection, or the end of the baseline phase where nothing was injected.
    pub fn baseline_end(&self) -> Option<f64> {
        self.faults.iter().filter_map(|f| f.injecting_t).reduce(f64::min).or_else(|| self.phase_start(Phase::Recover))
    }

    /// When the cause of the last fault was gone; `None` while one is still to come or at work.
    pub fn faults_end(&self) -> Option<f64> {
        if !self.faults_over() {
            return None;
        }
        let none_planned = self.plan().faults.is_empty().then(|| self.phase_start(Phase::Recover)).flatten();
        self.faults.iter().filter_map(|f| f.over_t).reduce(f64::max).or(none_planned)
    }

    /// Every fault has been at work, or will not be.
    pub fn faults_over(&self) -> bool {
        let over = |f: &FaultFacts| f.skipped.is_some() || f.over_t.is_some();
        self.faults.len() >= self.plan().faults.len() && self.faults.iter().all(over)
    }

    pub fn fault(&self, name: &str) -> Option<&FaultFacts> {
        self.faults.iter().find(|f| f.name == name)
    }

    /// Jobs of a load or fault; all with `None`.
    pub fn jobs_of<'a>(&'a self, load: Option<&'a str>) -> impl Iterator<Item = &'a JobFacts> {
        self.jobs.iter().filter(move |job| load.is_none_or(|name| job.load == name))
    }

    /// The run was stopped before its time: what has not happened by then proves nothing against the target.
    pub fn cut_short(&self) -> bool {
        self.interrupted.is_some() || self.guard.is_some() || self.broken.is_some()
    }

    /// Until when jobs were followed and figures taken: what happened later, or not at all, was not looked for.
    pub fn looked_until(&self) -> f64 {
        self.phase_start(Phase::Revert).unwrap_or(self.now).min(self.now)
    }

    pub fn in_flight(&self) -> usize {
        self.jobs.open().filter(|job| job.accepted() && !job.settled()).count()
    }

    /// Adds one line of the journal.
    pub fn apply(&mut self, line: &Line) {
        self.now = self.now.max(line.t);
        let t = line.t;
        match &line.event {
            Event::RunStarted { run_id, version, began, overrides, host, plan, .. } => {
                self.run_id.clone_from(run_id);
                self.version.clone_from(version);
                self.began.clone_from(began);
                self.overrides.clone_from(overrides);
                self.host.clone_from(host);
                self.jobs.has_results = plan.driver.result.is_some();
                self.jobs.inputs = Some(Inputs::of(&plan.driver));
                self.judged = Arc::new(plan.judged_series());
                self.plan = Some(Arc::from(plan.clone()));
            }
            Event::Phase { phase } => self.phases.push((t, *phase)),
            Event::Preflight { what, level, detail } => self.preflight.push((what.clone(), *level, detail.clone())),
            Event::Note { text } => self.notes.push(text.clone()),
            Event::Process { event } => self.apply_process(t, event),
            Event::Container { id, name, action, detail } => self.containers.push(ContainerEvent {
                t,
                id: id.clone(),
                name: name.clone(),
                action: action.clone(),
                detail: detail.clone(),
            }),
            Event::LogLine { pattern, line, generation } => self.apply_log(t, pattern, line, *generation),
            Event::Sample { values } => {
                self.samples += 1;
                let all = Arc::make_mut(&mut self.series);
                for (name, value) in values.iter() {
                    match all.get_mut(name) {
                        Some(series) => series.push(t, value),
                        None => all.entry(name.to_owned()).or_insert(Series::new(detail(name, &self.judged))).push(t, value),
                    }
                }
            }
            Event::MetricTypes { types } => self.metric_types.clone_from(types),
            Event::Gap { source, error } => {
                let gap = self.gaps.entry(source.clone()).or_insert_with(|| (0, error.clone()));
                gap.0 += 1;
            }
            Event::ListenerLost { listener, .. }
            | Event::ListenerFreed { listener }
            | Event::ListenerTried { listener, .. }
            | Event::ListenerBack { listener, .. }
            | Event::ListenerClosed { listener }
            | Event::ListenerHeard { listener, .. } => {
                Arc::make_mut(&mut self.listeners).entry(listener.clone()).or_default().apply(t, &line.event);
            }
            Event::GuardTripped { guard, reason } => self.guard = Some((t, guard.clone(), reason.clone())),
            Event::Interrupted { signal } => self.interrupted = Some((t, signal.clone())),
            Event::Broken { reason } => self.broken = Some(reason.clone()),
            Event::LoadStopped {} => self.load_stopped_t = Some(t),
            Event::RunEnded {} => self.ended = true,
            Event::Submitting { .. }
            | Event::Answered { .. }
            | Event::Progress { .. }
            | Event::Ended { .. }
            | Event::ResultSeen { .. }
            | Event::Missing { .. }
            | Event::Vanished { .. }
            | Event::GivingUp { .. }
            | Event::Cancelled { .. }
            | Event::GaveUp { .. } => {
                if let Err(why) = self.jobs.apply(t, &line.event) {
                    self.damage.add(why);
                }
            }
            _ => self.apply_fault(t, &line.event),
        }
    }

    fn apply_fault(&mut self, t: f64, event: &Event) {
        match event {
            Event::FaultPrepared { fault, kind, undo, sum } => {
                if *sum != 0 && *sum != undo::sum(undo) {
                    return self.damage.add(format!("what puts fault `{fault}` back is damaged"));
                }
                let facts = self.fault_mut(fault);
                facts.kind.clone_from(kind);
                facts.prepared = Some(undo.clone());
            }
            Event::FaultInjecting { fault, planned_t } => {
                let facts = self.fault_mut(fault);
                facts.planned_t = Some(*planned_t);
                facts.injecting_t = Some(t);
            }
            Event::FaultInjected { fault, error } => {
                let facts = self.fault_mut(fault);
                facts.injected_t = Some(t);
                facts.error.clone_from(error);
            }
            Event::FaultObserved { fault, when, observation } => {
                self.fault_mut(fault).observed.insert(*when, (t, observation.clone()));
            }
            Event::FaultHeld { fault, held } => self.fault_mut(fault).held.push(held.clone()),
            Event::FaultOver { fault } => self.fault_mut(fault).over_t = Some(t),
            Event::FaultReverting { fault } => self.fault_mut(fault).reverting_t = Some(t),
            Event::FaultReverted { fault, how } => self.fault_mut(fault).reverted = Some((t, how.clone())),
            Event::FaultStuck { fault, error } => self.fault_mut(fault).stuck = Some(error.clone()),
            Event::FaultSkipped { fault, why } => self.fault_mut(fault).skipped = Some(why.clone()),
            _ => {}
        }
    }

    fn fault_mut(&mut self, name: &str) -> &mut FaultFacts {
        let at = self.faults.iter().position(|f| f.name == name).unwrap_or_else(|| {
            self.faults.push(FaultFacts { name: name.to_owned(), ..FaultFacts::default() });
            self.faults.len() - 1
        });
        &mut self.faults[at]
    }

    fn apply_process(&mut self, t: f64, event: &ProcessEvent) {
        match event {
            ProcessEvent::Started { pid, generation } => {
                self.generations.push(Generation {
                    number: *generation,
                    pid: *pid,
                    started_t: t,
                    ready_after_s: None,
                    exited: None,
                    ended_elsewhere: false,
                });
            }
            ProcessEvent::Ready { generation, after_s } => {
                if let Some(life) = self.generations.iter_mut().find(|g| g.number == *generation) {
                    // Two that ask at the same time may both write it down.
                    life.ready_after_s.get_or_insert(*after_s);
                }
            }
            ProcessEvent::Exited { generation, status, asked, elsewhere } => {
                if let Some(life) = self.generations.iter_mut().find(|g| g.number == *generation) {
                    life.exited = Some((t, status.clone(), *asked));
                    life.ended_elsewhere = *elsewhere;
                }
            }
        }
    }

    fn apply_log(&mut self, t: f64, pattern: &str, line: &str, generation: u32) {
        let count = self.log_counts.entry(pattern.to_owned()).or_default();
        *count += 1;
        if *count as usize <= MOST_HITS {
            self.log_hits.push(LogHit { t, pattern: pattern.to_owned(), line: line.to_owned(), generation });
        }
    }
}

impl ListenerFacts {
    fn apply(&mut self, t: f64, event: &Event) {
        match event {
            Event::ListenerBack { .. } => {
                self.connected.push((t, None));
                if let Some(loss) = self.losses.last_mut() {
                    loss.back_t.get_or_insert(t);
                }
            }
            Event::ListenerLost { why, fault, open, .. } => {
                if let Some(last) = self.connected.last_mut() {
                    last.1.get_or_insert(t);
                }
                let freed_t = fault.is_none().then_some(t);
                let (why, fault, open) = (why.clone(), fault.clone(), open.clone());
                self.losses.push(Loss {
                    t,
                    why,
                    fault,
                    open,
                    freed_t,
                    tries: vec![],
                    back_t: None,
                    closed_t: None,
                    heard: vec![],
                });
            }
            Event::ListenerClosed { .. } => {
                if let Some(last) = self.connected.last_mut() {
                    last.1.get_or_insert(t);
                }
                self.losses.iter_mut().for_each(|loss| _ = loss.closed_t.get_or_insert(t));
            }
            Event::ListenerFreed { .. } => self.losses.last_mut().into_iter().for_each(|loss| loss.freed_t = Some(t)),
            Event::ListenerTried { .. } => self.losses.last_mut().into_iter().for_each(|loss| loss.tries.push(t)),
            Event::ListenerHeard { id, state, .. } => {
                // News counts for every loss that left the job open.
                let open = self.losses.iter_mut().filter(|loss| loss.back_t.is_some() && loss.open.contains(id));
                open.for_each(|loss| loss.heard.push((t, id.clone(), *state)));
            }
            _ => {}
        }
    }
}

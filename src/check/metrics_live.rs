//! The named metrics exist, have the right type, and move while they should.
//!
//! A metric that has not moved while so many jobs ended stands still, unless it counts something that did not happen. Gauges
//! of resources are judged together: any one of them may be constant in health. The list of the load-testing plan is built in.

use super::blind::ASKED_FOR_S;
use super::{Check, Verdict, View};
use crate::driver::Driver;
use crate::experiment::diagnostic::nearest;
use crate::journal::event::{JobState, Phase};
use crate::journal::record::Record;
use crate::journal::series::Series;
use crate::observe::unread::{METRICS, mark};
use crate::record;

/// What makes a metric move.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Moves {
    /// Jobs.
    WithJobs,
    /// Jobs, but one alone may stand still in health: a GPU that is always busy, an allocator that keeps what it has. Only
    /// all of these together do not.
    Together,
    /// Listeners that come and go; messages to them.
    WithListeners,
    /// Only what goes wrong, or what need not happen.
    Maybe,
    /// The same, and with labels it is not there before.
    Seldom,
}

/// The plan's list: name, type, what moves it.
const PLAN: &[(&str, &str, Moves)] = &[
    ("http_request_duration_seconds", "histogram", Moves::WithJobs),
    ("pipeline_stage_duration_seconds", "histogram", Moves::WithJobs),
    ("model_3d_duration_seconds", "histogram", Moves::WithJobs),
    ("concurrent_requests", "gauge", Moves::Together),
    ("job_queue_size", "gauge", Moves::Maybe),
    ("gpu_usage_percent", "gauge", Moves::Together),
    ("gpu_memory_bytes", "gauge", Moves::Together),
    ("cpu_usage_percent", "gauge", Moves::Together),
    ("memory_usage_bytes", "gauge", Moves::Together),
    ("http_requests_total", "counter", Moves::WithJobs),
    ("errors_total", "counter", Moves::Maybe),
    ("generation_success_total", "counter", Moves::WithJobs),
    ("generation_failure_total", "counter", Moves::Maybe),
    ("websocket_connections_active", "gauge", Moves::Maybe),
    ("websocket_messages_sent_total", "counter", Moves::WithListeners),
    ("websocket_errors_total", "counter", Moves::Maybe),
    ("quality_overall_score", "gauge", Moves::Together),
    ("quality_validation_failures_total", "counter", Moves::Maybe),
];

/// The backends that have them.
const OF_THE_PLAN: [&str; 2] = ["reference", "orfeas"];

record! {
    /// The named metrics exist, have the right type, and move while they should.
    pub struct MetricsLive {
        /// Which; without it those that the driver names, and for the backends of the load-testing plan its list.
        names: Vec<String> = Vec::new(),
        /// A metric that has not moved while so many jobs completed stands still.
        jobs: u32 = 10,
    }
}

impl Check for MetricsLive {
    /// Those of a driver are kept in any case.
    fn metrics(&self) -> Vec<String> {
        let of_the_plan = PLAN.iter().filter(|_| self.names.is_empty()).map(|(name, ..)| (*name).to_owned());
        self.names.iter().cloned().chain(of_the_plan).collect()
    }

    fn rests_on(&self, _record: &Record) -> Vec<String> {
        vec![METRICS.to_owned()]
    }

    fn judge(&self, view: &View<'_>) -> Verdict {
        let expected = "every named metric exists, has its type, and moves while jobs are done";
        let record = view.record;
        if !record.ended {
            return Verdict::pending(expected, "the run goes on");
        }
        if record.samples == 0 || !record.series.keys().any(|name| name.starts_with("metric:")) {
            return Verdict::inconclusive(expected, "the target's metrics could not be read");
        }
        let wanted = self.wanted(record);
        if wanted.is_empty() {
            return Verdict::inconclusive(expected, "which metrics there should be is not said: give `names`");
        }
        let ends = completed_at(record);
        let mut wrong = Vec::new();
        let mut still: Vec<Option<String>> = Vec::new();
        for (name, kind, moves) in &wanted {
            match self.of_metric(record, name, *kind, *moves, &ends) {
                Said::Fine if *moves == Moves::Together => still.push(None),
                Said::Fine => {}
                Said::Frozen(why) if *moves == Moves::Together => still.push(Some(why)),
                Said::Frozen(why) | Said::Wrong(why) => wrong.push(why),
            }
        }
        wrong.extend(still.into_iter().collect::<Option<Vec<String>>>().unwrap_or_default());
        let observed = format!("{} of {} are alive", wanted.len() - wrong.len(), wanted.len());
        if !wrong.is_empty() {
            return Verdict::failed(expected, observed.clone()).measuring(observed).with(wrong);
        }
        if ends.len() < self.jobs as usize {
            return Verdict::inconclusive(expected, format!("{} jobs completed, {} are needed to see what moves", ends.len(), self.jobs));
        }
        Verdict::passed(expected, observed.clone()).measuring(observed)
    }
}

/// What a driver says of its backend's metrics.
fn named(driver: &Driver) -> impl Iterator<Item = (&str, Moves)> {
    let (gpu, counters) = (&driver.gpu, &driver.counters);
    let gauges = [&gpu.memory_used, &gpu.memory_reusable, &gpu.utilization, &gpu.temperature];
    // One source alone is no group: it may be constant. An allocator that keeps all it has tells two constant figures.
    let sources = [gpu.memory_used.as_ref().or(gpu.memory_reusable.as_ref()), gpu.utilization.as_ref(), gpu.temperature.as_ref()];
    let of_gauges = if sources.iter().flatten().count() > 1 { Moves::Together } else { Moves::Maybe };
    let all = gauges.map(|name| (name, of_gauges)).into_iter().chain([
        (&gpu.memory_total, Moves::Maybe),
        (&counters.failed, Moves::Seldom),
        (&counters.out_of_memory, Moves::Seldom),
        (&counters.completed, Moves::WithJobs),
    ]);
    // A queue may be told of elsewhere.
    let metrics = driver.metrics.as_ref().map(|route| route.path.as_str());
    let queue = driver.queue.as_ref().filter(|queue| Some(queue.path.as_str()) == metrics);
    let lists = queue.into_iter().flat_map(|queue| [Some(queue.depth.as_str()), queue.running.as_deref()]).flatten();
    let lists = lists.filter_map(|list| Some((list.strip_prefix("metric ")?.trim(), Moves::Maybe)));
    all.filter_map(|(name, moves)| Some((name.as_deref()?, moves))).chain(lists)
}

/// When jobs completed, in order.
fn completed_at(record: &Record) -> Vec<f64> {
    let begin = record.phase_start(Phase::Baseline).unwrap_or(0.0);
    let done = record.jobs.iter().filter(|job| job.state() == Some(JobState::Completed));
    let mut ends: Vec<f64> = done.filter_map(|job| job.ended.as_ref().map(|e| e.0)).filter(|t| *t >= begin).collect();
    ends.sort_by(f64::total_cmp);
    ends
}

/// What is said of one metric.
enum Said {
    Fine,
    Frozen(String),
    Wrong(String),
}

impl MetricsLive {
    /// Their names, their types where those are known, and what moves them.
    fn wanted(&self, record: &Record) -> Vec<(String, Option<&'static str>, Moves)> {
        let driver = &record.plan().driver;
        match self.names.is_empty() {
            false => self.names.iter().map(|name| (name.clone(), None, Moves::WithJobs)).collect(),
            true if OF_THE_PLAN.contains(&driver.name.as_str()) => {
                PLAN.iter().map(|(name, kind, moves)| ((*name).to_owned(), Some(*kind), *moves)).collect()
            }
            true => named(driver).map(|(name, moves)| (name.to_owned(), None, moves)).collect(),
        }
    }

    fn of_metric(&self, record: &Record, name: &str, kind: Option<&str>, moves: Moves, ends: &[f64]) -> Said {
        // The sample after a job's end is the first that can show it.
        let seen_until = read_until(record) - 2.0 * record.plan().sample_every_s;
        let missed = |since: f64| ends.iter().filter(|t| **t > since && **t < seen_until).count();
        let is_unseen = |since: f64| missed(since) < self.jobs as usize;
        let last_change = match last_change(record, name) {
            Some(t) => t,
            None if exists(record, name) => f64::NEG_INFINITY,
            None if moves == Moves::Seldom => return Said::Fine,
            // With labels there is no sample before the first job has ended, and too few of them to see that.
            None if moves == Moves::WithJobs && kind.is_none() && self.names.is_empty() && is_unseen(f64::NEG_INFINITY) => {
                return Said::Fine;
            }
            // A family without a sample is declared and nothing more.
            None if moves == Moves::Maybe && record.metric_types.contains_key(family(name)) => return Said::Fine,
            None => {
                let known = record.series.keys().filter_map(|k| k.strip_prefix("metric:"));
                let hint = nearest(name, known).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                return Said::Wrong(format!("{name}: no sample{hint}"));
            }
        };
        let told = record.metric_types.get(family(name)).map(String::as_str);
        if let (Some(told), Some(kind)) = (told, kind)
            && told != kind
            && told != "unknown"
            && told != "untyped"
        {
            return Said::Wrong(format!("{name}: it is a {told}, expected a {kind}"));
        }
        let heard = record.listeners.values().any(|l| !l.connected.is_empty());
        if matches!(moves, Moves::Maybe | Moves::Seldom) || (moves == Moves::WithListeners && !heard) {
            return Said::Fine;
        }
        if is_unseen(last_change) {
            return Said::Fine;
        }
        let missed = missed(last_change);
        Said::Frozen(match last_change {
            t if t.is_finite() => format!("{name}: frozen since {t:.1} s, while {missed} jobs completed"),
            _ => format!("{name}: it never moved, while {missed} jobs completed"),
        })
    }
}

/// Until when the metrics were surely read: a question that was given up later had been asked before.
fn read_until(record: &Record) -> f64 {
    let unread = record.series.get(&mark(METRICS)).and_then(|marks| marks.last_point()).filter(|last| last.value > 0.0);
    unread.map_or(f64::INFINITY, |since| since.t - ASKED_FOR_S).min(record.looked_until())
}

/// A counter's family has no `_total` in OpenMetrics.
fn family(name: &str) -> &str {
    name.strip_suffix("_total").unwrap_or(name)
}

/// Every series of a metric: itself, with labels, and the parts of a histogram.
fn series_of<'a>(record: &'a Record, name: &str) -> impl Iterator<Item = &'a Series> {
    let parts = ["", "_count", "_sum"].map(|part| record.metric(&format!("{name}{part}")));
    parts.into_iter().flatten().map(|(_, series)| series)
}

fn exists(record: &Record, name: &str) -> bool {
    series_of(record, name).next().is_some()
}

/// When any of its series changed for the last time.
fn last_change(record: &Record, name: &str) -> Option<f64> {
    let moved = series_of(record, name).filter(|series| series.ever_moved());
    moved.filter_map(|series| series.last_point().map(|p| p.t)).reduce(f64::max)
}

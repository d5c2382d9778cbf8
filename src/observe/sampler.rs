//! Takes a sample of every source at equal distances and writes down what has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::kept::Kept;
use super::nvml::Gpus;
use super::process::Meter;
use super::prometheus;
use super::unread::{self, Unread};
use crate::driver::{Driver, Port};
use crate::journal::event::Event;
use crate::journal::writer::Journal;
use crate::runtime::Runtime;

pub struct Sampler {
    pub port: Arc<dyn Port>,
    pub runtime: Arc<dyn Runtime>,
    pub journal: Journal,
    pub driver: Driver,
    pub every: Duration,
    pub gpus: Option<Gpus>,
    /// `None` while it reads, and before it has.
    pub meter: Option<Meter>,
    pub last: BTreeMap<String, f64>,
    pub types: BTreeMap<String, String>,
    pub kept: Kept,
    pub unread: Unread,
}

impl Sampler {
    /// Samples until stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            tokio::select! {
                () = self.sample() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// One sample.
    pub async fn sample(&mut self) {
        let mut values = BTreeMap::new();
        let (depth, scrape) = tokio::join!(self.port.depth(), self.port.scrape());
        match depth {
            Some(Ok(depth)) => {
                let told = [("queue.depth", Some(depth.waiting)), ("queue.running", depth.running)];
                for (name, value) in told.into_iter().filter_map(|(name, value)| Some((name, value?))) {
                    if value.is_finite() {
                        values.insert(name.to_owned(), value);
                    } else {
                        self.gap("queue", format!("{name} is {value}, which is no number"));
                    }
                }
            }
            Some(Err(error)) => self.gap("queue", error),
            None => {}
        }
        let mut missing = BTreeSet::new();
        match scrape {
            Some(Ok(text)) => self.metrics(&text, &mut values),
            Some(Err(error)) => {
                self.gap("metrics", error);
                missing.insert(unread::METRICS.to_owned());
            }
            None => {}
        }
        self.process(&mut values).await;
        self.gpu(&mut values);
        values.insert("jobs.in_flight".to_owned(), self.journal.read(|record| record.in_flight()) as f64);
        missing.extend(self.last.keys().filter(|name| !values.contains_key(*name) && self.is_marked(name)).cloned());
        values.extend(self.unread.becomes(missing));
        self.emit_changes(values);
    }

    /// Of the target's metrics only those that something judges by: with labels, series come and go.
    fn is_marked(&self, name: &str) -> bool {
        !unread::is_mark(name) && name.strip_prefix("metric:").is_none_or(|name| self.kept.is_named(name))
    }

    fn metrics(&mut self, text: &str, values: &mut BTreeMap<String, f64>) {
        let scrape = prometheus::parse(text);
        if let Some((count, first)) = &scrape.malformed {
            self.gap("metrics", format!("{count} lines cannot be read, the first: {first}"));
        }
        if scrape.types != self.types {
            self.types.clone_from(&scrape.types);
            self.journal.emit(Event::MetricTypes { types: scrape.types.clone() });
        }
        let gpu = &self.driver.gpu;
        let mapped = [
            ("gpu.memory_used_bytes", &gpu.memory_used),
            ("gpu.memory_reusable_bytes", &gpu.memory_reusable),
            ("gpu.memory_total_bytes", &gpu.memory_total),
            ("gpu.utilization_percent", &gpu.utilization),
            ("gpu.temperature_c", &gpu.temperature),
        ];
        for (ours, theirs) in mapped {
            let found = theirs.as_ref().and_then(|name| scrape.values.get(&prometheus::canonical_name(name)));
            match found {
                Some(value) if !value.is_finite() => self.gap("metrics", format!("{ours} is {value}, which is no number")),
                Some(value) => drop(values.insert(ours.to_owned(), *value)),
                None => {}
            }
        }
        let types = &scrape.types;
        let sound = scrape.values.into_iter().filter(|(name, value)| !is_bucket(name, types) && value.is_finite());
        let kept = sound.filter(|(name, _)| self.kept.keeps(name));
        values.extend(kept.map(|(name, value)| (format!("metric:{name}"), value)));
        if let Some(text) = self.kept.news() {
            self.journal.emit(Event::Note { text });
        }
    }

    /// Of a process with much memory this takes its time: beside the runtime.
    async fn process(&mut self, values: &mut BTreeMap<String, f64>) {
        let Some(pid) = self.runtime.pid() else { return };
        let mut meter = self.meter.take().unwrap_or_default();
        let read = tokio::task::spawn_blocking(move || (meter.read(pid), meter)).await;
        let Ok((usage, meter)) = read else { return };
        self.meter = Some(meter);
        if let Some(usage) = usage {
            values.insert("process.rss_bytes".to_owned(), usage.rss_bytes as f64);
            values.insert("process.cpu_percent".to_owned(), usage.cpu_percent);
        }
    }

    fn gpu(&mut self, values: &mut BTreeMap<String, f64>) {
        values.extend(self.runtime.figures());
        // A simulated GPU has no business with the one in this machine.
        if let Some(gpus) = self.gpus.as_ref().filter(|_| !self.driver.gpu.simulated)
            && let Err(error) = gpus.read(values)
        {
            self.gap("nvml", error);
        }
    }

    fn gap(&self, source: &str, error: String) {
        self.journal.emit(Event::Gap { source: source.to_owned(), error });
    }

    fn emit_changes(&mut self, values: BTreeMap<String, f64>) {
        let changed = values.into_iter().filter(|(name, value)| self.last.get(name) != Some(value)).collect::<BTreeMap<_, _>>();
        self.last.extend(changed.iter().map(|(name, value)| (name.clone(), *value)));
        self.journal.emit(Event::Sample { values: changed.into() });
    }
}
/// A part of a histogram, and not what only is called so.
fn is_bucket(name: &str, types: &BTreeMap<String, String>) -> bool {
    let base = name.split('{').next().unwrap_or_default();
    let family = base.strip_suffix("_bucket");
    family.is_some_and(|family| types.get(family).is_some_and(|kind| kind == "histogram") || name.contains("le=\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_only_called_a_bucket_is_kept() {
        let types = [("wait_seconds".to_owned(), "histogram".to_owned())].into();
        for part in ["wait_seconds_bucket{le=\"1\"}", "wait_seconds_bucket", "untold_bucket{a=\"b\",le=\"+Inf\"}"] {
            assert!(is_bucket(part, &types), "{part}");
        }
        for other in ["s3_bucket_ops_total", "objects_in_bucket{name=\"x\"}", "leaky_bucket", "wait_seconds_count"] {
            assert!(!is_bucket(other, &types), "{other}");
        }
    }
}

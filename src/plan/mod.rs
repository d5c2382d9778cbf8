//! From an experiment to one explicit timeline: defaults, names, the seed, what will be touched. Pure: touches nothing.

pub mod build;
pub mod forecast;
pub mod looks;
pub mod salvage;
pub mod trace;
pub mod trigger;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::backend::config::Embedded;
use crate::check::CheckSpec;
use crate::driver::Driver;
use crate::experiment::units::{Time, TimeRange};
use crate::experiment::{Arrivals, Baseline, JobShape, Listen, OnTimeout, Process};
use crate::fault::FaultSpec;
use crate::observe::prober::{OPEN, UP};
use crate::run::guard::GuardSpec;
use crate::runtime::docker::select::{Docker, Selector};
use crate::seed::Seed;
use forecast::Forecast;
use trigger::Trigger;

/// Everything that a run will do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub name: String,
    pub description: String,
    pub seed: Seed,
    pub url: String,
    pub runtime: RuntimePlan,
    pub driver: Driver,
    pub baseline: Option<Baseline>,
    /// When the load ends, from its start; without it, when the checks that need load are decided.
    pub duration_s: Option<f64>,
    /// How much longer it may go on while a check has too few samples.
    pub longer_s: f64,
    pub recover_at_most_s: f64,
    /// What every time of the file was multiplied with.
    pub time_scale: f64,
    /// Jobs before the load starts.
    pub warm_up: u32,
    pub sample_every_s: f64,
    pub loads: Vec<LoadPlan>,
    pub faults: Vec<FaultPlan>,
    pub guards: Vec<GuardSpec>,
    pub checks: Vec<CheckPlan>,
    /// What will be touched, as sentences.
    pub touches: Vec<String>,
    pub forecast: Forecast,
    /// Worth knowing before the run.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuntimePlan {
    /// The reference backend, as a child process of the run.
    Embedded(Embedded),
    /// A command of the user's.
    Process(Process),
    /// Containers, which are there before the run and after it.
    Docker(Docker),
    /// Nothing that may be started or stopped.
    None,
}

impl RuntimePlan {
    /// The target is started for the run, and does not outlive it.
    pub fn is_started(&self) -> bool {
        matches!(self, Self::Embedded(_) | Self::Process(_))
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadPlan {
    pub name: String,
    pub arrivals: Arrivals,
    pub think: TimeRange,
    pub job: Vec<JobShape>,
    pub listen: Listen,
    pub stages: Vec<StagePlan>,
    /// Recorded arrivals, the earliest first.
    #[serde(default)]
    pub trace: Vec<Arrival>,
    /// It ends after so many jobs.
    pub jobs: Option<u32>,
    /// After this long a user cancels its job and goes on.
    pub patience_s: Option<f64>,
}

impl LoadPlan {
    /// One user that sends jobs of the usual kind.
    pub fn plain() -> Self {
        Self {
            name: String::new(),
            arrivals: Arrivals::Constant,
            think: TimeRange::exactly(Time::secs(0)),
            job: vec![JobShape::default()],
            listen: Listen::Websocket,
            stages: Vec::new(),
            trace: Vec::new(),
            jobs: None,
            patience_s: None,
        }
    }
}

/// One recorded arrival, in seconds from the start of its load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arrival {
    pub at_s: f64,
    pub job: JobShape,
}

/// Users or a rate between two moments, in seconds from the start of the load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StagePlan {
    pub users: u32,
    pub rate_per_s: Option<f64>,
    pub from_s: f64,
    pub until_s: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultPlan {
    pub name: String,
    pub moment: Moment,
    pub spec: FaultSpec,
}

/// When a fault is injected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Seconds from the end of the baseline (or from the start of the load).
    At {
        s: f64,
    },
    After {
        fault: String,
        plus_s: f64,
    },
    When {
        trigger: Trigger,
        timeout_s: f64,
        on_timeout: OnTimeout,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckPlan {
    pub name: String,
    pub spec: CheckSpec,
}

impl Plan {
    /// Every pattern that log lines are matched against, by name.
    pub fn log_patterns(&self) -> Vec<(String, String)> {
        let driver = self.driver.patterns.all().into_iter().map(|(name, p)| (name.to_owned(), p.to_owned()));
        let triggers = self.faults.iter().filter_map(|f| match &f.moment {
            Moment::When { trigger, .. } => trigger.log_pattern().map(|(name, p)| (name, p.to_owned())),
            _ => None,
        });
        let checks = self.checks.iter().flat_map(|c| c.spec.log_patterns());
        driver.chain(triggers).chain(checks).collect()
    }

    /// The series that something judges by.
    pub fn judged_series(&self) -> BTreeSet<String> {
        let always = [UP, OPEN].map(str::to_owned);
        always.into_iter().chain(self.checks.iter().flat_map(|check| check.spec.series())).collect()
    }

    /// The containers that faults name besides the target's, and how many each may be.
    pub fn other_containers(&self) -> Vec<(Selector, u32)> {
        let RuntimePlan::Docker(rules) = &self.runtime else { return Vec::new() };
        let named = self.faults.iter().filter_map(|f| f.spec.containers()).map(|which| which.selector(rules));
        named.filter(|(selector, _)| *selector != rules.selector()).collect()
    }

    /// The metrics that triggers, guards and the driver's mapping name.
    pub fn named_metrics(&self) -> Vec<String> {
        let gpu = &self.driver.gpu;
        let counters = &self.driver.counters;
        let mapped = [
            &gpu.memory_used,
            &gpu.memory_reusable,
            &gpu.memory_total,
            &gpu.utilization,
            &gpu.temperature,
            &counters.completed,
            &counters.failed,
            &counters.out_of_memory,
        ];
        let triggers = self.faults.iter().filter_map(|f| match &f.moment {
            Moment::When { trigger: Trigger { subject: trigger::Subject::Metric(name), .. }, .. } => Some(name.clone()),
            _ => None,
        });
        mapped.into_iter().flatten().cloned().chain(triggers).collect()
    }

    /// The metrics that something judges by.
    pub fn judged_metrics(&self) -> Vec<String> {
        let series = self.judged_series();
        let series = series.iter().filter_map(|name| name.strip_prefix("metric:")).map(str::to_owned);
        let checks = self.checks.iter().flat_map(|check| check.spec.metrics());
        self.named_metrics().into_iter().chain(series).chain(checks).collect()
    }

    /// The target runs on this machine, as far as its address tells.
    pub fn is_local(&self) -> bool {
        self.runtime.is_started() || self.url().is_some_and(|url| url.host_str().is_some_and(is_loopback))
    }

    /// The port of a target on this machine.
    pub fn local_port(&self) -> Option<u16> {
        self.url().filter(|_| self.is_local())?.port_or_known_default()
    }

    fn url(&self) -> Option<url::Url> {
        url::Url::parse(&self.url).ok()
    }

    /// The simulated GPU of the embedded backend, or of a driver that says so.
    pub fn gpu_is_simulated(&self) -> bool {
        self.driver.gpu.simulated
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

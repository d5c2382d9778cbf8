//! `/metrics`: every family that the load-testing plan names, and a few that an operator needs besides.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::config::Embedded;
use super::job::State;
use super::pipeline::STAGES;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Http {
    method: String,
    endpoint: String,
    status: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Endpoint {
    endpoint: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    r#type: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Stage {
    stage: String,
}

type Float = Gauge<f64, AtomicU64>;
type HistogramFamily<L> = Family<L, Histogram, fn() -> Histogram>;

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 18))
}

/// With bounds where the plan's thresholds are (120, 150 and 180 s): a quantile is only as good as the buckets around it.
fn generation_seconds() -> Histogram {
    let fast = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    Histogram::new(fast.into_iter().chain([20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 150.0, 180.0, 240.0, 300.0, 600.0]))
}

pub struct Metrics {
    registry: Registry,
    http_seconds: HistogramFamily<Endpoint>,
    http_requests: Family<Http, Counter>,
    stage_seconds: HistogramFamily<Stage>,
    pub generation_seconds: Histogram,
    pub running: Gauge,
    queue_size: Gauge,
    gpu_usage: Float,
    gpu_memory: Family<Kind, Gauge>,
    gpu_temperature: Float,
    gpu_oom: Counter,
    cpu_usage: Float,
    memory: Gauge,
    errors: Family<Kind, Counter>,
    success: Counter,
    failure: Counter,
    pub sockets: Gauge,
    pub messages: Counter,
    pub socket_errors: Counter,
    quality: Float,
    quality_failures: Counter,
    start_time: Float,
    /// Under `frozen-metrics`: what is told for ever.
    pub frozen: OnceLock<String>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            http_seconds: Family::new_with_constructor(seconds),
            http_requests: Family::default(),
            stage_seconds: Family::new_with_constructor(seconds),
            generation_seconds: generation_seconds(),
            running: Gauge::default(),
            queue_size: Gauge::default(),
            gpu_usage: Float::default(),
            gpu_memory: Family::default(),
            gpu_temperature: Float::default(),
            gpu_oom: Counter::default(),
            cpu_usage: Float::default(),
            memory: Gauge::default(),
            errors: Family::default(),
            success: Counter::default(),
            failure: Counter::default(),
            sockets: Gauge::default(),
            messages: Counter::default(),
            socket_errors: Counter::default(),
            quality: Float::default(),
            quality_failures: Counter::default(),
            start_time: Float::default(),
            frozen: OnceLock::new(),
        };
        metrics.start_time.set(jiff::Timestamp::now().as_millisecond() as f64 / 1e3);
        metrics.register();
        metrics
    }
}

/// What is measured at the moment of a scrape.
pub struct Now {
    pub queue: usize,
    pub running: usize,
    pub gpu_lost: bool,
    /// Taken from the device.
    pub vram_used: u64,
    /// Of which jobs and the model hold.
    pub vram_allocated: u64,
    pub vram_total: u64,
    pub rss_bytes: u64,
    pub cpu_percent: f64,
}

impl Metrics {
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("http_request_duration_seconds", "Response time", self.http_seconds.clone());
        r.register("http_requests", "Requests by status", self.http_requests.clone());
        r.register("pipeline_stage_duration_seconds", "Time in each stage", self.stage_seconds.clone());
        r.register("model_3d_duration_seconds", "Generation duration", self.generation_seconds.clone());
        r.register("concurrent_requests", "Jobs running now", self.running.clone());
        r.register("job_queue_size", "Jobs waiting now", self.queue_size.clone());
        r.register("gpu_usage_percent", "Simulated GPU utilisation", self.gpu_usage.clone());
        r.register("gpu_memory_bytes", "Simulated GPU memory", self.gpu_memory.clone());
        r.register("gpu_temperature_celsius", "Simulated GPU temperature", self.gpu_temperature.clone());
        r.register("gpu_out_of_memory", "Simulated out-of-memory errors", self.gpu_oom.clone());
        r.register("cpu_usage_percent", "CPU of this process, of one core", self.cpu_usage.clone());
        r.register("memory_usage_bytes", "Resident memory of this process", self.memory.clone());
        r.register("errors", "Errors by type", self.errors.clone());
        r.register("generation_success", "Jobs completed", self.success.clone());
        r.register("generation_failure", "Jobs failed", self.failure.clone());
        r.register("websocket_connections_active", "Open WebSockets", self.sockets.clone());
        r.register("websocket_messages_sent", "WebSocket messages sent", self.messages.clone());
        r.register("websocket_errors", "WebSocket errors", self.socket_errors.clone());
        r.register("quality_overall_score", "Score of the last result, 0 to 1", self.quality.clone());
        r.register("quality_validation_failures", "Results below the limit", self.quality_failures.clone());
        r.register("process_start_time_seconds", "Start of this process, Unix time", self.start_time.clone());
        for (stage, _) in STAGES {
            let _ = self.stage_seconds.get_or_create(&Stage { stage: (*stage).into() });
        }
        for kind in ["out_of_memory", "job_failed"] {
            let _ = self.errors.get_or_create(&Kind { r#type: kind.into() });
        }
    }

    pub fn http(&self, method: &str, endpoint: &str, status: u16, seconds: f64) {
        let labels = Http { method: method.into(), endpoint: endpoint.into(), status: status.into() };
        self.http_requests.get_or_create(&labels).inc();
        self.http_seconds.get_or_create(&Endpoint { endpoint: endpoint.into() }).observe(seconds);
    }

    pub fn stage(&self, stage: &str, seconds: f64) {
        self.stage_seconds.get_or_create(&Stage { stage: stage.into() }).observe(seconds);
    }

    pub fn out_of_memory(&self) {
        self.gpu_oom.inc();
        self.errors.get_or_create(&Kind { r#type: "out_of_memory".into() }).inc();
    }

    pub fn job_ended(&self, state: State) {
        match state {
            State::Completed => {
                self.success.inc();
                self.quality.set(0.80 + 0.001 * (self.success.get() % 100) as f64);
            }
            State::Failed => {
                self.failure.inc();
                self.errors.get_or_create(&Kind { r#type: "job_failed".into() }).inc();
            }
            State::Cancelled | State::Queued | State::Running => {}
        }
    }

    /// The exposition text.
    pub fn render(&self, now: &Now) -> String {
        let busy = if now.gpu_lost { 0.0 } else { Embedded::gpu_usage(now.running) };
        self.queue_size.set(now.queue as i64);
        self.gpu_usage.set(busy * 100.0);
        self.gpu_temperature.set(41.0 + 32.0 * busy);
        let of_gpu = |bytes: u64| if now.gpu_lost { 0 } else { bytes };
        let (used, reusable) = (of_gpu(now.vram_used), of_gpu(now.vram_used.saturating_sub(now.vram_allocated)));
        for (kind, bytes) in [("used", used), ("reusable", reusable), ("total", now.vram_total)] {
            self.gpu_memory.get_or_create(&Kind { r#type: kind.into() }).set(bytes as i64);
        }
        self.cpu_usage.set(now.cpu_percent);
        self.memory.set(now.rss_bytes as i64);
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

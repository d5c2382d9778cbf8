//! Sources of figures: the target's metrics, its process, its log, the GPU.

pub mod logs;
pub mod nvml;
pub mod prober;
pub mod process;
pub mod prometheus;
pub mod sampler;

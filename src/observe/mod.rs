//! Sources of figures: the target's metrics, its process, its log, the GPU; and what the machine and chaos itself went through.

pub mod advice;
pub mod kept;
pub mod lateness;
pub mod listening;
pub mod logs;
pub mod machine;
pub mod nvml;
pub mod prober;
pub mod process;
pub mod procfs;
pub mod prometheus;
pub mod sampler;
pub mod unread;

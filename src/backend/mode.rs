//! Healthy behaviours that look suspicious: a verdict against any of them is wrong.

use crate::words;

words! {
    /// A healthy behaviour of the reference backend that looks suspicious.
    pub enum Mode("mode") {
        /// Host memory grows while caches warm up, over the first 35 jobs, and then stays flat.
        WarmupPlateau = "warmup-plateau",
        /// Host memory grows with every job and falls back every twelfth: a garbage collector.
        Sawtooth = "sawtooth",
        /// Service times have a heavy tail (log-normal, sigma 0.5) and are stationary.
        HeavyTail = "heavy-tail",
        /// A short queue (4): one job more is refused with 429 and Retry-After.
        Honest429 = "honest-429",
        /// Each start, the first too, takes long until it is ready: it reads its weights.
        SlowStart = "slow-start",
        /// GPU memory that jobs have used stays with the process for later jobs: the gauge keeps its high-water mark.
        CachingAllocator = "caching-allocator",
        /// Two slots: the queue becomes long, and drains.
        LongQueue = "long-queue",
    }
}

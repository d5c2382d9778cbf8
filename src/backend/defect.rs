//! Planted defects: each a failure that somebody reported of a real backend, off unless asked for.

use crate::words;

words! {
    /// A planted defect of the reference backend.
    pub enum Defect("defect") {
        /// One job's CUDA OOM fails every job behind it (SipherAGI/sd-webui-agent-scheduler #16, triton-inference-server/server #13).
        OomKillsQueue = "oom-kills-queue",
        /// An OOM takes the whole server down (triton-inference-server/server #4023).
        OomCrashesServer = "oom-crashes-server",
        /// An OOM fails the job for good though a smaller batch would fit (the load-testing plan, failure 1).
        OomNoRetry = "oom-no-retry",
        /// The OOM is swallowed and a stand-in result is called completed (seen of a running ORFEAS backend).
        OomFakesSuccess = "oom-fakes-success",
        /// No queue: a job beyond the slots is accepted and fails a moment later (seen of a running ORFEAS backend).
        ShedsAfterAccept = "sheds-after-accept",
        /// The job table is in memory: after a restart nobody knows the jobs (activetigger/activetigger #1016, ORFEAS).
        JobsLostOnRestart = "jobs-lost-on-restart",
        /// A 202 and then nothing, for one job in fifteen.
        AcceptedThenDropped = "accepted-then-dropped",
        /// `/health` says 200 while the worker is dead (jundot/omlx #1884, tenstorrent/tt-inference-server #2974).
        HealthyButDead = "healthy-but-dead",
        /// After an OOM the progress goes on for ever and no terminal event comes (invoke-ai/InvokeAI #1036).
        UiStuckAfterOom = "ui-stuck-after-oom",
        /// After an OOM the memory is not given back (AUTOMATIC1111/stable-diffusion-webui #8244, #11970, #12809).
        VramKeptAfterOom = "vram-kept-after-oom",
        /// After an OOM one job runs for ever and nothing else starts (vllm-project/vllm #5784, #46811, #37729).
        WedgedAfterOom = "wedged-after-oom",
        /// Under concurrency a job gets another job's result (found by no metric).
        SwappedResults = "swapped-results",
        /// It goes on serving after SIGTERM (seen of a running ORFEAS backend).
        IgnoresSigterm = "ignores-sigterm",
    }
}

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
        /// A job that ran out of memory and was tried again has a smaller picture than was asked for
        /// (fiatrete/SDCN-Stable-Diffusion-Computing-Network #8, mudler/LocalAI #2430).
        WrongSize = "wrong-size",
        /// It goes on serving after SIGTERM (seen of a running ORFEAS backend).
        IgnoresSigterm = "ignores-sigterm",
        /// The first large run completes, the same again runs out of memory (Comfy-Org/ComfyUI #11597).
        SecondRunOom = "second-run-oom",
        /// VRAM grows with every job (microsoft/TRELLIS.2 #136, ggml-org/llama.cpp #23446, kijai/ComfyUI-WanVideoWrapper #1308).
        VramLeak = "vram-leak",
        /// Host memory grows with every job (the load-testing plan, scenario 5).
        RssLeak = "rss-leak",
        /// A client that reconnects gets nothing more (siteboon/claudecodeui #570, Bike4Mind/bike4mind #2074).
        ListenerBoundToDeadSocket = "listener-bound-to-dead-socket",
        /// A job that ends while its client is away is never told as ended (Comfy-Org/ComfyUI_frontend #9893).
        MissedTerminalEvent = "missed-terminal-event",
        /// The client that it serves gives up on the first closed WebSocket (gradio-app/gradio #2043, and a sample of AWS).
        ClientNeverReconnects = "client-never-reconnects",
        /// The queue stops when a client with unfinished jobs goes away (deepbeepmeep/Wan2GP #863).
        DisconnectStopsQueue = "disconnect-stops-queue",
        /// A job that a restart interrupted is run and counted twice (a classic of at-least-once queues).
        JobsRunTwice = "jobs-run-twice",
        /// After a restart the interrupted job is run again and again (Comfy-Org/ComfyUI #859).
        SameJobAgain = "same-job-again",
        /// A cancelled job goes on holding its slot (docker/model-runner #1041).
        AbandonedWork = "abandoned-work",
        /// After a restart the GPU is gone and jobs run, silently, on the CPU (NVIDIA/nvidia-container-toolkit #48, #251, #1227).
        LostGpuFallsToCpu = "lost-gpu-falls-to-cpu",
        /// After every seventh job nothing starts until somebody sends another one (ssube/onnx-web #284).
        StuckUntilPoked = "stuck-until-poked",
        /// `/health` does not answer while every slot is busy (huggingface/huggingface-inference-toolkit #13).
        HealthStarves = "health-starves",
        /// With twelve jobs waiting a submission is answered with 500 (mcmonkeyprojects/SwarmUI #380).
        QueueLimitSurprise = "queue-limit-surprise",
        /// Each restart or eviction leaves a worker behind that holds its GPU memory (mudler/LocalAI #2866).
        OrphanWorkers = "orphan-workers",
        /// After a restart the model is loaded for every job (the load-testing plan, failure 4).
        NeverWarm = "never-warm",
        /// The client that it serves reconnects after a fixed time, all at once (a gap listed in ahelme/comfyume-v1 #211).
        ReconnectStorm = "reconnect-storm",
        /// Each job is 0.5 % slower than the one before, memory flat.
        SlowDecay = "slow-decay",
        /// After a restart the metrics stand still (the load-testing plan: "all metrics updating correctly").
        FrozenMetrics = "frozen-metrics",
        /// After a restart it takes five times as long until it is ready; its port is open at once (runpod-workers/worker-vllm #111).
        SlowRestart = "slow-restart",
    }
}

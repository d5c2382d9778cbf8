//! `chaos backend`: the reference backend by itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::{Globals, complain, logging, tokio_runtime};
use crate::backend::config::Embedded;
use crate::backend::core::Core;
use crate::backend::defect::Defect;
use crate::backend::http;
use crate::backend::mode::Mode;
use crate::exit::Exit;
use crate::experiment::units::Bytes;
use crate::runtime::process::ANNOUNCEMENT;

/// Run the reference backend: a server that behaves like a GPU generation backend. Its GPU is simulated.
#[derive(clap::Args)]
#[command(after_help = defects_help())]
pub struct Args {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:5000")]
    listen: SocketAddr,
    /// How many times faster than the real backend (82 s warm, 167 s cold) it works.
    #[arg(long, default_value = "100")]
    speed: f64,
    /// Jobs that run at once.
    #[arg(long, default_value = "4")]
    slots: u32,
    /// Memory of the simulated GPU.
    #[arg(long, default_value = "24GiB")]
    vram: Bytes,
    /// Jobs that may wait.
    #[arg(long, default_value = "64")]
    queue: u32,
    /// Keep the queue in this folder, so that it survives a restart.
    #[arg(long)]
    data: Option<PathBuf>,
    #[arg(long, default_value = "0")]
    seed: u64,
    /// Plant a defect. May be given again.
    #[arg(long, value_name = "NAME")]
    defect: Vec<Defect>,
    /// Behave in a way that looks suspicious and is healthy. May be given again.
    #[arg(long, value_name = "NAME")]
    mode: Vec<Mode>,
    /// Ask a running backend for its health instead, and exit 0 if it is well: for a container's health check.
    #[arg(long, value_name = "URL")]
    probe: Option<String>,
}

fn defects_help() -> String {
    let line = |word: &str, about: &str| format!("  {word:<30}{about}\n");
    let defects: String = Defect::ALL.iter().map(|d| line(d.word(), d.about())).collect();
    let modes: String = Mode::ALL.iter().map(|m| line(m.word(), m.about())).collect();
    format!("Defects:\n{defects}\nModes:\n{modes}\nExample: chaos backend --speed 200 --defect oom-no-retry")
}

impl Args {
    /// The command line that starts a backend with these settings; `{port}` is filled in by the runtime.
    pub fn command(program: &str, settings: &Embedded, data: &str, seed: u64) -> Vec<String> {
        let mut command: Vec<String> =
            [program, "--log-format", "json", "backend", "--listen", "127.0.0.1:{port}"].map(str::to_owned).to_vec();
        let mut option = |name: &str, value: String| command.extend([name.to_owned(), value]);
        option("--speed", settings.speed.to_string());
        option("--slots", settings.slots.to_string());
        option("--vram", settings.vram.to_string());
        option("--queue", settings.queue.to_string());
        option("--data", data.to_owned());
        option("--seed", seed.to_string());
        settings.defects.iter().for_each(|d| option("--defect", d.word().to_owned()));
        settings.modes.iter().for_each(|m| option("--mode", m.word().to_owned()));
        command
    }
}

const PROBE_WITHIN: Duration = Duration::from_secs(2);
/// The exit code of a server that an out-of-memory took down, as a shell shows SIGABRT.
const CRASHED: i32 = 134;

pub fn run(args: Args, globals: &Globals) -> Exit {
    logging::start(globals, "info", true);
    if args.speed <= 0.0 || args.slots == 0 {
        return complain(Exit::Usage, "--speed must be above 0 and --slots at least 1");
    }
    match tokio_runtime() {
        Ok(runtime) => runtime.block_on(async {
            match &args.probe {
                Some(url) => probe(url).await,
                None => serve(args).await,
            }
        }),
        Err(reason) => complain(Exit::CannotRun, reason),
    }
}

async fn probe(url: &str) -> Exit {
    // Without certificates: an image from scratch has none, and the question goes to the container itself.
    let client = reqwest::Client::builder().timeout(PROBE_WITHIN).no_proxy().tls_certs_only([]).build();
    let asked = async { client?.get(url).send().await?.error_for_status() };
    match asked.await {
        Ok(_) => Exit::Passed,
        Err(error) => complain(Exit::Failed, error),
    }
}

async fn serve(args: Args) -> Exit {
    let settings = Embedded {
        speed: args.speed,
        slots: args.slots,
        vram: args.vram,
        queue: args.queue,
        defects: args.defect,
        modes: args.mode,
    };
    let listener = match http::bind(args.listen).await {
        Ok(listener) => listener,
        Err(error) => return complain(Exit::CannotRun, format!("cannot listen on {}: {error}", args.listen)),
    };
    let ignores_sigterm = settings.has(Defect::IgnoresSigterm);
    let core = match Core::start(settings, args.seed, args.data.as_deref()) {
        Ok(core) => core,
        Err(error) => return complain(Exit::CannotRun, format!("the queue cannot be opened: {error}")),
    };
    // Whoever reads the announcement may send a signal at once.
    if let Err(error) = on_signals(core.clone(), ignores_sigterm) {
        return complain(Exit::CannotRun, format!("signals cannot be handled: {error}"));
    }
    let address = listener.local_addr().map_or(args.listen, |a| a);
    tracing::info!("{ANNOUNCEMENT}http://{address}");
    let served = http::serve(core.clone(), listener).await;
    if core.crashed.is_cancelled() {
        std::process::exit(CRASHED);
    }
    core.shut_down().await;
    match served {
        Ok(()) => Exit::Passed,
        Err(error) => complain(Exit::CannotRun, error),
    }
}

/// SIGTERM and Ctrl-C end it in good order.
fn on_signals(core: Core, ignores_sigterm: bool) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => if ignores_sigterm { continue },
                _ = interrupt.recv() => {}
            }
            tracing::info!("shutting down");
            core.stop.cancel();
            return;
        }
    });
    Ok(())
}

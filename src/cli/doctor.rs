//! `chaos doctor`: what this machine offers.

use std::path::PathBuf;

use super::{OutputFormat, complain, print, tokio_runtime};
use crate::exit::Exit;
use crate::observe::nvml::Gpus;

/// Say what this machine offers: a place for reports, a GPU, a container engine.
#[derive(clap::Args)]
#[command(after_help = "Example: chaos doctor")]
pub struct Args {
    /// Where runs go.
    #[arg(long, default_value = "reports")]
    reports: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: OutputFormat,
}

#[derive(serde::Serialize)]
struct Item {
    what: &'static str,
    ok: bool,
    /// Nothing works without it.
    needed: bool,
    detail: String,
}

pub fn run(args: Args) -> Exit {
    let runtime = match tokio_runtime() {
        Ok(runtime) => runtime,
        Err(reason) => return complain(Exit::CannotRun, reason),
    };
    let items = [reports(&args.reports), gpu(), runtime.block_on(engine())];
    let well = items.iter().all(|item| item.ok || !item.needed);
    let text = match args.format {
        OutputFormat::Json => serde_json::to_string(&items).unwrap_or_default() + "\n",
        OutputFormat::Text => items.iter().map(line).collect(),
    };
    match print(&text) {
        Exit::Passed if !well => Exit::CannotRun,
        exit => exit,
    }
}

fn line(item: &Item) -> String {
    let mark = match (item.ok, item.needed) {
        (true, _) => "ok    ",
        (false, true) => "FAILED",
        (false, false) => "absent",
    };
    format!("{mark}  {:<18}{}\n", item.what, item.detail)
}

fn item(what: &'static str, needed: bool, found: Result<String, String>) -> Item {
    Item { what, needed, ok: found.is_ok(), detail: found.unwrap_or_else(|e| e) }
}

fn reports(folder: &std::path::Path) -> Item {
    let tried = std::fs::create_dir_all(folder).and_then(|()| {
        let probe = folder.join(".doctor");
        std::fs::write(&probe, "x")?;
        std::fs::remove_file(probe)
    });
    let found = tried
        .map(|()| format!("{} can be written", folder.display()))
        .map_err(|e| format!("{} cannot be written: {e}; choose another with --reports", folder.display()));
    item("reports", true, found)
}

fn gpu() -> Item {
    let found = Gpus::open().and_then(|gpus| {
        let mut figures = std::collections::BTreeMap::new();
        gpus.read(&mut figures)?;
        let gib = figures.get("gpu.memory_total_bytes").copied().unwrap_or(0.0) / f64::from(1 << 30);
        Ok(format!("{gib:.1} GiB of memory, {:.0} °C", figures.get("gpu.temperature_c").copied().unwrap_or(0.0)))
    });
    item("NVIDIA GPU", false, found.map_err(|e| format!("{e}; the embedded backend needs none")))
}

async fn engine() -> Item {
    let found = match bollard::Docker::connect_with_local_defaults() {
        Ok(docker) => match tokio::time::timeout(std::time::Duration::from_secs(3), docker.version()).await {
            Ok(Ok(version)) => Ok(format!("version {}", version.version.unwrap_or_default())),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("does not answer".to_owned()),
        },
        Err(error) => Err(error.to_string()),
    };
    item("Docker engine", false, found.map_err(|e| format!("{e}; needed only for targets in containers")))
}

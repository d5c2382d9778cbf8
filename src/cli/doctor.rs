//! `chaos doctor`: what this machine offers, and whether a target can be tested.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value as Json;

use super::load;
use super::trial::{self, Item, State};
use super::{Globals, OutputFormat, complain, print, tokio_runtime};
use crate::driver::request::{Failure, MOST_TEXT, Reply, sentence};
use crate::exit::Exit;
use crate::experiment::file::Overrides;
use crate::experiment::units::Time;
use crate::observe::nvml::Gpus;

const MONITOR_TIMEOUT: Duration = Duration::from_secs(3);

/// Say what this machine offers; with FILE, try each part of its target by one job, and break nothing.
#[derive(clap::Args)]
#[command(after_help = "Example: chaos doctor\n         chaos doctor experiments/gpu-oom.yaml")]
pub struct Args {
    /// An experiment whose target is tried: one job is sent and followed to its result.
    file: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
    /// How long the job may take.
    #[arg(long, default_value = "60s")]
    patience: Time,
    /// A Prometheus that should scrape the target, such as http://127.0.0.1:9090.
    #[arg(long, value_name = "URL")]
    prometheus: Option<String>,
    /// A Grafana that should be there, such as http://127.0.0.1:3000.
    #[arg(long, value_name = "URL")]
    grafana: Option<String>,
    /// Where runs go.
    #[arg(long, default_value = "reports")]
    reports: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: OutputFormat,
}

pub fn run(args: Args, globals: &Globals) -> Exit {
    let ready = match args.file.as_ref().map(|file| load::ready(file, &args.overrides, args.format)).transpose() {
        Ok(ready) => ready,
        Err(exit) => return exit,
    };
    let runtime = match tokio_runtime() {
        Ok(runtime) => runtime,
        Err(reason) => return complain(Exit::CannotRun, reason),
    };
    // Of the target, as a Prometheus may scrape it: under another name, but at the same port.
    let port = ready.as_ref().and_then(|ready| url::Url::parse(&ready.plan.url).ok()?.port_or_known_default());
    let mut items = vec![reports(&args.reports), gpu(), runtime.block_on(engine()), trial::test_image()];
    if let Some(ready) = ready {
        match trial::try_out(ready, args.patience, globals) {
            Ok(tried) => items.extend(tried),
            Err(why) => items.push(Item::new("target", State::Failed, why, "")),
        }
    }
    if let Some(url) = &args.prometheus {
        items.push(runtime.block_on(prometheus(url, port)));
    }
    if let Some(url) = &args.grafana {
        let remedy = "start it; docker/ has a dashboard for it";
        let answer = runtime.block_on(ask(url, "/api/health"));
        items.push(match answer {
            Ok(_) => Item::new("Grafana", State::Ok, format!("{url} answers"), remedy),
            Err(why) => Item::new("Grafana", State::Failed, why, remedy),
        });
    }
    let well = items.iter().all(|item| item.state != State::Failed);
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
    let mark = match item.state {
        State::Ok => "ok    ",
        State::Failed => "FAILED",
        State::Absent => "absent",
    };
    let indent = format!("\n{:26}", "");
    let remedy = item.remedy.map_or_else(String::new, |text| format!("{indent}→ {text}"));
    format!("{mark}  {:<18}{}{remedy}\n", item.what, item.detail.replace('\n', &indent))
}

fn item(what: &'static str, needed: bool, found: Result<String, String>) -> Item {
    let state = match (&found, needed) {
        (Ok(_), _) => State::Ok,
        (Err(_), true) => State::Failed,
        (Err(_), false) => State::Absent,
    };
    Item::new(what, state, found.unwrap_or_else(|e| e), "")
}

/// Whether a Prometheus scrapes the target.
async fn prometheus(url: &str, port: Option<u16>) -> Item {
    let remedy = "let it scrape the target's metrics; docker/ has a configuration";
    let item = |state, detail: String| Item::new("Prometheus", state, detail, remedy);
    let targets = match ask(url, "/api/v1/targets?state=active").await {
        Ok(answer) => answer.pointer("/data/activeTargets").and_then(Json::as_array).cloned().unwrap_or_default(),
        Err(why) => return item(State::Failed, why),
    };
    let at = |target: &Json| target.get("scrapeUrl").and_then(Json::as_str).unwrap_or_default().to_owned();
    let is_ours = |target: &&Json| {
        let there = url::Url::parse(&at(target)).ok().and_then(|url| url.port_or_known_default());
        port.is_some() && there == port
    };
    let health = |target: &Json| target.get("health").and_then(Json::as_str).unwrap_or("unknown").to_owned();
    match (port, targets.iter().find(is_ours)) {
        (None, _) => item(State::Ok, format!("{url} answers, and scrapes {} targets", targets.len())),
        (_, Some(target)) if health(target) == "up" => item(State::Ok, format!("scrapes {}, which is up", at(target))),
        (_, Some(target)) => item(State::Failed, format!("scrapes {}, which is {}", at(target), health(target))),
        (Some(port), None) => item(State::Failed, format!("none of its {} targets has the port {port}", targets.len())),
    }
}

/// What a server of the monitoring stack says.
async fn ask(url: &str, path: &str) -> Result<Json, String> {
    let client = reqwest::Client::builder().no_proxy().timeout(MONITOR_TIMEOUT).build().map_err(|e| sentence(&e))?;
    let response = client.get(format!("{}{path}", url.trim_end_matches('/'))).send().await;
    let response = response.and_then(reqwest::Response::error_for_status).map_err(|e| sentence(&e))?;
    let reply = Reply::read(response, MOST_TEXT).await.map_err(Failure::reason)?;
    Ok(reply.json)
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
        Ok(docker) => match tokio::time::timeout(MONITOR_TIMEOUT, docker.version()).await {
            Ok(Ok(version)) => Ok(format!("version {}", version.version.unwrap_or_default())),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("does not answer".to_owned()),
        },
        Err(error) => Err(error.to_string()),
    };
    item("Docker engine", false, found.map_err(|e| format!("{e}; needed only for targets in containers")))
}

//! `chaos incident`: from what was recorded to an experiment.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{complain, print};
use crate::driver;
use crate::exit::Exit;
use crate::experiment::file::{self, Overrides};
use crate::incident::{self, Incident, Sources, Submission, Target};
use crate::plan::build;
use crate::seed::Seed;
use crate::text::count;

/// Make an experiment of what was recorded of an incident: arrivals as a trace, restarts and lost connections at their moments,
/// each with the line that it was taken from.
#[derive(clap::Args)]
#[command(
    after_help = "Example: chaos incident --access-log access.log --log server.log --docker-events events.jsonl \\\n           --from 2026-11-24T03:00:00Z --until 2026-11-24T03:20:00Z --output last-night"
)]
pub struct Args {
    /// An access log: common, combined, or JSON a line. May be given again, as all of these.
    #[arg(long, value_name = "FILE")]
    access_log: Vec<PathBuf>,
    /// The backend's own log.
    #[arg(long, value_name = "FILE")]
    log: Vec<PathBuf>,
    /// The output of docker events --format '{{json .}}'.
    #[arg(long, value_name = "FILE")]
    docker_events: Vec<PathBuf>,
    /// The output of docker inspect.
    #[arg(long, value_name = "FILE")]
    docker_inspect: Vec<PathBuf>,
    /// The answer of Prometheus to a range query, as JSON.
    #[arg(long, value_name = "FILE")]
    prometheus: Vec<PathBuf>,
    /// Only what was recorded from this moment on.
    #[arg(long, value_parser = incident::moment)]
    from: Option<Timestamp>,
    /// Only what was recorded before this moment.
    #[arg(long, value_parser = incident::moment)]
    until: Option<Timestamp>,
    /// The path to which jobs are posted. Without it the driver's, or else the one that is posted to most often.
    #[arg(long, value_name = "PATH")]
    submit: Option<String>,
    /// The driver of the target: built in, or a file.
    #[arg(long, default_value = "reference")]
    driver: String,
    /// The target of the experiment.
    #[arg(long, default_value = "embedded")]
    url: String,
    /// The experiment's name.
    #[arg(long, default_value = "incident")]
    name: String,
    /// A new folder for the experiment and its trace.
    #[arg(long, value_name = "FOLDER")]
    output: PathBuf,
}

pub fn run(args: Args) -> Exit {
    match make(args) {
        // What `chaos validate` would refuse is not done yet.
        Ok((text, is_ready)) => match print(&text) {
            Exit::Passed if !is_ready => Exit::Usage,
            exit => exit,
        },
        Err((exit, reason)) => complain(exit, reason),
    }
}

fn make(args: Args) -> Result<(String, bool), (Exit, String)> {
    let wrong = |reason: String| (Exit::Usage, reason);
    let sources = Sources {
        access: args.access_log,
        logs: args.log,
        docker_events: args.docker_events,
        docker_inspect: args.docker_inspect,
        prometheus: args.prometheus,
    };
    let of_driver = || driver::submission_path(&args.driver);
    let read = incident::read(&sources, &Submission { path: args.submit.or_else(of_driver) }).map_err(wrong)?;
    let incident = Incident::of(read, args.from, args.until).map_err(wrong)?;
    // The experiment lies elsewhere.
    let own = Path::new(&args.driver).is_file().then(|| std::path::absolute(&args.driver).ok()).flatten();
    let driver = own.map_or_else(|| args.driver.clone(), |path| path.display().to_string());
    let written = incident::write(&incident, &Target { name: &args.name, driver: &driver, url: &args.url });
    let failed =
        |e: std::io::Error| (Exit::CannotRun, format!("{}: {e}; choose a new folder with --output", args.output.display()));
    std::fs::create_dir_all(args.output.parent().unwrap_or(&args.output)).map_err(failed)?;
    std::fs::create_dir(&args.output).map_err(failed)?;
    let path = args.output.join("experiment.yaml");
    std::fs::write(args.output.join(incident::TRACE), &written.trace).map_err(failed)?;
    std::fs::write(&path, &written.experiment).map_err(failed)?;
    let trouble = check(&path);
    let found = [
        (incident.arrivals.len(), "arrival"),
        (incident.restarts.len(), "restart"),
        (incident.drops.len(), "lost connection"),
        (incident.gpu_out_of_memory.len(), "out-of-memory error"),
    ];
    let found = found.map(|(n, what)| count(n, what)).join(", ");
    let mut out = format!("{}: {found} in {:.0} s\n", path.display(), incident.lasts_s);
    written.experiment.lines().filter(|line| line.starts_with("#   QUESTION")).for_each(|line| {
        out.push_str(&format!("{}\n", line.trim_start_matches("#   ")));
    });
    let is_ready = trouble.is_none();
    match trouble {
        None => out.push_str(&format!("run it with: chaos run {}\n", path.display())),
        Some(trouble) => out.push_str(&format!("it needs your hand before it runs:\n{trouble}\n")),
    }
    Ok((out, is_ready))
}

/// What is still missing, such as the parameters of a driver.
fn check(path: &Path) -> Option<String> {
    let environment = |name: &str| std::env::var(name).ok();
    let beside = path.parent().unwrap_or(path);
    match file::load(path, &Overrides::default(), &environment) {
        Ok(mut loaded) => build::build(&mut loaded, Seed(1), beside).is_none().then(|| loaded.diags.render(false)),
        Err(diags) => Some(diags.render(false)),
    }
}

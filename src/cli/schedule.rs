//! `chaos schedule`: experiments that run by themselves.

use std::fs::{File, TryLockError};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use jiff::Timestamp;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Globals, OutputFormat, complain, logging, print, say, tokio_runtime};
use crate::exit::Exit;
use crate::notify::{Notice, Notify};
use crate::private;
use crate::schedule::daemon::{Daemon, Direct};
use crate::schedule::export::{self, Form};
use crate::schedule::file::{self, Job, Put, Schedule};
use crate::schedule::metrics;
use crate::schedule::process::Processes;
use crate::schedule::store::{self, Occurrence, Store};
use crate::text::count;

/// A loop that has not looked for so long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(180);

/// Run experiments by themselves: cron expressions, time zones, blackouts, notices.
#[derive(clap::Args)]
#[command(after_help = "Example: chaos schedule check nightly.yaml && chaos schedule run nightly.yaml")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Follow a schedule until stopped. SIGHUP reads the file again; runs that have begun outlive a restart.
    Run {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Validate a schedule with all its experiments, and print the next runs.
    Check {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// How many moments of each entry.
        #[arg(long, default_value_t = 5)]
        next: usize,
        /// From this moment on, instead of now.
        #[arg(long, value_parser = super::list::moment)]
        from: Option<Timestamp>,
        #[arg(long, value_enum, default_value = "text")]
        format: OutputFormat,
    },
    /// Print what has become of each occurrence, the latest last.
    Status {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The latest so many of each entry.
        #[arg(long, default_value_t = 10)]
        last: usize,
        #[arg(long, value_enum, default_value = "text")]
        format: OutputFormat,
    },
    /// Send a notice of no occasion through every channel, to see that each one works.
    Tell {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Only through this channel.
        #[arg(long, value_name = "NAME")]
        channel: Option<String>,
    },
    /// Write the schedule for another scheduler.
    Export {
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        form: FormArgs,
        /// Write files into this folder instead of printing them.
        #[arg(long, value_name = "FOLDER")]
        output: Option<PathBuf>,
        /// The container image, for Kubernetes.
        #[arg(long, default_value = "chaos:latest")]
        image: String,
    },
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct FormArgs {
    /// Timer and service units.
    #[arg(long)]
    systemd: bool,
    /// Lines of a crontab.
    #[arg(long)]
    cron: bool,
    /// CronJobs.
    #[arg(long)]
    kubernetes: bool,
}

impl FormArgs {
    fn form(&self) -> Form {
        match (self.systemd, self.cron) {
            (true, _) => Form::Systemd,
            (_, true) => Form::Cron,
            _ => Form::Kubernetes,
        }
    }
}

pub fn run(args: Args, globals: &Globals) -> Exit {
    match args.command {
        Command::Run { file } => daemon(&file, globals),
        Command::Check { file, next, from, format } => {
            with(&file, |schedule| print(&upcoming(&schedule, from.unwrap_or_else(Timestamp::now), next, format)))
        }
        Command::Status { file, last, format } => with(&file, |schedule| match status(&schedule, last, format) {
            Ok(text) => print(&text),
            Err(reason) => complain(Exit::CannotRun, reason),
        }),
        Command::Tell { file, channel } => with(&file, |schedule| match tokio_runtime() {
            Ok(runtime) => runtime.block_on(tell_all(&schedule, channel.as_deref())),
            Err(reason) => complain(Exit::CannotRun, reason),
        }),
        Command::Export { file, form, output, image } => with(&file, |schedule| write(&schedule, form.form(), output, &image)),
    }
}

fn load(path: &Path) -> Result<Schedule, String> {
    file::load(path, &|name| std::env::var(name).ok()).map_err(|diags| {
        format!("{}\n\n{} found", diags.render(std::io::stderr().is_terminal()), count(diags.found.len(), "problem"))
    })
}

fn with(path: &Path, then: impl FnOnce(Schedule) -> Exit) -> Exit {
    match load(path) {
        Ok(schedule) => then(schedule),
        Err(wrong) => {
            say(wrong);
            Exit::Usage
        }
    }
}

/// The next moments of an entry.
#[derive(serde::Serialize)]
struct Upcoming {
    entry: String,
    cron: String,
    time_zone: String,
    starts: Vec<Start>,
}

#[derive(serde::Serialize)]
struct Start {
    due: Timestamp,
    /// With the jitter.
    at: Timestamp,
    local: String,
    /// The blackout that is on then, and what becomes of the start.
    blackout: Option<(String, Put)>,
}

fn upcoming(schedule: &Schedule, from: Timestamp, next: usize, format: OutputFormat) -> String {
    let start = |job: &Job, due| {
        let at = job.calendar.start_of(due);
        let local = at.to_zoned(job.calendar.zone().clone()).strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string();
        let blackout = schedule.blackout(at).map(|(name, _)| (name.to_owned(), job.entry.in_blackout));
        Start { due, at, local, blackout }
    };
    let all = schedule.jobs.iter().map(|job| Upcoming {
        entry: job.name().to_owned(),
        cron: job.entry.cron.value.clone(),
        time_zone: job.calendar.zone_name().to_owned(),
        starts: job.calendar.between(from, Timestamp::MAX).take(next).map(|due| start(job, due)).collect(),
    });
    if format == OutputFormat::Json {
        return serde_json::to_string(&all.collect::<Vec<_>>()).unwrap_or_default() + "\n";
    }
    let mut out = String::new();
    for (one, job) in all.zip(&schedule.jobs) {
        out.push_str(&format!("{}  {} {}  {}\n", one.entry, one.cron, one.time_zone, job.calendar.cron().describe()));
        for start in one.starts {
            let blackout = start.blackout.map_or_else(String::new, |(name, put)| {
                format!("  blackout: {name}, {}", if put == Put::Skip { "left out" } else { "waits" })
            });
            out.push_str(&format!("  {}  ({}){blackout}\n", start.local, start.at.strftime("%Y-%m-%dT%H:%M:%SZ")));
        }
    }
    out
}

fn status(schedule: &Schedule, last: usize, format: OutputFormat) -> Result<String, String> {
    if !schedule.reports.join(store::FILE).exists() {
        return Err(format!(
            "nobody has followed this schedule yet: there is no {} in {}",
            store::FILE,
            schedule.reports.display()
        ));
    }
    let store = Store::open(&schedule.reports)?;
    let mut all: Vec<Vec<Occurrence>> = Vec::new();
    for job in &schedule.jobs {
        let of = store.of_entry(job.name()).map_err(|e| format!("the schedule's memory cannot be read: {e}"))?;
        all.push(of[of.len().saturating_sub(last)..].to_vec());
    }
    if format == OutputFormat::Json {
        return Ok(serde_json::to_string(&all.concat()).unwrap_or_default() + "\n");
    }
    let mut out = String::new();
    for (job, occurrences) in schedule.jobs.iter().zip(all) {
        out.push_str(&format!("{}\n", job.name()));
        for one in occurrences {
            let state = one.outcome.as_deref().unwrap_or(one.state.word());
            let more = [&one.run_id, &one.why].into_iter().flatten().map(|text| format!("  {text}")).collect::<String>();
            out.push_str(&format!("  {}  {state:<16}{more}\n", one.due.strftime("%Y-%m-%dT%H:%M:%SZ")));
        }
    }
    Ok(out)
}

async fn tell_all(schedule: &Schedule, only: Option<&str>) -> Exit {
    let chosen: Vec<&Notify> = schedule.notify.iter().filter(|n| only.is_none_or(|name| n.name.value == name)).collect();
    if chosen.is_empty() {
        return complain(
            Exit::Usage,
            only.map_or("nobody is told of anything".into(), |name| format!("there is no channel `{name}`")),
        );
    }
    let mut worst = Exit::Passed;
    for channel in chosen {
        match channel.send(&Notice::of_no_occasion(&channel.name.value, Timestamp::now())).await {
            Ok(()) => drop(print(&format!("{} was told\n", channel.name.value))),
            Err(reason) => worst = complain(Exit::CannotRun, format!("{} could not be told: {reason}", channel.name.value)),
        }
    }
    worst
}

fn write(schedule: &Schedule, form: Form, output: Option<PathBuf>, image: &str) -> Exit {
    let files = match export::files(schedule, form, image) {
        Ok(files) => files,
        Err(reason) => return complain(Exit::Usage, reason),
    };
    let Some(folder) = output else {
        return print(&files.iter().map(|(name, text)| format!("# {name}\n{text}\n")).collect::<String>());
    };
    let written = std::fs::create_dir_all(&folder)
        .and_then(|()| files.iter().try_for_each(|(name, text)| std::fs::write(folder.join(name), text)));
    match written {
        Ok(()) => print(&files.iter().map(|(name, _)| format!("{}\n", folder.join(name).display())).collect::<String>()),
        Err(error) => complain(Exit::CannotRun, format!("cannot write to {}: {error}", folder.display())),
    }
}

fn daemon(path: &Path, globals: &Globals) -> Exit {
    logging::start(globals, "info", false);
    with(path, |schedule| match tokio_runtime().and_then(|runtime| runtime.block_on(follow(path, schedule))) {
        Ok(()) => Exit::Passed,
        Err(reason) => complain(Exit::CannotRun, reason),
    })
}

async fn follow(path: &Path, schedule: Schedule) -> Result<(), String> {
    let store = Arc::new(Store::open(&schedule.reports)?);
    let lock = only_one(&schedule.reports)?;
    let runner = Arc::new(Processes::new(store.clone(), &schedule.reports)?);
    let daemon = Daemon::new(schedule.clone(), store.clone(), runner, Arc::new(Direct), Arc::new(Timestamp::now));
    let (current, seen) = watch::channel(schedule.clone());
    let refused = Arc::new(AtomicBool::new(false));
    if let Some(listen) = &schedule.listen {
        serve(listen, seen, daemon.looked.subscribe(), store, refused.clone()).await?;
    }
    let stop = CancellationToken::new();
    let (reloads, reloaded) = mpsc::channel(1);
    let signals = Signals { path: path.to_owned(), current, reloads, refused, stop: stop.clone() };
    let listening = signals.listen().map_err(|e| format!("signals cannot be handled: {e}"))?;
    tell(&[NotifyState::Ready]);
    tokio::spawn(watchdog(daemon.looked.subscribe()));
    tracing::info!("following {}: {} entries", path.display(), schedule.jobs.len());
    daemon.serve(reloaded, stop).await;
    tell(&[NotifyState::Stopping]);
    listening.abort();
    drop(lock);
    Ok(())
}

/// Two schedulers on one memory would only get in each other's way.
fn only_one(reports: &Path) -> Result<File, String> {
    let path = reports.join("schedule.lock");
    let file = private::options().create(true).append(true).open(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(format!("another scheduler works in {}", reports.display())),
        Err(TryLockError::Error(error)) => Err(format!("{}: {error}", path.display())),
    }
}

/// Tells systemd, where there is one.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("systemd could not be told: {error}");
    }
}

async fn watchdog(looked: watch::Receiver<Timestamp>) {
    let Some(every) = sd_notify::watchdog_enabled() else { return };
    loop {
        tokio::time::sleep(every / 2).await;
        if is_alive(*looked.borrow()) {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

fn is_alive(looked: Timestamp) -> bool {
    Timestamp::now().duration_since(looked).unsigned_abs() < STUCK_AFTER
}

async fn serve(
    listen: &str,
    schedule: watch::Receiver<Schedule>,
    looked: watch::Receiver<Timestamp>,
    store: Arc<Store>,
    refused: Arc<AtomicBool>,
) -> Result<(), String> {
    let listener = tokio::net::TcpListener::bind(listen).await.map_err(|e| format!("cannot listen on {listen}: {e}"))?;
    let health = move || async move {
        match is_alive(*looked.borrow()) {
            true => (StatusCode::OK, "ok\n"),
            false => (StatusCode::SERVICE_UNAVAILABLE, "the loop is stuck\n"),
        }
    };
    let figures = move || async move {
        let schedule = schedule.borrow().clone();
        metrics::render(&schedule, &store, refused.load(Ordering::Relaxed), Timestamp::now())
            .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
    };
    let app = Router::new().route("/health", get(health)).route("/metrics", get(figures));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(())
}

struct Signals {
    path: PathBuf,
    current: watch::Sender<Schedule>,
    reloads: mpsc::Sender<Schedule>,
    refused: Arc<AtomicBool>,
    stop: CancellationToken,
}

impl Signals {
    fn listen(self) -> std::io::Result<tokio::task::JoinHandle<()>> {
        let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut hup = signal(SignalKind::hangup())?;
        Ok(tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = int.recv() => return self.stop.cancel(),
                    _ = term.recv() => return self.stop.cancel(),
                    _ = hup.recv() => self.reload().await,
                }
            }
        }))
    }

    /// A file that is wrong changes nothing.
    async fn reload(&self) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            tell(&[NotifyState::Reloading, now]);
        }
        let read = load(&self.path).and_then(|new| match (new.reports.clone(), new.listen.clone()) {
            same if same == (self.current.borrow().reports.clone(), self.current.borrow().listen.clone()) => Ok(new),
            _ => Err("`reports` and `listen` cannot change while it runs: restart".to_owned()),
        });
        self.refused.store(read.is_err(), Ordering::Relaxed);
        match read {
            Ok(new) => {
                self.current.send_replace(new.clone());
                // The loop is gone only when everything ends.
                let _ = self.reloads.send(new).await;
                tracing::info!("{} was read again", self.path.display());
            }
            Err(wrong) => tracing::error!("{} is refused, the old one stays in force:\n{wrong}", self.path.display()),
        }
        tell(&[NotifyState::Ready]);
    }
}

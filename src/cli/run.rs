//! `chaos run`: one experiment, one verdict, one exit code.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::keep;
use super::load::{self, Ready};
use super::{Globals, OutputFormat, backend, complain, logging, print, say, suite, tokio_runtime};
use crate::clock::Clock;
use crate::crash;
use crate::driver::http::HttpPort;
use crate::exit::Exit;
use crate::experiment::file::Overrides;
use crate::experiment::file::{KEPT, Loaded, with_seed};
use crate::fault::FaultSpec;
use crate::journal::event::Event;
use crate::journal::writer::Journal;
use crate::journal::{FILE, SCHEMA};
use crate::observe::kept::Kept;
use crate::observe::logs::LogMatcher;
use crate::observe::nvml::Gpus;
use crate::observe::sampler::Sampler;
use crate::plan::{Plan, RuntimePlan};
use crate::private;
use crate::report::terminal::{self, Volume};
use crate::report::{self, result::RunResult};
use crate::run::claims::Claims;
use crate::run::engine::{self, Interrupt};
use crate::run::folder::Folder;
use crate::run::guardian::Guardian;
use crate::run::leftover::Leftover;
use crate::run::world::World;
use crate::runtime::docker::DockerRuntime;
use crate::runtime::output::Output;
use crate::runtime::process::{ProcessRuntime, Spec};
use crate::runtime::{NoRuntime, Runtime};
use crate::schedule::process::{self, Ticket};
use crate::schedule::store::{COULD_NOT_START, Ending};
use crate::state;

/// Run an experiment: load, faults, recovery, verdict. The exit code says how it came out.
///
/// Several files are run one after another, and a report over all of them is written beside theirs.
#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 passed, 1 a check failed, 2 the file is wrong, 3 a guard stopped it, 4 it could not be run,\n5 something could not be put back, 6 inconclusive, 130 interrupted. Of several files the worst counts.\n\nExample: chaos run experiments/gpu-oom.yaml --defect oom-no-retry"
)]
pub struct Args {
    /// The experiment; several make a suite.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
    /// Where the run's folder is made.
    #[arg(long, default_value = "reports")]
    reports: PathBuf,
    /// What is printed on standard output at the end: a table, or result.json.
    #[arg(long, value_enum, default_value = "text")]
    format: OutputFormat,
    /// The occurrence of a schedule that this run is.
    #[arg(long, hide = true, value_name = "DATABASE#NUMBER")]
    scheduled: Option<Ticket>,
}

pub fn run(args: Args, globals: &Globals) -> Exit {
    logging::start(globals, "warn", false);
    let Some(ticket) = args.scheduled.clone() else { return run_all(&args, globals, &mut None) };
    let store = match ticket.begin() {
        Ok(store) => store,
        Err(reason) => return complain(Exit::CannotRun, reason),
    };
    let mut result = None;
    let exit = run_all(&args, globals, &mut result);
    let unread = || Ending { outcome: COULD_NOT_START.to_owned(), exit_code: Some(exit.code()), ..Ending::default() };
    ticket.finish(&store, &result.as_ref().map_or_else(unread, process::ending));
    exit
}

/// Runs the one or the several; of one the result is put into `kept`.
fn run_all(args: &Args, globals: &Globals, kept: &mut Option<RunResult>) -> Exit {
    // All are read before the first is run: a mistake in the last one should not cost an hour.
    let read: Vec<Result<Ready, Exit>> =
        args.files.iter().map(|file| load::ready(file, &args.overrides, OutputFormat::Text)).collect();
    let ready = match read.into_iter().collect::<Result<Vec<Ready>, Exit>>() {
        Ok(ready) => ready,
        Err(exit) => return exit,
    };
    match ready.as_slice() {
        [one] => match run_one(one, &args.reports, globals) {
            Ok((result, folder)) => finish(kept.insert(result), &folder, args.format),
            Err(reason) => complain(Exit::CannotRun, reason),
        },
        several => suite::run(several, &args.files, &args.reports, args.format, globals),
    }
}

/// Runs one experiment into its own folder, and writes its reports.
pub fn run_one(ready: &Ready, reports: &Path, globals: &Globals) -> Result<(RunResult, PathBuf), String> {
    let began = jiff::Timestamp::now();
    let folder = Folder::create(reports, &ready.plan.name, began)
        .map_err(|reason| format!("{reason}; nothing was touched. Choose another place with --reports"))?;
    let runtime = tokio_runtime()?;
    let volume = match (globals.quiet, globals.verbose) {
        (true, _) => Volume::Quiet,
        (false, 0) => Volume::Normal,
        (false, _) => Volume::Verbose,
    };
    let done = runtime.block_on(carry_out(ready, &folder, began, volume));
    folder.release_reserve();
    let journal = done?;
    let result = journal.read(|record| {
        report::write_all(record, &folder.path).unwrap_or_else(|why| {
            // What was found out is what counts: it is printed, and is the exit code.
            let remedy = format!("make them again with: chaos report {}", folder.path.display());
            say(format!("not every report could be written: {why}; {remedy}"));
            report::result::of(record)
        })
    });
    Ok((result, folder.path))
}

fn finish(result: &RunResult, folder: &Path, format: OutputFormat) -> Exit {
    let text = match format {
        OutputFormat::Text => terminal::summary(result, folder, std::io::stdout().is_terminal()),
        OutputFormat::Json => serde_json::to_string(result).unwrap_or_default() + "\n",
    };
    print(&text);
    if result.exit_code == Exit::Stuck.code() {
        say(format_args!("something could not be put back; try: chaos revert {}", folder.display()));
    }
    Exit::from_code(result.exit_code)
}

/// Writes down what runs, runs it, and returns its journal.
async fn carry_out(ready: &Ready, folder: &Folder, began: jiff::Timestamp, volume: Volume) -> Result<Journal, String> {
    let clock = Clock::start();
    store_experiment(&ready.loaded, &ready.plan, &ready.beside, &folder.path)?;
    let journal = Journal::create(&folder.path.join(FILE), clock).map_err(|e| format!("cannot make the journal: {e}"))?;
    let (leftover, claims) = remembered(&ready.plan, folder, &journal)?;
    let (events, shown) = mpsc::unbounded_channel();
    journal.watch(events);
    let terminal = tokio::spawn(terminal::show(shown, journal.clone(), volume));
    journal.emit_synced(Event::RunStarted {
        schema: SCHEMA,
        run_id: folder.run_id.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        began: format!("{began:.3}"),
        overrides: ready.overrides.clone(),
        host: host(),
        plan: Box::new(ready.plan.clone()),
    });
    let mut world = world(&ready.plan, &folder.path, &journal, clock)?;
    world.claims = claims.map(Arc::new);
    let guardian = match ready.plan.faults.is_empty() {
        true => None,
        false => Some(Guardian::start(&leftover, &journal).await?),
    };
    crash::point("guarded");
    let interrupt = Interrupt::default();
    listen_for_signals(&interrupt, &world.hurry, &folder.path).map_err(|e| format!("signals cannot be handled: {e}"))?;
    let sampler = sampler(&world);
    engine::run(&world, sampler, &interrupt).await;
    if let Some(guardian) = guardian {
        guardian.dismiss().await;
    }
    journal.close_watchers();
    // The terminal's task ends with its channel; if it has panicked the reports still stand.
    let _ = terminal.await;
    match journal.error() {
        Some(error) => Err(format!(
            "the journal could not be written to its end: {error}; what is there can be read with `chaos report {}`",
            folder.path.display()
        )),
        None => Ok(journal),
    }
}

/// What whoever puts things back must know is kept in the state folder too, before the first line is written. A run that leaves
/// nothing behind its own processes needs no state.
fn remembered(plan: &Plan, folder: &Folder, journal: &Journal) -> Result<(Leftover, Option<Claims>), String> {
    let outlives = plan.faults.iter().any(|fault| FaultSpec::outlives_target(fault.spec.kind()));
    let leaves_nothing = plan.runtime.is_started() && !outlives;
    let state = match state::folder() {
        Ok(state) => state,
        Err(_) if leaves_nothing => return Ok((Leftover::of(&folder.path, Path::new("")), None)),
        Err(why) => return Err(why),
    };
    let leftover = match plan.faults.is_empty() || leaves_nothing {
        true => Leftover::of(&folder.path, &state),
        false => {
            let (leftover, copy) = Leftover::begin(&folder.path, &state)?;
            journal.copy_to(copy);
            leftover
        }
    };
    Ok((leftover.clone(), Some(Claims::of(leftover, state))))
}

fn store_experiment(loaded: &Loaded, plan: &Plan, from: &Path, folder: &Path) -> Result<(), String> {
    let tree = with_seed(&loaded.tree, plan.seed.0);
    let text = serde_yaml::to_string(&keep::beside(tree, from, folder)?)
        .map_err(|e| format!("the experiment cannot be written: {e}"))?;
    let path = folder.join(KEPT);
    private::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

fn host() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!("{} {}, {cores} cores", std::env::consts::OS, std::env::consts::ARCH)
}

fn world(plan: &Plan, folder: &Path, journal: &Journal, clock: Clock) -> Result<World, String> {
    let tasks = TaskTracker::new();
    let (runtime, url) = runtime(plan, folder, journal, &tasks)?;
    let port = Arc::new(HttpPort::new(plan.driver.clone(), url)?);
    let mut world = World::new(plan, clock, journal.clone(), port, runtime, tasks);
    world.watches_machine = true;
    Ok(world)
}

/// A URL that may be known only once the target has started.
type Url = Arc<OnceLock<String>>;

/// The target's runtime, and where its URL will be.
fn runtime(plan: &Plan, folder: &Path, journal: &Journal, tasks: &TaskTracker) -> Result<(Arc<dyn Runtime>, Url), String> {
    let fixed = || Arc::new(OnceLock::from(plan.url.clone()));
    let output = || -> Result<Output, String> {
        let log = private::create_new(&folder.join("target.log")).map_err(|e| format!("cannot make target.log: {e}"))?;
        Ok(Output::new(journal.clone(), LogMatcher::new(&plan.log_patterns())?, Some(log)))
    };
    let spec = match &plan.runtime {
        RuntimePlan::None => return Ok((Arc::new(NoRuntime), fixed())),
        RuntimePlan::Docker(rules) => {
            let (others, url) = (plan.other_containers(), plan.url.clone());
            return Ok((
                Arc::new(DockerRuntime::new(rules.clone(), others, url, journal.clone(), output()?, tasks.clone())),
                fixed(),
            ));
        }
        RuntimePlan::Embedded(settings) => {
            let program = std::env::current_exe().map_err(|e| format!("this program cannot be found: {e}"))?;
            let data = folder.join("target");
            let command = backend::Args::command(&program.to_string_lossy(), settings, &data.to_string_lossy(), plan.seed.0);
            // Blocks of memory go back to the kernel when they are freed, so that what is resident is what is in use.
            let env = [("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "131072"), ("MALLOC_TRIM_THRESHOLD_", "131072")];
            let env = env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            Spec { command, env, cwd: None, announces: true }
        }
        RuntimePlan::Process(p) => {
            Spec { command: p.command.0.clone(), env: p.env.clone(), cwd: p.cwd.clone().map(PathBuf::from), announces: false }
        }
    };
    let announces = spec.announces;
    let runtime = ProcessRuntime::new(spec, journal.clone(), output()?, tasks.clone());
    let url = if announces { runtime.address() } else { fixed() };
    Ok((Arc::new(runtime), url))
}

fn sampler(world: &World) -> Sampler {
    let gpus = if world.plan.gpu_is_simulated() {
        None
    } else {
        Gpus::open()
            .inspect_err(|why| world.journal.emit(Event::Note { text: format!("no figures of a GPU of this machine: {why}") }))
            .ok()
    };
    Sampler {
        port: world.port.clone(),
        runtime: world.runtime.clone(),
        journal: world.journal.clone(),
        driver: world.plan.driver.clone(),
        every: std::time::Duration::from_secs_f64(world.plan.sample_every_s),
        gpus,
        meter: None,
        last: Default::default(),
        types: Default::default(),
        kept: Kept::of(world.plan.judged_metrics()),
        unread: Default::default(),
    }
}

/// The first signal stops the run and reverts; the second ends the wait for what is away; the third leaves at once and says
/// what is left to do.
fn listen_for_signals(interrupt: &Interrupt, hurry: &CancellationToken, folder: &Path) -> std::io::Result<()> {
    let (mut int, mut term, mut hup) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let (interrupt, hurry, folder) = (interrupt.clone(), hurry.clone(), folder.to_owned());
    tokio::spawn(async move {
        for count in 1.. {
            let name = tokio::select! {
                _ = int.recv() => "SIGINT",
                _ = term.recv() => "SIGTERM",
                _ = hup.recv() => "SIGHUP",
            };
            // Only the first one is kept: it is what ended the run.
            let _ = interrupt.signal.set(name.to_owned());
            interrupt.stop.cancel();
            if count == 2 {
                hurry.cancel();
            }
            if count >= 3 {
                say(format_args!("left without putting everything back; do it with: chaos revert {}", folder.display()));
                std::process::exit(Exit::Stuck.code().into());
            }
        }
    });
    Ok(())
}

//! The command line: one file a command.

mod backend;
mod compare;
mod completions;
mod doctor;
mod guardian;
mod hold;
mod incident;
mod init;
mod keep;
mod list;
mod load;
mod logging;
mod minimize;
mod plan;
mod prune;
mod replay;
mod report;
mod revert;
mod run;
mod schedule;
mod schema;
mod show;
mod suite;
mod trend;
mod trial;
mod validate;

use clap::{Parser, Subcommand, ValueEnum};

use crate::exit::Exit;
use crate::secret;

/// Breaks a GPU generation backend on purpose and proves that it recovers.
#[derive(Parser)]
#[command(name = "chaos", version, arg_required_else_help = true, after_help = "Example: chaos run experiments/gpu-oom.yaml")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Say more; twice for the program's own log.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    /// Say only what went wrong.
    #[arg(short, long, global = true)]
    quiet: bool,
    /// The form of the program's own log.
    #[arg(long, value_enum, default_value = "text", global = true)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum, PartialEq, Eq)]
enum LogFormat {
    Text,
    Json,
}

/// For people or for machines.
#[derive(Clone, Copy, ValueEnum, PartialEq, Eq)]
enum OutputFormat {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Args),
    Validate(validate::Args),
    Plan(plan::Args),
    Report(report::Args),
    List(list::Args),
    Show(show::Args),
    Trend(trend::Args),
    Prune(prune::Args),
    Compare(compare::Args),
    Replay(replay::Args),
    Minimize(minimize::Args),
    Schedule(schedule::Args),
    Incident(incident::Args),
    Revert(revert::Args),
    Init(init::Args),
    Doctor(doctor::Args),
    Schema(schema::Args),
    Completions(completions::Args),
    Backend(backend::Args),
    #[command(hide = true)]
    Hold(hold::Args),
    /// Watches over a run; `chaos run` starts it.
    #[command(hide = true)]
    Guardian(guardian::Args),
}

/// What all commands share.
struct Globals {
    verbose: u8,
    quiet: bool,
    log_format: LogFormat,
}

/// The whole program.
pub fn main() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Passed };
            // A closed terminal is no reason to fail differently.
            let _ = error.print();
            return exit;
        }
    };
    let globals = Globals { verbose: cli.verbose, quiet: cli.quiet, log_format: cli.log_format };
    mask_panics();
    // Without a default provider every TLS client would panic at its first use.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match cli.command {
        Command::Run(args) => run::run(args, &globals),
        Command::Validate(args) => validate::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Report(args) => report::run(args),
        Command::List(args) => list::run(args),
        Command::Show(args) => show::run(args),
        Command::Trend(args) => trend::run(args),
        Command::Prune(args) => prune::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Replay(args) => replay::run(args, &globals),
        Command::Minimize(args) => minimize::run(args, &globals),
        Command::Incident(args) => incident::run(args),
        Command::Schedule(args) => schedule::run(args, &globals),
        Command::Revert(args) => revert::run(args, &globals),
        Command::Init(args) => init::run(args),
        Command::Doctor(args) => doctor::run(args, &globals),
        Command::Schema(args) => schema::run(args),
        Command::Completions(args) => completions::run(args),
        Command::Backend(args) => backend::run(args, &globals),
        Command::Guardian(args) => guardian::run(&args),
        Command::Hold(args) => hold::run(args),
    }
}

/// Prints an error and returns its exit code.
fn complain(exit: Exit, text: impl std::fmt::Display) -> Exit {
    say(format_args!("error: {text}"));
    exit
}

/// Writes a line for people, without secrets, to standard error. Where that cannot be written there is nobody to tell, and the
/// command goes on.
fn say(text: impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{}", secret::masked(&text.to_string()));
}

/// A mistake of ours may quote anything.
fn mask_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        say(format_args!("thread '{}' {panic}", thread.name().unwrap_or("<unnamed>")));
    }));
}

/// The runtime for commands that wait for something.
fn tokio_runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| format!("the runtime cannot start: {e}"))
}

/// Writes to standard output; a reader that has gone away (`| head`) is no error.
fn print(text: &str) -> Exit {
    use std::io::Write;
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            complain(Exit::CannotRun, format!("cannot write the output: {error}"))
        }
        _ => Exit::Passed,
    }
}

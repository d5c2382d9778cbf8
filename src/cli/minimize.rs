//! `chaos minimize`: the smallest experiment that still fails.

use std::path::{Path, PathBuf};

use super::load::{self, Ready};
use super::{Globals, complain, keep, logging, print, run};
use crate::check::Ruling;
use crate::exit::Exit;
use crate::experiment::diagnostic::Diagnostics;
use crate::experiment::file::{Overrides, load};
use crate::experiment::node::Node;
use crate::experiment::units::WallTime;
use crate::minimize::candidate::{Candidate, Sizes, label, normal};
use crate::minimize::minimize;
use crate::minimize::trial::{Bounds, Seen, Stop, Trial};
use crate::report::result::RunResult;

/// Make a failed run's experiment smaller as long as the same check fails: fewer faults, less load, shorter.
#[derive(clap::Args)]
#[command(
    after_help = "A search that was stopped goes on with the same command.\n\nExit codes: 0 the smallest was found, 4 it could not be run, 6 a bound was reached or the failure did not come again,\n130 interrupted.\n\nExample: chaos minimize reports/20261123T120000Z-gpu-oom-1a2b3c --confirm 5"
)]
pub struct Args {
    /// The failed run's folder.
    run: PathBuf,
    /// The check that must fail. Without it the first that failed.
    #[arg(long, value_name = "NAME")]
    check: Option<String>,
    /// Runs of each candidate at the most; more than half of them must fail.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    confirm: u32,
    /// Runs of the smallest at the end, and of it without each of its faults: they say how sure it is.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=999))]
    prove: u32,
    /// So many runs in all, those of earlier calls included.
    #[arg(long, default_value_t = 200)]
    most_runs: u32,
    /// So much time in all.
    #[arg(long, default_value = "4h")]
    most_time: WallTime,
    /// Where the search is kept and the smallest experiment is written. Without it: `minimize` in the run's folder.
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
}

/// Where everything of a search is.
struct Search<'a> {
    /// The failed run.
    run: &'a Path,
    output: &'a Path,
    check: String,
    tree: Node,
    overrides: &'a Overrides,
}

pub fn run(args: Args, globals: &Globals) -> Exit {
    logging::start(globals, "warn", false);
    match search(&args, globals) {
        Ok(exit) => exit,
        Err((exit, reason)) => complain(exit, reason),
    }
}

fn search(args: &Args, globals: &Globals) -> Result<Exit, (Exit, String)> {
    let cannot = |reason: String| (Exit::CannotRun, reason);
    let output = args.output.clone().unwrap_or_else(|| args.run.join("minimize"));
    let (check, tree) = subject(args).map_err(|reason| (Exit::Usage, reason))?;
    std::fs::create_dir_all(&output).map_err(|e| cannot(format!("{}: {e}", output.display())))?;
    let search = Search { run: &args.run, output: &output, check, tree, overrides: &args.overrides };
    let lines = |trace: &str| Some(std::fs::read_to_string(args.run.join(trace)).ok()?.lines().count() as u64);
    let sizes = Sizes::of(&search.tree, lines);
    let bounds = Bounds { runs: args.most_runs, time: args.most_time.0, confirm: args.confirm };
    let of = format!("{}: {}", args.run.display(), search.check);
    let mut trial =
        Trial::open(&output.join("state.json"), &of, bounds, |c: &Candidate| search.once(c, globals)).map_err(cannot)?;
    let whole = Candidate::whole(&sizes);
    let mut best = whole.clone();
    let found = look(&sizes, &mut best, &mut trial, args.prove);
    let text = search.report(&whole, &best, &trial, &found, args.prove);
    search.write(&best, &text).map_err(cannot)?;
    print(&format!("{text}\n{}\n", output.join("experiment.yaml").display()));
    Ok(match found {
        Ok(true) => Exit::Passed,
        Ok(false) | Err(Stop::Runs | Stop::Time) => Exit::Inconclusive,
        Err(Stop::Interrupted) => Exit::Interrupted,
        Err(Stop::Broken(reason)) => return Err(cannot(reason)),
    })
}

/// The check that failed, and the experiment.
fn subject(args: &Args) -> Result<(String, Node), String> {
    let path = args.run.join("result.json");
    let text = std::fs::read_to_string(&path)
        .map_err(|e| format!("cannot read {}: {e}; expected the folder of a run", path.display()))?;
    let result: RunResult = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut failed = result.checks.iter().filter(|c| c.verdict == Ruling::Failed).map(|c| c.name.clone());
    let check = match &args.check {
        Some(name) => failed.find(|f| f == name).ok_or_else(|| format!("no check of the name `{name}` failed in that run"))?,
        None => failed.next().ok_or("no check failed in that run: there is nothing to make smaller")?,
    };
    let experiment = args.run.join("experiment.yaml");
    // Filled in only to find what is wrong: what is made smaller is the tree as it stands.
    let loaded = load(&experiment, &Overrides::default(), &|name| std::env::var(name).ok())
        .map_err(|diags: Diagnostics| diags.render(false))?;
    Ok((check, normal(loaded.tree)))
}

fn look<R: FnMut(&Candidate) -> Result<Seen, Stop>>(
    sizes: &Sizes,
    best: &mut Candidate,
    trial: &mut Trial<R>,
    prove: u32,
) -> Result<bool, Stop> {
    use crate::minimize::Test;
    if !trial.fails(best)? {
        return Ok(false);
    }
    minimize(sizes, best, trial)?;
    trial.at_least(best, prove)?;
    for fault in &best.faults {
        trial.at_least(&best.without(*fault), prove)?;
    }
    Ok(true)
}

impl Search<'_> {
    fn once(&self, candidate: &Candidate, globals: &Globals) -> Result<Seen, Stop> {
        let Some(ready) = self.ready(candidate).map_err(Stop::Broken)? else { return Ok(Seen::Impossible) };
        let quiet = Globals { verbose: 0, quiet: true, log_format: globals.log_format };
        let (result, _) = run::run_one(&ready, &self.output.join("runs"), &quiet).map_err(Stop::Broken)?;
        let exit = Exit::from_code(result.exit_code);
        let verdict = result.checks.iter().find(|c| c.name == self.check).map(|c| c.verdict);
        let seen = if verdict == Some(Ruling::Failed) { Seen::Fails } else { Seen::Holds };
        if !globals.quiet {
            let faults: Vec<String> = candidate.faults.iter().map(|f| label(&self.tree, *f)).collect();
            eprintln!("{}  {}", if seen == Seen::Fails { "fails" } else { "holds" }, faults.join(", "));
        }
        match exit {
            Exit::Interrupted => Err(Stop::Interrupted),
            Exit::Stuck => Err(Stop::Broken(format!("{} left something broken", result.run_id))),
            Exit::CannotRun => Ok(Seen::Impossible),
            _ => Ok(seen),
        }
    }

    /// The candidate as a file; none where it is no experiment.
    fn ready(&self, candidate: &Candidate) -> Result<Option<Ready>, String> {
        let path = self.output.join("candidate.yaml");
        self.store(candidate, &path, "")?;
        Ok(load::read(&path, self.overrides).ok())
    }

    fn store(&self, candidate: &Candidate, path: &Path, comment: &str) -> Result<(), String> {
        let tree = keep::beside(candidate.apply(&self.tree)?, self.run, self.output)?;
        let text = serde_yaml::to_string(&tree).map_err(|e| e.to_string())?;
        std::fs::write(path, format!("{comment}{text}")).map_err(|e| format!("{}: {e}", path.display()))
    }

    fn report<R: FnMut(&Candidate) -> Result<Seen, Stop>>(
        &self,
        whole: &Candidate,
        best: &Candidate,
        trial: &Trial<R>,
        found: &Result<bool, Stop>,
        prove: u32,
    ) -> String {
        let mut lines = vec![format!("check {}: the original {}", self.check, trial.tally(whole).text())];
        match found {
            Ok(false) => lines.push("it does not fail again often enough: nothing can be left out with any certainty".to_owned()),
            Ok(true) => lines.push(format!("the smallest {}", trial.tally(best).text())),
            Err(stop) => lines
                .push(format!("stopped ({stop:?}): the smallest so far {}; the same command goes on", trial.tally(best).text())),
        }
        lines.push(format!(
            "{} of {} faults, {} of {} loads{}",
            best.faults.len(),
            whole.faults.len(),
            best.loads.len(),
            whole.loads.len(),
            best.duration_ms.map_or_else(String::new, |ms| format!(", {:.3} s long", ms as f64 / 1e3)),
        ));
        for fault in &best.faults {
            let without = trial.tally(&best.without(*fault));
            lines.push(format!("  {}; without it: {}", label(&self.tree, *fault), without.text()));
        }
        best.counts.iter().for_each(|(path, value)| lines.push(format!("  {path}: {value}")));
        lines.push(format!(
            "{} runs in {:.0} s; at least {prove} of the smallest at the end",
            trial.state.runs, trial.state.spent_s
        ));
        lines.join("\n")
    }

    fn write(&self, best: &Candidate, text: &str) -> Result<(), String> {
        let comment: String = text.lines().map(|line| format!("# {line}\n")).collect();
        self.store(best, &self.output.join("experiment.yaml"), &comment)?;
        let candidate = self.output.join("candidate.yaml");
        match std::fs::remove_file(&candidate) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {e}", candidate.display())),
            _ => Ok(()),
        }
    }
}

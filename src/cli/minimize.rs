//! `chaos minimize`: the smallest experiment that still fails.

use std::path::{Path, PathBuf};

use super::load;
use super::{Globals, OutputFormat, complain, keep, logging, print, run, say};
use crate::check::Ruling;
use crate::exit::Exit;
use crate::experiment::diagnostic::Diagnostics;
use crate::experiment::file::{self, Overrides};
use crate::experiment::node::Node;
use crate::experiment::units::WallTime;
use crate::history;
use crate::minimize::candidate::{Candidate, Sizes, label, normal};
use crate::minimize::summary::{Found, Summary};
use crate::minimize::trial::{Bounds, Seen, Stop, Trial};
use crate::minimize::{Test, minimize};
use crate::private;
use crate::report::result::RunResult;

/// Make a failed run's experiment smaller as long as the same check fails: fewer faults, less load, shorter.
#[derive(clap::Args)]
#[command(
    after_help = "A search that was stopped goes on with the same command.\n\nExit codes: 0 the smallest was found, 4 it could not be run, 6 a bound was reached or the failure did not come again,\n130 interrupted.\n\nExample: chaos minimize reports/20261123T120000Z-gpu-oom-1a2b3c --confirm 5"
)]
pub struct Args {
    /// The failed run: its folder, or the beginning of its id.
    run: String,
    /// Where the runs are.
    #[arg(long, default_value = "reports")]
    reports: PathBuf,
    /// The check that must fail. Without it the first that failed.
    #[arg(long, value_name = "NAME")]
    check: Option<String>,
    /// Runs of each candidate at the most; more than half of them must fail.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    confirm: u32,
    /// Further runs of the smallest at the end, and of it without each of its faults: they say how sure it is.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=999))]
    prove: u32,
    /// So many runs in all, those of earlier calls included.
    #[arg(long, default_value_t = 200)]
    most_runs: u32,
    /// So much time in all.
    #[arg(long, default_value = "4h")]
    most_time: WallTime,
    /// A command that is run before each run, such as "docker restart backend": what one run leaves behind must not count for
    /// the next.
    #[arg(long, value_name = "COMMAND")]
    before: Option<String>,
    /// Where the search is kept and the smallest experiment is written. Without it: `minimize` in the run's folder.
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
    #[arg(long, value_enum, default_value = "text")]
    format: OutputFormat,
}

/// What failed.
struct Subject {
    run_id: String,
    check: String,
    /// How the jobs came out that the check is about: the same check may fail for another reason.
    classes: Vec<&'static str>,
    tree: Node,
}

/// Where everything of a search is.
struct Search<'a> {
    args: &'a Args,
    /// The failed run's folder.
    run: &'a Path,
    globals: &'a Globals,
    subject: Subject,
    sizes: Sizes,
    output: &'a Path,
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
    let run = history::folder(&args.run, &args.reports).map_err(|reason| (Exit::Usage, reason))?;
    let output = args.output.clone().unwrap_or_else(|| run.join("minimize"));
    let subject = subject(&run, args.check.as_deref()).map_err(|reason| (Exit::Usage, reason))?;
    private::folder(&output).map_err(|e| cannot(format!("{}: {e}", output.display())))?;
    let lines = |trace: &str| Some(std::fs::read_to_string(run.join(trace)).ok()?.lines().count() as u64);
    let sizes = Sizes::of(&subject.tree, lines);
    let search = Search { args, run: &run, globals, subject, sizes, output: &output };
    let bounds = Bounds { runs: args.most_runs, time: args.most_time.0, confirm: args.confirm };
    let of = format!("{}: {}", search.subject.run_id, search.subject.check);
    let mut trial = Trial::open(&output.join("state.json"), &of, bounds, |c: &Candidate| search.once(c)).map_err(cannot)?;
    let mut best = Candidate::whole(&search.sizes);
    let end = look(&search.sizes, &mut best, &mut trial, args.prove);
    let found = Found {
        tree: &search.subject.tree,
        sizes: &search.sizes,
        best: &best,
        end: &end,
        tally: &|c| trial.tally(c),
        proof: &|c| trial.proof(c),
    };
    let spent = (trial.state.runs, trial.state.spent_s);
    let mut summary = Summary::of(&search.subject.check, search.subject.classes.clone(), &found, spent);
    summary.doubt = search.doubt();
    search.finish(&best, &summary).map_err(cannot)?;
    Ok(match end {
        Ok(true) => Exit::Passed,
        Ok(false) | Err(Stop::Runs | Stop::Time) => Exit::Inconclusive,
        Err(Stop::Interrupted) => Exit::Interrupted,
        Err(Stop::Broken(_)) => Exit::CannotRun,
    })
}

/// The check that failed, and the experiment.
fn subject(run: &Path, check: Option<&str>) -> Result<Subject, String> {
    let result = RunResult::read(run)?;
    let mut failed = result.checks.iter().filter(|c| c.verdict == Ruling::Failed);
    let check = match check {
        Some(name) => {
            failed.find(|c| c.name == name).ok_or_else(|| format!("no check of the name `{name}` failed in that run"))?
        }
        None => failed.next().ok_or("no check failed in that run: there is nothing to make smaller")?,
    };
    let experiment = run.join("experiment.yaml");
    // Filled in only to find what is wrong: what is made smaller is the tree as it stands.
    let loaded = file::load(&experiment, &Overrides::default(), &|name| std::env::var(name).ok())
        .map_err(|diags: Diagnostics| diags.render(false))?;
    let (check, run_id) = (check.name.clone(), result.run_id.clone());
    Ok(Subject { run_id, classes: classes(&result, &check), check, tree: normal(loaded.tree) })
}

/// The ways in which jobs did not come out well, where that is what the check is about.
fn classes(result: &RunResult, check: &str) -> Vec<&'static str> {
    if !result.checks.iter().any(|c| c.name == check && c.kind == "all_jobs_complete") {
        return Vec::new();
    }
    let jobs = &result.jobs;
    let all = [
        ("lost", jobs.lost),
        ("failed", jobs.failed),
        ("shed", jobs.shed),
        ("mismatched", jobs.mismatched),
        ("duplicated", jobs.duplicated),
    ];
    all.into_iter().filter(|(_, n)| *n > 0).map(|(name, _)| name).collect()
}

/// Lost jobs are another failure than late ones.
fn are_alike(original: &[&str], now: &[&str]) -> bool {
    if original.is_empty() { now.is_empty() } else { now.iter().any(|class| original.contains(class)) }
}

fn look<R: FnMut(&Candidate) -> Result<Seen, Stop>>(
    sizes: &Sizes,
    best: &mut Candidate,
    trial: &mut Trial<R>,
    prove: u32,
) -> Result<bool, Stop> {
    if !trial.fails(best)? {
        return Ok(false);
    }
    minimize(sizes, best, trial)?;
    trial.prove(best, prove)?;
    for fault in &best.faults {
        trial.prove(&best.without(*fault), prove)?;
    }
    Ok(true)
}

impl Search<'_> {
    fn once(&self, candidate: &Candidate) -> Result<Seen, Stop> {
        let path = self.output.join("candidate.yaml");
        self.store(candidate, &path, "").map_err(Stop::Broken)?;
        let Ok(ready) = load::read(&path, &self.args.overrides) else { return Ok(Seen::Impossible) };
        self.reset()?;
        let quiet = Globals { verbose: 0, quiet: true, log_format: self.globals.log_format };
        let (result, _) = run::run_one(&ready, &self.output.join("runs"), &quiet).map_err(Stop::Broken)?;
        match Exit::from_code(result.exit_code) {
            Exit::Interrupted => return Err(Stop::Interrupted),
            Exit::Stuck => return Err(Stop::Broken(format!("{} left something broken", result.run_id))),
            // Taken as one that holds it would lead the search astray.
            Exit::CannotRun => {
                let why = result.reason.unwrap_or_default();
                return Err(Stop::Broken(format!("{} could not be run: {why}", result.run_id)));
            }
            _ => {}
        }
        let seen = self.seen(&result);
        if !self.globals.quiet {
            say(format_args!("{}  {}", if seen == Seen::Fails { "fails" } else { "holds" }, self.describe(candidate)));
        }
        Ok(seen)
    }

    fn describe(&self, candidate: &Candidate) -> String {
        let faults: Vec<String> = candidate.faults.iter().map(|f| label(&self.subject.tree, *f)).collect();
        let faults = if faults.is_empty() { "without a fault".to_owned() } else { faults.join(", ") };
        let smaller = self.sizes.amounts.iter().filter(|a| candidate.has(a) && candidate.amount(a) < a.full);
        smaller.fold(faults, |text, a| format!("{text}; {}: {}", a.path, a.text(candidate.amount(a))))
    }

    /// The same check, and jobs that came out badly in a way that the original knows.
    fn seen(&self, result: &RunResult) -> Seen {
        let failed = result.checks.iter().any(|c| c.name == self.subject.check && c.verdict == Ruling::Failed);
        let alike = are_alike(&self.subject.classes, &classes(result, &self.subject.check));
        if failed && alike { Seen::Fails } else { Seen::Holds }
    }

    fn reset(&self) -> Result<(), Stop> {
        let Some(command) = &self.args.before else { return Ok(()) };
        let status = std::process::Command::new("sh").args(["-c", command]).stdin(std::process::Stdio::null()).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Stop::Broken(format!("`{command}` ended with {status}"))),
            Err(error) => Err(Stop::Broken(format!("`{command}` cannot be started: {error}"))),
        }
    }

    fn doubt(&self) -> Option<String> {
        let url = self.args.overrides.url.clone();
        let own = self.subject.tree.get("target").and_then(|target| target.get("url")).and_then(Node::scalar);
        let is_ours = url.or(own).is_none_or(|url| url == "embedded");
        (!is_ours && self.args.before.is_none()).then(|| {
            "the target was not reset between the runs: what one of them left behind may count for the next (see --before)".into()
        })
    }

    fn store(&self, candidate: &Candidate, path: &Path, comment: &str) -> Result<(), String> {
        let tree = keep::beside(candidate.apply(&self.subject.tree, &self.sizes)?, self.run, self.output)?;
        let text = serde_yaml::to_string(&tree).map_err(|e| e.to_string())?;
        private::write(path, format!("{comment}{}\n", text.trim_end())).map_err(|e| format!("{}: {e}", path.display()))
    }

    fn finish(&self, best: &Candidate, summary: &Summary) -> Result<(), String> {
        let text = summary.text();
        let comment: String = text.lines().map(|line| format!("# {line}\n")).collect();
        let path = self.output.join("experiment.yaml");
        self.store(best, &path, &comment)?;
        print(&match self.args.format {
            OutputFormat::Json => serde_json::to_string(summary).unwrap_or_default() + "\n",
            OutputFormat::Text => format!("{text}\n\n{}\n", path.display()),
        });
        let candidate = self.output.join("candidate.yaml");
        match std::fs::remove_file(&candidate) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {e}", candidate.display())),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::are_alike;

    #[test]
    fn the_same_check_may_fail_for_another_reason() {
        assert!(are_alike(&["lost", "failed"], &["lost"]) && are_alike(&[], &[]));
        assert!(!are_alike(&["lost"], &["failed"]), "another defect");
        assert!(!are_alike(&["lost"], &[]), "only late");
        assert!(!are_alike(&[], &["lost"]), "late before, lost now");
    }
}

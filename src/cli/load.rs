//! What `run`, `validate` and `plan` share: the file, what the command line changes about it, and its plan.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use super::OutputFormat;
use crate::exit::Exit;
use crate::experiment::diagnostic::Diagnostics;
use crate::experiment::file::{self, Loaded, Overrides};
use crate::plan::Plan;
use crate::plan::build;
use crate::seed::Seed;

/// What the command line changes about a file.
#[derive(clap::Args, Clone, Default)]
pub struct Changes {
    /// Change a field: PATH=VALUE, such as faults.0.flood.jobs=2. May be given again.
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// The seed of every random choice, instead of the file's.
    #[arg(long)]
    pub seed: Option<u64>,
    /// The target's URL, instead of the file's.
    #[arg(long)]
    pub url: Option<String>,
    /// Plant a defect in the embedded backend. May be given again; `chaos backend --help` lists them.
    #[arg(long, value_name = "NAME")]
    pub defect: Vec<String>,
    /// Make the embedded backend behave in a way that looks suspicious and is healthy. May be given again.
    #[arg(long, value_name = "NAME")]
    pub mode: Vec<String>,
    /// Permit that the experiment breaks the container of this name. May be given again.
    #[arg(long, value_name = "NAME")]
    pub allow: Vec<String>,
    /// Multiply every time of the experiment, and of the embedded backend: 0.01 is a hundred times faster.
    #[arg(long, value_name = "FACTOR")]
    pub time_scale: Option<f64>,
}

/// A file with its plan.
pub struct Ready {
    pub loaded: Loaded,
    pub plan: Plan,
    /// The folder of the file: paths in it are relative to this.
    pub beside: PathBuf,
    /// What the command line changed, as it was typed.
    pub overrides: Vec<String>,
}

impl Changes {
    fn overrides(&self) -> Overrides {
        Overrides {
            set: self.set.clone(),
            seed: self.seed,
            url: self.url.clone(),
            defects: self.defect.clone(),
            modes: self.mode.clone(),
            allow: self.allow.clone(),
            time_scale: self.time_scale,
        }
    }

    fn spelled_out(&self) -> Vec<String> {
        let set = self.set.iter().map(|s| format!("--set {s}"));
        let seed = self.seed.iter().map(|s| format!("--seed {s}"));
        let url = self.url.iter().map(|s| format!("--url {s}"));
        let defects = self.defect.iter().map(|s| format!("--defect {s}"));
        let modes = self.mode.iter().map(|s| format!("--mode {s}"));
        let allow = self.allow.iter().map(|s| format!("--allow {s}"));
        let scale = self.time_scale.iter().map(|s| format!("--time-scale {s}"));
        set.chain(seed).chain(url).chain(defects).chain(modes).chain(allow).chain(scale).collect()
    }

    /// Reads and plans. Whatever is wrong is printed, all at once.
    pub fn ready(&self, file: &Path, format: OutputFormat) -> Result<Ready, Exit> {
        self.read(file).map_err(|diags| show(&diags, format))
    }

    /// As [`Changes::ready`], and what is wrong comes back.
    pub fn read(&self, file: &Path) -> Result<Ready, Diagnostics> {
        let environment = |name: &str| std::env::var(name).ok();
        let mut loaded = file::load(file, &self.overrides(), &environment)?;
        let seed = loaded.experiment.seed.map_or_else(Seed::from_entropy, Seed);
        let beside = file.parent().map_or_else(|| Path::new(".").to_owned(), Path::to_owned);
        match build::build(&mut loaded, seed, &beside) {
            Some(plan) => Ok(Ready { loaded, plan, beside, overrides: self.spelled_out() }),
            None => Err(loaded.diags),
        }
    }
}

fn show(diags: &Diagnostics, format: OutputFormat) -> Exit {
    match format {
        OutputFormat::Text => eprintln!(
            "{}\n\n{} problem{} found",
            diags.render(std::io::stderr().is_terminal()),
            diags.found.len(),
            if diags.found.len() == 1 { "" } else { "s" }
        ),
        OutputFormat::Json => {
            super::print(&(serde_json::json!({ "valid": false, "errors": diags.located() }).to_string() + "\n"));
        }
    }
    Exit::Usage
}

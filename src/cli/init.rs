//! `chaos init`: a driver and a first experiment for a backend.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use super::{complain, print, tokio_runtime};
use crate::exit::Exit;
use crate::init;
use crate::text::is_http_url;

/// Look at a backend, and write a driver and a first experiment for it. Sends GET and OPTIONS requests only.
#[derive(clap::Args)]
#[command(after_help = "Example: chaos init http://127.0.0.1:8188")]
pub struct Args {
    /// Where the backend is; asked for on a terminal.
    url: Option<String>,
    /// The name of the experiment, and of its file.
    #[arg(long, default_value = "first")]
    name: String,
    /// Where the files go.
    #[arg(long, default_value = ".")]
    into: PathBuf,
    /// Write over files that are there.
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args) -> Exit {
    let Some(url) = args.url.clone().or_else(ask) else {
        return complain(Exit::Usage, "no URL was given; for example: chaos init http://127.0.0.1:8188");
    };
    if !is_http_url(&url) {
        return complain(Exit::Usage, format!("`{url}` is no URL; expected http://host:port or https://host:port"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if args.name.is_empty() || !args.name.chars().all(plain) || args.name.starts_with('.') {
        return complain(Exit::Usage, format!("`{}` cannot be a file's name; use letters, digits, - and _", args.name));
    }
    let found = match tokio_runtime().and_then(|runtime| runtime.block_on(init::look(&url))) {
        Ok(found) => found,
        Err(why) => return complain(Exit::CannotRun, format!("{why}; start the backend, or correct the URL")),
    };
    let proposal = init::propose(&found);
    let files = init::files(&found, &proposal, &args.name);
    if let Some((name, _)) = files.iter().find(|(name, _)| args.into.join(name).exists() && !args.force) {
        let path = args.into.join(name);
        return complain(Exit::Usage, format!("{} is there already; choose another --name, or --force", path.display()));
    }
    for (name, text) in &files {
        let path = args.into.join(name);
        if let Err(error) = std::fs::create_dir_all(&args.into).and_then(|()| std::fs::write(&path, text)) {
            return complain(Exit::CannotRun, format!("{} cannot be written: {error}", path.display()));
        }
    }
    let names: Vec<String> = files.iter().map(|(name, _)| args.into.join(name).display().to_string()).collect();
    let experiment = names.last().cloned().unwrap_or_default();
    let needs = match &proposal.choice {
        init::Choice::File { needs, .. } => needs.as_slice(),
        init::Choice::BuiltIn { .. } => &[],
    };
    let needs: String =
        needs.iter().map(|need| format!("set in {experiment}: target.with.{} ({})\n", need.parameter, need.why)).collect();
    print(&format!(
        "{} answers at {}\nlooks like: {} ({})\nwritten: {}\n{needs}next: chaos doctor {experiment}\n",
        found.url,
        if found.paths().is_empty() { "no path that is known".to_owned() } else { found.paths().join(", ") },
        proposal.kind,
        proposal.because,
        names.join(", "),
    ))
}

/// Asks for the URL where somebody is there to answer.
fn ask() -> Option<String> {
    if !std::io::stdin().is_terminal() {
        return None;
    }
    let mut out = std::io::stderr();
    write!(out, "URL of the backend (such as http://127.0.0.1:8188): ").and_then(|()| out.flush()).ok()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).ok()?;
    Some(line.trim().to_owned()).filter(|url| !url.is_empty())
}

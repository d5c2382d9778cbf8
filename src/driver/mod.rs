//! A backend's job protocol as data, and what the rest of the program asks of a target.

mod acceptance;
pub mod events;
mod format;
pub mod gateway;
pub mod http;
pub mod inputs;
mod jobs;
mod live;
pub(crate) mod messages;
mod parameters;
pub mod place;
mod reach;
pub mod request;
pub mod results;
mod rules;
pub mod sent;
mod socket;
mod socketio;
pub(crate) mod socketio_packet;
mod stream;
pub mod template;
mod tls;
mod wire;
pub mod words;

use std::net::SocketAddr;
use std::path::Path;

use async_trait::async_trait;
use serde_json::Value as Json;

pub use self::format::{AnswerIs, Counters, Driver, Gpu, Method, Patterns, Route, StateWord, Status, Step};
pub use self::inputs::Ask;
pub use self::parameters::With;
use crate::experiment::decode::{At, Decode};
use crate::experiment::diagnostic::{Diagnostics, Span};
use crate::experiment::file::read_text;
use crate::experiment::{interpolate, node};
use crate::journal::event::{Answer, JobView, ResultLook};
use crate::listen::{How, Reconnect};
use crate::secret::Redactor;

/// The drivers that come with the program, by name.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("comfyui", include_str!("built_in/comfyui.yaml")),
    ("gradio", include_str!("built_in/gradio.yaml")),
    ("http", include_str!("built_in/http.yaml")),
    ("openai", include_str!("built_in/openai.yaml")),
    ("openai-completions", include_str!("built_in/openai-completions.yaml")),
    ("openai-images", include_str!("built_in/openai-images.yaml")),
    ("orfeas", include_str!("built_in/orfeas.yaml")),
    ("reference", include_str!("built_in/reference.yaml")),
];

/// The path to which a driver of this name, or in this file, posts a job, where it is the same for all of them.
pub fn submission_path(driver: &str) -> Option<String> {
    let built_in = BUILT_IN.iter().find(|(name, _)| *name == driver).map(|(_, text)| (*text).to_owned());
    let text = built_in.or_else(|| read_text(Path::new(driver)).ok())?;
    let mut diags = Diagnostics::default();
    let source = diags.add_source(driver, text);
    let tree = node::parse(source, &mut diags)?;
    let node::Value::List(steps) = &tree.get("submit")?.get("steps")?.value else { return None };
    steps.last()?.get("path")?.scalar().filter(|path| !path.contains("${") && !path.contains("{{"))
}

/// Where a driver is looked for, and what its parameters are set to.
pub struct Wanted<'a> {
    /// The name of a built-in one, or the path of a file relative to `beside`.
    pub name: &'a At<String>,
    pub with: &'a With,
    pub beside: &'a Path,
}

/// Finds a driver. Its secrets join the redactor.
pub fn find(wanted: &Wanted<'_>, redactor: &mut Redactor, diags: &mut Diagnostics) -> Option<Driver> {
    let name = wanted.name;
    if let Some((_, text)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name.value) {
        return parse(&format!("driver {}", name.value), (*text).to_owned(), wanted, wanted.beside, redactor, diags);
    }
    if !name.contains(['/', '.']) {
        let known: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        node::unknown_word(diags, name.span, "driver", name, &known);
        return None;
    }
    let path = wanted.beside.join(&name.value);
    match read_text(&path) {
        Ok(text) => parse(&path.display().to_string(), text, wanted, path.parent().unwrap_or(wanted.beside), redactor, diags),
        Err(reason) => {
            diags
                .error(name.span, reason, "this driver")
                .help("give a path relative to the experiment, or the name of a built-in driver");
            None
        }
    }
}

/// The text is a driver, and no experiment.
pub fn is_driver(text: &str) -> bool {
    tree_of(text).is_some_and(|tree| tree.get("submit").is_some() && tree.get("target").is_none())
}

fn tree_of(text: &str) -> Option<node::Node> {
    let mut diags = Diagnostics::default();
    let source = diags.add_source("", text);
    node::parse(source, &mut diags)
}

/// What may be given for a parameter that an experiment has to set: a text, a number, a time, a list, a mapping.
const STAND_INS: [&str; 5] = ["\"/x\"", "1", "\"1s\"", "[]", "{}"];

/// Reads a driver by itself, without the experiment that sets its parameters.
///
/// # Errors
/// Everything that is wrong with it.
pub fn alone(path: &Path, text: &str) -> Result<Driver, Diagnostics> {
    let needed = tree_of(text).map_or_else(Vec::new, |tree| parameters::needed(&tree));
    let name = At { value: path.display().to_string(), span: Span::default() };
    let folder = path.parent().unwrap_or(Path::new("."));
    let read = |with: &With| {
        let wanted = Wanted { name: &name, with, beside: folder };
        let mut diags = Diagnostics::default();
        parse(&name.value, text.to_owned(), &wanted, folder, &mut Redactor::default(), &mut diags).ok_or(diags)
    };
    let at = |json: &&str| Some(At { value: serde_json::from_str::<Json>(json).ok()?, span: Span::default() });
    let stand_ins: Vec<At<Json>> = STAND_INS.iter().filter_map(at).collect();
    let mut with: With = needed.iter().cloned().zip(stand_ins.first().into_iter().cycle().cloned()).collect();
    let mut best = read(&with);
    // One after the other: what fits one does not depend on the others.
    for name in &needed {
        for stand_in in stand_ins.iter().skip(1) {
            let Err(fewest) = &best else { return best };
            let before = with.insert(name.clone(), stand_in.clone());
            match read(&with) {
                Err(diags) if diags.found.len() >= fewest.found.len() => with.extend(before.map(|value| (name.clone(), value))),
                better => best = better,
            }
        }
    }
    best
}

impl Driver {
    /// The target tells of its jobs' progress, without being asked for each.
    pub fn pushes(&self) -> bool {
        self.websocket.is_some() || self.socketio.is_some() || self.sse.is_some() || self.submit.answer == AnswerIs::Stream
    }

    /// This status, when a job is asked about, says that it is completed.
    fn ends_with(&self, status: u16) -> bool {
        let by_location = || self.submit.id.as_ref().is_some_and(|place| place.is_header("location"));
        self.status.done.contains(&status) || (status == 303 && by_location())
    }
}

/// Reads a driver file that lies in the folder `folder`.
fn parse(
    source_name: &str,
    text: String,
    wanted: &Wanted<'_>,
    folder: &Path,
    redactor: &mut Redactor,
    diags: &mut Diagnostics,
) -> Option<Driver> {
    let source = diags.add_source(source_name, text);
    let mut tree = node::parse(source, diags)?;
    parameters::fill(&mut tree, wanted.with, wanted.name.span, wanted.beside, diags)?;
    interpolate::interpolate(&mut tree, &|name| std::env::var(name).ok(), redactor, diags);
    // A driver's times are the protocol's; an experiment's scale is not theirs.
    let scale = std::mem::replace(&mut diags.time_scale, 1.0);
    let driver = Driver::decode(&tree, diags);
    diags.time_scale = scale;
    let mut driver = driver?;
    rules::check(&driver, &tree, diags);
    driver.ca = driver.ca.map(|file| folder.join(file).display().to_string());
    diags.is_empty().then_some(driver)
}

/// What the target says when asked about a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    View(JobView),
    /// It does not know the job.
    Missing,
    /// It did not answer, or not in a way that can be read.
    Unclear(String),
}

/// How full the target is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Depth {
    pub waiting: f64,
    pub running: Option<f64>,
}

/// What a look at the health endpoint shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Probe {
    /// A connection was accepted.
    pub open: bool,
    /// The answer was a success; `None` where there is no health endpoint to ask.
    pub healthy: Option<bool>,
    pub seconds: f64,
}

/// What is asked of a target, whatever speaks to it. No call panics on what the target sends; every answer is bounded.
#[async_trait]
pub trait Port: Send + Sync {
    async fn submit(&self, ask: &Ask) -> Answer;
    async fn status(&self, id: &str) -> Seen;
    /// A job's end, where it came with the answer to its submission.
    fn known(&self, _id: &str) -> Option<JobView> {
        None
    }
    /// Opens a channel for pushed progress to a client of that name; `None` where the target has none.
    async fn connect(&self, client: &str) -> Option<Result<Box<dyn Channel>, String>>;
    /// Fetches the result of a completed job; `None` where there is no way to.
    async fn result(&self, id: &str) -> Option<ResultLook>;
    async fn cancel(&self, id: &str) -> Result<(), String>;
    /// `None` where the target has no queue to look at.
    async fn depth(&self) -> Option<Result<Depth, String>>;
    /// The health endpoint answers.
    async fn health(&self) -> Result<(), String>;
    /// The target says that jobs can be sent; one that says nothing of the kind accepts connections.
    async fn ready(&self) -> Result<(), String>;
    /// The text of `/metrics`; `None` where there is none.
    async fn scrape(&self) -> Option<Result<String, String>>;
    /// Whether its port is open and its health endpoint answers, with a short patience.
    async fn probe(&self) -> Probe;
    /// Somebody takes connections there, as far as that can be told without a request.
    async fn is_reachable(&self) -> bool {
        true
    }
    /// One request of a user's, below the target's URL.
    ///
    /// # Errors
    /// When no whole answer came.
    async fn call(&self, method: Method, path: &str, body: Option<&Json>) -> Result<(u16, String), String>;
}

/// Pushed progress.
#[async_trait]
pub trait Channel: Send {
    async fn subscribe(&mut self, id: &str) -> Result<(), String>;
    /// Our end of the connection, where there is one that the kernel knows.
    fn local_addr(&self) -> Option<SocketAddr> {
        None
    }
    /// How the backend's own client comes back, once it has said so.
    fn policy(&self) -> Option<Reconnect> {
        None
    }
    /// Ends the connection in one of the ways in which connections end. What must outlive this (a connection that nobody
    /// closes) comes back.
    async fn leave(self: Box<Self>, how: How) -> Option<Box<dyn Channel>>;
    /// The next message about a job. Safe to drop while waiting.
    ///
    /// # Errors
    /// Why the channel has ended.
    async fn next(&mut self) -> Result<(String, JobView), String>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_driver_can_be_used() {
        let at = |text: &str| At { value: text.to_owned(), span: Span::default() };
        for (name, _) in BUILT_IN {
            let needed = match *name {
                "http" => vec!["path"],
                name if name.starts_with("openai") => vec!["model"],
                _ => vec![],
            };
            let with = needed.iter().map(|name| ((*name).to_owned(), At { value: Json::from("/x"), span: Span::default() }));
            let (with, name, mut diags) = (with.collect(), at(name), Diagnostics::default());
            let wanted = Wanted { name: &name, with: &with, beside: Path::new(".") };
            let driver = find(&wanted, &mut Redactor::default(), &mut diags);
            let driver = driver.unwrap_or_else(|| panic!("{}", diags.render(false)));
            assert_eq!(driver.name, name.value);
            let bare = find(&Wanted { with: &With::new(), ..wanted }, &mut Redactor::default(), &mut diags);
            assert_eq!(bare.is_none(), !needed.is_empty(), "{}: what is required must be said", name.value);
        }
    }
}

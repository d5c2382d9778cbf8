//! The schedule's file: which experiments, when, and who is told.

use std::path::{Path, PathBuf};

use clap::Parser;
use jiff::tz::TimeZone;

use super::calendar::{Calendar, Window};
use crate::experiment::command_line::CommandLine;
use crate::experiment::decode::{At, Decode};
use crate::experiment::diagnostic::{Diagnostics, Span};
use crate::experiment::file::{self as experiment_file, Overrides};
use crate::experiment::interpolate::{self, Lookup};
use crate::experiment::node::{self, Node, Value};
use crate::experiment::units::WallTime;
use crate::notify::Notify;
use crate::plan::build;
use crate::secret::{self, Redactor};
use crate::seed::Seed;
use crate::text::count;
use crate::{record, words};

/// How long a run may take where nothing is said.
pub const TIMEOUT: WallTime = WallTime::secs(4 * 3600);
/// A retry more often than this only hides that something is down.
const MOST_RETRIES: u32 = 20;

record! {
    /// A schedule: experiments that run by themselves.
    pub struct ScheduleFile {
        /// The version of this format; 1.
        version: At<u32>,
        /// Where the runs' folders and the schedule's own memory are; relative to this file.
        reports: String = "reports".to_owned(),
        /// The time zone of every cron expression that has none of its own: a name of the IANA database, such as Europe/Berlin.
        time_zone: At<String> = At { value: "UTC".into(), span: Span::default() },
        /// Where `/health` and `/metrics` are served, such as 127.0.0.1:9464.
        listen: Option<At<String>> = None,
        /// When nothing is started.
        blackouts: Vec<Blackout> = Vec::new(),
        /// What runs.
        experiments: At<Vec<Entry>>,
        /// Who is told of what.
        notify: Vec<Notify> = Vec::new(),
    }

    /// One experiment and its moments.
    pub struct Entry {
        /// A short name; metrics and notices use it.
        name: At<String>,
        /// The experiment's file; relative to this one.
        run: At<String>,
        /// Minute, hour, day of month, month, day of week; with six fields the first is the second. A day of month and a day of week together mean either.
        cron: At<String>,
        /// Instead of the schedule's time zone.
        time_zone: Option<At<String>> = None,
        /// Each start is put off by a time up to this, drawn from the name and the moment.
        jitter: WallTime = WallTime::secs(0),
        /// Two entries with the same target never run at once. Without it: the experiment's URL.
        target: Option<String> = None,
        /// What becomes of moments at which the scheduler was not there.
        missed: Missed = Missed::Once,
        /// A missed moment older than this is left out in any case.
        missed_within: WallTime = WallTime::secs(86_400),
        /// What becomes of a start while the target is still busy.
        overlap: Put = Put::Wait,
        /// What becomes of a start within a blackout.
        in_blackout: Put = Put::Skip,
        /// A run that takes longer is stopped, and put back.
        timeout: WallTime = TIMEOUT,
        /// How often a run that could not start is tried again. One that has begun never is.
        retries: u32 = 0,
        /// How long to wait before it is tried again.
        retry_after: WallTime = WallTime::secs(300),
        /// No verdict for longer than this is silence, and told.
        silent_after: Option<WallTime> = None,
        /// What the command line of `chaos run` would change about the file: `["--seed", "7"]`.
        args: At<CommandLine> = At { value: CommandLine::default(), span: Span::default() },
    }

    /// A time in which nothing is started: from one moment to another, or again and again.
    pub struct Blackout {
        /// For the reason that is written down.
        name: String,
        /// The beginning, once: 2026-12-24T18:00.
        from: Option<At<String>> = None,
        /// The end, once.
        until: Option<At<String>> = None,
        /// The beginnings, again and again.
        cron: Option<At<String>> = None,
        /// How long each lasts.
        r#for: Option<WallTime> = None,
        /// Instead of the schedule's time zone.
        time_zone: Option<At<String>> = None,
    }
}

words! {
    /// What becomes of moments at which the scheduler was not there.
    pub enum Missed("way to treat missed runs") {
        /// They are left out.
        Skip = "skip",
        /// The last of them is run, once.
        Once = "once",
        /// Each is run, one after another.
        All = "all",
    }
}

words! {
    /// What becomes of a start that cannot be now.
    pub enum Put("way to treat such a start") {
        /// It is left out.
        Skip = "skip",
        /// It waits until it can be.
        Wait = "wait",
    }
}

/// What an entry's `args` may hold. Where the run's folder goes, for instance, is the schedule's own.
#[derive(clap::Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Arguments {
    #[command(flatten)]
    overrides: Overrides,
}

/// An entry, ready to be followed.
#[derive(Debug, Clone)]
pub struct Job {
    pub entry: Entry,
    pub calendar: Calendar,
    /// The experiment's file.
    pub file: PathBuf,
    /// What it must have for itself.
    pub target: String,
}

impl Job {
    pub fn name(&self) -> &str {
        &self.entry.name
    }
}

/// A schedule, ready to be followed.
#[derive(Debug, Clone)]
pub struct Schedule {
    pub reports: PathBuf,
    pub listen: Option<String>,
    pub jobs: Vec<Job>,
    pub blackouts: Vec<Window>,
    pub notify: Vec<Notify>,
}

impl Schedule {
    /// The blackout at a moment, and when it ends.
    pub fn blackout(&self, now: jiff::Timestamp) -> Option<(&str, jiff::Timestamp)> {
        let at = self.blackouts.iter().filter_map(|window| Some((window.name.as_str(), window.end_at(now)?)));
        at.max_by_key(|(_, end)| *end)
    }
}

/// Reads a schedule and every experiment that it names. On failure every problem found comes back at once.
///
/// # Errors
/// What is wrong with the file, each at its place.
pub fn load(path: &Path, lookup: Lookup<'_>) -> Result<Schedule, Diagnostics> {
    let mut diags = Diagnostics::default();
    let name = path.display().to_string();
    let text = experiment_file::read_text(path);
    let source = diags.add_source(name, text.as_deref().unwrap_or_default());
    if let Err(reason) = text {
        diags.error(Span::default(), reason, "this file");
        return Err(diags);
    }
    let Some(mut tree) = node::parse(source, &mut diags) else { return Err(diags) };
    interpolate::interpolate(&mut tree, lookup, &mut Redactor::default(), &mut diags);
    refuse_shown(&tree, &mut diags);
    let Some(file) = ScheduleFile::decode(&tree, &mut diags) else { return Err(diags) };
    // Whoever is told of a path does not know where this program was started.
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let beside = whole.parent().map_or_else(PathBuf::new, Path::to_owned);
    let schedule = ready(file, &beside, lookup, &mut diags);
    if diags.is_empty() { Ok(schedule) } else { Err(diags) }
}

/// What a schedule says is shown in lists, in figures and to other schedulers. Only how somebody is told may be secret.
fn refuse_shown(tree: &Node, diags: &mut Diagnostics) {
    let Value::Map(entries) = &tree.value else { return };
    for (key, node) in entries {
        if key.name != "notify" {
            refuse_in(node, diags);
        }
    }
    let channels = tree.get("notify").map(|notify| &notify.value);
    for channel in if let Some(Value::List(channels)) = channels { channels.as_slice() } else { &[] } {
        for shown in ["name", "only", "on"].iter().filter_map(|key| channel.get(key)) {
            refuse_in(shown, diags);
        }
    }
}

fn refuse_in(node: &Node, diags: &mut Diagnostics) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| refuse_in(item, diags)),
        Value::Map(entries) => entries.iter().for_each(|(key, item)| {
            // It says better what to do.
            if key.name != "args" {
                refuse_in(item, diags);
            }
        }),
        _ => {
            node.shows_secret("what a schedule shows", diags);
        }
    }
}

fn ready(file: ScheduleFile, beside: &Path, lookup: Lookup<'_>, diags: &mut Diagnostics) -> Schedule {
    if *file.version != 1 {
        diags.error(file.version.span, format!("version {} is not known", file.version.value), "expected 1");
    }
    let zone = zone(&file.time_zone, diags);
    if file.experiments.is_empty() {
        diags.error(file.experiments.span, "nothing is scheduled", "expected at least one experiment");
    }
    if let Some(listen) = file.listen.as_ref().filter(|l| l.value.parse::<std::net::SocketAddr>().is_err()) {
        diags.error(listen.span, format!("`{}` is no address", listen.value), "expected one such as 127.0.0.1:9464");
    }
    let mut jobs: Vec<Job> = Vec::new();
    for entry in &file.experiments.value {
        if jobs.iter().any(|job| job.name() == entry.name.value) {
            diags.error(entry.name.span, format!("the name `{}` is taken", entry.name.value), "expected another one");
        }
        jobs.extend(job(entry, &zone, beside, lookup, diags));
    }
    file.notify.iter().for_each(|notify| notify.validate(diags));
    Schedule {
        reports: beside.join(&file.reports),
        listen: file.listen.map(|l| l.value),
        jobs,
        blackouts: file.blackouts.iter().filter_map(|blackout| window(blackout, &zone, diags)).collect(),
        notify: file.notify,
    }
}

fn zone(name: &At<String>, diags: &mut Diagnostics) -> TimeZone {
    TimeZone::get(name).unwrap_or_else(|_| {
        diags
            .error(name.span, format!("`{}` is no time zone", name.value), "expected a name such as Europe/Berlin or UTC")
            .help("if the name is right this machine has no time zone database (package tzdata)");
        TimeZone::UTC
    })
}

fn job(entry: &Entry, zone_of_all: &TimeZone, beside: &Path, lookup: Lookup<'_>, diags: &mut Diagnostics) -> Option<Job> {
    let fitting = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if entry.name.is_empty() || entry.name.len() > 64 || !entry.name.chars().all(fitting) || entry.name.starts_with('.') {
        let label = "expected 1 to 64 of: letters, digits, `-`, `_`, `.`";
        diags.error(entry.name.span, "this name cannot be part of a file's name", label);
    }
    if entry.retries > MOST_RETRIES {
        diags.error(entry.name.span, format!("{} retries cannot be", entry.retries), format!("expected 0 to {MOST_RETRIES}"));
    }
    if entry.timeout.0.is_zero() {
        diags.error(entry.name.span, "a run needs some time", "expected a `timeout` above 0");
    }
    let zone = entry.time_zone.as_ref().map_or_else(|| zone_of_all.clone(), |name| zone(name, diags));
    let calendar = calendar(&entry.cron, zone, entry.jitter, &entry.name, diags)?;
    let file = beside.join(&entry.run.value);
    let target = target(entry, &file, lookup, diags)?;
    Some(Job { entry: entry.clone(), calendar, file, target })
}

fn calendar(cron: &At<String>, zone: TimeZone, jitter: WallTime, name: &str, diags: &mut Diagnostics) -> Option<Calendar> {
    Calendar::new(cron, zone, jitter.0, name)
        .map_err(|reason| {
            diags
                .error(cron.span, format!("`{}` is no cron expression: {reason}", cron.value), "this expression")
                .help("five fields: minute, hour, day of month, month, day of week; `0 3 * * *` is every day at 3");
        })
        .ok()
}

/// Validates the experiment, too: a schedule of broken files would only fail at night.
fn target(entry: &Entry, file: &Path, lookup: Lookup<'_>, diags: &mut Diagnostics) -> Option<String> {
    let overrides = overrides(entry, diags)?;
    let mut complain = |found: &Diagnostics| {
        let title = format!("{} has {}", file.display(), count(found.found.len(), "problem"));
        let first = found.found.first().map_or_else(String::new, |one| one.title.clone());
        let command = format!("chaos validate {} {}", file.display(), entry.args.join(" "));
        diags.error(entry.run.span, title, first).help(format!("see them all with: {}", command.trim_end()));
    };
    let mut loaded = match experiment_file::load(file, &overrides, lookup) {
        Ok(loaded) => loaded,
        Err(found) => {
            complain(&found);
            return None;
        }
    };
    if build::build(&mut loaded, Seed(1), file.parent().unwrap_or(Path::new("."))).is_none() {
        complain(&loaded.diags);
        return None;
    }
    let url = &loaded.experiment.target.url.value;
    // Each run has an embedded backend of its own: nothing is shared.
    let own = if url == "embedded" { format!("{url}:{}", entry.name.value) } else { url.trim_end_matches('/').to_owned() };
    Some(entry.target.clone().unwrap_or_else(|| secret::masked(&own)))
}

fn overrides(entry: &Entry, diags: &mut Diagnostics) -> Option<Overrides> {
    match Arguments::try_parse_from(entry.args.iter()) {
        Ok(arguments) => Some(arguments.overrides),
        Err(error) => {
            let text = error.to_string();
            let reason = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            diags
                .error(entry.args.span, reason, "expected what changes the experiment")
                .help("such as [--seed, '7'], [--url, 'http://backend:5000'], [--set, 'faults.0.flood.jobs=20']");
            None
        }
    }
}

fn window(blackout: &Blackout, zone_of_all: &TimeZone, diags: &mut Diagnostics) -> Option<Window> {
    let zone = blackout.time_zone.as_ref().map_or_else(|| zone_of_all.clone(), |name| zone(name, diags));
    let name = blackout.name.clone();
    match (&blackout.from, &blackout.until, &blackout.cron, blackout.r#for) {
        (Some(from), Some(until), None, None) => {
            let (begin, end) = (moment(from, &zone, diags)?, moment(until, &zone, diags)?);
            if begin >= end {
                diags.error(until.span, "this blackout ends before it begins", "expected a later moment");
            }
            Some(Window::once(name, begin, end))
        }
        (None, None, Some(cron), Some(lasts)) if !lasts.0.is_zero() => {
            Some(Window::recurring(name, calendar(cron, zone, WallTime::secs(0), "", diags)?, lasts.0))
        }
        (from, until, cron, _) => {
            let place = [from, until, cron].into_iter().flatten().next().map_or(Span::default(), |at| at.span);
            diags.error(
                place,
                format!("the blackout `{name}` has no clear time"),
                "expected `from` and `until`, or `cron` and `for`",
            );
            None
        }
    }
}

fn moment(text: &At<String>, zone: &TimeZone, diags: &mut Diagnostics) -> Option<jiff::Timestamp> {
    let civil = |text: &str| text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(zone.clone()).ok();
    let found = text.parse::<jiff::Timestamp>().ok().or_else(|| civil(text).map(|zoned| zoned.timestamp()));
    if found.is_none() {
        diags.error(text.span, format!("`{}` is no moment", text.value), "expected one such as 2026-12-24T18:00");
    }
    found
}

//! The run on the terminal: a live status on a TTY, plain lines elsewhere, a table of checks at the end.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::mpsc::UnboundedReceiver;

use super::result::RunResult;
use crate::check::Ruling;
use crate::journal::event::{Event, Level, Line, ProcessEvent};
use crate::journal::record::Record;
use crate::journal::writer::Journal;
use crate::run::outcome::Outcome;
use crate::stats::quantile;
use crate::text::{figure, harmless, seconds};

const REFRESH: Duration = Duration::from_millis(200);
/// The latest jobs that the live p95 is taken over.
const RECENT: usize = 100;

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Volume {
    Quiet,
    Normal,
    Verbose,
}

/// Shows a run until its journal is closed. A terminal that has gone away never disturbs the run.
pub async fn show(mut events: UnboundedReceiver<Line>, journal: Journal, volume: Volume) {
    let live = std::io::stderr().is_terminal() && volume > Volume::Quiet;
    let bar = live.then(status_bar);
    let mut ticks = tokio::time::interval(REFRESH);
    loop {
        tokio::select! {
            line = events.recv() => {
                let Some(line) = line else { break };
                let text = describe(&line.event, volume).filter(|_| volume > Volume::Quiet);
                if let Some(text) = text {
                    say(bar.as_ref(), &format!("{:>8.2}s  {}", line.t, harmless(&text)));
                }
            }
            _ = ticks.tick(), if bar.is_some() => {
                if let Some(bar) = &bar {
                    bar.set_message(journal.read_now(status));
                    bar.tick();
                }
            }
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
}

fn status_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    bar.set_style(style);
    bar
}

fn say(bar: Option<&ProgressBar>, text: &str) {
    match bar {
        Some(bar) => bar.println(text),
        None => {
            // A closed pipe is no reason to end a run that has something to revert.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }
}

fn describe(event: &Event, volume: Volume) -> Option<String> {
    let verbose = volume == Volume::Verbose;
    Some(match event {
        Event::Phase { phase } => format!("── {phase}: {}", phase.about()),
        Event::Preflight { what, level, detail } => format!(
            "{} {what}: {detail}",
            match level {
                Level::Ok => "ok  ",
                Level::Warning => "warn",
                Level::Failed => "FAIL",
            }
        ),
        Event::Note { text } => format!("note: {text}"),
        Event::FaultInjecting { fault, .. } => format!("fault {fault}: injecting"),
        Event::FaultInjected { fault, error: Some(error) } => format!("fault {fault}: failed: {error}"),
        Event::FaultObserved { fault, when, observation } => format!("fault {fault}: {when}: {observation}"),
        Event::FaultOver { fault } => format!("fault {fault}: its cause is gone"),
        Event::FaultReverted { fault, how } => format!("fault {fault}: put back ({how})"),
        Event::FaultStuck { fault, error } => format!("fault {fault}: COULD NOT BE PUT BACK: {error}"),
        Event::FaultSkipped { fault, why } => format!("fault {fault}: skipped: {why}"),
        Event::Process { event: ProcessEvent::Started { pid, .. } } => format!("target: process {pid} started"),
        Event::Process { event: ProcessEvent::Ready { after_s, .. } } => format!("target: ready after {}", seconds(*after_s)),
        Event::Process { event: ProcessEvent::Exited { status, asked, elsewhere, .. } } => {
            let who = match (asked, elsewhere) {
                (true, _) => "",
                (_, true) => ", as somebody else told the engine",
                _ => " BY ITSELF",
            };
            format!("target: process ended ({status}){who}")
        }
        Event::LogLine { pattern, line, .. } if verbose || pattern == "oom" || pattern == "fatal" => {
            format!("log [{pattern}] {line}")
        }
        Event::ListenerLost { listener, why, .. } => format!("listener {listener}: lost ({why})"),
        Event::ListenerBack { listener, after_s: Some(after) } => format!("listener {listener}: back after {}", seconds(*after)),
        Event::Vanished { job } => format!("job {job}: unknown to the target, though it was accepted"),
        Event::GuardTripped { guard, reason } => format!("GUARD {guard}: {reason}"),
        Event::Interrupted { signal } => format!("{signal}: stopping and putting everything back"),
        Event::Broken { reason } => format!("cannot go on: {reason}"),
        Event::LoadStopped {} => "the load has ended; following the last jobs".to_owned(),
        Event::Gap { source, error } if verbose => format!("no figures from {source}: {error}"),
        Event::Answered { job, answer } if verbose => format!("job {job}: {answer:?}"),
        Event::Ended { job, view, .. } if verbose => format!("job {job}: {}", view.word),
        _ => return None,
    })
}

/// One line: phase, time, jobs, queue, memory, latency, errors, faults at work.
fn status(record: &Record) -> String {
    let phase = record.phases.last().map_or("starting", |(_, p)| p.word());
    let last = |name: &str| record.series.get(name).and_then(|s| s.last());
    let mut recent: Vec<f64> = record.jobs.iter().rev().filter_map(|j| j.total_s()).take(RECENT).collect();
    let (ended, wrong) = record.jobs.settled_between(f64::NEG_INFINITY, f64::INFINITY);
    let mut parts = vec![
        format!("{phase} {:.0}s", record.now),
        left(record),
        format!("in flight {}", record.in_flight()),
        format!("ended {ended}"),
    ];
    parts.extend(last("queue.depth").map(|d| format!("queue {d:.0}")));
    parts.extend(last("gpu.memory_used_bytes").map(|m| format!("VRAM {}", figure("_bytes", m))));
    parts.extend(quantile(&mut recent, 0.95).map(|p| format!("p95 {}", seconds(p))));
    parts.push(format!("errors {wrong}"));
    let worked_off = |name: &str| record.jobs_of(Some(name)).all(|job| job.settled());
    let at_work = record.faults.iter().filter(|f| f.injecting_t.is_some() && (f.over_t.is_none() || !worked_off(&f.name)));
    let at_work: Vec<&str> = at_work.map(|f| f.name.as_str()).collect();
    if !at_work.is_empty() {
        parts.push(format!("FAULT {}", at_work.join(", ")));
    }
    parts.retain(|part| !part.is_empty());
    parts.join(" · ")
}

/// The time to the next planned moment, where there is one.
fn left(record: &Record) -> String {
    let Some(plan) = record.plan.as_deref() else { return String::new() };
    let Some(begin) = record.phase_start(crate::journal::event::Phase::Baseline) else { return String::new() };
    let next = plan.faults.iter().filter(|f| record.fault(&f.name).is_none_or(|facts| facts.injecting_t.is_none())).find_map(
        |f| match f.moment {
            crate::plan::Moment::At { s } => Some((f.name.as_str(), begin + s - record.now)),
            _ => None,
        },
    );
    match next.filter(|(_, s)| *s > 0.0) {
        Some((name, s)) => format!("{name} in {s:.0}s"),
        None => plan
            .duration_s
            .map(|d| begin + d - record.now)
            .filter(|s| *s > 0.0)
            .map_or_else(String::new, |s| format!("{s:.0}s of load left")),
    }
}

/// The end of a run: a table of checks, the ledger in a line, and where the report is.
pub fn summary(result: &RunResult, folder: &Path, colour: bool) -> String {
    let mut out = String::new();
    let width = result.checks.iter().map(|c| c.name.chars().count()).max().unwrap_or(0);
    out.push('\n');
    for check in &result.checks {
        let word = match check.verdict {
            Ruling::Passed => "passed",
            Ruling::Failed => "FAILED",
            Ruling::Inconclusive | Ruling::Pending => "inconclusive",
        };
        out.push_str(&format!(
            "  {}  {:width$}  {}\n",
            paint(&format!("{word:<12}"), check.verdict, colour),
            check.name,
            harmless(&check.observed)
        ));
        if check.verdict != Ruling::Passed {
            for evidence in check.evidence.iter().take(3) {
                out.push_str(&format!("  {:12}  {:width$}    {}\n", "", "", harmless(evidence)));
            }
        }
    }
    let j = &result.jobs;
    let seldom = |n: u64, what: &str| if n > 0 { format!(", {n} {what}") } else { String::new() };
    let rare = seldom(j.abandoned, "abandoned") + &seldom(j.unknown, "unknown");
    out.push_str(&format!(
        "\n  jobs: {} submitted, {} accepted, {} completed, {} rejected, {} invalid, {} failed, {} shed, {} lost, {} duplicated, {} mismatched{}\n",
        j.submitted, j.accepted, j.completed, j.rejected, j.invalid, j.failed, j.shed, j.lost, j.duplicated, j.mismatched, rare
    ));
    if let (Some(p50), Some(p95)) = (result.latency.p50_s, result.latency.p95_s) {
        // In the file's times, like the checks above.
        let own = |s: f64| seconds(s / result.time_scale);
        out.push_str(&format!("  latency: p50 {}, p95 {}\n", own(p50), own(p95)));
    }
    if let Some(tokens) = &result.tokens {
        let own = |s: Option<f64>| seconds(s.unwrap_or(0.0) / result.time_scale);
        out.push_str(&format!(
            "  tokens: {:.0}/s; to the first p50 {}, p95 {}; between two p50 {}, p95 {}\n",
            tokens.per_second.unwrap_or(0.0) * result.time_scale,
            own(tokens.first_p50_s),
            own(tokens.first_p95_s),
            own(tokens.between_p50_s),
            own(tokens.between_p95_s),
        ));
    }
    if let Some(reason) = &result.reason {
        out.push_str(&format!("  {}\n", harmless(reason)));
    }
    let ruling = match result.outcome {
        Outcome::Passed => Ruling::Passed,
        Outcome::Failed | Outcome::Error => Ruling::Failed,
        _ => Ruling::Inconclusive,
    };
    let word = serde_json::to_value(result.outcome).ok().and_then(|v| v.as_str().map(str::to_uppercase)).unwrap_or_default();
    out.push_str(&format!(
        "\n  {}  exit code {}, {:.1} s, seed {}\n  report: {}\n",
        paint(&word, ruling, colour),
        result.exit_code,
        result.duration_s,
        result.seed,
        folder.join("report.html").display()
    ));
    out
}

fn paint(text: &str, ruling: Ruling, colour: bool) -> String {
    let code = match ruling {
        Ruling::Passed => "32",
        Ruling::Failed => "31;1",
        Ruling::Inconclusive | Ruling::Pending => "33",
    };
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

//! The sections of the suite report, as tables and lists that each format writes down in its own way.

use super::result::{CheckResult, RunResult};
use super::suite::SuiteResult;
use crate::check::Ruling;
use crate::check::grade::{Grade, limits_of};
use crate::journal::record::MEMORY;
use crate::text::{self, figure, seconds};

/// A heading with what stands under it.
pub struct Section {
    pub title: &'static str,
    pub notes: Vec<String>,
    pub head: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
    pub items: Vec<String>,
}

impl Section {
    fn table(title: &'static str, head: &[&'static str], rows: Vec<Vec<String>>) -> Self {
        Self { title, notes: Vec::new(), head: head.to_vec(), rows, items: Vec::new() }
    }
    fn list(title: &'static str, items: Vec<String>, none: &str) -> Self {
        let notes = if items.is_empty() { vec![none.to_owned()] } else { Vec::new() };
        Self { title, notes, head: Vec::new(), rows: Vec::new(), items }
    }
    fn noting(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

/// A row of the plan's table of targets, and the kind of check that measures it.
const TARGETS: [(&str, &str); 5] = [
    ("Uptime", "uptime"),
    ("Error Rate", "error_rate"),
    ("P95 Response Time", "latency"),
    ("GPU Utilization", "gpu_utilization"),
    ("Memory Growth", "memory_growth"),
];
const SCENARIOS: [&str; 5] = ["baseline", "normal", "peak", "spike", "sustained"];

/// In the order of the plan's template.
pub fn sections(suite: &SuiteResult) -> Vec<Section> {
    let runs = &suite.runs;
    vec![
        summary(suite),
        performance(runs),
        targets(runs),
        utilization(runs),
        Section::list("Bottlenecks Identified", told(runs, |r| &r.bottlenecks), "The data supports no statement."),
        Section::list("Recommendations", told(runs, |r| &r.recommendations), "None follows from the data."),
        capacity(runs),
        criteria(runs),
        checks(runs),
        checklist(runs),
        Section::list("Findings", told(runs, |r| &r.findings), "Nothing odd was seen."),
    ]
}

/// The same sentence of several runs stands once, with their names.
fn told(runs: &[RunResult], of: impl Fn(&RunResult) -> &Vec<String>) -> Vec<String> {
    let mut said: Vec<(String, Vec<&str>)> = Vec::new();
    for run in runs {
        for sentence in of(run) {
            match said.iter_mut().find(|(known, _)| known == sentence) {
                Some((_, names)) => names.push(&run.experiment),
                None => said.push((sentence.clone(), vec![&run.experiment])),
            }
        }
    }
    said.into_iter().map(|(sentence, names)| format!("{} ({})", sentence, names.join(", "))).collect()
}

fn summary(suite: &SuiteResult) -> Section {
    let runs = &suite.runs;
    let count = |of: fn(&RunResult) -> u64| runs.iter().map(of).sum::<u64>();
    let (submitted, accepted, completed) = (count(|r| r.jobs.submitted), count(|r| r.jobs.accepted), count(|r| r.jobs.completed));
    let own: f64 = runs.iter().map(|r| r.duration_s / r.time_scale).sum();
    let clock: f64 = runs.iter().map(|r| r.duration_s).sum();
    let passed = runs.iter().filter(|r| r.exit_code == 0).count();
    let items = vec![
        format!("Test date: {}", runs.first().map_or("–", |r| r.started_at.as_str())),
        format!("System: {}", system(runs)),
        format!("Total scenarios run: {} ({passed} passed)", runs.len()),
        format!("Total requests: {submitted}, of which {accepted} were accepted"),
        format!("Success rate: {} of those that were not refused", percent(completed, count(|r| r.jobs.asked_for()))),
        format!("Total duration: {:.2} hours of the experiments' own time, {} by the clock", own / 3600.0, seconds(clock)),
    ];
    let section = Section::list("Test Summary", items, "");
    let scaled = runs.iter().any(|r| r.time_scale != 1.0);
    let section = if scaled {
        section.noting("Times in this report are the experiments' own; the runs were faster by their time_scale.")
    } else {
        section
    };
    if suite.left_out.is_empty() {
        section
    } else {
        section.noting(format!("Not run, because the suite was stopped: {}", suite.left_out.join(", ")))
    }
}

fn system(runs: &[RunResult]) -> String {
    let mut names: Vec<String> =
        runs.iter().map(|r| format!("{}{}", r.target, if r.gpu_simulated { " (its GPU is simulated)" } else { "" })).collect();
    names.dedup();
    format!("{}; chaos {} on {}", names.join(", "), env!("CARGO_PKG_VERSION"), runs.first().map_or("–", |r| r.host.as_str()))
}

fn percent(part: u64, of: u64) -> String {
    if of == 0 { "–".to_owned() } else { format!("{:.1} %", part as f64 / of as f64 * 100.0) }
}

fn performance(runs: &[RunResult]) -> Section {
    let row = |r: &RunResult| {
        let own = |s: Option<f64>| s.map_or_else(|| "–".to_owned(), |s| seconds(s / r.time_scale));
        let j = &r.jobs;
        let errors = j.failed + j.shed + j.lost + j.duplicated + j.mismatched + j.errors;
        vec![
            r.experiment.clone(),
            r.users.clone(),
            own(Some(r.duration_s)),
            j.submitted.to_string(),
            percent(j.completed, j.asked_for()),
            own(r.latency.mean_s),
            own(r.latency.p95_s),
            errors.to_string(),
            text::word(r.outcome),
        ]
    };
    let head = ["Scenario", "Users", "Duration", "Requests", "Success %", "Avg Time", "P95 Time", "Errors", "Verdict"];
    Section::table("Performance Results", &head, runs.iter().map(row).collect())
}

/// The plan's table of targets with the measured figures beside it.
fn targets(runs: &[RunResult]) -> Section {
    let mut rows = Vec::new();
    for (title, kind) in TARGETS {
        for (run, check) in all_checks(runs).filter(|(_, c)| c.kind == kind && graded(c)) {
            let [target, acceptable, failure] = limits_of(&check.expected);
            let measured = check.measured.clone().unwrap_or_else(|| check.observed.clone());
            let grade = check.grade.map_or(word(check.verdict), Grade::word);
            let name = if check.name == check.kind { title.to_owned() } else { format!("{title}: {}", check.name) };
            rows.push(vec![name, target, acceptable, failure, run.experiment.clone(), measured, grade.to_owned()]);
        }
    }
    let head = ["Metric", "Target", "Acceptable", "Failure", "Scenario", "Measured", "Grade"];
    let none = rows.is_empty();
    let section = Section::table("Targets", &head, rows);
    if none { section.noting("None of the runs has a check with the limits of the plan's table.") } else { section }
}

/// Its check names more than one limit.
fn graded(check: &CheckResult) -> bool {
    let [_, acceptable, failure] = limits_of(&check.expected);
    !acceptable.is_empty() || !failure.is_empty()
}

fn all_checks(runs: &[RunResult]) -> impl Iterator<Item = (&RunResult, &CheckResult)> {
    runs.iter().flat_map(|run| run.checks.iter().map(move |check| (run, check)))
}

fn word(ruling: Ruling) -> &'static str {
    match ruling {
        Ruling::Passed => "passed",
        Ruling::Failed => "failed",
        Ruling::Inconclusive | Ruling::Pending => "inconclusive",
    }
}

fn utilization(runs: &[RunResult]) -> Section {
    let row = |r: &RunResult| {
        let mean_peak = |name: &str| {
            r.resources.get(name).map_or_else(|| "–".to_owned(), |f| format!("{:.0} %, peak {:.0} %", f.mean, f.peak))
        };
        let vram = r.resources.get("gpu.memory_used_bytes").zip(r.resources.get("gpu.memory_total_bytes"));
        let vram = vram.map_or_else(
            || "–".to_owned(),
            |(used, total)| {
                format!(
                    "peak {}/{} ({:.0} %)",
                    figure("_bytes", used.peak),
                    figure("_bytes", total.peak),
                    used.peak / total.peak.max(1.0) * 100.0
                )
            },
        );
        let growth = r.checks.iter().find(|c| c.kind == "memory_growth").and_then(|c| c.measured.clone());
        let growth = growth.map_or_else(|| "growth not judged".to_owned(), |g| format!("growth {g}"));
        let ram = r
            .resources
            .get(MEMORY[0])
            .or_else(|| r.resources.get(MEMORY[1]))
            .map_or_else(|| "–".to_owned(), |f| format!("peak {}, {growth}", figure("_bytes", f.peak)));
        let heat = r.resources.get("gpu.temperature_c").map_or_else(|| "–".to_owned(), |f| format!("peak {:.0} °C", f.peak));
        vec![r.experiment.clone(), mean_peak("gpu.utilization_percent"), vram, mean_peak("process.cpu_percent"), ram, heat]
    };
    let head = ["Scenario", "GPU", "VRAM", "CPU (of one core)", "RAM", "GPU temperature"];
    Section::table("Resource Utilization", &head, runs.iter().map(row).collect()).noting("Means are those while load was sent.")
}

fn capacity(runs: &[RunResult]) -> Section {
    let found: Vec<String> = all_checks(runs)
        .filter(|(_, check)| check.kind == "capacity")
        .flat_map(|(run, check)| [format!("{}: {}", run.experiment, check.observed)].into_iter().chain(check.evidence.clone()))
        .collect();
    Section::list("Capacity Limits", found, "No run stepped the load up: `experiments/capacity.yaml` does.")
}

/// The plan's list of what must be true in the end.
fn criteria(runs: &[RunResult]) -> Section {
    let named = |name: &str| runs.iter().find(|r| r.experiment == name);
    let missing: Vec<&str> = SCENARIOS.into_iter().filter(|name| named(name).is_none()).collect();
    let rulings = |scenarios: &[&str], kind: &str| -> Option<Ruling> {
        let of = |r: &&RunResult| scenarios.is_empty() || scenarios.contains(&r.experiment.as_str());
        runs.iter().filter(of).flat_map(|r| &r.checks).filter(|c| c.kind == kind).map(|c| c.verdict).max()
    };
    let state = |met: Option<Ruling>| {
        met.map_or("not measured", |ruling| {
            if ruling == Ruling::Passed {
                "met"
            } else if ruling == Ruling::Failed {
                "NOT MET"
            } else {
                "not decided"
            }
        })
        .to_owned()
    };
    let both = |a: Option<Ruling>, b: Option<Ruling>| a.zip(b).map(|(a, b)| a.max(b));
    let hour = named("sustained").map(|r| if r.duration_s / r.time_scale >= 3600.0 { Ruling::Passed } else { Ruling::Failed });
    let all = if missing.is_empty() { "met".to_owned() } else { format!("not run: {}", missing.join(", ")) };
    let rows = [
        ("All five load scenarios were run", all),
        ("The sustained test ran for an hour or more, without a crash", state(both(hour, rulings(&["sustained"], "no_crash")))),
        (
            "Error rate below 1 % in the normal and the sustained test",
            state(both(rulings(&["normal"], "error_rate"), rulings(&["sustained"], "error_rate"))),
        ),
        ("p95 below 120 s under normal load", state(rulings(&["normal"], "latency"))),
        ("No memory leak was found", state(rulings(&[], "memory_growth"))),
        ("The metrics are all there and move", state(rulings(&[], "metrics_live"))),
        ("Capacity limits are documented", state(rulings(&[], "capacity"))),
    ];
    Section::table(
        "Success Criteria",
        &["Criterion", "State"],
        rows.into_iter().map(|(what, state)| vec![what.to_owned(), state]).collect(),
    )
}

fn checks(runs: &[RunResult]) -> Section {
    let rows = all_checks(runs).map(|(run, c)| {
        vec![run.experiment.clone(), c.name.clone(), word(c.verdict).to_owned(), c.expected.clone(), c.observed.clone()]
    });
    Section::table("Checks", &["Scenario", "Check", "Verdict", "Expected", "Observed"], rows.collect())
}

/// The plan's checklists, as far as a run can tell.
fn checklist(runs: &[RunResult]) -> Section {
    let preflight = |what: &str| {
        let seen: Vec<&str> =
            runs.iter().flat_map(|r| &r.preflight).filter(|p| p.what == what).map(|p| p.level.as_str()).collect();
        match seen.iter().filter(|level| **level == "ok").count() {
            _ if seen.is_empty() => "not looked at".to_owned(),
            n => format!("ok in {n} of {} runs", seen.len()),
        }
    };
    let hottest = runs.iter().filter_map(|r| r.resources.get("gpu.temperature_c").map(|f| f.peak)).reduce(f64::max);
    let deepest = runs.iter().filter_map(|r| r.resources.get("queue.depth").map(|f| f.peak)).reduce(f64::max);
    let crashed: Vec<&str> = runs
        .iter()
        .filter(|r| r.checks.iter().any(|c| c.kind == "no_crash" && c.verdict == Ruling::Failed))
        .map(|r| r.experiment.as_str())
        .collect();
    let shown = |value: Option<f64>, unit: &str| {
        value.map_or_else(|| "not told by the target".to_owned(), |v| format!("at most {v:.0}{unit}"))
    };
    let rows = [
        ("Before", "The backend runs", preflight("target")),
        ("Before", "Its health endpoint answers", preflight("health")),
        ("Before", "Its metrics are scraped", preflight("metrics")),
        ("Before", "Grafana and its dashboard", "not looked at by chaos".to_owned()),
        ("During", "GPU temperature below 85 °C", shown(hottest, " °C")),
        ("During", "Queue depth", shown(deepest, " jobs")),
        ("After", "Dump of the metrics", "series.csv in each run's folder".to_owned()),
        ("After", "Crashes", if crashed.is_empty() { "none".to_owned() } else { crashed.join(", ") }),
    ];
    Section::table(
        "Checklist",
        &["When", "What", "Seen"],
        rows.into_iter().map(|(when, what, seen)| vec![when.to_owned(), what.to_owned(), seen]).collect(),
    )
}

//! The schedule in the words of another scheduler. What that one cannot do is said in the file.

use serde_json::json;

use super::file::{Job, Missed, Put, Schedule};
use crate::seed::fnv;

/// Whose words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Systemd,
    Cron,
    Kubernetes,
}

/// Names and texts of the files.
///
/// # Errors
/// An expression that cannot be said in this form.
pub fn files(schedule: &Schedule, form: Form, image: &str) -> Result<Vec<(String, String)>, String> {
    if let Some(job) = schedule.jobs.iter().find(|job| job.entry.cron.split_whitespace().count() != 5) {
        return Err(format!("{}: only `chaos schedule run` can follow `{}`", job.name(), job.entry.cron.value));
    }
    match form {
        Form::Systemd => schedule.jobs.iter().try_fold(Vec::new(), |mut all, job| {
            all.extend(systemd(schedule, job)?);
            Ok(all)
        }),
        Form::Cron => Ok(vec![("crontab".to_owned(), cron(schedule))]),
        Form::Kubernetes => {
            let mut all: Vec<(String, String)> = Vec::new();
            for job in &schedule.jobs {
                let name = format!("{}.cronjob.yaml", dns(job.name()));
                if all.iter().any(|(taken, _)| *taken == name) {
                    return Err(format!("{}: another entry has the same name for Kubernetes, {}", job.name(), dns(job.name())));
                }
                all.push((name, kubernetes(schedule, job, image)?));
            }
            Ok(all)
        }
    }
}

/// What only `chaos schedule run` does, as comments.
fn left_out(schedule: &Schedule, job: &Job, form: Form) -> String {
    let shared = schedule.jobs.iter().any(|other| other.name() != job.name() && other.target == job.target);
    let once = job.entry.missed == Missed::Skip;
    let missing = [
        (job.entry.retries > 0, "retries of runs that could not start"),
        (!schedule.notify.is_empty(), "notices"),
        (job.entry.missed == Missed::All, "each of several missed runs; the last is caught up at the most"),
        (form == Form::Cron && !once, "missed runs are not caught up"),
        (form != Form::Systemd && !job.entry.jitter.0.is_zero(), "jitter"),
        (form == Form::Kubernetes && shared, "other experiments on the same target are not waited for"),
    ];
    let blackouts = schedule.blackouts.iter().map(|b| format!("# not here: the blackout `{}`\n", b.name));
    let others = missing.iter().filter(|(is_missing, _)| *is_missing).map(|(_, what)| format!("# not here: {what}\n"));
    blackouts.chain(others).collect()
}

/// A run that has its target for itself, and takes no longer than it may.
fn command(schedule: &Schedule, job: &Job) -> Vec<String> {
    let lock = schedule.reports.join(format!(".{:016x}.lock", fnv(job.target.as_bytes())));
    // Without a fork the signals that end a run reach it.
    let mut all: Vec<String> = ["flock", "--no-fork"].map(str::to_owned).into();
    if job.entry.overlap == Put::Skip {
        all.extend(["--nonblock", "--conflict-exit-code", "0"].map(str::to_owned));
    }
    let seconds = job.entry.timeout.0.as_secs().to_string();
    all.extend([lock.display().to_string(), "timeout".into(), "--kill-after=120".into(), seconds, "chaos".into(), "run".into()]);
    all.extend([job.file.display().to_string(), "--reports".into(), schedule.reports.display().to_string()]);
    all.extend(job.entry.args.iter().cloned());
    all
}

fn systemd(schedule: &Schedule, job: &Job) -> Result<Vec<(String, String)>, String> {
    let name = format!("chaos-{}", job.name());
    // systemd.service(5): these four mean something there.
    let quote = |text: &String| {
        let plain = text.replace('\\', r"\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
        format!("\"{plain}\"")
    };
    let service = format!(
        "[Unit]\nDescription=chaos experiment {}\n\n[Service]\nType=oneshot\nExecStartPre=/usr/bin/env mkdir -p {}\nExecStart=/usr/bin/env {}\nTimeoutStartSec=infinity\nKillMode=mixed\nTimeoutStopSec=150\n",
        job.name(),
        quote(&schedule.reports.display().to_string()),
        command(schedule, job).iter().map(quote).collect::<Vec<_>>().join(" "),
    );
    let calendars: String = on_calendar(job)?.iter().map(|line| format!("OnCalendar={line}\n")).collect();
    let timer = format!(
        "{}[Unit]\nDescription=chaos experiment {}, on schedule\n\n[Timer]\n{calendars}RandomizedDelaySec={}\nPersistent={}\n\n[Install]\nWantedBy=timers.target\n",
        left_out(schedule, job, Form::Systemd),
        job.name(),
        job.entry.jitter.0.as_secs(),
        job.entry.missed != Missed::Skip,
    );
    Ok(vec![(format!("{name}.service"), service), (format!("{name}.timer"), timer)])
}

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// systemd wants both the day of month and the day of week to fit, cron one of them: two lines where both are given.
fn on_calendar(job: &Job) -> Result<Vec<String>, String> {
    let text = &job.entry.cron.value;
    let fields: Vec<&str> = text.split_whitespace().collect();
    let pattern = &job.calendar.cron().pattern;
    let has_modifiers = [&pattern.days, &pattern.days_of_week].iter().any(|field| field.has_modifiers());
    let special = has_modifiers || fields[2].contains('+') || fields[4].contains('+');
    if special {
        return Err(format!("{}: `{text}` cannot be said as OnCalendar=; use `chaos schedule run`", job.name()));
    }
    let list = |values: Vec<u16>, all: usize| match values.len() == all {
        true => "*".to_owned(),
        false => values.iter().map(|v| format!("{v:02}")).collect::<Vec<_>>().join(","),
    };
    let (minutes, hours) = (list(pattern.minutes.values(), 60), list(pattern.hours.values(), 24));
    let (days, months) = (list(pattern.days.values(), 31), list(pattern.months.values(), 12));
    let week = pattern.days_of_week.values();
    let names: Vec<&str> = week.iter().filter_map(|d| DAYS.get(usize::from(*d % 7)).copied()).collect();
    let any_week = fields[4] == "*" || names.len() == 7;
    let zone = job.calendar.zone_name();
    let line = |week: &str, days: &str| format!("{week}*-{months}-{days} {hours}:{minutes}:00 {zone}");
    let of_week = format!("{} ", names.join(","));
    Ok(match (days == "*", any_week) {
        (_, true) => vec![line("", &days)],
        (true, false) => vec![line(&of_week, "*")],
        (false, false) => vec![line("", &days), line(&of_week, "*")],
    })
}

fn cron(schedule: &Schedule) -> String {
    let quote = |text: &String| {
        let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=:,+@".contains(c));
        if is_plain && !text.is_empty() { text.clone() } else { format!("'{}'", text.replace('\'', r"'\''")) }
    };
    let mut out = String::from("# For cronie (CRON_TZ); other crons take the machine's time zone.\n");
    for job in &schedule.jobs {
        let words = command(schedule, job).iter().map(quote).collect::<Vec<_>>().join(" ");
        let line = format!("mkdir -p {} && {words}", quote(&schedule.reports.display().to_string()));
        out.push_str(&left_out(schedule, job, Form::Cron));
        // A percent sign would end the command there.
        out.push_str(&format!("CRON_TZ={}\n{} {}\n", job.calendar.zone_name(), job.entry.cron.value, line.replace('%', "\\%")));
    }
    out
}

fn dns(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    format!("chaos-{}", name.chars().map(plain).collect::<String>().trim_matches('-')).chars().take(52).collect()
}

fn kubernetes(schedule: &Schedule, job: &Job, image: &str) -> Result<String, String> {
    let file = job.file.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let mut arguments = vec!["run".to_owned(), format!("/experiments/{file}"), "--reports".into(), "/reports".into()];
    arguments.extend(job.entry.args.iter().cloned());
    let container = json!({
        "name": "chaos", "image": image, "args": arguments,
        "volumeMounts": [{ "name": "experiments", "mountPath": "/experiments", "readOnly": true }, { "name": "reports", "mountPath": "/reports" }],
    });
    let volumes = json!([
        { "name": "experiments", "configMap": { "name": "chaos-experiments" } },
        { "name": "reports", "persistentVolumeClaim": { "claimName": "chaos-reports" } },
    ]);
    let deadline = if job.entry.missed == Missed::Skip { 60 } else { job.entry.missed_within.0.as_secs() };
    let object = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": { "name": dns(job.name()) },
        "spec": {
            "schedule": job.entry.cron.value, "timeZone": job.calendar.zone_name(), "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": deadline,
            "jobTemplate": { "spec": {
                // A run that has begun is never begun again.
                "backoffLimit": 0, "activeDeadlineSeconds": job.entry.timeout.0.as_secs(),
                "template": { "spec": { "restartPolicy": "Never", "terminationGracePeriodSeconds": 120, "containers": [container], "volumes": volumes } },
            } },
        },
    });
    let text = serde_yaml::to_string(&object).map_err(|e| e.to_string())?;
    Ok(format!(
        "{}# needs: a ConfigMap `chaos-experiments` with {file}, a PersistentVolumeClaim `chaos-reports`\n{text}",
        left_out(schedule, job, Form::Kubernetes)
    ))
}

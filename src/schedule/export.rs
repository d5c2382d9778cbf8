//! The schedule in the words of another scheduler. What that one cannot do is said in the file.

use std::path::Path;

use serde_json::json;

use super::file::{Job, Missed, Schedule};

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
        Form::Kubernetes => schedule
            .jobs
            .iter()
            .map(|job| Ok((format!("{}.cronjob.yaml", dns(job.name())), kubernetes(schedule, job, image)?)))
            .collect(),
    }
}

/// What only `chaos schedule run` does, as comments.
fn left_out(schedule: &Schedule, job: &Job) -> String {
    let blackouts = schedule.blackouts.iter().map(|b| format!("# not here: the blackout `{}`\n", b.name));
    let retries = (job.entry.retries > 0).then(|| "# not here: retries of runs that could not start\n".to_owned());
    let notify = (!schedule.notify.is_empty()).then(|| "# not here: notices\n".to_owned());
    blackouts.chain(retries).chain(notify).collect()
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

fn arguments(schedule: &Schedule, job: &Job) -> Vec<String> {
    let mut all = vec!["run".to_owned(), absolute(&job.file), "--reports".to_owned(), absolute(&schedule.reports)];
    all.extend(job.entry.args.iter().cloned());
    all
}

fn systemd(schedule: &Schedule, job: &Job) -> Result<Vec<(String, String)>, String> {
    let name = format!("chaos-{}", job.name());
    let quoted: Vec<String> =
        arguments(schedule, job).iter().map(|a| format!("\"{}\"", a.replace('%', "%%").replace('"', "\\\""))).collect();
    let service = format!(
        "[Unit]\nDescription=chaos experiment {0}\n\n[Service]\nType=oneshot\nExecStart=/usr/bin/env chaos {1}\nTimeoutStartSec={2}\nKillSignal=SIGTERM\nTimeoutStopSec=120\n",
        job.name(),
        quoted.join(" "),
        job.entry.timeout.0.as_secs(),
    );
    let calendars: String = on_calendar(job)?.iter().map(|line| format!("OnCalendar={line}\n")).collect();
    let timer = format!(
        "{}[Unit]\nDescription=chaos experiment {}, on schedule\n\n[Timer]\n{calendars}RandomizedDelaySec={}\nPersistent={}\n\n[Install]\nWantedBy=timers.target\n",
        left_out(schedule, job),
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
    let quote = |text: &String| format!("'{}'", text.replace('\'', r"'\''"));
    let mut out = String::from("# For cronie (CRON_TZ); other crons take the machine's time zone.\n");
    for job in &schedule.jobs {
        let arguments: Vec<String> = arguments(schedule, job).iter().map(quote).collect();
        let lock = quote(&absolute(&schedule.reports.join(format!(".{:016x}.lock", crate::seed::fnv(job.target.as_bytes())))));
        let line = format!(
            "flock {lock} timeout --signal=TERM --kill-after=120 {} chaos {}",
            job.entry.timeout.0.as_secs(),
            arguments.join(" ")
        );
        out.push_str(&left_out(schedule, job));
        if job.entry.missed != Missed::Skip {
            out.push_str("# not here: missed runs are not caught up\n");
        }
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
        left_out(schedule, job)
    ))
}

//! `chaos list`: the runs, the latest first.

use std::path::PathBuf;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::{OutputFormat, complain, print, say};
use crate::exit::Exit;
use crate::history::{Filter, History};
use crate::run::outcome::Outcome;
use crate::text::seconds;

/// List runs, the latest first.
#[derive(clap::Args)]
#[command(after_help = "Example: chaos list --outcome failed --since 7d")]
pub struct Args {
    /// Only runs of this experiment.
    experiment: Option<String>,
    /// Only with this outcome.
    #[arg(long, value_enum)]
    outcome: Option<Outcome>,
    /// Only on this target.
    #[arg(long, value_name = "URL")]
    target: Option<String>,
    /// Only since then: a date, a moment, or so long ago (90m, 12h, 7d).
    #[arg(long, value_parser = moment)]
    since: Option<Timestamp>,
    /// Only before then.
    #[arg(long, value_parser = moment)]
    until: Option<Timestamp>,
    /// Only runs in which this check did not pass.
    #[arg(long, value_name = "NAME")]
    check: Option<String>,
    /// The latest so many; 0 for all.
    #[arg(long, default_value_t = 30)]
    limit: u32,
    /// Where the runs are.
    #[arg(long, default_value = "reports")]
    reports: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: OutputFormat,
}

pub fn run(args: Args) -> Exit {
    let filter = Filter {
        experiment: args.experiment,
        outcome: args.outcome,
        target: args.target,
        overrides: None,
        since: args.since,
        until: args.until,
        failed_check: args.check,
        limit: Some(args.limit).filter(|n| *n > 0),
    };
    let (runs, unfinished) = match History::open(&args.reports).and_then(|h| Ok((h.runs(&filter)?, h.unfinished))) {
        Ok(found) => found,
        Err(reason) => return complain(Exit::CannotRun, reason),
    };
    for folder in &unfinished {
        let folder = folder.display();
        say(format_args!("{folder} has no result: it is running, or was broken off, and then `chaos report {folder}` makes one"));
    }
    let text = match args.format {
        OutputFormat::Json => serde_json::to_string(&runs).unwrap_or_default() + "\n",
        OutputFormat::Text if runs.is_empty() => "no run fits\n".to_owned(),
        OutputFormat::Text => runs
            .iter()
            .map(|run| {
                let when = run.started_at.get(..19).unwrap_or(&run.started_at).replace('T', " ");
                let overrides = Some(&run.overrides).filter(|overrides| !overrides.is_empty());
                let more =
                    [overrides, run.reason.as_ref()].into_iter().flatten().map(|text| format!("  {text}")).collect::<String>();
                format!("{when}  {:<13}{:<20}{:>9}  {}{more}\n", run.outcome, run.experiment, seconds(run.duration_s), run.run_id)
            })
            .collect(),
    };
    print(&text)
}

/// A date, a moment, or so long ago.
pub fn moment(text: &str) -> Result<Timestamp, String> {
    let expected = || format!("`{text}` is no moment; expected 2026-11-24, 2026-11-24T03:00:00Z, or so long ago: 90m, 12h, 7d");
    if let Some((at, unit)) = text.char_indices().last().filter(|(_, unit)| "mhd".contains(*unit)) {
        let number: i64 = text[..at].parse().map_err(|_| expected())?;
        let minutes = number.checked_mul(match unit {
            'm' => 1,
            'h' => 60,
            _ => 24 * 60,
        });
        return minutes.and_then(|m| Timestamp::now().checked_sub(m.minutes()).ok()).ok_or_else(expected);
    }
    if let Ok(date) = text.parse::<Date>() {
        return date.to_zoned(TimeZone::system()).map(|zoned| zoned.timestamp()).map_err(|_| expected());
    }
    text.parse().map_err(|_| expected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_times_and_spans() {
        assert!(moment("2026-11-24T03:00:00Z").is_ok() && moment("2026-11-24").is_ok());
        let ago = Timestamp::now().duration_since(moment("12h").unwrap()).as_secs_f64();
        assert!((ago - 12.0 * 3600.0).abs() < 5.0);
        for wrong in ["", "d", "yesterday", "2026-13-01", "99999999999999999999d", "é"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}

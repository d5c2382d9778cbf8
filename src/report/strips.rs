//! Two parts of `report.html` that only some runs have: cold and warm jobs around a restart, and the gaps of listeners.

use serde_json::{Value as Json, json};

use crate::check::View;
use crate::check::cold_warm::{COLD_RATIO, episodes, warm_times, work_s};
use crate::check::scope::Over;
use crate::journal::facts::JobFacts;
use crate::journal::record::Record;
use crate::load::ledger::Class;
use crate::stats::median;

/// How much above the warm baseline still counts as warm here, as in the check.
const TOLERANCE: f64 = 0.2;
/// Bars that fit beside each other.
const MOST_BARS: usize = 160;

/// Every job's time on the worker in the order of their ends, and what each restart or eviction did; `null` without one.
pub fn cold_and_warm(view: &View<'_>) -> Json {
    let record = view.record;
    let Some(first) = record.baseline_end() else { return Json::Null };
    let baseline = warm_times(view, None, first);
    let episodes = episodes(view, None, &baseline, TOLERANCE);
    let Some(warm) = median(&mut baseline.clone()).filter(|_| !episodes.is_empty()) else { return Json::Null };
    // A job from before a restart whose end was heard of after it shows when it was heard of, not what it took.
    let heard_late = |job: &JobFacts, t: f64| episodes.iter().any(|e| job.submitting_t < e.from_t && t > e.from_t);
    let kind = |job: &JobFacts, t: f64, s: f64| match (job.cold, heard_late(job, t)) {
        (true, _) => "cold",
        (_, true) => "late",
        _ if s > COLD_RATIO * warm => "cold",
        _ => "warm",
    };
    let mut bars: Vec<(f64, f64, &str)> = view
        .background(None, Over::All)
        .into_iter()
        .filter(|(_, class)| *class == Class::Completed)
        .filter_map(|(job, _)| Some((job, job.ended.as_ref()?.0, work_s(job)?)))
        .map(|(job, t, s)| (t, s, kind(job, t, s)))
        .collect();
    bars.sort_by(|a, b| a.0.total_cmp(&b.0));
    let before = bars.iter().filter(|bar| bar.0 < episodes[0].from_t).count();
    let skipped = before.saturating_sub(MOST_BARS / 2);
    let shown: Vec<Json> = bars.iter().skip(skipped).take(MOST_BARS).map(|(t, s, kind)| json!([t, s, kind])).collect();
    let told: Vec<Json> = episodes
        .iter()
        .map(|episode| {
            let cold = episode.cold;
            let warm_again = episode.warm_from.and_then(|at| Some(episode.later.get(at)?.0 - episode.from_t));
            json!({
                "from": episode.from_t,
                "cold": cold.map(|c| view.seconds(c.seconds)),
                "ratio": cold.map(|c| c.ratio),
                "warm_after": warm_again.map(|s| view.seconds(s)),
            })
        })
        .collect();
    json!({ "bars": shown, "warm_s": warm, "warm": view.seconds(warm), "episodes": told })
}

/// Each listener: since when it was connected, and every loss with its return and the first news after it.
pub fn listeners(record: &Record) -> Vec<Json> {
    let hurt = record.listeners.iter().filter(|(_, facts)| !facts.losses.is_empty());
    hurt.map(|(name, facts)| {
        let losses: Vec<Json> = facts
            .losses
            .iter()
            .map(|loss| {
                let news = loss.heard.first().map(|(t, job, state)| json!({ "t": t, "job": job, "state": state }));
                json!({ "t": loss.t, "freed": loss.freed_t, "back": loss.back_t, "why": loss.why, "fault": loss.fault, "open": loss.open, "news": news })
            })
            .collect();
        json!({ "name": name, "losses": losses })
    })
    .collect()
}

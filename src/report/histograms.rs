//! `histograms.json`: the latency histograms, microseconds to counts, to three digits.

use serde_json::json;

use super::{Material, facts};
use crate::check::View;

pub fn render(material: &Material<'_>) -> Result<String, String> {
    let view = View::of(material.record);
    let mut histograms = Vec::new();
    for part in &material.result.latency.parts {
        let Some((_, measure)) = facts::PARTS.iter().find(|(name, _)| *name == part.part) else { continue };
        let histogram = facts::histogram(&view, &part.load, &part.phase, *measure);
        let buckets: Vec<(u64, u64)> =
            histogram.iter_recorded().map(|v| (v.value_iterated_to(), v.count_since_last_iteration())).collect();
        histograms.push(json!({ "load": part.load, "phase": part.phase, "part": part.part, "unit": "us", "buckets": buckets }));
    }
    serde_json::to_string(&histograms).map(|text| text + "\n").map_err(|e| e.to_string())
}

//! A plan of another version, or a damaged one: as much of it as can be read, for putting back what its run changed.

use std::path::Path;

use serde_json::Value as Json;

use super::{Plan, build};
use crate::experiment::file::{self, Overrides};
use crate::seed::Seed;

/// Nothing that a run would do.
const EMPTY: &str = "version: 1\nname: unreadable\ntarget: { url: \"http://127.0.0.1:1\" }\nload: [{ users: 1 }]\nchecks: [{ all_jobs_complete: {} }]\n";

/// Each part of `raw` that this version can read, in an otherwise empty plan. `None` is a mistake in chaos itself.
pub fn salvage(raw: &Json) -> Option<Plan> {
    let mut loaded = file::load_text("unreadable.yaml", EMPTY.to_owned(), &Overrides::default(), &|_| None).ok()?;
    let mut plan = build::build(&mut loaded, Seed(0), Path::new("."))?;
    plan.loads.clear();
    plan.checks.clear();
    plan.touches.clear();
    plan.warnings.clear();
    let mut whole = serde_json::to_value(&plan).ok()?;
    for (key, value) in raw.as_object().into_iter().flatten() {
        match value {
            Json::Array(items) if whole[key.as_str()].is_array() => {
                for item in items {
                    keep(&mut whole, key, |old| push(old, item.clone()));
                }
            }
            _ => keep(&mut whole, key, |_| value.clone()),
        }
    }
    serde_json::from_value(whole).ok()
}

/// Changes one part, if what comes out is still a plan.
fn keep(whole: &mut Json, key: &str, change: impl FnOnce(&Json) -> Json) {
    let mut tried = whole.clone();
    tried[key] = change(&whole[key]);
    if serde_json::from_value::<Plan>(tried.clone()).is_ok() {
        *whole = tried;
    }
}

fn push(list: &Json, item: Json) -> Json {
    let items = list.as_array().into_iter().flatten().cloned();
    Json::Array(items.chain([item]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_is_kept_and_the_rest_left_out() {
        let mut loaded = file::load_text(
            "x.yaml",
            "version: 1\nname: x\ntarget: { url: embedded }\nload: [{ users: 1 }]\nfaults: [{ flood: { at: 1s, jobs: 3 } }, { evict: { at: 2s } }]\nchecks: [{ no_crash: {} }]\n".into(),
            &Overrides::default(),
            &|_| None,
        )
        .unwrap_or_else(|d| panic!("{}", d.render(false)));
        let plan = build::build(&mut loaded, Seed(1), Path::new(".")).unwrap();
        let mut raw = serde_json::to_value(&plan).unwrap();
        assert_eq!(salvage(&raw), Some(plan.clone()), "a plan of this version is kept whole");
        raw["faults"][0]["spec"] = serde_json::json!({ "meteor": { "size": "large" } });
        raw["driver"] = Json::Null;
        raw["of_a_later_version"] = Json::Bool(true);
        let kept = salvage(&raw).unwrap();
        assert_eq!((kept.url.clone(), kept.faults.len(), &kept.faults[0]), (plan.url, 1, &plan.faults[1]));
        assert!(salvage(&Json::Null).is_some() && salvage(&serde_json::json!([1, 2])).is_some());
    }
}

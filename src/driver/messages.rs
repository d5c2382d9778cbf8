//! What a pushed message says about a job.

use serde_json::Value as Json;

use super::format::{Driver, Rule};
use super::inputs::Vars;
use super::place::Answered;
use super::template::{self, bounded};
use crate::journal::event::JobView;

/// What one message says.
pub struct Said {
    pub view: JobView,
    pub captured: Vars,
}

/// Reads a message by a driver's rules, or by the fields of its `status` where there are none. `None`: it is not about a job's
/// state, which is no error.
pub fn read(driver: &Driver, rules: &[Rule], message: &Json, data: &Json) -> Option<Said> {
    if rules.is_empty() {
        let view = template::view(&driver.status, &Answered::of(data), &|_| None).ok()?;
        return Some(Said { view, captured: Vars::new() });
    }
    let rule = rules.iter().find(|rule| rule.when.iter().all(|(pointer, wanted)| fits(message.pointer(pointer), wanted)))?;
    let at = |pointer: &Option<String>| pointer.as_ref().and_then(|p| message.pointer(p)).filter(|v| !v.is_null());
    let number = |pointer: &Option<String>| at(pointer).and_then(Json::as_f64);
    let progress = match (number(&rule.progress), number(&rule.of).or(rule.progress_of)) {
        (Some(now), Some(all)) if all > 0.0 => Some((now / all * 100.0).clamp(0.0, 100.0)),
        (Some(now), None) if rule.of.is_none() => Some(now),
        _ => None,
    };
    let view = JobView {
        state: rule.state.into(),
        word: rule.state.word().to_owned(),
        progress,
        stage: at(&rule.stage).map(|v| bounded(&template::as_text(v))),
        error: at(&rule.error).map(|v| bounded(&template::as_text(v))),
        ..JobView::of(rule.state.into())
    };
    let captured =
        rule.capture.iter().filter_map(|(name, place)| Some((name.clone(), place.find_in(message, &|_| None)?))).collect();
    Some(Said { view, captured })
}

fn fits(found: Option<&Json>, wanted: &Json) -> bool {
    match (found.unwrap_or(&Json::Null), wanted) {
        (found, Json::String(any)) if any == "*" => !found.is_null(),
        (found, wanted) => found == wanted,
    }
}

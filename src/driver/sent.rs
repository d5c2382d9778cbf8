//! What of a submission makes the input of one job another than that of the next: equal inputs may have equal results.

use serde_json::Value as Json;

use super::format::{Driver, Step};
use super::inputs::Ask;
use super::template::names;
use crate::experiment::JobShape;
use crate::seed::fnv;

/// Each job's own, by themselves.
const UNIQUE: [&str; 5] = ["mark", "prompt", "seed", "image", "image_base64"];
/// The same for some jobs, for others not. Who asks (`client`) and what a request is called (`uuid`) is none of the input.
const SHARED: [&str; 6] = ["width", "height", "batch", "tokens", "seed31", "color"];
/// What a driver's submissions hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    plain: Content,
    /// Of the jobs with `image: true`.
    with_image: Content,
}

/// What the requests of one kind of job hold.
#[derive(Debug, Clone, Default, PartialEq)]
struct Content {
    is_unique: bool,
    /// It sends a file of the user's; which one is only known to whoever sees the folder.
    file: bool,
    shared: Vec<&'static str>,
}

/// Which input a job had, as far as it can be told from another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Input {
    /// No other job had it.
    Own,
    /// One of several files; another job may have sent the same.
    OfAFile,
    /// All jobs with this number had the same.
    Shared(u64),
}

impl Sent {
    pub fn of(driver: &Driver) -> Self {
        let content = |image: bool| {
            let mut content = Content::default();
            driver.submit.steps.iter().for_each(|step| content.look(step, image));
            content
        };
        Self { plain: content(false), with_image: content(true) }
    }

    pub fn input(&self, shape: &JobShape, mark: &str) -> Input {
        let content = if shape.image { &self.with_image } else { &self.plain };
        match content {
            Content { is_unique: true, .. } => Input::Own,
            Content { file: true, .. } => Input::OfAFile,
            Content { shared, .. } if shared.is_empty() => Input::Shared(0),
            Content { shared, .. } => {
                let ask = Ask::new(shape.clone(), mark, String::new());
                let values: Vec<String> =
                    shared.iter().map(|name| format!("{name}={}", ask.value(name).unwrap_or_default())).collect();
                Input::Shared(fnv(values.join("\n").as_bytes()))
            }
        }
    }

    /// For a plan: every job of these shapes sends the very same.
    pub fn is_one(&self, shapes: &[JobShape]) -> bool {
        let of = |shape: &JobShape, mark| self.input(shape, mark);
        let first = shapes.first().map(|shape| of(shape, "a"));
        matches!(first, Some(Input::Shared(_)))
            && shapes.iter().flat_map(|shape| [of(shape, "a"), of(shape, "b")]).all(|input| Some(input) == first)
    }
}

impl Content {
    fn look(&mut self, step: &Step, image: bool) {
        self.text(&step.path);
        // As the request is made: of two bodies the one in parts is for the jobs with an image.
        if !step.multipart.is_empty() && (step.json.is_none() || image) {
            step.multipart.values().for_each(|text| self.text(text));
            return;
        }
        step.json.iter().for_each(|json| self.json("", json));
        step.form.iter().for_each(|(key, text)| self.field(key, text));
        step.text.iter().for_each(|text| self.text(text));
    }

    fn json(&mut self, key: &str, json: &Json) {
        match json {
            Json::String(text) => self.field(key, text),
            Json::Array(all) => all.iter().for_each(|one| self.json(key, one)),
            Json::Object(all) => all.iter().for_each(|(key, one)| {
                self.text(key);
                self.json(key, one);
            }),
            _ => {}
        }
    }

    /// A field that holds nothing but the mark, under a name that is a request's or a user's, is none of the input.
    fn field(&mut self, key: &str, text: &str) {
        let is_name = ["id", "user", "session", "key"].iter().any(|end| key.to_lowercase().ends_with(end));
        if !(is_name && text.trim() == "{{mark}}") {
            self.text(text);
        }
    }

    fn text(&mut self, text: &str) {
        for name in names(text) {
            self.is_unique |= UNIQUE.contains(&name.as_str());
            self.file |= name == "file";
            self.shared.extend(SHARED.iter().find(|shared| **shared == name));
        }
        self.shared.sort_unstable();
        self.shared.dedup();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(json: Json) -> Content {
        let mut content = Content::default();
        content.json("", &json);
        content
    }

    #[test]
    fn what_is_filled_in_tells_whether_inputs_differ() {
        let fixed = content(
            serde_json::json!({ "prompt": "a cat", "seed": 42, "user": "{{client}}", "request_id": "{{mark}}", "trace": "{{uuid}}" }),
        );
        assert_eq!(fixed, Content::default());
        let size = content(serde_json::json!({ "size": ["{{width}}", "{{height}}"] }));
        assert_eq!((size.is_unique, size.shared), (false, vec!["height", "width"]));
        for own in ["{{prompt}}", "a cat, {{mark}}", "{{seed:-1}}", "{{ image_base64 }}"] {
            assert!(content(serde_json::json!([{ "text": own }])).is_unique, "{own}");
        }
        assert!(content(serde_json::json!({ "{{mark}}": 1 })).is_unique);
        assert!(content(serde_json::json!({ "photo": "{{file}}" })).file);
    }

    #[test]
    fn jobs_of_one_size_have_one_input_where_only_the_size_is_sent() {
        let size = content(serde_json::json!({ "w": "{{width}}" }));
        let sent = Sent { plain: size.clone(), with_image: size };
        let shape = |width| JobShape { width, ..JobShape::default() };
        assert_eq!(sent.input(&shape(512), "a"), sent.input(&shape(512), "b"));
        assert_ne!(sent.input(&shape(512), "a"), sent.input(&shape(768), "a"));
        assert!(sent.is_one(&[shape(512)]) && !sent.is_one(&[shape(512), shape(768)]) && !sent.is_one(&[]));
    }
}

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

    /// How large an image is to be is told.
    pub fn asks_for_a_size(&self, shape: &JobShape) -> bool {
        let content = if shape.image { &self.with_image } else { &self.plain };
        ["width", "height"].iter().all(|name| content.shared.contains(name))
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
        self.path(&step.path);
        // A mark in a header is a trace's or a request's name, whatever the header is called.
        step.headers.values().for_each(|text| self.names(names(text).into_iter().filter(|name| name != "mark")));
        // As the request is made: of two bodies the one in parts is for the jobs with an image.
        if !step.multipart.is_empty() && (step.json.is_none() || image) {
            step.multipart.iter().for_each(|(name, text)| self.field(name, text));
            return;
        }
        step.json.iter().for_each(|json| self.json("", json));
        step.form.iter().for_each(|(key, text)| self.field(key, text));
        step.text.iter().for_each(|text| self.text(text));
    }

    /// A step of a path that is nothing but the mark is the name of what is made there.
    fn path(&mut self, path: &str) {
        let (steps, query) = path.split_once('?').unwrap_or((path, ""));
        steps.split('/').for_each(|step| self.field("id", step));
        for pair in query.split('&') {
            let (name, text) = pair.split_once('=').unwrap_or(("", pair));
            self.field(name, text);
        }
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

    /// A field that holds nothing but the mark, under a name that is a request's, a user's or a file's, is none of the input.
    fn field(&mut self, key: &str, text: &str) {
        let is_name =
            ["id", "user", "session", "key", "filename", "filename_prefix"].iter().any(|end| key.to_lowercase().ends_with(end));
        if !(is_name && text.replace(' ', "") == "{{mark}}") {
            self.text(text);
        }
    }

    fn text(&mut self, text: &str) {
        self.names(names(text).into_iter());
    }

    fn names(&mut self, names: impl Iterator<Item = String>) {
        for name in names {
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
    use crate::driver::Method;
    use crate::experiment::units::Time;

    fn content(json: Json) -> Content {
        let mut content = Content::default();
        content.json("", &json);
        content
    }

    #[test]
    fn what_is_filled_in_tells_whether_inputs_differ() {
        let fixed = content(
            serde_json::json!({ "prompt": "a cat", "seed": 42, "user": "{{client}}", "request_id": "{{mark}}", "trace": "{{uuid}}", "filename_prefix": "{{mark}}" }),
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

    fn bare() -> Step {
        Step {
            name: String::new(),
            method: Method::Post,
            path: String::new(),
            json: None,
            form: Default::default(),
            multipart: Default::default(),
            text: None,
            headers: Default::default(),
            accepted: Vec::new(),
            capture: Default::default(),
            timeout: Time::secs(1),
        }
    }

    #[test]
    fn inputs_stand_in_paths_headers_and_parts_too_and_names_are_none() {
        let of = |yaml: &str| {
            let mut content = Content::default();
            let json: Json = serde_yaml::from_str(yaml).unwrap();
            let texts = |key: &str| {
                let map = json[key].as_object().into_iter().flatten();
                map.map(|(name, text)| (name.clone(), text.as_str().unwrap().to_owned())).collect()
            };
            let step = Step {
                path: json["path"].as_str().unwrap_or("/jobs").to_owned(),
                headers: texts("headers"),
                multipart: texts("parts"),
                ..bare()
            };
            content.look(&step, false);
            content.is_unique
        };
        for own in [
            "path: '/draw?q={{prompt}}'",
            "path: '/draw/{{seed}}'",
            "headers: {X-Prompt: '{{prompt}}'}",
            "parts: {image: '{{image}}'}",
        ] {
            assert!(of(own), "{own}");
        }
        for name in [
            "path: '/jobs/{{mark}}'",
            "path: '/draw?request_id={{mark}}&user={{client}}'",
            "headers: {X-Trace: '{{mark}}', User-Agent: 'chaos {{ mark }}'}",
            "parts: {job_id: '{{mark}}', prompt: a cat}",
        ] {
            assert!(!of(name), "{name}");
        }
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

//! A driver's parameters: what an experiment sets with `target.with` takes the place of `${name}` before anything else is read.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value as Json;

use super::format::Parameter;
use crate::experiment::decode::{At, Decode};
use crate::experiment::diagnostic::{Diagnostics, Span};
use crate::experiment::file::read_text;
use crate::experiment::node::{Key, Node, Value, unknown_word};

/// What an experiment sets, by name.
pub type With = BTreeMap<String, At<Json>>;

/// Puts every parameter into the tree. A text that is nothing but `${name}` becomes the value, whatever it is, and a key whose
/// value becomes null is left out.
pub fn fill(tree: &mut Node, with: &With, driver: Span, beside: &Path, diags: &mut Diagnostics) -> Option<()> {
    let declared = match tree.get("parameters") {
        Some(node) => BTreeMap::<String, Parameter>::decode(node, diags)?,
        None => BTreeMap::new(),
    };
    let names: Vec<&str> = declared.keys().map(String::as_str).collect();
    for (name, given) in with.iter().filter(|(name, _)| !declared.contains_key(*name)) {
        unknown_word(diags, given.span, "parameter of this driver", name, &names);
    }
    let mut values = BTreeMap::new();
    for (name, parameter) in &declared {
        let span = tree.get("parameters").and_then(|p| p.get(name)).map_or(tree.span, |node| node.span);
        let value = match (with.get(name), &parameter.default) {
            (Some(given), _) => Some(as_it_stands(document(given, beside, diags)?)),
            (None, Some(default)) => Some(Node::of(default, span)),
            (None, None) => None,
        };
        match value {
            Some(value) => drop(values.insert(name.clone(), value)),
            None => {
                diags
                    .error(driver, format!("this driver needs `{name}`: {}", parameter.about), "needed here")
                    .help(format!("give `with: {{ {name}: … }}` beside `driver`"));
            }
        }
    }
    if !diags.is_empty() {
        return None;
    }
    put(tree, &values);
    Some(())
}

/// The names of those that an experiment has to set.
pub fn needed(tree: &Node) -> Vec<String> {
    let declared =
        tree.get("parameters").and_then(|node| BTreeMap::<String, Parameter>::decode(node, &mut Diagnostics::default()));
    let needed = declared.into_iter().flatten().filter(|(_, parameter)| parameter.default.is_none());
    needed.map(|(name, _)| name).collect()
}

/// A value `{ file: …, set: { pointer: value } }` is a JSON document of the user's, with values put at some of its places.
fn document(given: &At<Json>, beside: &Path, diags: &mut Diagnostics) -> Option<Node> {
    let file = given.value.as_object().filter(|map| map.keys().all(|key| key == "file" || key == "set"));
    let Some(name) = file.and_then(|map| map.get("file")).and_then(Json::as_str) else {
        return Some(Node::of(&given.value, given.span));
    };
    let path = beside.join(name);
    let read = read_text(&path).and_then(|text| {
        serde_json::from_str::<Json>(&text).map_err(|e| format!("{} cannot be read as JSON: {e}", path.display()))
    });
    let mut json = read.map_err(|reason| diags.error(given.span, reason, "this file")).ok()?;
    for (pointer, value) in given.value.get("set").and_then(Json::as_object).into_iter().flatten() {
        match json.pointer_mut(pointer) {
            Some(place) => *place = value.clone(),
            None => {
                let text = format!("there is nothing at {pointer} in {}", path.display());
                diags.error(given.span, text, "expected JSON pointers to values that are there");
                return None;
            }
        }
    }
    Some(Node::of(&json, given.span))
}

/// What the experiment gives has been filled in from the environment already: its dollar signs are its own.
fn as_it_stands(mut node: Node) -> Node {
    match &mut node.value {
        Value::Text(text) => *text = text.replace('$', "$$"),
        Value::List(items) => items.iter_mut().for_each(|item| *item = as_it_stands(item.clone())),
        Value::Map(entries) => entries.iter_mut().for_each(|(_, value)| *value = as_it_stands(value.clone())),
        _ => {}
    }
    node
}

/// The name in a text that is nothing but `${name}`.
fn whole(text: &str) -> Option<&str> {
    text.strip_prefix("${").and_then(|t| t.strip_suffix('}'))
}

fn put(node: &mut Node, values: &BTreeMap<String, Node>) {
    let mut new = None;
    match &mut node.value {
        Value::Text(text) => match whole(text).and_then(|name| values.get(name)) {
            Some(value) => new = Some(value.clone()),
            None => {
                for (name, value) in values {
                    if let Some(scalar) = value.scalar() {
                        *text = text.replace(&format!("${{{name}}}"), &scalar);
                    }
                }
            }
        },
        Value::List(items) => items.iter_mut().for_each(|item| put(item, values)),
        Value::Map(entries) => {
            let absent = |(_, node): &(Key, Node)| {
                let text = if let Value::Text(text) = &node.value { whole(text) } else { None };
                text.and_then(|name| values.get(name)).is_some_and(|value| value.value == Value::Null)
            };
            entries.retain(|entry| !absent(entry));
            entries.iter_mut().filter(|(key, _)| key.name != "parameters").for_each(|(_, node)| put(node, values));
        }
        _ => {}
    }
    if let Some(new) = new {
        *node = new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{Wanted, find};
    use crate::secret::Redactor;
    use serde_json::json;

    fn at<T>(value: T) -> At<T> {
        At { value, span: Span::default() }
    }

    /// The body of the first request of a driver's, or what is wrong.
    fn body(file: &str, with: &[(&str, Json)]) -> Result<Json, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("d.yaml"), file).unwrap();
        std::fs::write(folder.path().join("graph.json"), r#"{"3":{"inputs":{"seed":1,"text":"a cat"}}}"#).unwrap();
        let with: With = with.iter().map(|(name, value)| ((*name).to_owned(), at(value.clone()))).collect();
        let (name, mut diags) = (at("d.yaml".to_owned()), Diagnostics::default());
        let wanted = Wanted { name: &name, with: &with, beside: folder.path() };
        let found = find(&wanted, &mut Redactor::default(), &mut diags);
        found.map(|driver| driver.submit.steps[0].json.clone().unwrap_or(Json::Null)).ok_or_else(|| diags.render(false))
    }

    const FILE: &str = r#"
version: 1
name: d
parameters:
  model: { about: which model answers }
  graph: { about: what is done, default: { a: 1 } }
  cancel: { about: how a job is cancelled, default: null }
submit:
  steps: [{ path: /jobs, json: { m: "${model}", t: "is ${model}", g: "${graph}", x: "${cancel}" } }]
  answer: result
"#;

    #[test]
    fn a_parameter_takes_its_place_whole_or_within_a_text() {
        let made = body(FILE, &[("model", json!("a$b"))]).unwrap();
        assert_eq!(made, json!({ "m": "a$b", "t": "is a$b", "g": { "a": 1 } }));
        assert_eq!(
            body(FILE, &[("model", json!(3)), ("graph", json!([null]))]).unwrap(),
            json!({ "m": 3, "t": "is 3", "g": [null] })
        );
    }

    #[test]
    fn a_file_of_the_users_takes_its_place_with_values_put_into_it() {
        let graph = json!({ "file": "graph.json", "set": { "/3/inputs/seed": "{{seed}}" } });
        let made = body(FILE, &[("model", json!("m")), ("graph", graph)]).unwrap();
        assert_eq!(made["g"], json!({ "3": { "inputs": { "seed": "{{seed}}", "text": "a cat" } } }));
        let nowhere = json!({ "file": "graph.json", "set": { "/4/inputs": 1 } });
        let wrong = body(FILE, &[("model", json!("m")), ("graph", nowhere)]).unwrap_err();
        assert!(wrong.contains("there is nothing at /4/inputs"), "{wrong}");
        let wrong = body(FILE, &[("model", json!("m")), ("graph", json!({ "file": "none.json" }))]).unwrap_err();
        assert!(wrong.contains("none.json"), "{wrong}");
    }

    #[test]
    fn what_is_missing_or_not_known_is_said() {
        let wrong = body(FILE, &[("modle", json!("m"))]).unwrap_err();
        assert!(
            wrong.contains("did you mean `model`") && wrong.contains("this driver needs `model`: which model answers"),
            "{wrong}"
        );
    }
}

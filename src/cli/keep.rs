//! What an experiment's file points at, kept with the run: the folder must be enough to run it again.

use std::path::Path;

use crate::driver;
use crate::experiment::diagnostic::Span;
use crate::experiment::node::{Node, Value};
use crate::private;

/// The tree with every path in it pointing at a copy in `folder`, or where it is a folder of the user's, at the whole path.
///
/// # Errors
/// A file that cannot be copied.
pub fn beside(mut tree: Node, from: &Path, folder: &Path) -> Result<Node, String> {
    let driver = tree.get("target").and_then(|t| t.get("driver")).and_then(Node::scalar);
    if let Some(path) = driver.filter(|name| driver::BUILT_IN.iter().all(|(known, _)| known != name)) {
        copy(&from.join(path), &folder.join("driver.yaml"))?;
        put(&mut tree, &["target", "driver"], "driver.yaml".to_owned())?;
    }
    let loads = match tree.get("load").map(|load| &load.value) {
        Some(Value::List(items)) => items.len(),
        _ => 0,
    };
    for at in 0..loads {
        let number = at.to_string();
        let trace = ["load", &number, "trace"].iter().try_fold(&tree, |node, step| item(node, step)).and_then(Node::scalar);
        if let Some(trace) = trace {
            let name = format!("trace-{number}.jsonl");
            copy(&from.join(trace), &folder.join(&name))?;
            put(&mut tree, &["load", &number, "trace"], name)?;
        }
    }
    whole_paths(&mut tree, from);
    Ok(tree)
}

fn item<'a>(node: &'a Node, step: &str) -> Option<&'a Node> {
    match &node.value {
        Value::List(items) => items.get(step.parse::<usize>().ok()?),
        _ => node.get(step),
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    private::copy(from, to).map_err(|e| format!("{} cannot be kept with the run: {e}", from.display()))
}

fn put(tree: &mut Node, path: &[&str], text: String) -> Result<(), String> {
    tree.set(path, Node { value: Value::Text(text), span: Span::default(), interpolated: false, secret: false })
}

/// `files: folder` of a job, and `{ file: path }` of the driver's parameters.
fn whole_paths(node: &mut Node, from: &Path) {
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| whole_paths(item, from)),
        Value::Map(entries) => {
            for (key, value) in entries {
                match &mut value.value {
                    Value::Text(text) if matches!(key.name.as_str(), "files" | "file") && !text.contains("${") => {
                        let path = from.join(&*text);
                        if path.exists() {
                            *text = std::path::absolute(&path).unwrap_or(path).display().to_string();
                        }
                    }
                    _ => whole_paths(value, from),
                }
            }
        }
        _ => {}
    }
}

//! What is run as it stands: everybody on the machine can read it in the list of processes.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::decode::Decode;
use super::diagnostic::Diagnostics;
use super::node::{Node, Value};

/// A program and its arguments. No secret can be among them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommandLine(pub Vec<String>);

impl std::ops::Deref for CommandLine {
    type Target = Vec<String>;
    fn deref(&self) -> &Vec<String> {
        &self.0
    }
}

impl Decode for CommandLine {
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self> {
        let words = match &node.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let secrets: Vec<&Node> = words.iter().filter(|word| word.secret).collect();
        for word in &secrets {
            diags
                .error(word.span, "a command line cannot hold a secret", "everybody on the machine can read it in the list of processes")
                .help("let the program take it from its environment, which it has from chaos: with a shell that is \"$NAME\"; a target's `process` has `env`");
        }
        Vec::decode(node, diags).filter(|_| secrets.is_empty()).map(Self)
    }
    fn schema() -> Json {
        Vec::<String>::schema()
    }
}

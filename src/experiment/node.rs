//! The tree of a YAML text, each node with its place, before anything is made of it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_yaml::{Error, Location, Spanned};

use super::diagnostic::{Diagnostics, Span, nearest};

/// The largest file that is read. Experiments are a few KiB; this only keeps accidents out.
pub const MAX_BYTES: u64 = 1024 * 1024;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub value: Value,
    pub span: Span,
    /// It was filled in from the environment, so that a number may have arrived as text.
    pub interpolated: bool,
    /// A secret is in it.
    pub secret: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    pub name: String,
    pub span: Span,
}

impl Node {
    /// What a person would call this kind of value.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// Whether a secret stands where it would be written down as it is, since only texts are masked; then `diags` says so.
    pub fn shows_secret(&self, what: &str, diags: &mut Diagnostics) -> bool {
        if self.secret {
            diags
                .error(self.span, format!("{what} cannot be a secret"), "this is written to the journal and the reports as it is")
                .help("use `${NAME}` without `secret:`, or write it out");
        }
        self.secret
    }

    /// A scalar as it would be written.
    pub fn scalar(&self) -> Option<String> {
        match &self.value {
            Value::Bool(b) => Some(b.to_string()),
            Value::Int(i) => Some(i.to_string()),
            Value::Float(f) => Some(f.to_string()),
            Value::Text(t) => Some(t.clone()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// A JSON value as a tree, all of it at one place.
    pub fn of(json: &serde_json::Value, span: Span) -> Self {
        use serde_json::Value as Json;
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(b) => Value::Bool(*b),
            Json::Number(n) => n.as_i64().map_or_else(|| Value::Float(n.as_f64().unwrap_or(f64::NAN)), Value::Int),
            Json::String(t) => Value::Text(t.clone()),
            Json::Array(items) => Value::List(items.iter().map(|item| Self::of(item, span)).collect()),
            Json::Object(map) => {
                Value::Map(map.iter().map(|(k, v)| (Key { name: k.clone(), span }, Self::of(v, span))).collect())
            }
        };
        Self { value, span, interpolated: false, secret: false }
    }

    pub fn get(&self, name: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(k, _)| k.name == name).map(|(_, v)| v),
            _ => None,
        }
    }

    /// Puts `new` at a path such as `faults.0.flood.jobs`, making mappings on the way where there are none.
    ///
    /// # Errors
    /// A sentence that says which step of the path leads nowhere.
    pub fn set(&mut self, path: &[&str], new: Node) -> Result<(), String> {
        let Some((step, rest)) = path.split_first() else {
            *self = new;
            return Ok(());
        };
        if matches!(self.value, Value::Null) {
            self.value = Value::Map(Vec::new());
        }
        match &mut self.value {
            Value::Map(entries) => {
                if let Some((_, child)) = entries.iter_mut().find(|(k, _)| k.name == *step) {
                    return child.set(rest, new);
                }
                let mut child = Node { value: Value::Null, span: new.span, interpolated: false, secret: false };
                let key = Key { name: (*step).to_owned(), span: new.span };
                child.set(rest, new)?;
                entries.push((key, child));
                Ok(())
            }
            Value::List(items) => {
                let count = items.len();
                let index: usize = step
                    .parse()
                    .map_err(|_| format!("`{step}` is not the number of an item (0 to {})", count.saturating_sub(1)))?;
                let child = items.get_mut(index).ok_or_else(|| format!("there is no item {index}: the list has {count}"))?;
                child.set(rest, new)
            }
            _ => Err(format!("`{step}` leads nowhere: there is {} in its place", self.kind())),
        }
    }
}

/// Reads one YAML document into a tree. Syntax errors and duplicate keys go to `diags`.
pub fn parse(source: usize, diags: &mut Diagnostics) -> Option<Node> {
    let text = diags.sources[source].text.clone();
    let options = serde_yaml::options! {
        strict_booleans: true,
        duplicate_keys: serde_yaml::options::DuplicateKeyPolicy::PassThrough,
        with_snippet: false,
        budget: serde_yaml::budget! {
            max_nodes: 20_000,
            max_depth: 32,
            max_aliases: 1_000,
            max_total_scalar_bytes: 1024 * 1024,
        },
    };
    match serde_yaml::from_str_with_options::<Spanned<Raw>>(&text, options) {
        Ok(raw) => Some(raw_to_node(raw, source, diags)),
        Err(error) => {
            report_syntax(&error, source, diags);
            None
        }
    }
}

fn report_syntax(error: &Error, source: usize, diags: &mut Diagnostics) {
    let span = error.location().map_or(Span { source, ..Span::default() }, |at| span_of(at, source));
    let formatter = serde_yaml::UserMessageFormatter;
    let message = error.without_snippet().render_with_formatter(&formatter);
    let first_line = message.lines().next().unwrap_or("this is not YAML").to_owned();
    let message = first_line.strip_prefix("error: ").unwrap_or(&first_line);
    let message = message.split_once(": ").filter(|(head, _)| head.starts_with("line ")).map_or(message, |(_, tail)| tail);
    diags.error(span, format!("cannot read this as YAML: {message}"), "here");
}

fn span_of(at: Location, source: usize) -> Span {
    let span = at.span();
    let start = span.byte_offset().unwrap_or_else(|| span.offset()) as usize;
    let len = span.byte_len().unwrap_or_else(|| span.len()) as usize;
    Span { source, start, end: start + len }
}

/// What serde hands over; turned into [`Node`] at once.
enum Raw {
    Scalar(Value),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn raw_to_node(raw: Spanned<Raw>, source: usize, diags: &mut Diagnostics) -> Node {
    let span = span_of(raw.referenced, source);
    let value = match raw.value {
        Raw::Scalar(value) => value,
        Raw::List(items) => Value::List(items.into_iter().map(|item| raw_to_node(item, source, diags)).collect()),
        Raw::Map(entries) => Value::Map(unique_entries(entries, source, diags)),
    };
    Node { value, span, interpolated: false, secret: false }
}

fn unique_entries(entries: Vec<(Spanned<String>, Spanned<Raw>)>, source: usize, diags: &mut Diagnostics) -> Vec<(Key, Node)> {
    let mut kept: Vec<(Key, Node)> = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let key = Key { span: span_of(key.referenced, source), name: key.value };
        let node = raw_to_node(value, source, diags);
        if kept.iter().any(|(k, _)| k.name == key.name) {
            diags.error(key.span, format!("`{}` stands here twice", key.name), "the second one").help("keep one of the two");
        } else {
            kept.push((key, node));
        }
    }
    kept
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RawVisitor;
        impl<'de> Visitor<'de> for RawVisitor {
            type Value = Raw;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a YAML value")
            }
            fn visit_unit<E>(self) -> Result<Raw, E> {
                Ok(Raw::Scalar(Value::Null))
            }
            fn visit_none<E>(self) -> Result<Raw, E> {
                Ok(Raw::Scalar(Value::Null))
            }
            fn visit_bool<E>(self, v: bool) -> Result<Raw, E> {
                Ok(Raw::Scalar(Value::Bool(v)))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Raw, E> {
                Ok(Raw::Scalar(Value::Int(v)))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Raw, E> {
                Ok(Raw::Scalar(i64::try_from(v).map_or(Value::Float(v as f64), Value::Int)))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Raw, E> {
                Ok(Raw::Scalar(Value::Float(v)))
            }
            fn visit_str<E>(self, v: &str) -> Result<Raw, E> {
                Ok(Raw::Scalar(Value::Text(v.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Raw::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Raw::Map(entries))
            }
        }
        deserializer.deserialize_any(RawVisitor)
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(v) => serializer.serialize_bool(*v),
            Value::Int(v) => serializer.serialize_i64(*v),
            Value::Float(v) => serializer.serialize_f64(*v),
            Value::Text(v) => serializer.serialize_str(v),
            Value::List(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    seq.serialize_element(item)?;
                }
                seq.end()
            }
            Value::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(&key.name, value)?;
                }
                map.end()
            }
        }
    }
}

/// Adds "did you mean" to an error about a word that is not known.
pub fn unknown_word(diags: &mut Diagnostics, span: Span, what: &str, typed: &str, known: &[&str]) {
    let label = format!("expected one of: {}", known.join(", "));
    let error = diags.error(span, format!("unknown {what} `{typed}`"), label);
    if let Some(word) = nearest(typed, known.iter().copied()) {
        error.help(format!("did you mean `{word}`?"));
    }
}

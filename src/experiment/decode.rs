//! From nodes to typed values, collecting every error instead of stopping at the first.
//!
//! A type that can stand in a file implements [`Decode`]; the [`record!`](crate::record) macro does it for structs, so that
//! a field, its documentation, its default and its JSON Schema are written once.

use std::cell::Cell;
use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use super::diagnostic::{Diagnostics, Span};
use super::node::{Node, Value, unknown_word};

/// A type that can be read from a file.
pub trait Decode: Sized {
    /// Reads a value; on failure the reason is in `diags` and `None` comes back.
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self>;
    /// A default at the file's time scale; only times change.
    fn scaled(self, _by: f64) -> Self {
        self
    }
    /// The JSON Schema of the values that `decode` accepts.
    fn schema() -> Json;
}

/// A struct whose fields are the keys of a mapping.
pub trait Record: Sized {
    fn read(fields: &mut Fields<'_>) -> Option<Self>;
    fn properties(schema: &mut ObjectSchema);
}

impl<T: Record> Decode for T {
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self> {
        let mut fields = Fields::open(node, diags)?;
        let value = T::read(&mut fields);
        fields.close();
        value
    }

    fn schema() -> Json {
        let mut object = ObjectSchema::default();
        T::properties(&mut object);
        object.into_json()
    }
}

/// Something was wrong, and the diagnostics say what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reported;

/// The entries of one mapping while they are being read. Keys that nobody asked for are errors at the end.
pub struct Fields<'a> {
    node: &'a Node,
    pub diags: &'a mut Diagnostics,
    asked: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// Opens a mapping; an empty value counts as an empty mapping.
    pub fn open(node: &'a Node, diags: &'a mut Diagnostics) -> Option<Self> {
        if matches!(node.value, Value::Map(_) | Value::Null) {
            return Some(Self { node, diags, asked: Vec::new() });
        }
        diags.error(node.span, format!("expected a mapping, found {}", node.kind()), "expected `key: value` lines or {}");
        None
    }

    pub fn span(&self) -> Span {
        self.node.span
    }

    pub fn required<T: Decode>(&mut self, name: &'static str) -> Option<T> {
        let name = plain(name);
        self.asked.push(name);
        if let Some(node) = self.node.get(name) {
            return T::decode(node, self.diags);
        }
        self.diags.error(self.node.span, format!("`{name}` is missing"), format!("expected a key `{name}` here"));
        None
    }

    /// `Ok(None)` when the key is absent, `Err` when it is there and wrong.
    ///
    /// # Errors
    /// The reason is in the diagnostics.
    pub fn optional<T: Decode>(&mut self, name: &'static str) -> Result<Option<T>, Reported> {
        let name = plain(name);
        self.asked.push(name);
        match self.node.get(name) {
            None => Ok(None),
            Some(node) => T::decode(node, self.diags).map(Some).ok_or(Reported),
        }
    }

    /// Reports the keys that are not known.
    pub fn close(self) {
        let Value::Map(entries) = &self.node.value else { return };
        for (key, _) in entries {
            if !self.asked.contains(&key.name.as_str()) {
                unknown_word(self.diags, key.span, "key", &key.name, &self.asked);
            }
        }
    }
}

/// A field called `r#for` in Rust is the key `for`.
fn plain(name: &'static str) -> &'static str {
    name.strip_prefix("r#").unwrap_or(name)
}

/// A JSON Schema for a mapping under construction.
#[derive(Default)]
pub struct ObjectSchema {
    pub description: String,
    properties: Map<String, Json>,
    required: Vec<&'static str>,
}

impl ObjectSchema {
    pub fn field(&mut self, name: &'static str, docs: &[&str], mut schema: Json, default: Option<&str>) {
        let name = plain(name);
        let text: Vec<&str> = docs.iter().map(|d| d.trim()).filter(|d| !d.is_empty()).collect();
        let mut text = text.join(" ");
        if let Some(default) = default {
            if default != "None" {
                text = format!("{text} Default: {default}.");
            }
        } else {
            self.required.push(name);
        }
        schema["description"] = json!(text.trim());
        self.properties.insert(name.to_owned(), schema);
    }

    pub fn into_json(self) -> Json {
        json!({
            "type": ["object", "null"],
            "description": self.description,
            "properties": self.properties,
            "required": self.required,
            "additionalProperties": false,
        })
    }
}

/// Reads `name: {…}` where the name picks the variant; used by faults, checks and guards.
pub fn single_entry<'a>(
    node: &'a Node,
    what: &str,
    known: &[&str],
    diags: &mut Diagnostics,
) -> Option<(&'a str, Span, &'a Node)> {
    let Value::Map(entries) = &node.value else {
        diags.error(
            node.span,
            format!("expected a {what}, found {}", node.kind()),
            format!("expected `name: {{…}}` with one of: {}", known.join(", ")),
        );
        return None;
    };
    if let Some((key, _)) = entries.iter().find(|(k, _)| !known.contains(&k.name.as_str())) {
        unknown_word(diags, key.span, what, &key.name, known);
        return None;
    }
    match entries.as_slice() {
        [(key, value)] => Some((&key.name, key.span, value)),
        _ => {
            let label = format!("expected exactly one of: {}", known.join(", "));
            diags.error(node.span, format!("a {what} has one name"), label).help("start each with its own `- `");
            None
        }
    }
}

/// A value and where it stood in the file. The place is for diagnostics only: it is not stored.
#[derive(Debug, Clone)]
pub struct At<T> {
    pub value: T,
    pub span: Span,
}

impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T> std::ops::Deref for At<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Serialize> Serialize for At<T> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(s)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        T::deserialize(d).map(|value| At { value, span: Span::default() })
    }
}

impl<T: Decode> Decode for At<T> {
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self> {
        T::decode(node, diags).map(|value| At { value, span: node.span })
    }
    fn scaled(self, by: f64) -> Self {
        At { value: self.value.scaled(by), span: self.span }
    }
    fn schema() -> Json {
        T::schema()
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self> {
        T::decode(node, diags).map(Some)
    }
    fn scaled(self, by: f64) -> Self {
        self.map(|value| value.scaled(by))
    }
    fn schema() -> Json {
        T::schema()
    }
}

/// A list; a single value stands for a list of one. Wrong items are left out, so that what is wrong with the others and
/// between them is found too: their errors are in `diags`, and nothing runs while there are any.
impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self> {
        match &node.value {
            Value::List(items) => Some(items.iter().filter_map(|item| T::decode(item, diags)).collect()),
            _ => T::decode(node, diags).map(|one| vec![one]),
        }
    }
    fn schema() -> Json {
        json!({ "anyOf": [T::schema(), { "type": "array", "items": T::schema() }] })
    }
}

impl<T: Decode> Decode for BTreeMap<String, T> {
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            diags.error(node.span, format!("expected a mapping, found {}", node.kind()), "expected `name: value` lines");
            return None;
        };
        let read: Vec<Option<(String, T)>> =
            entries.iter().map(|(k, v)| T::decode(v, diags).map(|value| (k.name.clone(), value))).collect();
        read.into_iter().collect()
    }
    fn schema() -> Json {
        json!({ "type": "object", "additionalProperties": T::schema() })
    }
}

impl Decode for String {
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self> {
        let text = node.scalar();
        if text.is_none() {
            diags.error(node.span, format!("expected text, found {}", node.kind()), "expected a text");
        }
        text
    }
    fn schema() -> Json {
        json!({ "type": ["string", "number", "boolean"] })
    }
}

impl Decode for bool {
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self> {
        if node.shows_secret("true or false", diags) {
            return None;
        }
        match (&node.value, node.interpolated) {
            (Value::Bool(b), _) => Some(*b),
            (Value::Text(t), true) if t == "true" || t == "false" => Some(t == "true"),
            _ => {
                diags.error(node.span, format!("expected true or false, found {}", node.kind()), "expected `true` or `false`");
                None
            }
        }
    }
    fn schema() -> Json {
        json!({ "type": "boolean" })
    }
}

/// Whole numbers share one reader; the bounds are the type's own.
macro_rules! whole_number {
    ($($ty:ty),*) => {$(
        impl Decode for $ty {
            fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self> {
                if node.shows_secret("a number", diags) {
                    return None;
                }
                let number = match &node.value {
                    Value::Int(i) => Some(i128::from(*i)),
                    Value::Text(t) if node.interpolated => t.trim().parse().ok(),
                    _ => None,
                };
                let fitting = number.and_then(|n| <$ty>::try_from(n).ok());
                if fitting.is_none() {
                    let found = node.scalar().unwrap_or_else(|| node.kind().to_owned());
                    diags.error(node.span, format!("`{found}` is not a fitting whole number"), format!("expected a whole number from {} to {}", <$ty>::MIN, <$ty>::MAX));
                }
                fitting
            }
            fn schema() -> Json {
                json!({ "type": "integer", "minimum": <$ty>::MIN })
            }
        }
    )*};
}
whole_number!(u16, u32, u64);

impl Decode for f64 {
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self> {
        if node.shows_secret("a number", diags) {
            return None;
        }
        let number = match &node.value {
            Value::Int(i) => Some(*i as f64),
            Value::Float(f) => Some(*f),
            Value::Text(t) if node.interpolated => t.trim().parse().ok(),
            _ => None,
        };
        let number = number.filter(|n| n.is_finite());
        if number.is_none() {
            let found = node.scalar().unwrap_or_else(|| node.kind().to_owned());
            diags.error(node.span, format!("`{found}` is not a number"), "expected a number");
        }
        number
    }
    fn schema() -> Json {
        json!({ "type": "number" })
    }
}

/// A template of JSON values: kept as it stands, filled in later.
impl Decode for Json {
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self> {
        serde_json::to_value(node)
            .map_err(|error| {
                diags.error(node.span, format!("this cannot be written as JSON: {error}"), "here");
            })
            .ok()
    }
    fn schema() -> Json {
        json!({})
    }
}

thread_local! {
    static TIME_SCALE: Cell<f64> = const { Cell::new(1.0) };
}

/// Reads data of a plan whose times were multiplied with this: defaults of settings that it does not have are, too.
pub fn in_time_scale<T>(scale: f64, read: impl FnOnce() -> T) -> T {
    let before = TIME_SCALE.replace(scale);
    let read = read();
    TIME_SCALE.set(before);
    read
}

/// The settings of one record, as data.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct Settings(serde_json::Map<String, serde_json::Value>);

impl Settings {
    /// # Errors
    /// When it is not there, and is not optional, or cannot be read.
    pub fn take<T: DeserializeOwned, E: serde::de::Error>(&mut self, field: &str) -> Result<T, E> {
        let name = field.trim_start_matches("r#");
        let missing = !self.0.contains_key(name);
        let value = self.0.remove(name).unwrap_or_default();
        serde_json::from_value(value).map_err(|e| match missing {
            true => E::custom(format!("missing field `{name}`")),
            false => E::custom(format!("{name}: {e}")),
        })
    }

    /// # Errors
    /// When it is there and cannot be read.
    pub fn take_or<T: DeserializeOwned + Decode, E: serde::de::Error>(
        &mut self,
        field: &str,
        default: impl FnOnce() -> T,
    ) -> Result<T, E> {
        if self.0.contains_key(field.trim_start_matches("r#")) {
            return self.take(field);
        }
        Ok(default().scaled(TIME_SCALE.get()))
    }
}

/// Defines a struct that can be read from a file: each field with its documentation, its type and, after `=`, its default.
#[macro_export]
macro_rules! record {
    ($(
        $(#[doc = $sdoc:literal])*
        $(#[derive($extra:ident)])?
        pub struct $name:ident {
            $( $(#[doc = $doc:literal])* $field:ident : $ty:ty $(= $default:expr)? ),* $(,)?
        }
    )*) => {$(
        $(#[doc = $sdoc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize $(, $extra)?)]
        pub struct $name { $( $(#[doc = $doc])* pub $field: $ty ),* }

        impl<'de> serde::Deserialize<'de> for $name {
            /// A setting that an older version did not have takes its default.
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let mut map = $crate::experiment::decode::Settings::deserialize(deserializer)?;
                let _ = &mut map;
                Ok(Self { $( $field: $crate::record!(@from map, $field, $ty $(, $default)?) ),* })
            }
        }

        impl $crate::experiment::decode::Record for $name {
            fn read(fields: &mut $crate::experiment::decode::Fields<'_>) -> Option<Self> {
                $( let $field = $crate::record!(@read fields, $field, $ty $(, $default)?); )*
                let _ = &fields;
                Some(Self { $( $field: $field? ),* })
            }
            fn properties(schema: &mut $crate::experiment::decode::ObjectSchema) {
                schema.description = [$($sdoc),*].map(|line: &str| line.trim().to_owned()).join(" ").trim().to_owned();
                $( schema.field(stringify!($field), &[$($doc),*], <$ty as $crate::experiment::decode::Decode>::schema(),
                    $crate::record!(@default $($default)?)); )*
            }
        }
    )*};
    (@read $fields:ident, $field:ident, $ty:ty) => { $fields.required::<$ty>(stringify!($field)) };
    (@read $fields:ident, $field:ident, $ty:ty, $default:expr) => {
        // A wrong value is an error by now; with the default in its place more errors can be found.
        Some($fields.optional::<$ty>(stringify!($field)).ok().flatten().unwrap_or_else(|| {
            <$ty as $crate::experiment::decode::Decode>::scaled($default, $fields.diags.time_scale)
        }))
    };
    (@from $map:ident, $field:ident, $ty:ty) => { $map.take::<$ty, D::Error>(stringify!($field))? };
    (@from $map:ident, $field:ident, $ty:ty, $default:expr) => {
        $map.take_or::<$ty, D::Error>(stringify!($field), || $default)?
    };
    (@default) => { None };
    (@default $default:expr) => { Some(stringify!($default)) };
}

/// Defines an enum whose values are single words in a file.
#[macro_export]
macro_rules! words {
    ($(#[doc = $edoc:literal])* pub enum $name:ident ($what:literal) { $( $(#[doc = $doc:literal])* $variant:ident = $word:literal ),* $(,)? }) => {
        $(#[doc = $edoc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name { $( $(#[doc = $doc])* #[serde(rename = $word)] $variant ),* }
        impl $name {
            pub const ALL: &'static [$name] = &[$( $name::$variant ),*];
            pub const WORDS: &'static [&'static str] = &[$( $word ),*];
            pub fn word(self) -> &'static str { match self { $( $name::$variant => $word ),* } }
            /// What this word means, from its definition.
            pub fn about(self) -> &'static str { match self { $( $name::$variant => concat!($($doc, "\n"),*).trim() ),* } }
        }
        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $( $word => Ok($name::$variant), )*
                    _ => {
                        let near = $crate::experiment::diagnostic::nearest(text, Self::WORDS.iter().copied());
                        let hint = near.map_or_else(String::new, |word| format!("; did you mean `{word}`?"));
                        Err(format!("unknown {} `{text}` (one of: {}){hint}", $what, Self::WORDS.join(", ")))
                    }
                }
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.pad(self.word()) }
        }
        impl $crate::experiment::decode::Decode for $name {
            fn decode(node: &$crate::experiment::node::Node, diags: &mut $crate::experiment::diagnostic::Diagnostics) -> Option<Self> {
                if node.shows_secret(concat!("a ", $what), diags) {
                    return None;
                }
                let text = node.scalar().unwrap_or_default();
                let found = text.parse().ok();
                if found.is_none() {
                    $crate::experiment::node::unknown_word(diags, node.span, $what, &text, Self::WORDS);
                }
                found
            }
            fn schema() -> serde_json::Value { serde_json::json!({ "enum": Self::WORDS }) }
        }
    };
}

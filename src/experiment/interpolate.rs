//! `${NAME}`, `${NAME:-default}` and `${secret:NAME}` in text values. Nothing else is expanded; `$$` is a dollar sign.

use super::diagnostic::{Diagnostics, Span};
use super::node::{Node, Value};
use crate::secret::{Redactor, SHORTEST};

/// Where the values of names come from.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

const SECRET: &str = "secret:";

/// Fills in every text value of the tree and remembers what must never be shown.
pub fn interpolate(node: &mut Node, lookup: Lookup<'_>, redactor: &mut Redactor, diags: &mut Diagnostics) {
    let span = node.span;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| interpolate(item, lookup, redactor, diags)),
        Value::Map(entries) => entries.iter_mut().for_each(|(_, v)| interpolate(v, lookup, redactor, diags)),
        Value::Text(text) if text.contains('$') => {
            if let Some((filled, secret)) = fill(text, span, lookup, redactor, diags) {
                *text = filled;
                node.interpolated = true;
                node.secret = secret;
            }
        }
        _ => {}
    }
}

/// The text filled in, and whether a secret is in it.
fn fill(text: &str, span: Span, lookup: Lookup<'_>, redactor: &mut Redactor, diags: &mut Diagnostics) -> Option<(String, bool)> {
    let mut holds_secret = false;
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix('{') {
            let Some(end) = tail.find('}') else {
                diags.error(span, "`${` without its `}`", "in this text").help("write `$$` for a dollar sign");
                return None;
            };
            let inside = &tail[..end];
            holds_secret |= inside.starts_with(SECRET);
            out.push_str(&resolve(inside, span, lookup, redactor, diags)?);
            rest = &tail[end + 1..];
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    Some((out, holds_secret))
}

fn resolve(inside: &str, span: Span, lookup: Lookup<'_>, redactor: &mut Redactor, diags: &mut Diagnostics) -> Option<String> {
    let (secret, inside) = inside.strip_prefix(SECRET).map_or((false, inside), |tail| (true, tail));
    let (name, default) = inside.split_once(":-").map_or((inside, None), |(name, default)| (name, Some(default)));
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        diags.error(
            span,
            format!("`{name}` is not a name of the environment"),
            "expected ${NAME}, ${NAME:-default} or ${secret:NAME}",
        );
        return None;
    }
    if secret && default.is_some() {
        diags
            .error(
                span,
                format!("the secret `{name}` has a default in the file"),
                "the file is kept with each run, with what stands in it",
            )
            .help(format!("set `{name}` in the environment, and write ${{secret:{name}}}"));
        return None;
    }
    let value = lookup(name).filter(|v| !v.is_empty() || default.is_none()).or_else(|| default.map(str::to_owned));
    let Some(value) = value else {
        diags
            .error(span, format!("`{name}` is not set in the environment"), "needed here")
            .help(format!("set it, or give a default: ${{{name}:-value}}"));
        return None;
    };
    if secret {
        if value.len() < SHORTEST {
            diags.error(
                span,
                format!("the secret `{name}` is too short to be kept out of logs"),
                format!("expected at least {SHORTEST} bytes"),
            );
            return None;
        }
        redactor.add(&value);
    }
    Some(value)
}

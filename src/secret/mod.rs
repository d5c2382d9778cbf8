//! Values that must never be written: every sink (journal, log, terminal, the target's output) passes its text through here.
//!
//! A secret is found in each text as it is, and in every common encoding of it: [`needles`] has the forms that can be listed
//! (Base64, hexadecimal), [`views`] reads the text as whoever decodes it would (percent encoding, backslashes, HTML, doubled
//! quotes, and these in one another). What is masked is masked before anything is cut.

pub mod lines;
mod needles;
pub mod sealed;
mod typed;
mod views;

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::AhoCorasick;
use serde_json::Value;

use self::needles::Needle;

/// What stands in place of a secret.
pub const MASK: &str = "***";
/// A shorter secret would blank out half of every log that happens to hold the same letters: none is taken.
pub const SHORTEST: usize = 6;
/// No encoding that is known makes a text longer than by this factor: `&` as `%26%23x26%3B`.
const LONGEST_FORM: usize = 12;
/// A file in a run's folder is read for names of secrets up to here.
const LONGEST_FILE: u64 = 1 << 20;

/// Every secret of this process, for whoever writes something and has no redactor at hand.
static KNOWN: RwLock<Redactor> = RwLock::new(Redactor { finder: None });

/// The secrets known so far; cheap to clone.
#[derive(Clone, Default)]
pub struct Redactor {
    finder: Option<Arc<Finder>>,
}

struct Finder {
    secrets: Vec<String>,
    needles: Vec<Needle>,
    search: AhoCorasick,
    longest: usize,
}

impl Redactor {
    /// From now on this value is masked: here, and by whoever asks for what is [`known`].
    pub fn add(&mut self, value: &str) {
        self.put(value);
        KNOWN.write().unwrap_or_else(PoisonError::into_inner).put(value);
    }

    fn put(&mut self, value: &str) {
        let known = self.finder.as_ref().map_or(&[] as &[String], |finder| &finder.secrets);
        if value.is_empty() || known.iter().any(|secret| secret == value) {
            return;
        }
        let secrets: Vec<String> = known.iter().cloned().chain([value.to_owned()]).collect();
        let needles = needles::of_all(&secrets);
        let longest = secrets.iter().map(String::len).max().unwrap_or_default();
        // An environment is far too small for it.
        let search = AhoCorasick::new(needles.iter().map(|needle| &needle.bytes)).expect("secrets fit into a search");
        self.finder = Some(Arc::new(Finder { secrets, needles, search, longest }));
    }

    pub fn is_empty(&self) -> bool {
        self.finder.is_none()
    }

    pub fn text(&self, text: &str) -> String {
        self.masked(text).into_owned()
    }

    /// The text, copied only where a secret is in it.
    pub fn masked<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let spans = self.spans(text.as_bytes());
        if spans.is_empty() {
            return Cow::Borrowed(text);
        }
        Cow::Owned(String::from_utf8_lossy(&filled(text.as_bytes(), &spans, text.len())).into_owned())
    }

    pub fn holds(&self, text: &str) -> bool {
        !self.spans(text.as_bytes()).is_empty()
    }

    /// The head of a text whose rest is still to come, up to `keep`: a secret that begins in it is masked, and what ends it left out.
    fn head(&self, bytes: &[u8], keep: usize) -> Vec<u8> {
        filled(bytes, &self.spans(bytes), keep)
    }

    /// No form of a secret is longer.
    fn reach(&self) -> usize {
        self.finder.as_ref().map_or(0, |finder| finder.longest.saturating_mul(LONGEST_FORM))
    }

    /// Masks inside the strings and keys of a JSON value, so that escaping cannot hide a secret.
    pub fn json(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(masked) = self.masked(text) {
                    *text = masked;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.json(item)),
            Value::Object(map) => {
                let entries = std::mem::take(map);
                map.extend(entries.into_iter().map(|(key, mut value)| {
                    self.json(&mut value);
                    (self.text(&key), value)
                }));
            }
            _ => {}
        }
    }

    /// Where secrets are, in order, none touching the next.
    fn spans(&self, text: &[u8]) -> Vec<(usize, usize)> {
        let Some(finder) = &self.finder else { return Vec::new() };
        let mut found = Vec::new();
        for view in views::of(text) {
            for hit in finder.search.find_overlapping_iter(&view.bytes) {
                let (start, end) = finder.needles[hit.pattern().as_usize()].reach_in(&view.bytes, hit.start(), hit.end());
                found.push((view.source(start), view.source(end)));
            }
        }
        found.sort_unstable();
        let mut merged: Vec<(usize, usize)> = Vec::with_capacity(found.len());
        for (start, end) in found {
            match merged.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        merged
    }
}

/// The text up to `keep` with the mask in place of each span.
fn filled(text: &[u8], spans: &[(usize, usize)], keep: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(keep);
    let mut at = 0;
    for &(start, end) in spans.iter().filter(|(start, _)| *start < keep) {
        out.extend_from_slice(&text[at..start]);
        out.extend_from_slice(MASK.as_bytes());
        at = end;
    }
    out.extend_from_slice(text.get(at..keep).unwrap_or_default());
    out
}

/// All secrets of this process.
pub fn known() -> Redactor {
    KNOWN.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The text without the secrets of this process.
pub fn masked(text: &str) -> String {
    known().text(text)
}

/// The head of a text, of at most so many bytes, without the secrets of this process: masked first, and cut then.
pub fn head(text: &[u8], most: usize) -> String {
    let secrets = known();
    let near = &text[..text.len().min(most.saturating_add(secrets.reach()))];
    // No character is cut in two.
    let inside = |at: usize| text.get(at).is_some_and(|byte| (0x80..0xc0).contains(byte));
    let most = (most.saturating_sub(3)..=most).rev().find(|at| !inside(*at)).unwrap_or(most);
    String::from_utf8_lossy(&secrets.head(near, near.len().min(most))).into_owned()
}

/// Takes note of the secrets that a run's files name, as far as they are in this process's environment: for whoever goes on
/// with a run that another process began.
pub fn learn_from(run: &Path) {
    let files = std::fs::read_dir(run).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in files.filter(|path| path.extension().is_some_and(|end| end == "yaml")) {
        let is_small = path.metadata().is_ok_and(|known| known.is_file() && known.len() <= LONGEST_FILE);
        let text = if is_small { std::fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
        let names = text.split("${secret:").skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name);
        for value in names.filter_map(|name| std::env::var(name).ok()).filter(|value| value.len() >= SHORTEST) {
            Redactor::default().add(&value);
        }
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} secrets)", self.finder.as_ref().map_or(0, |finder| finder.secrets.len()))
    }
}

#[cfg(test)]
mod tests;

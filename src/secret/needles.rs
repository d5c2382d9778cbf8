//! The forms of a secret that can be listed: what is searched for in every text.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::SHORTEST;

/// One form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needle {
    pub bytes: Vec<u8>,
    /// In Base64 the character before, or after, holds some bits of the secret too.
    before: bool,
    after: bool,
}

impl Needle {
    fn plain(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), before: false, after: false }
    }

    /// Where a hit begins and ends, with the characters beside it that hold a part of it.
    pub fn reach_in(&self, text: &[u8], start: usize, end: usize) -> (usize, usize) {
        let is_digit = |at: usize| text.get(at).is_some_and(|c| c.is_ascii_alphanumeric() || b"+/-_".contains(c));
        let before = self.before && start > 0 && is_digit(start - 1);
        let after = self.after && is_digit(end);
        (start - usize::from(before), end + usize::from(after))
    }
}

/// The forms of all of them, without empty ones.
pub fn of_all(secrets: &[String]) -> Vec<Needle> {
    let mut all: Vec<Needle> = secrets.iter().flat_map(|secret| of(secret)).filter(|n| !n.bytes.is_empty()).collect();
    let mut seen = std::collections::HashSet::new();
    all.retain(|needle| seen.insert(needle.bytes.clone()));
    all
}

/// The forms of one. Its lines are secrets too: whatever is read line by line shows one at a time.
fn of(secret: &str) -> Vec<Needle> {
    let lines = secret.split(['\n', '\r']).map(str::trim).filter(|line| line.len() >= SHORTEST && *line != secret);
    let mut forms: Vec<Needle> = std::iter::once(secret).chain(lines).flat_map(of_text).collect();
    if secret.len() >= SHORTEST {
        let as_json = serde_json::to_string(secret).unwrap_or_default();
        let inner = as_json.trim_start_matches('"');
        let inner = inner.strip_suffix('"').unwrap_or(inner);
        let as_part = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
        for other in [inner, as_part.as_str()].into_iter().filter(|other| *other != secret) {
            forms.extend(base64(other.as_bytes()));
        }
    }
    forms
}

fn of_text(text: &str) -> Vec<Needle> {
    let mut forms = vec![Needle::plain(text)];
    // A shorter one would be found in what has nothing to do with it.
    if text.len() < SHORTEST {
        return forms;
    }
    // The host of a URL and the name of a header come in small letters.
    forms.push(Needle::plain(text.to_ascii_lowercase()));
    for bytes in std::iter::once(text.as_bytes().to_vec()).chain(latin_1(text)) {
        forms.push(Needle::plain(hex(&bytes, char::to_ascii_lowercase)));
        forms.push(Needle::plain(hex(&bytes, char::to_ascii_uppercase)));
        forms.extend(base64(&bytes));
        forms.push(Needle::plain(bytes));
    }
    // What was read, or written, as something that it is not.
    for stand_in in ["\u{fffd}", "?"].into_iter().filter(|_| !text.is_ascii()) {
        let lost: String = text.chars().map(|c| if c.is_ascii() { c.to_string() } else { stand_in.to_owned() }).collect();
        forms.push(Needle::plain(lost));
    }
    forms
}

fn latin_1(text: &str) -> Option<Vec<u8>> {
    if text.is_ascii() { None } else { text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect() }
}

fn hex(bytes: &[u8], case: impl Fn(&char) -> char) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).map(|digit| case(&digit)).collect()
}

/// Those digits of Base64 that hold nothing but the secret, at each of the three places at which it can stand in a longer text.
fn base64(secret: &[u8]) -> Vec<Needle> {
    let mut forms = Vec::new();
    for shift in 0..3 {
        let padded = [&vec![0; shift], secret].concat();
        let first = (shift * 8).div_ceil(6);
        let end = padded.len() * 8 / 6;
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let digits = engine.encode(&padded);
            forms.push(Needle {
                bytes: digits.as_bytes()[first..end].to_vec(),
                before: shift > 0,
                after: padded.len() * 8 % 6 > 0,
            });
        }
    }
    forms
}

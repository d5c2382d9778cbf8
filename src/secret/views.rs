//! A text as those read it who decode it: what each reading says, and where in the text it stands.

/// So deep are encodings in one another followed: JSON in a JSON text in a query.
const DEEPEST: usize = 3;
/// A text that can be read in more ways than this was made to be.
const MOST_VIEWS: usize = 40;
/// No entity of HTML is longer.
const LONGEST_ENTITY: usize = 34;

/// One reading of a text.
pub struct View {
    pub bytes: Vec<u8>,
    /// For each byte where what it was read from begins, and at the end the text's length; empty where that is the same.
    starts: Vec<usize>,
}

impl View {
    /// Where in the text this place is.
    pub fn source(&self, at: usize) -> usize {
        if self.starts.is_empty() { at } else { self.starts[at.min(self.starts.len() - 1)] }
    }

    fn reading(text: &[u8]) -> Self {
        Self { bytes: Vec::with_capacity(text.len()), starts: Vec::with_capacity(text.len() + 1) }
    }
}

/// What stands at a place: how many bytes of the text, and what they say.
type Step = (usize, Said);

enum Said {
    Same,
    Bytes([u8; 4], usize),
    Text(String),
}

/// One way to read.
type Reader = fn(&[u8]) -> Step;

/// Each with the bytes without which it reads nothing else than what is there.
const READERS: [(&[u8], Reader); 5] = [(b"%", percent), (b"%+", form), (b"\\", backslash), (b"&", entity), (b"'\"", doubled)];

/// All readings of a text, the text itself first.
pub fn of(text: &[u8]) -> Vec<View> {
    let mut all = vec![View { bytes: text.to_vec(), starts: Vec::new() }];
    let mut from = 0;
    for _ in 0..DEEPEST {
        let to = all.len();
        for at in from..to {
            for (needed, reader) in READERS {
                if !all[at].bytes.iter().any(|byte| needed.contains(byte)) || all.len() >= MOST_VIEWS {
                    continue;
                }
                let next = read(&all[at], needed, reader);
                if all.iter().all(|known| known.bytes != next.bytes) {
                    all.push(next);
                }
            }
        }
        from = to;
    }
    all
}

fn read(text: &View, needed: &[u8], reader: Reader) -> View {
    let mut view = View::reading(&text.bytes);
    let mut at = 0;
    while at < text.bytes.len() {
        let rest = &text.bytes[at..];
        let plain = rest.iter().position(|byte| needed.contains(byte)).unwrap_or(rest.len());
        if plain > 0 {
            view.bytes.extend_from_slice(&rest[..plain]);
            match text.starts.get(at..at + plain) {
                Some(starts) => view.starts.extend_from_slice(starts),
                None => view.starts.extend(at..at + plain),
            }
            at += plain;
            continue;
        }
        let (length, said) = reader(&text.bytes[at..]);
        let length = length.max(1);
        let start = text.source(at);
        let mut put = |bytes: &[u8]| {
            view.bytes.extend_from_slice(bytes);
            view.starts.extend(std::iter::repeat_n(start, bytes.len()));
        };
        match said {
            Said::Same => put(&text.bytes[at..=at]),
            Said::Bytes(bytes, count) => put(&bytes[..count]),
            Said::Text(said) => put(said.as_bytes()),
        }
        at += length;
    }
    view.starts.push(text.source(text.bytes.len()));
    view
}

fn byte(byte: u8) -> Said {
    Said::Bytes([byte, 0, 0, 0], 1)
}

fn letter(code: u32) -> Option<Said> {
    let mut bytes = [0; 4];
    let count = char::from_u32(code)?.encode_utf8(&mut bytes).len();
    Some(Said::Bytes(bytes, count))
}

/// A number of so many digits, at the beginning.
fn number(text: &[u8], digits: usize, radix: u32) -> Option<u32> {
    let digits = text.get(..digits).filter(|digits| !digits.is_empty())?;
    digits.iter().try_fold(0u32, |sum, digit| sum.checked_mul(radix)?.checked_add(char::from(*digit).to_digit(radix)?))
}

fn percent(text: &[u8]) -> Step {
    match text[0] {
        b'%' => number(&text[1..], 2, 16).map_or((1, Said::Same), |value| (3, byte(value as u8))),
        _ => (1, Said::Same),
    }
}

/// As in the body of a form, and often in queries.
fn form(text: &[u8]) -> Step {
    if text[0] == b'+' { (1, byte(b' ')) } else { percent(text) }
}

/// As in JSON, Rust, Python, C and a shell.
fn backslash(text: &[u8]) -> Step {
    if text[0] != b'\\' {
        return (1, Said::Same);
    }
    let Some(kind) = text.get(1) else { return (1, Said::Same) };
    let digits = |count: usize| Some((2 + count, letter(number(&text[2..], count, 16)?)?));
    let known = match kind {
        b'n' => Some((2, byte(b'\n'))),
        b'r' => Some((2, byte(b'\r'))),
        b't' => Some((2, byte(b'\t'))),
        b'b' => Some((2, byte(8))),
        b'f' => Some((2, byte(12))),
        b'u' if text.get(2) == Some(&b'{') => braced(text),
        b'u' => pair(text).or_else(|| digits(4)),
        b'U' => digits(8),
        b'x' => number(&text[2..], 2, 16).map(|value| (4, byte(value as u8))),
        b'0'..=b'3' => number(&text[1..], 3, 8).and_then(|value| Some((4, byte(u8::try_from(value).ok()?)))),
        _ => None,
    };
    // Any other one stands for itself.
    known.unwrap_or((2, byte(*kind)))
}

/// `\u{fc}`.
fn braced(text: &[u8]) -> Option<Step> {
    let end = text.iter().take(12).position(|c| *c == b'}')?;
    Some((end + 1, letter(number(&text[3..end], end - 3, 16)?)?))
}

/// Two halves of one character, as in JSON.
fn pair(text: &[u8]) -> Option<Step> {
    let high = number(text.get(2..)?, 4, 16).filter(|code| (0xd800..0xdc00).contains(code))?;
    let low = text.get(6..)?.strip_prefix(b"\\u")?;
    let low = number(low, 4, 16).filter(|code| (0xdc00..0xe000).contains(code))?;
    Some((12, letter(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))?))
}

/// As in HTML and XML.
fn entity(text: &[u8]) -> Step {
    if text[0] != b'&' {
        return (1, Said::Same);
    }
    let decoded = || {
        let end = text.iter().take(LONGEST_ENTITY).position(|c| *c == b';')?;
        let whole = std::str::from_utf8(&text[..=end]).ok()?;
        let plain = html_escape::decode_html_entities(whole);
        (plain != whole).then(|| (end + 1, Said::Text(plain.into_owned())))
    };
    decoded().unwrap_or((1, Said::Same))
}

/// A quote within quotes: twice in SQL, YAML and CSV, and `'\''` in a shell.
fn doubled(text: &[u8]) -> Step {
    match text {
        [b'\'', b'\\', b'\'', b'\'', ..] => (4, byte(b'\'')),
        [b'\'', b'\'', ..] | [b'"', b'"', ..] => (2, byte(text[0])),
        _ => (1, Said::Same),
    }
}

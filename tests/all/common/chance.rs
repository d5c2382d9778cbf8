//! What chance makes of a file.

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

const MOST_BYTES: usize = 64 << 10;
/// What readers have stumbled over before.
const TOKENS: [&[u8]; 20] = [
    b"null",
    b"NaN",
    b"1e999",
    b"-0",
    b"99999999999999999999",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\0",
    b"\r",
    b"\n\n",
    b"{{",
    b"${",
    b"\\u0000",
    b"[[[[[[[[",
    b"{\"a\":",
    b"&a [*a]",
    b"'\"",
    b": |",
    b"24855d",
    b"\xe2\x80\xae",
];

/// One change, where chance wants it; `all` are others of its kind.
pub fn change(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng, all: &[Vec<u8>]) {
    let at = rng.random_range(0..=bytes.len());
    let until = (at + rng.random_range(0..40)).min(bytes.len());
    match rng.random_range(0..8) {
        0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
        1 if at < bytes.len() => bytes[at] = rng.random(),
        2 => drop(bytes.drain(at..until)),
        3 => drop(bytes.splice(at..at, bytes[at..until].to_vec())),
        4 => drop(bytes.splice(at..until, TOKENS.choose(rng).unwrap().iter().copied())),
        5 => bytes.truncate(at),
        6 if !all.is_empty() => {
            // The head of this one and the tail of another.
            let other = all.choose(rng).unwrap();
            bytes.truncate(at);
            bytes.extend(&other[rng.random_range(0..=other.len())..]);
        }
        _ => {
            // A line somewhere else.
            let mut lines: Vec<Vec<u8>> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            let line = lines.swap_remove(rng.random_range(0..lines.len()));
            lines.insert(rng.random_range(0..=lines.len()), line);
            *bytes = lines.join(&b'\n');
        }
    }
    bytes.truncate(MOST_BYTES);
}

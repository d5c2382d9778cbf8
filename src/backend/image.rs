//! Images: results of the reference backend, and inputs for backends that want one.
//!
//! Seeded noise over a gradient: different for every job, of moderate entropy, and never with the magic of an
//! executable in it, since real backends refuse those.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The size of the stand-in that a backend with `oom-fakes-success` delivers.
const STAND_IN_BYTES: usize = 272;

/// So often an image is made anew that looks executable.
const TRIES: u32 = 16;
/// The signature and the first chunk, of which nothing but the size makes the checksum.
const HEADER_BYTES: usize = 33;

/// A PNG of the given size with a text chunk that holds `mark`.
pub fn png(width: u32, height: u32, seed: u64, mark: &str) -> Vec<u8> {
    let made = |salt| encode(width, height, seed, mark, salt);
    let first = made(0);
    let by_its_size = looks_executable(&first[..first.len().min(HEADER_BYTES)]);
    if by_its_size || !looks_executable(&first) {
        return first;
    }
    (1..TRIES).map(made).find(|bytes| !looks_executable(bytes)).unwrap_or(first)
}

/// The salt changes the pixels, and spaces behind the mark its chunk's checksum: of one mark in 20,000 that holds an "MZ".
fn encode(width: u32, height: u32, seed: u64, mark: &str, salt: u32) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed.wrapping_add(salt.into()));
    let mark = format!("{mark}{:salt$}", "", salt = salt as usize);
    let mut pixels = vec![0u8; width as usize * height as usize * 3];
    rng.fill_bytes(&mut pixels);
    for (at, byte) in pixels.iter_mut().enumerate() {
        let x = (at / 3) as u32 % width.max(1);
        *byte = (*byte & 0x3f) + (x * 160 / width.max(1)) as u8 + 16;
    }
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    // Writing into memory with matching sizes does not fail; an empty image would be refused by any target.
    let written = encoder.add_text_chunk("mark".into(), mark).and_then(|()| encoder.write_header()).and_then(|mut w| {
        w.write_image_data(&pixels)?;
        w.finish()
    });
    if written.is_err() { Vec::new() } else { out }
}

/// Some validators refuse a file that has "MZ" or the ELF magic in its first kilobyte.
pub fn looks_executable(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(1024)];
    head.windows(2).any(|w| w == b"MZ") || head.windows(4).any(|w| w == b"\x7fELF")
}

/// The same small object whatever was asked for.
pub fn stand_in() -> Vec<u8> {
    let mut cube = b"solid cube\n".to_vec();
    cube.resize(STAND_IN_BYTES, b' ');
    cube
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_seeded_different_and_harmless() {
        assert_eq!(png(64, 64, 7, "a"), png(64, 64, 7, "a"));
        assert_ne!(png(64, 64, 7, "a"), png(64, 64, 8, "a"));
        for seed in 0..300 {
            let bytes = png(64, 64, seed, "chaos");
            assert!(bytes.starts_with(b"\x89PNG"));
            assert!(!looks_executable(&bytes), "seed {seed}");
            let zeros = bytes.iter().filter(|b| **b == 0).count();
            assert!(zeros * 2 < bytes.len(), "seed {seed}: {zeros} zero bytes of {}", bytes.len());
        }
    }

    /// Checksums that no pixels change: of the mark's chunk, and of the header.
    #[test]
    fn an_image_comes_whatever_its_checksums_hold() {
        for mark in ["chaos-00000000000035e4", "chaos-0000000000007b65"] {
            let bytes = png(64, 64, 7, mark);
            assert!(!looks_executable(&bytes) && looks_executable(&encode(64, 64, 7, mark, 0)), "{mark}");
            assert!(bytes.windows(mark.len()).any(|w| w == mark.as_bytes()), "{mark}");
        }
        // One that no try mends is not tried.
        let (width, height) = (1144, 832);
        let bytes = png(width, height, 7, "chaos");
        assert!(looks_executable(&bytes[..HEADER_BYTES]) && bytes == encode(width, height, 7, "chaos", 0));
    }

    #[test]
    fn the_mark_can_be_found_in_the_bytes() {
        let bytes = png(32, 32, 1, "chaos-0123456789abcdef");
        assert!(bytes.windows(22).any(|w| w == b"chaos-0123456789abcdef"));
    }
}

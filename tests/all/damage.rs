//! Whatever chance does to a run's journal, or a loss of power to it and its copy, what the run broke is put back.

use std::path::Path;
use std::process::{Command, Output};

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::machine::{Machine, said};
use crate::common::{change, often};

/// Ends it behind what was prepared, which is on the disk before anything is broken, at any byte; a file system may have made the file
/// longer before it wrote what belongs there.
fn cut(text: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    let prepared = b"fault_prepared";
    let at = text.windows(prepared.len()).position(|part| part == prepared).unwrap();
    let line_end = at + text[at..].iter().position(|byte| *byte == b'\n').unwrap();
    text.truncate(rng.random_range(line_end..=text.len()));
    let behind: [&[u8]; 4] = [b"", b"", &[0; 300], b"\0\0\xff{\"t\":1"];
    text.extend(*behind.choose(rng).unwrap());
}

fn damaged(place: &Path, damage: impl FnOnce(&mut Vec<u8>)) {
    let path = place.join("events.jsonl");
    let mut text = std::fs::read(&path).unwrap();
    damage(&mut text);
    std::fs::write(&path, text).unwrap();
}

fn copied(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[test]
fn whatever_becomes_of_a_journal_what_was_broken_is_put_back() {
    let machine = Machine::new();
    let folder = machine.left();
    machine.wait_for_the_end();
    let (home, kept) = (machine.folder.path(), tempfile::tempdir().unwrap());
    let kept = kept.path().join("machine");
    copied(home, &kept);
    let copy = home.join("state/undo").join(folder.file_name().unwrap());
    for seed in 0..often(12, 240) {
        copied(&kept, home);
        assert!(machine.marker().exists());
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let what = match seed % 3 {
            0 => {
                [folder.as_path(), copy.as_path()].iter().for_each(|place| damaged(place, |text| cut(text, &mut rng)));
                "both end early"
            }
            // Of these two the other one is whole.
            1 => {
                damaged(&folder, |text| (0..6).for_each(|_| change(text, &mut rng, &[])));
                "the journal is damaged"
            }
            _ => {
                damaged(&copy, |text| (0..6).for_each(|_| change(text, &mut rng, &[])));
                "the copy is damaged"
            }
        };
        let reverted = machine.revert(None);
        assert!(!machine.marker().exists(), "seed {seed}, {what}: {}", said(&reverted));
        // Where damage names a fault that nobody knows somebody has to look; of an end that came early all is known.
        let again = machine.revert(None);
        let asks = |of: &Output| of.status.code() == Some(5) && said(of).contains("there may be more");
        let is_over = said(&again).contains("nothing is left to put back") || (seed % 3 != 0 && asks(&reverted) && asks(&again));
        assert!(is_over, "seed {seed}, {what}: {}\n{}", said(&reverted), said(&again));
    }
}

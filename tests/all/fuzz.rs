//! Whatever a reader is given, it does not panic and does not hang: files of the corpus as they are, and what chance makes of
//! them. `CHAOS_FUZZ_S=60` gives each reader a minute, `CHAOS_FUZZ_ONLY` names one; `fuzz/run.sh` does the same under libFuzzer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::common::{change, often_by};
use chaos::readers::{READERS, Reader};
use nix::time::{ClockId, clock_gettime};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// One input may take so much of a CPU.
const LONGEST: Duration = Duration::from_secs(5);
const WORKERS: usize = 2;
/// Where inputs to begin with lie.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let more: &[&str] = match name {
        "experiment" => &["experiments"],
        "driver" => &["src/driver/built_in"],
        "schedule" => &["experiments/schedule"],
        _ => &[],
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = more.iter().map(|folder| root.join(folder)).chain([root.join("fuzz/corpus").join(name)]);
    let files = folders.filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.is_file()).collect();
    files.sort();
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// How long this thread has worked: what others on the machine do meanwhile does not count.
fn worked() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// Reads one input; one that it stumbles over is written down. `CHAOS_FUZZ_KEEP=1`: before it is read, for those that kill us.
fn read(name: &str, reader: Reader, bytes: &[u8]) {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-input"));
    if std::env::var_os("CHAOS_FUZZ_KEEP").is_some() {
        std::fs::write(&file, bytes).unwrap();
    }
    let began = worked();
    let result = catch_unwind(AssertUnwindSafe(|| reader(bytes)));
    let took = worked() - began;
    if result.is_err() || took > LONGEST {
        std::fs::write(&file, bytes).unwrap();
        panic!("{name}: {} after {took:?}, with {}", if result.is_err() { "a panic" } else { "an answer" }, file.display());
    }
}

fn attack(name: &str, reader: Reader, lasts: Duration) -> u64 {
    let (all, mut rng) = (seeds(name), ChaCha8Rng::seed_from_u64(1));
    assert!(!all.is_empty(), "{name} has nothing to begin with");
    all.iter().for_each(|bytes| read(name, reader, bytes));
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < lasts {
        let mut bytes = all.choose(&mut rng).unwrap().clone();
        (0..rng.random_range(1..6)).for_each(|_| change(&mut bytes, &mut rng, &all));
        read(name, reader, &bytes);
        count += 1;
    }
    count
}

#[test]
fn no_reader_stumbles_over_anything() {
    crate::common::gives_way();
    let seconds = often_by("CHAOS_FUZZ_S", 2.0, 60.0);
    let (next, only) = (AtomicUsize::new(0), std::env::var("CHAOS_FUZZ_ONLY").ok());
    let wanted: Vec<_> = READERS.iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name)).collect();
    let worker = || {
        while let Some((name, reader)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            println!("{name}: {} inputs", attack(name, *reader, Duration::from_secs_f64(seconds)));
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
    });
}

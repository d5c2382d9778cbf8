//! libFuzzer against one reader: `CHAOS_READER=journal` says which (`fuzz/run.sh`).

#![no_main]

use std::sync::LazyLock;

use chaos::readers::{READERS, Reader};
use libfuzzer_sys::fuzz_target;

static READER: LazyLock<Reader> = LazyLock::new(|| {
    let wanted = std::env::var("CHAOS_READER").unwrap_or_default();
    let names: Vec<&str> = READERS.iter().map(|(name, _)| *name).collect();
    let found = READERS.iter().find(|(name, _)| *name == wanted);
    found.unwrap_or_else(|| panic!("CHAOS_READER is `{wanted}`, expected one of {}", names.join(", "))).1
});

fuzz_target!(|bytes: &[u8]| READER(bytes));

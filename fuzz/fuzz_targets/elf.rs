//! An ELF file. No panic, and rewriting the search path a second time changes nothing.

#![no_main]

use std::path::Path;

use ipo_oci::elf::{parse, rewrite_search_path_in};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("fuzzed.so");
    let _ = parse(bytes, path);
    let Ok(patches) = rewrite_search_path_in(bytes, path, "$ORIGIN") else { return };
    let mut patched = bytes.to_vec();
    for patch in &patches {
        let at = usize::try_from(patch.offset).expect("inside the file");
        patched[at..at + patch.bytes.len()].copy_from_slice(&patch.bytes);
    }
    assert!(rewrite_search_path_in(&patched, path, "$ORIGIN").is_ok_and(|again| again.is_empty()));
});

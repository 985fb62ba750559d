//! An ignore file and a path. No panic, no kept path below a pruned directory, and an escaped path
//! matches.

#![no_main]

use dockerignore::{Dockerignore, Fate, escape};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &str)| {
    let (file, path) = input;
    let Ok(ignore) = Dockerignore::parse(".dockerignore", file) else { return };
    let path = path.split('/').filter(|part| !matches!(*part, "" | "." | "..")).collect::<Vec<_>>().join("/");
    if path.is_empty() {
        return;
    }
    let escaped = Dockerignore::from_lines("escaped", &[escape(&path)]).expect("an escaped path is a valid line");
    assert_eq!(escaped.fate(&path), Ok(Fate::Ignored), "{path:?} escaped");
    let Ok(verdict) = ignore.verdict(&path) else { return };
    for (at, _) in path.match_indices('/') {
        assert!(!ignore.may_prune(&path[..at]) || verdict.fate == Fate::Ignored, "{path} below {}", &path[..at]);
    }
});

//! An ignore file and a path: no panic, and what a walk prunes holds nothing that is kept.

#![no_main]

use std::path::Path;

use ipo_oci::context::{Dockerignore, Fate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &str)| {
    let (file, path) = input;
    let Ok(ignore) = Dockerignore::parse(Path::new(".dockerignore"), file) else { return };
    let path = path.split('/').filter(|part| !matches!(*part, "" | "." | "..")).collect::<Vec<_>>().join("/");
    if path.is_empty() {
        return;
    }
    let Ok(verdict) = ignore.verdict(&path) else { return };
    for (at, _) in path.match_indices('/') {
        assert!(!ignore.may_prune(&path[..at]) || verdict.fate == Fate::Ignored, "{path} below {}", &path[..at]);
    }
});

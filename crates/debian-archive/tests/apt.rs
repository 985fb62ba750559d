//! Resolutions equal apt's, over parts of archives that `benches/resolving --store` has written.
//!
//! `packages` has the paragraphs of the packages to which apt had the choice, without the fields of files; `sets` has
//! lines `[recommends] NAME…: NAME=VERSION…`.

use std::fs;
use std::path::Path;

use debian_archive::index;
use debian_archive::resolve::{Recommends, Request, ScriptDependencies, Universe, resolve};

fn universe(folder: &Path) -> Universe {
    let file = format!("Filename: a.deb\nSize: 1\nSHA256: {}\n", "0".repeat(64));
    let text = fs::read_to_string(folder.join("packages")).expect("a part of an archive");
    let paragraphs: Vec<_> =
        text.trim_end().split("\n\n").map(|paragraph| format!("{paragraph}\n{file}\n")).collect();
    Universe::new(index::parse(paragraphs.concat().as_bytes(), 0).expect("an index"))
}

#[test]
fn sets_equal_those_of_apt() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut count = 0;
    for folder in fs::read_dir(data).expect("stored archives").map(|entry| entry.expect("an entry").path()) {
        let universe = universe(&folder);
        let name = folder.file_name().and_then(|name| name.to_str()).expect("a suite");
        let architecture = name.rsplit('-').next().expect("SUITE-ARCHITECTURE");
        for line in fs::read_to_string(folder.join("sets")).expect("the sets").lines() {
            let (request, expected) = line.split_once(": ").expect("a request and its set");
            let (recommends, request) = match request.strip_prefix("recommends ") {
                Some(request) => (Recommends::Include, request),
                None => (Recommends::Omit, request),
            };
            let wanted: Vec<_> = request.split(' ').map(str::to_owned).collect();
            let script_dependencies = ScriptDependencies::Include;
            let request =
                Request { wanted: &wanted, installed: &[], recommends, architecture, script_dependencies };
            let found = resolve(&universe, &request).expect("a set");
            let found: Vec<_> =
                found.iter().map(|record| format!("{}={}", record.name, record.version)).collect();
            let mut expected: Vec<_> = expected.split(' ').collect();
            expected.sort_by_key(|package| package.split('=').next());
            assert_eq!(found, expected, "{name}: {wanted:?}");
            count += 1;
        }
    }
    assert!(count >= 9);
}

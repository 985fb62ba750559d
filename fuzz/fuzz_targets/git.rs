//! A repository's index and patterns: no panic, and each file that git ignores is one of the listing.

#![no_main]

use ipo_oci::context::{Context, Detail, IgnoreSource};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (index, patterns) = input;
    let work = tempfile::tempdir().expect("a temporary folder");
    let folder = work.path();
    std::fs::create_dir_all(folder.join(".git")).expect("a temporary folder");
    std::fs::create_dir_all(folder.join("a/b")).expect("a folder");
    for (path, bytes) in [(".git/HEAD", &b""[..]), (".git/index", index), (".gitignore", patterns), ("a/b/c.db", b"")] {
        std::fs::write(folder.join(path), bytes).expect("a file");
    }
    let context = Context::open(folder, IgnoreSource::None).expect("a context");
    let listing = context.walk(Detail::SkipIgnored).expect("a listing");
    for thing in context.git_ignored(&listing).ignored {
        assert!(thing.files.iter().all(|file| listing.get(file).is_some()), "{thing:?}");
    }
    context.git_rule("a/b/c.db");
});

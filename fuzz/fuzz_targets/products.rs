//! Candidates for build results. No panic, and exclusion does not grow the tree.

#![no_main]

use ipo_oci::builder::exclude_build_results;
use ipo_oci::context::{Context, Detail, IgnoreSource};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let work = tempfile::tempdir().expect("a temporary folder");
    let folder = work.path();
    std::fs::write(folder.join("a.json"), bytes).expect("a file");
    // Archives consist of whole records.
    let mut records = bytes.to_vec();
    records.resize(bytes.len().next_multiple_of(512), 0);
    std::fs::write(folder.join("a.bin"), records).expect("a file");
    let context = Context::open(folder, IgnoreSource::None).expect("a context");
    let mut listing = context.walk(Detail::SkipIgnored).expect("a listing");
    exclude_build_results(&context, &mut listing);
    assert_eq!(listing.files.len() + listing.left_out.len(), 2);
});

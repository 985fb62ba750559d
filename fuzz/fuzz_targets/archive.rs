//! An image archive. No panic, and all members lie within the file.

#![no_main]

use std::io::Cursor;

use ipo_oci::image::Image;
use ipo_oci::layer::{Limits, locate};
use ipo_oci::store::{self, Access};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut limits = Limits::default();
    limits.members = 1000;
    limits.archive_bytes = 1 << 24;
    limits.header_bytes = 1 << 16;
    let Ok(found) = locate(Cursor::new(bytes), limits) else { return };
    for located in &found {
        assert!(located.offset + located.member.size <= bytes.len() as u64);
    }
    // Archives are read in place, so the other readers need a file.
    let work = tempfile::tempdir().expect("a temporary folder");
    let path = work.path().join("a.tar");
    std::fs::write(&path, bytes).expect("a temporary file");
    for transport in ["docker-archive", "oci-archive"] {
        let reference = format!("{transport}:{}", path.display()).parse().expect("a reference");
        if let Ok(artifact) = store::open(&reference, &Access::default())
            && let Ok(image) = Image::from_artifact(&artifact)
        {
            let _ = store::verify_layers(&image);
        }
    }
});

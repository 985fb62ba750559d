//! A binary package. No panic, no memory beyond the limits, no path outside the package, and an installed package is a
//! valid tree.

#![no_main]

use debian_archive::deb::{DataKind, DebError, DebLimits, DebReader};
use ipo_oci::debian::install::{InstallOptions, install};
use ipo_oci::tree::Tree;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    check(&with_checksums(bytes));
});

fn check(bytes: &[u8]) {
    if read(bytes).is_err() {
        return;
    }
    let work = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let path = work.path().join("package.deb");
    std::fs::write(&path, bytes).expect("a temporary file");
    let Ok(installed) = install(&[path], None, &InstallOptions::default(), work.path()) else { return };
    let mut tree = Tree::new();
    for entry in installed.entries {
        tree.insert(entry).expect("a path once, and below directories");
    }
}

/// Reads all members with their contents.
fn read(bytes: &[u8]) -> Result<(), DebError> {
    let mut limits = DebLimits::default();
    limits.control_bytes = 1 << 18;
    limits.data_bytes = 1 << 20;
    limits.members = 1000;
    limits.decompressor_bytes = 16 << 20;
    let reader = DebReader::open(bytes, limits)?;
    let _ = (reader.control().conffiles(), reader.control().md5sums());
    reader.read_data(&mut |member, content| {
        let is_inside = |path: &str| !path.starts_with('/') && !path.split('/').any(|part| part == "..");
        assert!(is_inside(&member.path), "{member:?}");
        let mut read = Vec::new();
        content.read_to_end(&mut read)?;
        match &member.kind {
            DataKind::File { size } => assert_eq!(read.len() as u64, *size),
            DataKind::HardLink(target) => assert!(is_inside(target), "{member:?}"),
            _ => {}
        }
        Ok(())
    })?;
    Ok(())
}

/// Corrects the checksum of each header of an uncompressed tar archive, since a fuzzer would not find it.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 8;
    while let Some(header) = bytes.get(at..at + 60) {
        let size = std::str::from_utf8(&header[48..58]).ok().and_then(|size| size.trim().parse().ok());
        let is_archive = header.starts_with(b"control.tar ") || header.starts_with(b"data.tar ");
        let Some(size) = size.filter(|size: &usize| *size <= bytes.len()) else { break };
        let end = (at + 60 + size).min(bytes.len());
        if is_archive {
            for record in bytes[at + 60..end].chunks_exact_mut(512).filter(|record| record[0] != 0) {
                record[148..156].fill(b' ');
                let sum: u32 = record.iter().map(|byte| u32::from(*byte)).sum();
                record[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        at = end + size % 2;
    }
    bytes
}

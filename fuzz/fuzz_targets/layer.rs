//! A layer, plain or in gzip. No panic, no memory beyond the limits, no path outside the image, and
//! equal digests for full and partial reads; `verify` reads the same bytes to the end.

#![no_main]

use std::io::Read;

use ipo_oci::layer::{LayerDigests, LayerReader, Limits, Member, ReadError};
use ipo_oci::verify;
use libfuzzer_sys::fuzz_target;

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.members = 1000;
    limits.archive_bytes = 1 << 20;
    limits.header_bytes = 16 << 10;
    limits
}

fuzz_target!(|bytes: &[u8]| {
    verify::check_layer(bytes, "application/vnd.oci.image.layer.v1.tar");
    verify::check_layer(&with_checksums(bytes), "application/vnd.oci.image.layer.v1.tar+gzip");
    check(bytes);
    check(&with_checksums(bytes));
});

fn check(bytes: &[u8]) {
    let Ok((members, summary)) = read(bytes) else { return };
    assert_eq!(summary.size, bytes.len() as u64);
    assert!(summary.archive_size <= limits().archive_bytes && members.len() as u64 <= limits().members);
    for member in &members {
        let path = member.path.as_str();
        assert!(!path.starts_with('/') && !path.split('/').any(|part| matches!(part, "." | "..")), "{path}");
    }
    // Skipping the contents gives the same digests.
    let skipped = LayerReader::new(bytes, limits()).and_then(LayerReader::finish).expect("it was read before");
    assert_eq!(skipped, summary);
}

/// Reads all members with their contents.
fn read(bytes: &[u8]) -> Result<(Vec<Member>, LayerDigests), ReadError> {
    let mut reader = LayerReader::new(bytes, limits())?;
    let mut members = Vec::new();
    while let Some(member) = reader.next_member()? {
        let mut content = Vec::new();
        reader.read_to_end(&mut content)?;
        assert_eq!(content.len() as u64, member.size);
        members.push(member);
    }
    Ok((members, reader.finish()?))
}

/// Corrects the checksum of each header, since a fuzzer would not find it.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for record in bytes.chunks_exact_mut(512).filter(|record| record[0] != 0) {
        record[148..156].fill(b' ');
        let sum: u32 = record.iter().map(|byte| u32::from(*byte)).sum();
        record[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    bytes
}

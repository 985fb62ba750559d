//! Reads members of a zip archive, for the metadata of a zipped egg.
//!
//! Follows the ".ZIP File Format Specification" as far as Python's `zipimport` reads it: stored and
//! deflated members.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::bufread::DeflateDecoder;
use rawzip::{CompressionMethod, ZipArchive};

/// Errors of reading a zip archive.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArchiveError {
    /// The archive's structure is invalid.
    #[error(transparent)]
    Zip(#[from] rawzip::Error),
    /// A member cannot be inflated, or its checksum differs.
    #[error(transparent)]
    Member(#[from] std::io::Error),
    /// A member uses an unsupported compression method.
    #[error("cannot read `{0}`: not deflated")]
    Method(String),
}

/// Returns the members of `bytes` whose names begin with `start`, each truncated to `limit` bytes.
pub(super) fn members(
    bytes: &[u8],
    start: &str,
    limit: u64,
) -> Result<BTreeMap<String, Vec<u8>>, ArchiveError> {
    let archive = ZipArchive::from_slice(bytes)?;
    let mut found = BTreeMap::new();
    let mut left = limit;
    let mut entries = archive.entries();
    while let Some(entry) = entries.next_entry()? {
        let name = String::from_utf8_lossy(entry.file_path().as_ref()).into_owned();
        if !name.starts_with(start) {
            continue;
        }
        let method = entry.compression_method();
        let member = archive.get_entry(entry.wayfinder())?;
        let mut content = Vec::new();
        let mut read = |reader: &mut dyn Read| reader.take(left).read_to_end(&mut content);
        if method == CompressionMethod::STORE {
            read(&mut member.verifying_reader(member.data()))?;
        } else if method == CompressionMethod::DEFLATE {
            read(&mut member.verifying_reader(DeflateDecoder::new(member.data())))?;
        } else {
            return Err(ArchiveError::Method(name));
        }
        // The limit counts for all members together: a small archive can inflate to any size.
        left -= content.len() as u64;
        found.insert(name, content);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    /// An archive with one member.
    fn archive(name: &str, bytes: &[u8], method: CompressionMethod) -> Vec<u8> {
        let mut output = Vec::new();
        let mut writer = rawzip::ZipArchiveWriter::new(&mut output);
        let (mut entry, config) = writer.new_file(name).compression_method(method).start().unwrap();
        let descriptor = if method == CompressionMethod::STORE {
            let mut member = config.wrap(&mut entry);
            member.write_all(bytes).unwrap();
            member.finish().unwrap().1
        } else {
            let encoder = flate2::write::DeflateEncoder::new(&mut entry, flate2::Compression::default());
            let mut member = config.wrap(encoder);
            member.write_all(bytes).unwrap();
            let (encoder, descriptor) = member.finish().unwrap();
            encoder.finish().unwrap();
            descriptor
        };
        entry.finish(descriptor).unwrap();
        writer.finish().unwrap();
        output
    }

    #[test]
    fn reads_members_below_a_folder() {
        for method in [CompressionMethod::STORE, CompressionMethod::DEFLATE] {
            let bytes = archive("EGG-INFO/PKG-INFO", b"Name: x", method);
            let found = members(&bytes, "EGG-INFO/", 100).unwrap();
            assert_eq!(found, [("EGG-INFO/PKG-INFO".to_owned(), b"Name: x".to_vec())].into());
            assert!(members(&bytes, "other/", 100).unwrap().is_empty());
            assert!(members(&bytes, "EGG-INFO/", 3).is_ok_and(|cut| cut["EGG-INFO/PKG-INFO"] == b"Nam"));
        }
    }

    proptest! {
        #[test]
        fn damaged_archives_are_errors(at in 0_usize..200, byte in any::<u8>()) {
            let mut bytes = archive("EGG-INFO/PKG-INFO", b"Name: x", CompressionMethod::DEFLATE);
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            let _ = members(&bytes, "EGG-INFO/", 100);
        }
    }
}

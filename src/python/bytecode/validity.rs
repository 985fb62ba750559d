//! Checks the link from an installer's `.pyc` file to the source beside it.
//!
//! The rules are importlib's (`SourceLoader.get_code` in CPython's
//! `Lib/importlib/_bootstrap_external.py`), with one difference: the hash of an unchecked file is
//! compared too, because an outdated unchecked file would stay outdated in the image.

use super::header::{Header, Invalidation};
use super::magic::PycFormat;
use crate::tree::HostFile;

/// Returns whether bytecode with this header is of a given source and this Python.
///
/// `source_hash` is the hash of the source's bytes, `source` their file.
pub(super) fn belongs(header: &Header, format: &PycFormat, source: &HostFile, source_hash: [u8; 8]) -> bool {
    header.magic == format.magic
        && match header.invalidation {
            Invalidation::Stamp { time, size } => {
                u64::from(size) == source.size & 0xffff_ffff && time == stamp_time(source.stamp.modified)
            }
            Invalidation::Hash(hash) => hash == source_hash,
        }
}

/// Converts a modification time as Python does: `int(st_mtime) & 0xffffffff`, with `st_mtime` a
/// double that can round up to the next second.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn stamp_time((seconds, nanoseconds): (i64, i64)) -> u32 {
    let time = seconds as f64 + 1e-9 * nanoseconds as f64;
    (time as i64 & 0xffff_ffff) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::ContentStamp;

    #[test]
    fn compares_stamps_or_hashes() {
        let format = PycFormat::of_version((3, 11)).unwrap();
        let source = |seconds, nanoseconds, size| HostFile {
            path: std::path::Path::new("x.py").into(),
            size,
            stamp: ContentStamp { device: 1, inode: 1, modified: (seconds, nanoseconds), changed: (9, 9) },
        };
        let stamp = |time, size| Header { magic: 3495, invalidation: Invalidation::Stamp { time, size } };
        let hash = |hash| Header { magic: 3495, invalidation: Invalidation::Hash(hash) };
        let foreign = Header { magic: 3531, ..stamp(5, 7) };
        for (name, header, source, expected) in [
            ("same time and size", stamp(5, 7), source(5, 999, 7), true),
            ("another time", stamp(5, 7), source(6, 0, 7), false),
            ("another size", stamp(5, 7), source(5, 0, 8), false),
            ("a time after 2106", stamp(5, 7), source((1 << 32) + 5, 0, 7), true),
            ("a time before 1970", stamp(u32::MAX, 7), source(-1, 0, 7), true),
            ("a size over 4 GiB", stamp(5, 7), source(5, 0, (1 << 32) + 7), true),
            ("a time that rounds up", stamp(1_700_000_001, 7), source(1_700_000_000, 999_999_999, 7), true),
            ("the same hash", hash([1; 8]), source(0, 0, 0), true),
            ("another hash", hash([2; 8]), source(0, 0, 0), false),
            ("another Python", foreign, source(5, 0, 7), false),
        ] {
            assert_eq!(belongs(&header, format, &source, [1; 8]), expected, "{name}");
        }
    }
}

//! [`TrackedPaths`]: the paths in git's index, gitformat-index(5), versions 2 to 4.
//!
//! Stamps, object names and extensions are skipped. A split index is not supported: its entries are
//! in another file.

use std::collections::HashSet;

use super::GitDirectory;
use crate::traced_fs;

/// The largest index in bytes: about half a million paths.
const SIZE_LIMIT: u64 = 64 << 20;
/// Bytes before the object name: ten numbers of a stamp, the seventh of which is the mode.
const STAMP_LENGTH: usize = 40;
const MODE_OFFSET: usize = 24;
/// SHA-1 and SHA-256. The index itself does not tell; `extensions.objectFormat` is in the
/// configuration.
const NAME_LENGTHS: [usize; 2] = [20, 32];
/// The flag of an entry with two further bytes of flags.
const EXTENDED: u16 = 0x4000;
/// The mode of a directory in a sparse index.
const SPARSE_DIRECTORY: u32 = 0o040_000;

/// Paths in an index, relative to the worktree.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TrackedPaths {
    files: HashSet<Vec<u8>>,
    /// Directories of a sparse index, of which every file is tracked.
    directories: HashSet<Vec<u8>>,
}

impl TrackedPaths {
    /// Reads the index of a repository; empty if there is none, or if the index is not supported.
    pub(crate) fn read(repository: &GitDirectory) -> Self {
        let file = traced_fs::open_regular(&repository.git.join("index"));
        let bytes = file.and_then(|file| traced_fs::read_limited(file, SIZE_LIMIT)).ok().flatten();
        bytes.and_then(|bytes| Self::parse(&bytes)).unwrap_or_default()
    }

    /// Returns true if `path` is tracked.
    pub(crate) fn contains(&self, path: &str) -> bool {
        let above = |(at, _)| self.directories.contains(&path.as_bytes()[..at]);
        self.files.contains(path.as_bytes())
            || !self.directories.is_empty() && path.match_indices('/').any(above)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        NAME_LENGTHS.into_iter().find_map(|length| Self::parse_with(bytes, length))
    }

    fn parse_with(bytes: &[u8], name_length: usize) -> Option<Self> {
        let version = number(bytes.strip_prefix(b"DIRC")?, 0)?;
        if !(2..=4).contains(&version) {
            return None;
        }
        let count = number(bytes, 8)?;
        let mut tracked = Self::default();
        let mut at = 12;
        let mut path: Vec<u8> = Vec::new();
        for _ in 0..count {
            let entry = bytes.get(at..)?;
            let flags_at = STAMP_LENGTH + name_length;
            let flags = u16::from_be_bytes(*entry.get(flags_at..)?.first_chunk()?);
            let mut path_at = flags_at + 2;
            if flags & EXTENDED != 0 {
                path_at += 2;
            }
            if version == 4 {
                // The path continues a prefix of the one before.
                let (removed, length) = variable_number(entry.get(path_at..)?)?;
                path_at += length;
                path.truncate(path.len().checked_sub(removed)?);
            } else {
                path.clear();
            }
            let rest = entry.get(path_at..)?;
            let length = memchr::memchr(0, rest)?;
            path.extend_from_slice(&rest[..length]);
            let end = path_at + length;
            // Padded with one to eight zeros, except in version 4.
            at += if version == 4 { end + 1 } else { (end + 8) & !7 };
            let mode = number(entry, MODE_OFFSET)?;
            match (mode & 0o170_000, path.strip_suffix(b"/")) {
                (SPARSE_DIRECTORY, Some(directory)) => {
                    tracked.directories.insert(directory.to_owned());
                }
                (0o100_000 | 0o120_000 | 0o160_000, None) if !path.is_empty() => {
                    tracked.files.insert(path.clone());
                }
                _ => return None,
            }
        }
        let is_split = bytes.get(at..)?.starts_with(b"link");
        (!is_split).then_some(tracked)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Reads a number in the encoding of an offset in a pack (gitformat-pack(5)), and returns its
/// length.
fn variable_number(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value: usize = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        value = value.checked_mul(128)?.checked_add(usize::from(byte & 0x7f))?;
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
        value = value.checked_add(1)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns an entry without padding.
    fn entry(mode: u32, path: &[u8], name_length: usize) -> Vec<u8> {
        let mut entry = vec![0; STAMP_LENGTH + name_length + 2];
        entry[MODE_OFFSET..MODE_OFFSET + 4].copy_from_slice(&mode.to_be_bytes());
        entry.extend(path);
        entry
    }

    fn index(version: u32, entries: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = b"DIRC".to_vec();
        bytes.extend(version.to_be_bytes());
        bytes.extend(u32::try_from(entries.len()).unwrap().to_be_bytes());
        for entry in entries {
            bytes.extend(entry);
            let padding = if version == 4 { 1 } else { 8 - entry.len() % 8 };
            bytes.extend(vec![0; padding]);
        }
        bytes
    }

    #[test]
    fn reads_both_object_formats_and_compressed_paths() {
        for name_length in NAME_LENGTHS {
            let plain = [entry(0o100_644, b"a/b.py", name_length), entry(0o160_000, b"sub", name_length)];
            let tracked = TrackedPaths::parse(&index(2, &plain)).unwrap();
            assert!(tracked.contains("a/b.py") && tracked.contains("sub"));
            assert!(!tracked.contains("a") && !tracked.contains("a/b"));
        }
        // `a/b.py`, then `a/c.py`: four bytes less, and the rest.
        let compressed = [entry(0o100_644, b"\0a/b.py", 20), entry(0o100_644, b"\x04c.py", 20)];
        let tracked = TrackedPaths::parse(&index(4, &compressed)).unwrap();
        assert!(tracked.contains("a/b.py") && tracked.contains("a/c.py"));
    }

    #[test]
    fn a_sparse_directory_stands_for_its_files() {
        let tracked = TrackedPaths::parse(&index(3, &[entry(SPARSE_DIRECTORY, b"docs/", 20)])).unwrap();
        assert!(tracked.contains("docs/a/b") && !tracked.contains("docs2/a"));
    }

    #[test]
    fn refuses_damaged_and_split_indexes() {
        let good = index(2, &[entry(0o100_644, b"a", 20)]);
        for length in 0..good.len() {
            assert_eq!(TrackedPaths::parse(&good[..length]), None, "{length}");
        }
        assert_eq!(TrackedPaths::parse(&[good, b"link".to_vec()].concat()), None);
        assert_eq!(TrackedPaths::parse(&index(5, &[])), None);
        assert_eq!(TrackedPaths::parse(&index(4, &[entry(0o100_644, b"\x05a", 20)])), None);
        let many = [b"DIRC\0\0\0\x02".to_vec(), vec![0xff; 4]].concat();
        assert_eq!(TrackedPaths::parse(&many), None);
    }
}

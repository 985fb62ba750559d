//! [`PycHeader`]: the link from a `.pyc` file to its source, for checks of files that are not loaded.

use super::header::source_hash;
use super::magic::PycFormat;
use crate::python::PythonVersion;

/// The header of a `.pyc` file (PEP 552).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PycHeader {
    /// The magic number, without its line end.
    pub(crate) magic: u16,
    /// The link to the source.
    pub(crate) link: PycLink,
}

/// The link to the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PycLink {
    /// Modification time and size of the source, modulo 2^32.
    Stamp {
        /// Seconds since 1970.
        time: u32,
        /// Bytes.
        size: u32,
    },
    /// The hash of the source, compared at each import.
    CheckedHash([u8; 8]),
    /// The hash of the source, never compared.
    UncheckedHash([u8; 8]),
}

impl PycHeader {
    /// Reads the header at the start of a file; `None` for another file.
    pub(crate) fn read(start: &[u8]) -> Option<Self> {
        let [m0, m1, b'\r', b'\n', f0, f1, f2, f3, a0, a1, a2, a3, b0, b1, b2, b3] =
            *start.first_chunk::<16>()?
        else {
            return None;
        };
        let hash = [a0, a1, a2, a3, b0, b1, b2, b3];
        let link = match u32::from_le_bytes([f0, f1, f2, f3]) {
            0 => PycLink::Stamp {
                time: u32::from_le_bytes([a0, a1, a2, a3]),
                size: u32::from_le_bytes([b0, b1, b2, b3]),
            },
            1 => PycLink::UncheckedHash(hash),
            3 => PycLink::CheckedHash(hash),
            _ => return None,
        };
        Some(Self { magic: u16::from_le_bytes([m0, m1]), link })
    }

    /// Returns true if the file was compiled from `source` by this Python, as far as its version is known.
    pub(crate) fn has_hash_of(&self, source: &[u8]) -> bool {
        let (PycLink::CheckedHash(hash) | PycLink::UncheckedHash(hash)) = self.link else { return true };
        PycFormat::of_magic(self.magic).map_or(true, |format| source_hash(format, source) == hash)
    }
}

/// Returns the magic number of a release series; `None` for an unknown one.
pub(crate) fn magic_of(version: PythonVersion) -> Option<u16> {
    let series = (u8::try_from(version.major).ok()?, u8::try_from(version.minor).ok()?);
    PycFormat::of_version(series).map(|format| format.magic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_link_of_each_kind_of_file() {
        let read = |flags: u8, rest: &[u8; 8]| {
            PycHeader::read(&[&[0xa7, 0x0d, b'\r', b'\n', flags, 0, 0, 0][..], rest].concat())
        };
        let link = |flags, rest| read(flags, rest).map(|header| header.link);
        assert_eq!(link(0, b"\x01\0\0\0\x02\0\0\0"), Some(PycLink::Stamp { time: 1, size: 2 }));
        assert_eq!(link(1, b"12345678"), Some(PycLink::UncheckedHash(*b"12345678")));
        assert_eq!(link(3, b"12345678"), Some(PycLink::CheckedHash(*b"12345678")));
        assert_eq!(link(2, b"12345678"), None);
        assert_eq!(PycHeader::read(b"#!/usr/bin/python3 -m x"), None);
        let version = PythonVersion { major: 3, minor: 11, micro: None, free_threaded: false };
        assert_eq!(magic_of(version), read(0, b"12345678").map(|header| header.magic));
        let hash = 0xc7af_82e7_7c1d_a4f5_u64.to_be_bytes();
        assert!(read(3, &hash).unwrap().has_hash_of(b"abc") && !read(3, &hash).unwrap().has_hash_of(b"abd"));
    }
}

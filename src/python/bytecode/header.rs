//! Reads and writes the 16-byte header of a `.pyc` file (PEP 552), and computes source hashes.

use std::hash::Hasher as _;

use siphasher::sip::{SipHasher13, SipHasher24};

use super::error::MarshalError;
use super::magic::{PycFormat, SourceHash};

/// The header's size in bytes.
pub(super) const LENGTH: usize = 16;

/// The flag of a source hash in the header. Without [`CHECKED`] the hash is not compared on import.
const HASHED: u32 = 1;
/// The flag of a hash that is compared on import.
const CHECKED: u32 = 2;
/// The carriage return and line feed at the end of every magic number.
const LINE_END: u16 = 0x0a0d;

/// The header of a `.pyc` file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// The magic number of the Python version.
    pub(super) magic: u16,
    /// The link to the source.
    pub(super) invalidation: Invalidation,
}

/// The invalidation of a `.pyc` file (PEP 552): the link to its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Invalidation {
    /// The source's modification time and size.
    Stamp {
        /// Seconds since 1970, modulo 2^32.
        time: u32,
        /// Bytes, modulo 2^32.
        size: u32,
    },
    /// The source's hash, compared on import or not.
    Hash([u8; 8]),
}

impl Header {
    /// Reads the header and returns the rest of the file too.
    pub(super) fn read(pyc: &[u8]) -> Result<(Self, &[u8]), MarshalError> {
        let (head, code) = pyc.split_first_chunk::<LENGTH>().ok_or(MarshalError::NotBytecode)?;
        let [m0, m1, cr, lf, f0, f1, f2, f3, a0, a1, a2, a3, b0, b1, b2, b3] = *head;
        if u16::from_le_bytes([cr, lf]) != LINE_END {
            return Err(MarshalError::NotBytecode);
        }
        let invalidation = match u32::from_le_bytes([f0, f1, f2, f3]) {
            0 => Invalidation::Stamp {
                time: u32::from_le_bytes([a0, a1, a2, a3]),
                size: u32::from_le_bytes([b0, b1, b2, b3]),
            },
            flags if flags & HASHED != 0 && flags & !(HASHED | CHECKED) == 0 => {
                Invalidation::Hash([a0, a1, a2, a3, b0, b1, b2, b3])
            }
            flags => return Err(MarshalError::Flags(flags)),
        };
        Ok((Self { magic: u16::from_le_bytes([m0, m1]), invalidation }, code))
    }
}

/// Returns an unchecked hash-based header: Python then loads the file without reading the source or
/// its time.
pub(super) fn unchecked(format: &PycFormat, source_hash: [u8; 8]) -> [u8; LENGTH] {
    let [m0, m1] = format.magic.to_le_bytes();
    let [cr, lf] = LINE_END.to_le_bytes();
    let [f0, f1, f2, f3] = HASHED.to_le_bytes();
    let [h0, h1, h2, h3, h4, h5, h6, h7] = source_hash;
    [m0, m1, cr, lf, f0, f1, f2, f3, h0, h1, h2, h3, h4, h5, h6, h7]
}

/// Returns the hash of a source like `_imp.source_hash`: SipHash with the four bytes of the magic
/// number as the key.
pub(super) fn source_hash(format: &PycFormat, source: &[u8]) -> [u8; 8] {
    let key = u64::from(format.magic) | u64::from(LINE_END) << 16;
    let hash = match format.hash {
        SourceHash::Sip13 => {
            let mut hasher = SipHasher13::new_with_keys(key, 0);
            hasher.write(source);
            hasher.finish()
        }
        SourceHash::Sip24 => {
            let mut hasher = SipHasher24::new_with_keys(key, 0);
            hasher.write(source);
            hasher.finish()
        }
    };
    hash.to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values are from `_imp.source_hash(_RAW_MAGIC_NUMBER, b"abc")` of each interpreter.
    #[test]
    fn hashes_as_each_python_does() {
        for (minor, hash) in [
            (9, 0x361f_0027_dbc6_db99_u64),
            (10, 0x435b_6a4b_bf3d_9415),
            (11, 0xc7af_82e7_7c1d_a4f5),
            (12, 0xa00f_5731_f8ba_fd32),
            (13, 0xc9ff_551a_5347_90a0),
        ] {
            let format = PycFormat::of_version((3, minor)).unwrap();
            assert_eq!(source_hash(format, b"abc"), hash.to_be_bytes(), "3.{minor}");
        }
    }

    #[test]
    fn reads_the_three_kinds_of_file() {
        let read = |flags: u8, rest: &[u8]| {
            let mut pyc = vec![0xa7, 0x0d, b'\r', b'\n', flags, 0, 0, 0];
            pyc.extend_from_slice(rest);
            Header::read(&pyc).map(|(header, code)| (header, code.to_vec()))
        };
        let (header, code) = read(0, b"\x01\0\0\0\x02\0\0\0N").unwrap();
        assert_eq!(header, Header { magic: 3495, invalidation: Invalidation::Stamp { time: 1, size: 2 } });
        assert_eq!(code, b"N");
        for flags in [1, 3] {
            assert_eq!(read(flags, b"12345678").unwrap().0.invalidation, Invalidation::Hash(*b"12345678"));
        }
        for flags in [2, 4, 5] {
            assert_eq!(read(flags, b"12345678"), Err(MarshalError::Flags(u32::from(flags))));
        }
        assert_eq!(read(0, b"1234567"), Err(MarshalError::NotBytecode));
        assert_eq!(Header::read(b"#!/usr/bin/python3 -m x"), Err(MarshalError::NotBytecode));
    }

    #[test]
    fn a_written_header_is_read_as_a_hash() {
        let format = PycFormat::of_version((3, 13)).unwrap();
        let head = unchecked(format, *b"abcdefgh");
        assert_eq!(head[4..8], [1, 0, 0, 0]);
        let (header, rest) = Header::read(&head).unwrap();
        assert_eq!(header, Header { magic: 3571, invalidation: Invalidation::Hash(*b"abcdefgh") });
        assert!(rest.is_empty());
    }
}

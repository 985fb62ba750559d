//! [`Compression`] of layers to write, and the [`Encoding`] of layers that exist.

use serde::Serialize;

/// The compression of a layer that is written: `gzip`, `gzip:9`, `zstd`, `zstd:19`, `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum Compression {
    /// No compression.
    None,
    /// gzip at a level from 1 to 9.
    Gzip(u32),
    /// zstd at a level from 1 to 19. Needs the feature `zstd`.
    Zstd(i32),
}

/// The compression of a layer's archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// Uncompressed.
    Plain,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

impl Compression {
    /// The default gzip level: the last with a gain above its cost (measured in docs/decisions.md).
    pub(crate) const USUAL_GZIP_LEVEL: u32 = 5;
    /// The default zstd level, also that of zstd itself.
    pub(crate) const USUAL_ZSTD_LEVEL: i32 = 3;

    /// Returns the encoding of a layer written so.
    pub fn encoding(self) -> Encoding {
        match self {
            Self::None => Encoding::Plain,
            Self::Gzip(_) => Encoding::Gzip,
            Self::Zstd(_) => Encoding::Zstd,
        }
    }
}

impl Encoding {
    /// Number of bytes that [`of_magic`](Self::of_magic) needs.
    pub(crate) const MAGIC_BYTES: u64 = 4;

    /// Returns the compression that begins with these bytes; `None` if neither gzip (RFC 1952,
    /// section 2.3.1) nor zstd (RFC 8878, section 3.1.1).
    pub(crate) fn of_magic(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ => None,
        }
    }
}

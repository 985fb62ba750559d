//! Compressions of indexes and of the members of packages: xz, zstd, gzip, none.

use std::io::{self, BufRead, Read};

/// A compression, with the ending of its file names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ArchiveCompression {
    /// `.xz`, the smallest.
    Xz,
    /// `.zst`.
    Zstd,
    /// `.gz`.
    Gzip,
    /// No ending.
    None,
}

/// The memory that a decompressor may use, in bytes: four times the dictionary of `xz -9`.
pub const DECOMPRESSOR_BYTES: u64 = 256 << 20;

impl ArchiveCompression {
    /// All compressions, in the order of preference.
    pub const ALL: [Self; 4] = [Self::Xz, Self::Zstd, Self::Gzip, Self::None];

    /// Returns the ending of file names.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Xz => ".xz",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
            Self::None => "",
        }
    }

    /// Returns the compression with this ending.
    pub fn of_ending(ending: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|compression| compression.ending() == ending)
    }

    /// Returns a reader of the decompressed bytes, which uses at most `memory` bytes.
    pub fn reader<'a>(self, compressed: impl BufRead + 'a, memory: u64) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Xz => {
                let kibibytes = u32::try_from(memory >> 10).unwrap_or(u32::MAX);
                Box::new(lzma_rust2::XzReader::new_mem_limit(compressed, true, kibibytes))
            }
            Self::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(compressed)?;
                // The largest window is a power of two.
                decoder.window_log_max(memory.max(1 << 10).ilog2().min(31))?;
                Box::new(decoder)
            }
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(compressed)),
            Self::None => Box::new(compressed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn compressed_bytes_are_read() {
        let text = "Package: a\n".repeat(1000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        for (compression, bytes) in [
            (ArchiveCompression::None, text.clone().into_bytes()),
            (ArchiveCompression::Gzip, gzip.finish().unwrap()),
            (ArchiveCompression::Zstd, zstd::encode_all(text.as_bytes(), 1).unwrap()),
        ] {
            let mut found = String::new();
            let mut reader = compression.reader(io::Cursor::new(bytes), DECOMPRESSOR_BYTES).unwrap();
            reader.read_to_string(&mut found).unwrap();
            assert_eq!(found, text, "{compression:?}");
        }
        for compression in [ArchiveCompression::Xz, ArchiveCompression::Zstd, ArchiveCompression::Gzip] {
            let cut = compression.reader(io::Cursor::new(b"\xfd7zX".to_vec()), DECOMPRESSOR_BYTES);
            assert!(
                cut.and_then(|mut reader| reader.read_to_end(&mut Vec::new())).is_err(),
                "{compression:?}"
            );
        }
    }
}

//! Compressions of indexes: xz, zstd, gzip, none.

use std::io::{self, BufRead, BufReader};

/// A compression of indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum IndexCompression {
    /// `Packages.xz`, the smallest.
    Xz,
    /// `Packages.zst`.
    Zstd,
    /// `Packages.gz`.
    Gzip,
    /// `Packages`.
    None,
}

impl IndexCompression {
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

    /// Returns a reader of the decompressed bytes.
    pub fn reader(self, compressed: impl BufRead + Send + 'static) -> io::Result<Box<dyn BufRead + Send>> {
        Ok(match self {
            Self::Xz => Box::new(BufReader::new(lzma_rust2::XzReader::new(compressed, true))),
            Self::Zstd => Box::new(BufReader::new(zstd::Decoder::with_buffer(compressed)?)),
            Self::Gzip => Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(compressed))),
            Self::None => Box::new(compressed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    #[test]
    fn compressed_bytes_are_read() {
        let text = "Package: a\n".repeat(1000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        for (compression, bytes) in [
            (IndexCompression::None, text.clone().into_bytes()),
            (IndexCompression::Gzip, gzip.finish().unwrap()),
            (IndexCompression::Zstd, zstd::encode_all(text.as_bytes(), 1).unwrap()),
        ] {
            let mut found = String::new();
            compression.reader(io::Cursor::new(bytes)).unwrap().read_to_string(&mut found).unwrap();
            assert_eq!(found, text, "{compression:?}");
        }
        for compression in [IndexCompression::Xz, IndexCompression::Zstd, IndexCompression::Gzip] {
            let cut = compression.reader(io::Cursor::new(b"\xfd7zX".to_vec()));
            assert!(
                cut.and_then(|mut reader| reader.read_to_end(&mut Vec::new())).is_err(),
                "{compression:?}"
            );
        }
    }
}

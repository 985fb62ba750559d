//! [`Deflater`]: gzip members by libdeflate.

use std::io;

use libdeflater::{CompressionLvl, Compressor};

/// A gzip compressor that reuses state which does not affect the bytes.
#[derive(Default)]
pub(super) struct Deflater {
    compressor: Option<(u32, Compressor)>,
    buffer: Vec<u8>,
}

impl Deflater {
    /// Compresses `block` into a gzip member: no name, no time, unknown operating system.
    pub(super) fn member(&mut self, level: u32, block: &[u8]) -> io::Result<Vec<u8>> {
        let compressor = if let Some((_, compressor)) = self.compressor.take_if(|(at, _)| *at == level) {
            compressor
        } else {
            let level = i32::try_from(level).ok().and_then(|level| CompressionLvl::new(level).ok());
            Compressor::new(level.ok_or_else(|| io::Error::other("invalid gzip level"))?)
        };
        let (_, compressor) = self.compressor.insert((level, compressor));
        let most = compressor.gzip_compress_bound(block.len());
        if self.buffer.len() < most {
            self.buffer.resize(most, 0);
        }
        let size = compressor.gzip_compress(block, &mut self.buffer).map_err(io::Error::other)?;
        Ok(self.buffer[..size].to_vec())
    }
}

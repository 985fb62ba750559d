//! Reading one file of an image.

use std::io::{Read as _, Write};

use super::BaseError;
use super::node::NodeKind;
use super::view::View;
use crate::layer::{Duplicates, LayerReader, Limits, ReadError};
use crate::tree::ImagePath;

impl View {
    /// Writes the file at `path`, through links, to `sink`, and returns its size in bytes. Reads
    /// only the layer that contains the file, to its end, and verifies the digest.
    ///
    /// # Errors
    /// If `path` is not a file, or the layer differs from the image's description: the output is
    /// then not trustworthy.
    pub fn copy(&self, path: &ImagePath, sink: &mut dyn Write) -> Result<u64, BaseError> {
        let real = self.resolve(path)?;
        let node = self.lookup(&real).ok_or_else(|| BaseError::Missing(real.clone()))?;
        if node.kind != NodeKind::File {
            return Err(BaseError::NotAFile { path: real, what: node.kind_name() });
        }
        let number = usize::try_from(node.location.layer).unwrap_or(usize::MAX);
        let layer = self.layers.get(number).ok_or_else(|| BaseError::Missing(real.clone()))?;
        let failed = |cause: ReadError| BaseError::Layer { layer: layer.digest, cause };
        let blob = layer.blob.open().map_err(|cause| BaseError::Blob { layer: layer.digest, cause })?;
        let reader =
            LayerReader::of(blob, Limits::default(), &layer.digest, &layer.diff_id).map_err(failed)?;
        let mut reader = reader.with_duplicates(Duplicates::Allow);
        for _ in 0..=node.location.member {
            if reader.next_member().map_err(failed)?.is_none() {
                return Err(BaseError::Missing(real));
            }
        }
        let mut size = 0;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let got = reader.read(&mut buffer).map_err(|error| failed(error.into()))?;
            let piece = buffer.get(..got).unwrap_or_default();
            if piece.is_empty() {
                break;
            }
            sink.write_all(piece).map_err(BaseError::Output)?;
            size += got as u64;
        }
        let found = reader.finish().map_err(failed)?.digest;
        if found == layer.digest {
            return Ok(size);
        }
        let (expected, found) = (layer.digest.to_string(), found.to_string());
        Err(BaseError::Mismatch { what: "the digest", expected, found })
    }
}

//! Records of cached layers.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::image::{Blob, Layer};
use crate::layer::{Compression, WrittenLayer};
use crate::tree::{OwnedBytes, Owner};

/// A built layer: its blob, and the owners of its bytes for the size report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The display name: `numpy`. Not part of the layer's identity.
    pub name: String,
    /// Digest of the compressed bytes.
    pub digest: Digest,
    /// Compressed size.
    pub size: u64,
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Size of the uncompressed archive.
    pub archive_size: u64,
    /// The bytes of each owner.
    pub owners: Vec<OwnedBytes>,
}

/// The value of a quick key: the layer, and the findings in its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuickRecord {
    /// The layer.
    pub record: Record,
    /// Its content key.
    pub key: Digest,
    /// Paths of the build machine that remain in its files.
    pub found: Vec<LeakedPath>,
}

/// A path of the build machine that remains in a file of the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeakedPath {
    /// The file in the image.
    pub file: String,
    /// The file's owner.
    pub owner: Owner,
    /// The path of the build machine.
    pub path: String,
}

impl Record {
    /// Makes the record of a written layer.
    pub fn new(name: &str, written: &WrittenLayer, owners: Vec<OwnedBytes>) -> Self {
        Self {
            name: name.to_owned(),
            digest: written.digest,
            size: written.size,
            diff_id: written.diff_id,
            archive_size: written.archive_size,
            owners,
        }
    }

    /// Returns the layer whose bytes are in `blob`.
    pub(crate) fn layer(&self, compression: Compression, blob: Blob) -> Layer {
        let Self { digest, size, diff_id, .. } = *self;
        Layer { digest, size, diff_id, encoding: compression.encoding(), blob }
    }

    /// Returns whether both records describe the same bytes; names may differ.
    pub fn is_same_layer(&self, other: &Self) -> bool {
        let decides = |record: &Self| (record.digest, record.size, record.diff_id, record.archive_size);
        decides(self) == decides(other)
    }
}

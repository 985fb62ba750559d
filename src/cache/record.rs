//! What is remembered of a layer.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::layer::Written;
use crate::tree::{OwnedBytes, Owner};

/// A layer that was made: what its blob is, and what is in it for the size report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What a person calls the layer: `numpy`. It decides nothing.
    pub name: String,
    /// Digest of the compressed bytes.
    pub digest: Digest,
    /// Compressed bytes.
    pub size: u64,
    /// Digest of the archive.
    pub diff_id: Digest,
    /// Bytes of the archive.
    pub archive_size: u64,
    /// Whose the bytes are.
    pub owners: Vec<OwnedBytes>,
}

/// What is known under a quick key: the layer, and what was found in the files that it was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quick {
    /// The layer.
    pub record: Record,
    /// Its content key.
    pub key: Digest,
    /// Paths of the build machine that remain in its files.
    pub found: Vec<Found>,
}

/// A path of the build machine that remains in a file of the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The file in the image.
    pub file: String,
    /// Whose it is.
    pub owner: Owner,
    /// The path of the build machine.
    pub path: String,
}

impl Record {
    /// Of a layer that was written.
    pub fn new(name: &str, written: &Written, owners: Vec<OwnedBytes>) -> Self {
        Self {
            name: name.to_owned(),
            digest: written.digest,
            size: written.size,
            diff_id: written.diff_id,
            archive_size: written.archive_size,
            owners,
        }
    }

    /// Whether both are of the same bytes. What a layer is called decides nothing.
    pub fn is_same_layer(&self, other: &Self) -> bool {
        let decides = |record: &Self| (record.digest, record.size, record.diff_id, record.archive_size);
        decides(self) == decides(other)
    }
}

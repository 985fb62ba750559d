//! What is remembered of a layer.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::layer::Written;
use crate::tree::Owner;

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

/// The bytes of one owner in one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedBytes {
    /// Whose they are.
    #[serde(with = "owner")]
    pub owner: Owner,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of bytecode, which are among these.
    pub bytecode: u64,
    /// Regular files.
    pub files: u64,
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
    #[serde(with = "owner")]
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
}

/// [`Owner`] as it is kept.
mod owner {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::tree::Owner;

    #[derive(Serialize, Deserialize)]
    enum Kept {
        Distribution(String, String),
        Package(String, String),
        Interpreter,
        Environment,
        Source,
        System,
    }

    pub(super) fn serialize<S: Serializer>(owner: &Owner, serializer: S) -> Result<S::Ok, S::Error> {
        match owner {
            Owner::Distribution { name, version } => {
                Kept::Distribution(name.to_string(), version.to_string())
            }
            Owner::Package { name, version } => Kept::Package(name.to_string(), version.to_string()),
            Owner::Interpreter => Kept::Interpreter,
            Owner::Environment => Kept::Environment,
            Owner::Source => Kept::Source,
            Owner::System => Kept::System,
        }
        .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Owner, D::Error> {
        Ok(match Kept::deserialize(deserializer)? {
            Kept::Distribution(name, version) => {
                Owner::Distribution { name: name.into(), version: version.into() }
            }
            Kept::Package(name, version) => Owner::Package { name: name.into(), version: version.into() },
            Kept::Interpreter => Owner::Interpreter,
            Kept::Environment => Owner::Environment,
            Kept::Source => Owner::Source,
            Kept::System => Owner::System,
        })
    }
}

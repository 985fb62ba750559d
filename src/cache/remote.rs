//! [`SharedCache`]: layers that other machines have made.

use std::fmt;
use std::time::SystemTime;

use super::Record;
use crate::digest::Digest;
use crate::image::Blob;
use crate::reference::RemoteName;

/// A place that machines share: content key to layer.
///
/// Nothing that comes from it is believed: whoever asks compares what a record says with what the files at hand make,
/// and digests the blob. What goes wrong is a [`SharedError`], which costs time and nothing else.
pub trait SharedCache: fmt::Debug + Send + Sync {
    /// The layer that is kept under `key`, if there is one. Its blob is not fetched before it is read.
    fn find(&self, key: &Digest) -> Result<Option<(Record, Blob)>, SharedError>;

    /// Keeps a layer under `key`, so that whatever removes what is not used there finds that its blob is. What is there
    /// already is not sent again.
    fn keep(&self, key: &Digest, record: &Record, blob: &Blob) -> Result<(), SharedError>;

    /// Tells others that a layer is being made, so that they do not make it too. It is a word and no lock: who does not hear of
    /// it does the same work again, and who says it and goes away keeps nobody waiting for long.
    fn claim(&self, _key: &Digest, _claim: &Claim) -> Result<(), SharedError> {
        Ok(())
    }

    /// What was said last of making the layer of `key`, however long ago.
    fn claimed(&self, _key: &Digest) -> Result<Option<Claim>, SharedError> {
        Ok(None)
    }

    /// The repository that holds the blobs, where a registry does: another repository of that registry can have them without
    /// their bytes being sent.
    fn repository(&self) -> Option<RemoteName> {
        None
    }

    /// What a person calls it.
    fn name(&self) -> String;
}

/// That a build is making a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Whose: a number by chance for each process.
    pub by: u128,
    /// Since when, by the clock of its machine.
    pub at: SystemTime,
}

/// Why a shared cache was of no use, in one sentence that names it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SharedError(pub String);

//! [`RemoteCache`]: the interface of remote layer caches.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::Record;
use crate::digest::Digest;
use crate::image::Blob;
use crate::reference::RemoteName;

/// A remote cache: maps content keys to layers.
///
/// Nothing fetched is trusted: callers compare the record with their own files and digest the blob.
/// A [`RemoteCacheError`] costs time and nothing else.
pub trait RemoteCache: fmt::Debug + Send + Sync {
    /// Looks `key` up. The blob is fetched when read.
    fn find(&self, key: &Digest) -> Result<Option<(Record, Blob)>, RemoteCacheError>;

    /// Stores a layer under `key` and marks its blob as used for the cache's own garbage
    /// collection. An existing layer is not uploaded again.
    fn keep(&self, key: &Digest, record: &Record, blob: &Blob) -> Result<(), RemoteCacheError>;

    /// Takes an advisory lease on building a layer. A build that misses the lease repeats the work;
    /// an abandoned lease expires.
    fn take_lease(&self, _key: &Digest, _lease: &Lease) -> Result<(), RemoteCacheError> {
        Ok(())
    }

    /// Returns the last lease on the layer of `key`, however old.
    fn lease(&self, _key: &Digest) -> Result<Option<Lease>, RemoteCacheError> {
        Ok(None)
    }

    /// Returns the repository of a registry that holds the blobs: other repositories there can
    /// mount them without an upload.
    fn repository(&self) -> Option<RemoteName> {
        None
    }

    /// Returns the display name.
    fn name(&self) -> String;
}

/// A lease on building a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The holder: a random number for each process.
    pub by: u128,
    /// The time of the last renewal, by the holder's clock.
    pub at: SystemTime,
}

/// A failure of a remote cache: the error of its registry, folder or object store.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub struct RemoteCacheError(Arc<dyn Error + Send + Sync>);

impl RemoteCacheError {
    /// Makes an error of its cause, an error or a sentence that names the cache.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(cause.into().into())
    }

    /// Returns the cause.
    pub fn get_ref(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }
}

//! Resolutions of earlier builds in the cache, by the indexes and the question: `CACHE/apt/resolutions/KEY`.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::digest::Digest;
use crate::{atomic_file, sealed};

/// The format line. Raise the number with every change of the resolution or of the records' types.
const RESOLUTION: &str = "ipo-oci-apt-resolution 1\n";

/// The folder of resolutions.
#[derive(Debug)]
pub(super) struct Resolutions(PathBuf);

impl Resolutions {
    pub(super) fn new(cache: &Path) -> Self {
        Self(cache.join("apt/resolutions"))
    }

    /// Loads a record, if there is an undamaged one.
    pub(super) fn load<T: DeserializeOwned>(&self, key: &Digest) -> Option<T> {
        let bytes = fs_err::read(self.0.join(key.hex())).ok()?;
        postcard::from_bytes(sealed::open(RESOLUTION, key.hex().as_bytes(), &bytes)?).ok()
    }

    /// Stores a record. A failure only costs resolving again.
    pub(super) fn keep(&self, key: &Digest, record: &impl Serialize) {
        if let Ok(body) = postcard::to_stdvec(record) {
            let sealed = sealed::seal(RESOLUTION, key.hex().as_bytes(), &body);
            let _ = atomic_file::replace(&self.0.join(key.hex()), &sealed);
        }
    }
}

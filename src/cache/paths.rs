//! Paths in the folder of cached layers.

use std::path::{Path, PathBuf};

use crate::digest::Digest;

/// The version of the folder; raise when the arrangement of the files changes.
const VERSION: &str = "1";

/// Returns the folder of layers in the folder `cache`.
pub(super) fn root(cache: &Path) -> PathBuf {
    cache.join("layers").join(VERSION)
}

/// Returns a file's path: 256 folders, by the digest's first byte.
pub(super) fn below(folder: &Path, digest: Digest) -> PathBuf {
    let hex = digest.hex();
    folder.join(hex.get(..2).unwrap_or_default()).join(hex)
}

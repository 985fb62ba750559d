//! The layer cache: keys of layers, and the folder with their blobs.
//!
//! A layer has three keys. The **quick key** digests everything known without reading a file:
//! paths, modes, owners and file stamps, as in git's index; valid on one machine. The **content
//! key** has the files' fingerprints instead of their stamps, so the same wheel gives the same key
//! in another checkout, another project or on another machine. The **hint** has neither: a known
//! hint makes reading the files before building the layer worthwhile.
//!
//! All keys include the other inputs: the tree as in the image (with prefix and rewritten files),
//! the archive format and the compressor ([`crate::layer::Compression::identity`]). A faulty cache
//! costs only time: a record is sealed under its key (`crate::sealed`), a blob is trusted while its
//! file has the stamp of its last verification ([`VerifiedBlobs`]), and everything else counts as
//! missing.
//!
//! Files get their final name when complete, so concurrent or killed builds leave no partial files.
//! The only lock is on building a layer: of concurrent builds, one builds and the others reuse.

#![allow(clippy::disallowed_methods)] // Cache entries are keyed by their inputs.

mod codec;
mod file_digests;
mod folder;
pub mod gc;
mod key;
#[cfg(feature = "apt")]
mod made_layer;
mod paths;
mod prepared;
mod record;
mod remote;
mod verified_blobs;

pub use file_digests::{FileDigest, FileDigests};
pub use folder::{BuildLock, LayerCache};
pub use key::{content_key, hint, quick_key};
#[cfg(feature = "apt")]
pub(crate) use made_layer::MadeLayer;
pub(crate) use prepared::{PreparedFiles, UnusableFile};
pub use record::{LeakedPath, QuickRecord, Record};
pub use remote::{Lease, RemoteCache, RemoteCacheError};
pub use verified_blobs::VerifiedBlobs;
pub(crate) use verified_blobs::{mark_used, settle};

/// The folder of the Pythons of bases, each in a folder of its own.
pub(crate) const PYTHONS_FOLDER: &str = "pythons";

/// Decodes arbitrary bytes as every cached type, for a fuzz target: damaged files, and valid seals
/// around invalid bodies.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    use std::path::Path;
    fn read<T: serde::de::DeserializeOwned>(format: &str, bytes: &[u8]) {
        let path = Path::new("key");
        for whole in [bytes, &codec::seal(format, path, bytes)[..]] {
            let _: Option<T> = codec::decode(format, path, whole);
        }
    }
    read::<Record>(folder::RECORD, bytes);
    read::<QuickRecord>(folder::QUICK, bytes);
    read::<Vec<file_digests::FileDigestRow>>(file_digests::FORMAT, bytes);
    read::<Vec<verified_blobs::VerifiedRow>>(verified_blobs::FORMAT, bytes);
    read::<Vec<prepared::PreparedRow>>(prepared::FORMAT, bytes);
}

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
//! file has the stamp of its last verification ([`Verified`]), and everything else counts as
//! missing.
//!
//! Files get their final name when complete, so concurrent or killed builds leave no partial files.
//! The only lock is on building a layer: of concurrent builds, one builds and the others reuse.

#![allow(clippy::disallowed_methods)] // Cache entries are keyed by their inputs.

mod contents;
mod folder;
mod form;
pub mod inventory;
mod key;
mod record;
mod remote;
mod verified;

pub use contents::{Contents, Known};
pub use folder::{LayerCache, Making};
pub use key::{content_key, hint, quick_key};
pub use record::{Found, Quick, Record};
pub use remote::{Claim, SharedCache, SharedError};
pub use verified::Verified;
pub(crate) use verified::{mark_used, settle};

/// Decodes arbitrary bytes as every cached type, for a fuzz target: damaged files, and valid seals
/// around invalid bodies.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    use std::path::Path;
    fn read<T: serde::de::DeserializeOwned>(form: &str, bytes: &[u8]) {
        let path = Path::new("key");
        for whole in [bytes, &form::around(form, path, bytes)[..]] {
            let _: Option<T> = form::decode(form, path, whole);
        }
    }
    read::<Record>(folder::RECORD, bytes);
    read::<Quick>(folder::QUICK, bytes);
    read::<Vec<contents::Row>>(contents::FORM, bytes);
    read::<Vec<verified::Row>>(verified::FORM, bytes);
}

//! Layers that were built before: what decides one, and where it is kept.
//!
//! A layer is known under three digests. Its **quick key** is over all that can be told without reading a file: paths,
//! modes, owners, and the states of files as `stat` tells them, as git's index does; it is good on one machine. Its
//! **content key** has the digests of the files' bytes in their place, so it is the same wherever the same wheel is
//! installed: in another checkout, another project, on another machine. Its **hint** has neither: it says whether it
//! is worth while to read the files before the layer is made.
//!
//! All keys are over everything else that decides the bytes: the tree as it stands in the image (with prefix and
//! rewritten files), the form of the archive, and the compressor ([`crate::layer::Compression::identity`]). Whatever is
//! wrong with the cache costs time: a record is sealed under its key (`crate::sealed`), a blob is believed as long as
//! its file has the times it had when its bytes were last digested ([`Verified`]), and all else is as good as nothing.
//!
//! Names are temporary until their file is whole, so builds that run at once or are killed leave nothing half written.
//! Nothing is locked but the making of a layer, so that of many builds one makes it and the others take it.

#![allow(clippy::disallowed_methods)] // What is kept here is known by what it was made of.

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

/// What the cache reads, for a fuzz target: files that are damaged, and digests that are right over a body that is not.
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

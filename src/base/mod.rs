//! Base images: the layers below the ones that a build makes.
//!
//! A base is never unpacked. [`View::of`] reads each layer once and caches its index by the layer's
//! digest: names, owners, modes, links, a few small texts, the headers of ELF files. The indexes
//! are merged as a runtime unpacks layers: OCI image specification 1.1, `layer.md`, "Applying
//! Changesets". The view serves to
//!
//! - resolve paths through the base's links, and graft planned entries onto it
//!   ([`View::destination`], [`View::graft`]);
//! - find its Python ([`View::python`]);
//! - find the libraries that the base lacks ([`missing_libraries`]);
//! - add an account ([`accounts()`]);
//! - read one file of an image, or all ([`View::copy`], [`View::read_files`]).
//!
//! [`rootfs()`] makes an image of a directory or an archive; [`BaseReference`] is the value of
//! `--base`.

mod accounts;
mod content;
mod contents;
mod error;
mod graft;
mod index_cache;
mod index_codec;
mod layer_index;
mod libraries;
mod merge;
mod node;
mod overlay;
mod python;
mod rebase;
mod reference;
mod resolve;
mod retained;
mod rootfs;
mod runnable;
mod stdlib;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod view;

pub use accounts::{Accounts, accounts, writable_home};
pub use content::VisibleFile;
pub(crate) use contents::{ContentKey, FoundContent, WantedContent, read_contents};
pub use error::BaseError;
pub use index_codec::{IndexFormatError, check_layer_index};
pub(crate) use libraries::check_loadable;
pub use libraries::{CLibrary, MissingLibraries, MissingVersion, missing_libraries};
pub use node::{NodeKind, ViewNode};
pub use overlay::Overlay;
pub use python::{BasePython, path_variable};
pub(crate) use python::{command, variable, variables};
pub use rebase::{OnBase, check_rebase};
pub use reference::{AptSuite, BaseReference, BaseReferenceError, FileReference};
pub(crate) use resolve::{FinalLink, LinkNode, LinkTree, OnMissing, resolve_path};
pub use rootfs::rootfs;
pub(crate) use runnable::{PythonFile, RunnablePython, UnpackedPython};
pub(crate) use stdlib::MODULES as STDLIB_MODULES;
pub use view::{Attributes, View};

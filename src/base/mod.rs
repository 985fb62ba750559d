//! Base images: what lies below the layers that are built.
//!
//! A base is never unpacked. [`View::of`] reads each of its layers once, keeps what decides something (names, owners, modes,
//! links, a few small texts, the headers of ELF files) in a cache by the layer's digest, and merges the layers as a
//! runtime would: OCI image specification 1.1, `layer.md`, "Applying Changesets". On the view stand
//!
//! - resolving paths through the base's links, and fitting planned entries into it ([`View::place`], [`View::adapt`]);
//! - finding its Python ([`View::python`]);
//! - asking the loader which libraries the base lacks ([`missing_libraries`]);
//! - its accounts with one more ([`accounts`]);
//! - reading one file of an image ([`View::copy`]).
//!
//! [`rootfs`] makes an image of a directory or an archive, and [`BaseReference`] is what `--base` says.

mod accounts;
mod adapt;
mod cache;
mod content;
mod error;
mod form;
mod keep;
mod libraries;
mod merge;
mod overlay;
mod python;
mod rebase;
mod reference;
mod resolve;
mod rootfs;
mod slice;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod view;
mod whole;

pub use accounts::{Accounts, accounts, writable_home};
pub use error::BaseError;
pub use form::{FormError, check_form};
pub(crate) use libraries::check_loadable;
pub use libraries::{CLibrary, Lacking, MissingVersion, missing_libraries};
pub use overlay::Overlay;
pub use python::{BasePython, path_variable};
pub(crate) use python::{command, variable, variables};
pub use rebase::{OnBase, check_rebase};
pub use reference::{BaseReference, BaseReferenceError, FileReference};
pub use rootfs::rootfs;
pub use view::{Attributes, Node, NodeKind, View};

//! Reading and writing whole images: OCI layouts, archives, registries and Docker engines.
//!
//! Every transport reads and writes an [`Artifact`](crate::image::Artifact), independent of its
//! origin, so images can be copied between any two. [`open()`] and [`put()`] dispatch on the
//! reference.

#![allow(clippy::disallowed_methods)] // Files read here are no input of an environment's layers.

mod access;
mod archive;
mod blobs;
mod daemon;
mod draft;
mod error;
mod files;
mod index;
mod later;
mod layout;
mod open;
mod put;
mod read;
#[cfg(feature = "registry")]
pub mod registry;
mod remote;
pub mod shared;

pub use access::{Access, Network};
pub use error::StoreError;
pub use later::later;
pub use layout::Layout;
pub use open::{choose, name_of, open, open_image};
pub use put::{Extent, PutOptions, Stored, check, put, store};
pub use read::{Listed, list_layout, read_layout, verify_layers};

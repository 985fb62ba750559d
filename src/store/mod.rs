//! Reading and storing whole images: OCI layouts, archives, registries and Docker engines.
//!
//! Each takes and gives an [`Artifact`](crate::image::Artifact) and knows nothing of how it was made, so an image goes from
//! any of them to any other. [`open()`] and [`put()`] choose by the reference.

#![allow(clippy::disallowed_methods)] // What it reads decides no layer of an environment.

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

//! Reading and writing complete images: OCI layouts, archives, registries and Docker engines.
//!
//! Every transport reads and writes an [`Artifact`](crate::image::Artifact), independent of its
//! origin, so images can be copied between any two. [`open()`] and [`write()`] dispatch on the
//! reference. A copy is both:
//!
//! ```no_run
//! use ipo_oci::progress::Silent;
//! use ipo_oci::reference::Reference;
//! use ipo_oci::store::{self, Access, WriteOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (source, destination): (Reference, Reference) =
//!     ("oci:dist/image:1.0".parse()?, "oci-archive:image.tar".parse()?);
//! let access = Access::default();
//! let image = store::open(&source, &access)?;
//! let name = store::name_of(&source, &image);
//! store::write(&image, &destination, &name, &WriteOptions::default(), &access, &Silent)?;
//! # Ok(())
//! # }
//! ```

#![allow(clippy::disallowed_methods)] // Files read here are no input of an environment's layers.

mod access;
mod archive;
mod blobs;
mod contents;
mod daemon;
mod error;
mod extent;
mod files;
#[cfg(feature = "registry")]
pub(crate) mod http;
mod index;
mod layout;
mod layout_reader;
mod lazy;
mod open;
#[cfg(feature = "registry")]
pub mod registry;
mod remote;
pub mod remote_cache;
#[cfg(feature = "registry")]
mod throughput;
mod write;

pub use access::{Access, Network};
pub(crate) use contents::{Contents, LayoutContents, StoredFile, open_contents};
pub use error::{EngineError, StoreError};
pub use extent::Extent;
pub(crate) use index::{CONTAINERD_NAME, IndexState, REF_NAME, state as index_state};
pub use layout::Layout;
pub use layout_reader::{LayoutEntry, list_layout, read_layout, verify_layers};
pub use lazy::lazy_blobs;
pub use open::{name_of, open, open_image, select_platform};
pub use write::{Stored, WriteOptions, check, write, write_image};

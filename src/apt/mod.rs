//! Bases and packages from Debian archives, without apt, dpkg or a registry.
//!
//! [`PackageLayer`] makes a layer of packages; [`client`] finds the machine's package sources and fetches verified indexes
//! and packages. The crate `debian-archive` parses and decides.

#![allow(clippy::disallowed_methods)] // No layer of an environment depends on the accesses here.

pub mod client;
mod error;
mod layer;
mod lower;

pub use error::AptError;
pub use layer::{LayerFolders, PackageLayer};

//! Bases and packages from Debian archives, without apt, dpkg or a registry.
//!
//! [`PackageLookup`] has the packages of a suite, locked or resolved; [`PackageLayer`] makes a layer of them; [`client`] finds the machine's package sources and fetches verified indexes
//! and packages. The crate `debian-archive` parses and decides.

#![allow(clippy::disallowed_methods)] // No layer of an environment depends on the accesses here.

pub mod client;
mod error;
mod layer;
mod lookup;
mod lower;
mod resolutions;
mod system;

pub use error::AptError;
pub use layer::{LayerFolders, PackageLayer};
pub use lookup::{PackageLookup, PackageSet, SuitePython};
pub use lower::installed_in;
pub use system::suite_of_root;

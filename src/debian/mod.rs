//! The Debian packages of a root file system, read from dpkg's database without dpkg.
//!
//! Owns the read-only access to `var/lib/dpkg`: installed packages (`status`: syntax in Debian
//! Policy chapter 5, fields in deb-control(5)), the package of a file (`info/*.list`, as in
//! dpkg-query(1) `--search`; `diversions`, dpkg-divert(1)) and the checksums of a package's files
//! (`info/*.md5sums`). [`Package::paragraph`] and [`Dpkg::md5sums`] provide the content of
//! `/var/lib/dpkg/status.d/NAME`, one paragraph per file: the convention of distroless, by which
//! scanners find an image's packages.
//!
//! `install` turns `.deb` files into entries of an image with a database of their own.
//!
//! Leaves the choice of an image's files to [`crate::system`]. Archives and the ordering of
//! versions are out of scope.

mod dpkg;
#[cfg(feature = "apt")]
pub mod install;
mod owners;
mod package;

use std::path::PathBuf;

pub use dpkg::{Dpkg, packages_in};
pub use package::{Package, SourcePackage};

use crate::error::{Advice, FileError};
use crate::printable;

/// An error in reading the database; problems with one package are warnings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DebianError {
    /// A failed operation of the operating system.
    #[error(transparent)]
    File(#[from] FileError),
    /// A database file far larger than any real one.
    #[error("cannot read {}: {size} bytes exceed the limit of {limit}", printable::path(.path))]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
}

impl Advice for DebianError {
    fn help(&self) -> Option<String> {
        match self {
            Self::File(error) => error.help(),
            Self::TooLarge { .. } => {
                Some("check that the file is dpkg's, or restore its backup with the suffix -old".to_owned())
            }
        }
    }
}

/// Parses `status` and `diversions`, for a fuzz target.
#[doc(hidden)]
pub fn fuzz(text: &str) {
    let _ = packages_in(text);
    let _ = owners::Diversions::parse(text, &owners::Aliases::default());
}

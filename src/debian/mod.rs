//! The Debian packages of a root file system, read from dpkg's database without dpkg.
//!
//! Owns the reading of `var/lib/dpkg`: which packages are installed (`status`, Debian Policy chapter 5
//! for the syntax, deb-control(5) for the fields), which package a file belongs to (`info/*.list`,
//! dpkg-query(1) `--search`; `diversions`, dpkg-divert(1)), and the sums of a package's files
//! (`info/*.md5sums`). The database is only read. Scanners find an image's packages in
//! `/var/lib/dpkg/status.d/NAME`, one paragraph a file, which is the convention of distroless;
//! [`Package::paragraph`] and [`Dpkg::md5sums`] are what goes there.
//!
//! It leaves to others which files go into an image, and knows nothing of archives or versions'
//! order.

mod dpkg;
mod owners;
mod package;

use std::path::PathBuf;

pub use dpkg::{Dpkg, packages_in};
pub use package::{Package, Source};

use crate::error::{Advice, FileError};
use crate::printable;

/// Why the database could not be read as a whole. What is wrong with one package is a warning.
#[derive(Debug, thiserror::Error)]
pub enum DebianError {
    /// The operating system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file of the database is far larger than any real one.
    #[error("{} has {size} bytes, more than the {limit} that are read", printable::path(.path))]
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
            Self::TooLarge { .. } => Some(
                "check that it is dpkg's file, or restore it from its backup with the ending -old".to_owned(),
            ),
        }
    }
}

/// Reads what dpkg keeps, for a fuzz target.
#[doc(hidden)]
pub fn fuzz(text: &str) {
    let _ = packages_in(text);
    let _ = owners::Diversions::parse(text, &owners::Aliases::default());
}

//! The files of a system around Python: shared libraries, accounts, certificates, time zones.
//!
//! An image from scratch has none of these, and Python services expect them. Leaves ELF searches to
//! [`crate::elf`], and dpkg's database to [`crate::debian`].

mod companions;
mod files;
mod libraries;
mod missing;
mod packages;
mod strip;

pub use files::{Account, CERTIFICATES, Choice, OptionalFiles, accounts, files};
pub(crate) use libraries::is_baseline_library;
pub use libraries::{Programs, SharedLibraries, apply, shared_libraries};
pub(crate) use missing::LibraryIndex;
pub use packages::record_packages;

use std::path::PathBuf;

use crate::debian::DebianError;
use crate::elf::ElfError;
use crate::error::{Advice, FileError};
use crate::printable;
use crate::tree::{ContentError, PathError};

/// An error in collecting files of the system for an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SystemError {
    /// A failed operation of the operating system.
    #[error(transparent)]
    File(#[from] FileError),
    /// An unreadable file.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A file name that is invalid in an image.
    #[error(transparent)]
    Path(#[from] PathError),
    /// An unreadable ELF file.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// An unreadable package database.
    #[error(transparent)]
    Debian(#[from] DebianError),
    /// A program that is linked statically, or of another system.
    #[error("C library of {} not found on this machine", printable::path(.0))]
    NoLibc(PathBuf),
    /// A library missing to the interpreter, which would not start.
    #[error("library not found: {} needs {soname}, which this machine does not have", printable::path(.file))]
    MissingLibrary {
        /// The file with the need.
        file: PathBuf,
        /// The missing library.
        soname: String,
    },
    /// A path of this machine that is invalid in an image.
    #[error("invalid path {}: not UTF-8", printable::path(.0))]
    NotUtf8(PathBuf),
}

impl Advice for SystemError {
    fn help(&self) -> Option<String> {
        match self {
            Self::File(error) => error.help(),
            Self::Content(error) => error.help(),
            Self::Path(error) => error.help(),
            Self::Elf(error) => error.help(),
            Self::Debian(error) => error.help(),
            Self::NoLibc(_) => {
                Some("make the environment with an interpreter linked to this machine's C library".to_owned())
            }
            Self::MissingLibrary { soname, .. } => Some(format!(
                "install the package with {soname} (Debian: find its name with `apt-file search {soname}`), and build again"
            )),
            Self::NotUtf8(_) => Some("move the file to a path in UTF-8".to_owned()),
        }
    }
}

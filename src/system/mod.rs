//! What makes an image a system: shared libraries, accounts, certificates, time zones.
//!
//! An image made from nothing has nothing, and Python services expect a little more than that. Owns which files
//! of the build machine's system go into an image and where they stand in it; how ELF files and dpkg's database are
//! read is left to [`crate::elf`] and [`crate::debian`].

mod files;
mod libraries;
mod place;
mod search;
mod strip;

use std::path::PathBuf;

pub use files::{Account, Choice, Wanted, accounts, files};
pub use libraries::{LibraryRequest, OPENED_BY_NAME, SharedLibraries, Symbols, shared_libraries};
pub use place::Moved;

use crate::elf::ElfError;
use crate::error::{Advice, FileError};
use crate::tree::{ContentError, PathError};

/// Files of the system that cannot go into an image.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// The operating system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file could not be read.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A file has a name that no path of an image can have.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A program or library could not be understood.
    #[error(transparent)]
    Elf(ElfError),
    /// The interpreter does not start on this machine.
    #[error("{} needs the library {soname}, which is not on this machine", .file.display())]
    MissingLibrary {
        /// What needs it.
        file: PathBuf,
        /// Its name.
        soname: String,
    },
}

impl Advice for SystemError {
    fn help(&self) -> Option<String> {
        match self {
            Self::File(error) => error.help(),
            Self::Content(error) => error.help(),
            Self::Path(error) => error.help(),
            Self::Elf(error) => error.help(),
            Self::MissingLibrary { soname, .. } => Some(match libraries::debian_package(soname) {
                Some(package) => format!("install the package that has it (Debian: probably {package})"),
                None => "install the package that has it".to_owned(),
            }),
        }
    }
}

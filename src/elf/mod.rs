//! ELF files: the libraries that they need, and the dynamic loader's search for these.
//!
//! Owns the reading of program headers and the dynamic section ([`read`]), the search for shared
//! libraries ([`Loader`]) and the rewriting of search paths in place ([`rewrite_search_path`]).
//! Follows the System V ABI (gABI, chapters 4 and 5), ld.so(8) of the GNU C library for the search,
//! and musl's `ldso/dynlink.c` for programs that name musl's loader. No file is ever executed, so a
//! foreign architecture's libraries resolve as well as the machine's own.
//!
//! Leaves to others the choice of files to resolve, a library's package, and its path in an image.
//! Libraries that a program opens by name at run time (`dlopen`) are in no header; callers that
//! know the program must add them.

mod cache;
mod closure;
mod defaults;
mod description;
mod dst;
mod files;
#[cfg(test)]
pub(crate) mod fixture;
mod found;
mod header;
mod link_map;
mod loader;
mod machine;
mod root;
mod runpath;
mod search;
mod source;
#[cfg(test)]
mod tests;
mod versions;

use std::path::PathBuf;

pub use closure::{Library, LibraryClosure, LoadRoot};
pub use description::Description;
pub use found::{FoundBy, Missing};
pub use header::{Elf, ElfKind, parse, read};
pub use loader::Loader;
pub use machine::{ByteOrder, Class, Machine, OciPlatform};
pub use root::{FileKind, RootFiles};
pub use runpath::{rewrite_search_path, rewrite_search_path_in};
pub use versions::{VersionNeed, Versions, version_needs, versions};

use crate::error::{Advice, FileError};
use crate::printable;

/// An error in reading, resolving or rewriting an ELF file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ElfError {
    /// A failed operation of the operating system.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file with an ELF header and inconsistent or truncated data.
    #[error("invalid ELF file {}: {reason}", printable::path(.path))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The defect.
        reason: &'static str,
    },
    /// A file given as a program or library, and in another format.
    #[error("invalid ELF file {}: no ELF header", printable::path(.0))]
    NotElf(PathBuf),
    /// A file with neither `DT_RUNPATH` nor `DT_RPATH`.
    #[error("library search path not found in {}", printable::path(.0))]
    NoSearchPath(PathBuf),
    /// A new search path longer than the old one; the file must keep its size.
    #[error("cannot set the library search path of {}: {new:?} does not fit in the place of {old:?}", printable::path(.path))]
    DoesNotFit {
        /// The file.
        path: PathBuf,
        /// The current search path.
        old: String,
        /// The requested search path.
        new: String,
    },
    /// A search path that shares its bytes with another string.
    #[error(
        "cannot rewrite the library search path of {}: it shares its bytes with {user}",
        printable::path(.path)
    )]
    Shared {
        /// The file.
        path: PathBuf,
        /// The other user of the bytes.
        user: &'static str,
    },
}

impl Advice for ElfError {
    fn help(&self) -> Option<String> {
        match self {
            Self::File(error) => error.help(),
            Self::Malformed { .. } => {
                Some("reinstall the package or distribution of this file, which is damaged or truncated".to_owned())
            }
            Self::NotElf(_) => Some("name a program or a shared library".to_owned()),
            Self::NoSearchPath(_) => None,
            Self::DoesNotFit { .. } | Self::Shared { .. } => Some(
                "keep the file at the path it was built for, or set another search path with `patchelf --set-rpath`"
                    .to_owned(),
            ),
        }
    }
}

/// Parses a cache of the loader (`ld.so.cache`), for a fuzz target.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let _ = cache::LibraryCache::parse(bytes);
}

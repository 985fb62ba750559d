//! ELF files: what they need, and where the dynamic loader finds it.
//!
//! Owns the reading of program headers and the dynamic section ([`read`]), the loader's search for
//! shared libraries ([`Loader`]) and the rewriting of search paths in place
//! ([`rewrite_search_path`]). Follows the System V ABI (gABI, chapters 4 and 5), ld.so(8) of the GNU C
//! library for the search, and musl's `ldso/dynlink.c` where a program names musl's loader. Nothing
//! is ever executed: the answer comes from the files alone, so a foreign architecture's libraries
//! resolve as well as the machine's own.
//!
//! It leaves to others which files are worth asking about, what a library's package is, and where
//! it goes in an image. Libraries that a program opens by name while it runs (`dlopen`) stand in no
//! header and have to be named by whoever knows the program.

mod cache;
mod closure;
mod conventions;
mod description;
mod files;
#[cfg(test)]
pub(crate) mod fixture;
mod header;
mod loader;
mod machine;
mod process;
#[cfg(test)]
mod resolving;
mod root;
mod runpath;
mod search;
mod source;
mod token;
mod versions;

use std::path::PathBuf;

pub use closure::{Closure, FoundBy, Library, Missing, Root};
pub use description::Description;
pub use header::{Elf, Kind, parse, read};
pub use loader::Loader;
pub use machine::{ByteOrder, Class, Machine, Platform};
pub use root::{FileKind, RootFiles};
pub use runpath::{rewrite_search_path, rewrite_search_path_in};
pub use versions::{VersionNeed, Versions, version_needs, versions};

use crate::error::{Advice, FileError};
use crate::printable;

/// Why an ELF file could not be read, resolved or rewritten.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// The operating system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// It says that it is ELF, and is not by its own figures.
    #[error("{} is a broken ELF file: {reason}", printable::path(.path))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It was named as a program or a library, and is something else.
    #[error("{} is not an ELF file", printable::path(.0))]
    NotElf(PathBuf),
    /// Neither DT_RUNPATH nor DT_RPATH is there to be rewritten.
    #[error("{} has no search path for libraries", printable::path(.0))]
    NoSearchPath(PathBuf),
    /// The new search path is longer than the old, and the file must keep its size.
    #[error("the library search path {new:?} does not fit into {}, where {old:?} stands", printable::path(.path))]
    DoesNotFit {
        /// The file.
        path: PathBuf,
        /// The search path it has.
        old: String,
        /// The search path it should get.
        new: String,
    },
    /// The linker stored something else in the same bytes.
    #[error(
        "the library search path of {} cannot be rewritten: it shares its bytes with {what}",
        printable::path(.path)
    )]
    Shared {
        /// The file.
        path: PathBuf,
        /// What else uses the bytes.
        what: &'static str,
    },
}

impl Advice for ElfError {
    fn help(&self) -> Option<String> {
        match self {
            Self::File(error) => error.help(),
            Self::Malformed { .. } => {
                Some("the file is damaged or cut short: install again what it belongs to".to_owned())
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

/// Reads a cache of the loader (ld.so.cache), for a fuzz target.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let _ = cache::LibraryCache::parse(bytes);
}

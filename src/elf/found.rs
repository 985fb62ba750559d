//! The result of one search for a library: [`FoundBy`] or [`Missing`].

use std::path::PathBuf;

/// The rule of ld.so(8) that led to a library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FoundBy {
    /// The requested name is a path.
    Path,
    /// `DT_RPATH` of the file that needs the library, or of a file that loaded that one.
    Rpath,
    /// `DT_RUNPATH` of the file that needs the library.
    Runpath,
    /// `ld.so.cache`. An image without a cache has the library only if its directory is a default
    /// one.
    Cache,
    /// The loader's default directories.
    Default,
}

/// A library that was not found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Missing {
    /// The requested name.
    pub soname: String,
    /// The file that needs the library.
    pub needed_by: PathBuf,
}

//! [`NotSource`]: directories and files in a tree that are no source, told by marks of their own.
//!
//! - `pyvenv.cfg` marks a virtual environment (Python documentation, `venv`; PEP 405), `conda-meta` one of conda.
//! - `CACHEDIR.TAG` marks a cache (<https://bford.info/cachedir/>).
//!
//! Files that builds write are recognized by [`crate::builder::leave_out_products`].

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// The first bytes of every `CACHEDIR.TAG`.
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Something in a tree that is no source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Relative to the context's root.
    pub path: String,
    /// Its kind.
    pub what: NotSource,
}

/// A kind of thing that is no source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum NotSource {
    /// A virtual environment, whatever its name.
    VirtualEnvironment,
    /// An environment of conda or pixi.
    CondaEnvironment,
    /// A directory that a tool can make again.
    Cache,
    /// A directory with an image layout.
    ImageLayout,
    /// An archive of images: an OCI layout in a tar, or the form of `docker save`.
    ImageArchive,
    /// A size report of an image.
    SizeReport,
    /// Digests and names of an image that was built.
    BuildMetadata,
    /// A trace of a build's times.
    BuildTimings,
    /// A file that a build was writing when it was killed.
    Unfinished,
}

impl NotSource {
    /// Whether it is an environment. No line of an ignore file takes one back.
    pub fn is_environment(self) -> bool {
        matches!(self, Self::VirtualEnvironment | Self::CondaEnvironment)
    }
}

impl fmt::Display for NotSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::VirtualEnvironment => "a virtual environment",
            Self::CondaEnvironment => "a conda environment",
            Self::Cache => "a cache",
            Self::ImageLayout => "an image layout",
            Self::ImageArchive => "an image archive",
            Self::SizeReport => "a size report",
            Self::BuildMetadata => "metadata of a build",
            Self::BuildTimings => "timings of a build",
            Self::Unfinished => "an unfinished file of a build",
        })
    }
}

/// Recognizes a directory, or a link to one, by the marks in it.
pub(super) fn of_directory(directory: &Path) -> Option<NotSource> {
    environment(directory).or_else(|| is_cache(directory).then_some(NotSource::Cache))
}

/// Recognizes an environment.
pub(super) fn environment(directory: &Path) -> Option<NotSource> {
    if fs::metadata(directory.join("pyvenv.cfg")).is_ok_and(|mark| mark.is_file()) {
        return Some(NotSource::VirtualEnvironment);
    }
    let conda = fs::metadata(directory.join("conda-meta")).is_ok_and(|mark| mark.is_dir());
    conda.then_some(NotSource::CondaEnvironment)
}

fn is_cache(directory: &Path) -> bool {
    let tag = directory.join("CACHEDIR.TAG");
    // A named pipe would be waited for.
    if !fs::symlink_metadata(&tag).is_ok_and(|tag| tag.is_file()) {
        return false;
    }
    let mut start = Vec::new();
    File::open(tag).is_ok_and(|tag| tag.take(CACHE_SIGNATURE.len() as u64).read_to_end(&mut start).is_ok())
        && start == CACHE_SIGNATURE
}

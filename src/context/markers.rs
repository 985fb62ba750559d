//! [`NotSource`]: recognizes directories and files that are not source by marker files.
//!
//! - `pyvenv.cfg` marks a virtual environment (Python documentation, `venv`; PEP 405), `conda-meta`
//!   a conda environment.
//! - `CACHEDIR.TAG` marks a cache (<https://bford.info/cachedir/>).
//!
//! Output files of builds are recognized by [`crate::builder::exclude_build_results`].

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// The first bytes of every `CACHEDIR.TAG`.
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// A directory or file that is not source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExcludedPath {
    /// Path relative to the context's root.
    pub path: String,
    /// The kind.
    pub what: NotSource,
}

/// A kind of directory or file that is not source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum NotSource {
    /// A virtual environment of any name.
    VirtualEnvironment,
    /// An environment of conda or pixi.
    CondaEnvironment,
    /// A cache directory, which a tool can recreate.
    Cache,
    /// A directory with an image layout.
    ImageLayout,
    /// An archive of images: an OCI layout in a tar, or the format of `docker save`.
    ImageArchive,
    /// A size report of an image.
    SizeReport,
    /// Build metadata: digests and names of a built image.
    BuildMetadata,
    /// The plan of a build, as JSON.
    BuildPlan,
    /// A trace of build timings.
    BuildTimings,
    /// The temporary file of a killed build.
    Unfinished,
}

impl NotSource {
    /// Returns true for an environment. No rule of an ignore file re-includes environments.
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
            Self::BuildPlan => "the plan of a build",
            Self::BuildTimings => "timings of a build",
            Self::Unfinished => "an unfinished file of a build",
        })
    }
}

/// Recognizes a directory, or a link to one, by its marker files.
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
    // Opening a named pipe would block.
    if !fs::symlink_metadata(&tag).is_ok_and(|tag| tag.is_file()) {
        return false;
    }
    let mut start = Vec::new();
    File::open(tag).is_ok_and(|tag| tag.take(CACHE_SIGNATURE.len() as u64).read_to_end(&mut start).is_ok())
        && start == CACHE_SIGNATURE
}

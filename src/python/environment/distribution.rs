//! [`Distribution`]: an installed distribution with its files.
//!
//! Follows the packaging specification "Recording installed projects"
//! (<https://packaging.python.org/en/latest/specifications/recording-installed-packages/>): a
//! directory `NAME-VERSION.dist-info` in a directory of packages, with `METADATA` and `RECORD`. The
//! formats of older tools (`.egg-info`, `.egg-link`, `.egg`) are read in
//! `legacy`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::VenvError;
use super::listing::{FileListing, ListingEntry, has_extension, read_bytes, read_text};
use crate::python::metadata::core_metadata::Metadata;
use crate::python::metadata::direct_url::DirectUrl;
use crate::python::metadata::entry_points::EntryPoint;
use crate::python::metadata::wheel::Wheel;
use crate::tree::Owner;

/// The largest METADATA, RECORD or other file of a `.dist-info` read, in bytes. The largest known
/// RECORDs have some ten thousand rows, 1–2 MB.
pub(crate) const INFO_LIMIT: u64 = 64 << 20;

/// An installed distribution.
#[derive(Debug, Clone)]
pub struct Distribution {
    /// The normalized name.
    pub name: Arc<str>,
    /// The version, verbatim from the metadata.
    pub version: Arc<str>,
    /// The core metadata.
    pub metadata: Metadata,
    /// The format of its record.
    pub kind: DistributionKind,
    /// The environment or the base interpreter.
    pub origin: DistributionOrigin,
    /// Its directory of packages, below the environment: `lib/python3.11/site-packages`.
    pub site: String,
    /// Its metadata directory or file, below the environment.
    pub info: String,
    /// Its files by their path below the environment, without the bytecode in `__pycache__`.
    pub files: BTreeMap<String, Recorded>,
    /// The wheel from which it was installed.
    pub wheel: Option<Wheel>,
    /// Its commands.
    pub entry_points: Vec<EntryPoint>,
    /// The origin, if not an index.
    pub direct_url: Option<DirectUrl>,
    /// `INSTALLER`: pip, uv.
    pub installer: Option<String>,
    /// `REQUESTED`: installed by name, not as a dependency.
    pub requested: bool,
    /// `top_level.txt`: its modules and packages, if listed.
    pub top_level: Vec<String>,
}

/// The format of an installed distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DistributionKind {
    /// `NAME-VERSION.dist-info` with a RECORD.
    DistInfo,
    /// `NAME-VERSION.dist-info` without one, as in Debian's packages: its files are guessed.
    DistInfoWithoutRecord,
    /// An `.egg-info` directory or file of distutils or setuptools.
    EggInfo,
    /// An egg: a directory or a zip archive.
    Egg,
    /// An `.egg-link` of `setup.py develop`, with the directory of the source.
    EggLink(PathBuf),
}

/// The owner of a directory of packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DistributionOrigin {
    /// The environment.
    Environment,
    /// The base interpreter, visible through `include-system-site-packages`.
    System,
}

/// The columns of a RECORD row after the path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The hash column.
    pub hash: Option<String>,
    /// The size in bytes.
    pub size: Option<u64>,
}

impl Distribution {
    /// Returns the owner of the distribution's entries.
    pub fn owner(&self) -> Owner {
        Owner::Distribution { name: self.name.clone(), version: self.version.clone() }
    }

    /// Returns the source directory of an editable install.
    pub fn editable_root(&self) -> Option<&Path> {
        match (&self.direct_url, &self.kind) {
            (Some(DirectUrl::Editable(path)), _) | (_, DistributionKind::EggLink(path)) => Some(path),
            _ => None,
        }
    }

    /// Returns the directory or archive of this machine from which it was installed.
    pub fn local_origin(&self) -> Option<&Path> {
        match &self.direct_url {
            Some(DirectUrl::Local(path)) => Some(path),
            _ => self.editable_root(),
        }
    }
}

/// A directory of packages to read.
#[derive(Debug)]
pub(crate) struct Site<'a> {
    /// The directory below the environment.
    pub(crate) place: &'a str,
    /// The files of the environment.
    pub(crate) listing: &'a FileListing,
    /// The spellings of the environment's root, for absolute paths.
    pub(crate) roots: &'a [&'a str],
    pub(crate) origin: DistributionOrigin,
}

impl Site<'_> {
    /// Returns the names directly in the directory.
    pub(super) fn names(&self) -> BTreeSet<&str> {
        let mut names: Vec<&str> =
            self.below(self.place).filter_map(|(rest, _)| rest.split('/').next()).collect();
        names.dedup();
        names.into_iter().collect()
    }

    /// Iterates over the files below `directory`, with their path below it.
    pub(crate) fn below<'s>(
        &'s self,
        directory: &'s str,
    ) -> impl Iterator<Item = (&'s str, &'s ListingEntry)> {
        let from = format!("{directory}/");
        self.listing.range(from..).map_while(move |(place, listed)| {
            Some((place.strip_prefix(directory)?.strip_prefix('/')?, listed))
        })
    }

    /// Reads the text of the file `place`, if present.
    pub(crate) fn text(&self, place: &str) -> Result<Option<String>, VenvError> {
        match self.listing.get(place).and_then(ListingEntry::file) {
            Some(file) => read_text(file, INFO_LIMIT).map(Some),
            None => Ok(None),
        }
    }

    /// Reads the bytes of the file `place`, if present.
    pub(crate) fn bytes(&self, place: &str) -> Result<Option<Vec<u8>>, VenvError> {
        match self.listing.get(place).and_then(ListingEntry::file) {
            Some(file) => read_bytes(file, INFO_LIMIT).map(Some),
            None => Ok(None),
        }
    }

    /// Returns the path of `place` on this machine, for an error.
    pub(crate) fn host(&self, place: &str) -> PathBuf {
        match self.listing.get(place).and_then(ListingEntry::file) {
            Some(file) => file.path.to_path_buf(),
            None => Path::new(self.roots.first().unwrap_or(&"")).join(place),
        }
    }
}

/// Returns true if `place` is bytecode of a `.py` beside its `__pycache__`.
pub(crate) fn is_bytecode_cache(place: &str) -> bool {
    place.rsplit('/').nth(1) == Some("__pycache__")
        && (has_extension(place, "pyc") || has_extension(place, "pyo"))
}

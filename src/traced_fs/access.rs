//! [`TracedAccess`]: an access to a path or a directory, with its outcome.

use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, openat, statat};
use serde::{Deserialize, Serialize};

use super::stamp::FileStamp;
use crate::digest::{Digest, Hasher};

/// Opens a folder as a place for lookups alone, which needs no permission to list it.
#[cfg(target_os = "linux")]
const PATH_ONLY: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const PATH_ONLY: OFlags = OFlags::empty();

/// Handling of a link in the last component of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Follow {
    Links,
    Never,
}

/// One recorded access. A path that is not UTF-8 cannot be recorded.
#[derive(Debug)]
pub(super) enum TracedAccess {
    /// The metadata of a path, or a part of them.
    Path(String, Follow, Observation),
    /// The canonical form of a path.
    Canonical(String, Result<String, i32>),
    /// A listed directory, with some of the files in it.
    Listing(ListedDirectory),
    /// An access that cannot be validated later; invalidates the trace.
    Untraceable,
}

/// Outcome of one access to a path. Errors are `errno` values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Observation {
    /// The stamp.
    Stamp(FileStamp),
    /// The file type only: the `S_IFMT` bits of the mode.
    FileType(u32),
    /// The error.
    Error(i32),
}

impl Observation {
    /// `S_IFMT`, the bits of a mode that hold the file type (inode(7)).
    pub(super) const KIND: u32 = 0o170_000;

    pub(super) fn of(seen: &io::Result<Metadata>) -> Option<Self> {
        match seen {
            Ok(metadata) => Some(Self::Stamp(metadata.into())),
            Err(error) => error.raw_os_error().map(Self::Error),
        }
    }

    /// Merges two observations of one path. Returns `None` if they contradict each other.
    pub(super) fn merge(self, other: Self) -> Option<Self> {
        match (self, other) {
            (one, other) if one == other => Some(one),
            // A stamp contains the file's type.
            (Self::Stamp(_), Self::FileType(_)) if self.file_type_only() == other => Some(self),
            (Self::FileType(_), Self::Stamp(_)) if other.file_type_only() == self => Some(other),
            _ => None,
        }
    }

    /// Reduces a stamp to the file type.
    pub(super) fn file_type_only(self) -> Self {
        match self {
            Self::Stamp(stamp) => Self::FileType(stamp.mode & Self::KIND),
            other => other,
        }
    }
}

/// A listed directory, with the files inspected while listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct ListedDirectory {
    path: String,
    /// Names of the inspected files, separated by zero bytes.
    names: String,
    /// Stamp of the directory itself.
    stamp: FileStamp,
    /// Digest over the stamps of the files in `names`.
    stamps: Digest,
    /// Nanoseconds since 1970 after which any change of these files shows in their stamps.
    #[serde(skip)]
    pub(super) settles: i128,
}

impl ListedDirectory {
    /// Describes a directory with stamp `stamp` and the inspected files in it.
    /// Returns `None` if a file was seen with two stamps or a path is not UTF-8.
    pub(super) fn new(path: &Path, stamp: FileStamp, mut files: Vec<(OsString, FileStamp)>) -> Option<Self> {
        files.sort_by(|one, other| one.0.cmp(&other.0));
        files.dedup();
        let mut hasher = Hasher::new();
        let mut names = String::new();
        let (mut settles, mut last) = (stamp.settles(), "");
        for (name, stamp) in &files {
            let name = name.to_str().filter(|name| *name != last)?;
            hasher.update(&stamp.bytes());
            settles = settles.max(stamp.settles());
            if !names.is_empty() {
                names.push('\0');
            }
            names.push_str(name);
            last = name;
        }
        Some(Self { path: path.to_str()?.to_owned(), stamp, names, stamps: hasher.finish(), settles })
    }

    /// Returns true if the directory and the files in it have the same stamps.
    pub(super) fn is_valid(&self) -> rustix::io::Result<bool> {
        let flags = PATH_ONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, &*self.path, flags, Mode::empty())?;
        if FileStamp::from(&fstat(&directory)?) != self.stamp {
            return Ok(false);
        }
        let mut hasher = Hasher::new();
        for name in self.names.split('\0').filter(|name| !name.is_empty()) {
            let stat = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            hasher.update(&FileStamp::from(&stat).bytes());
        }
        Ok(hasher.finish() == self.stamps)
    }
}

//! [`Entry`]: one file, directory or link of the image.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Content, ImagePath};

/// 1980-01-01T00:00:01Z: the default modification time.
///
/// Zero confuses HTTP servers, and zip, whose times begin in 1980. Cloud Native Buildpacks use the
/// same second, so files of both tools have one time.
pub const CONSTANT_TIME: i64 = 315_532_801;

/// One member of an image's file system.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Path in the image.
    pub path: ImagePath,
    /// The type of the entry, with content or link target.
    pub kind: Kind,
    /// Permission bits with set-user-ID, set-group-ID and sticky: `0o755`.
    pub mode: u32,
    /// User ID in the image.
    pub uid: u32,
    /// Group ID in the image.
    pub gid: u32,
    /// Modification time.
    pub time: Time,
    /// The owner to which the bytes are attributed.
    pub owner: Owner,
}

/// The type of an entry.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link with its target, verbatim.
    Symlink(String),
    /// Another name of a file in the same layer. Only read, never planned.
    HardLink(ImagePath),
}

/// The modification time of an entry, in full seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// This second.
    At(i64),
    /// A second between 1980 and 2014 that follows from the bytes.
    ///
    /// HTTP servers derive the validator of a static file from its time and size (Starlette's
    /// `ETag` is `md5(mtime-size)`): with one time for all files, browsers would keep serving a
    /// changed file of equal size from their caches.
    FromContent,
}

/// The origin to which reports attribute the bytes of an entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Owner {
    /// A Python distribution, by normalized name and version.
    Distribution {
        /// Normalized name (PEP 503): `scikit-learn`.
        name: Arc<str>,
        /// Version as in the distribution's metadata.
        version: Arc<str>,
    },
    /// A system package, such as Debian's `libssl3`.
    Package {
        /// Name without architecture.
        name: Arc<str>,
        /// Version with epoch and revision.
        version: Arc<str>,
    },
    /// The Python interpreter and its standard library.
    Interpreter,
    /// The virtual environment itself: its links, `pyvenv.cfg` and activation scripts.
    Environment,
    /// The project's own source.
    Source,
    /// System files: accounts, certificates, time zones.
    System,
    /// A layer that a program added ([`ExtraLayer`](crate::plan::ExtraLayer)).
    Extra {
        /// Name of the layer.
        layer: Arc<str>,
    },
}

/// The bytes of one owner in one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedBytes {
    /// The owner.
    pub owner: Owner,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of bytecode, included in `bytes`.
    pub bytecode: u64,
    /// Number of regular files.
    pub files: u64,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Distribution { name, version } | Self::Package { name, version } => {
                write!(f, "{name} {version}")
            }
            Self::Interpreter => f.write_str("interpreter"),
            Self::Environment => f.write_str("environment"),
            Self::Source => f.write_str("source"),
            Self::System => f.write_str("system"),
            Self::Extra { layer } => write!(f, "layer {layer}"),
        }
    }
}

impl Entry {
    /// Makes a directory of root, 0755, with [`CONSTANT_TIME`].
    pub fn directory(path: ImagePath, owner: Owner) -> Self {
        Self::new(path, Kind::Directory, 0o755, owner)
    }

    /// Makes a file of root, 0644, with [`CONSTANT_TIME`].
    pub fn file(path: ImagePath, content: Content, owner: Owner) -> Self {
        Self::new(path, Kind::File(content), 0o644, owner)
    }

    /// Makes an executable file of root, 0755, with [`CONSTANT_TIME`].
    pub fn executable(path: ImagePath, content: Content, owner: Owner) -> Self {
        Self::new(path, Kind::File(content), 0o755, owner)
    }

    /// Makes a symbolic link of root with [`CONSTANT_TIME`].
    pub fn symlink(path: ImagePath, target: impl Into<String>, owner: Owner) -> Self {
        Self::new(path, Kind::Symlink(target.into()), 0o777, owner)
    }

    fn new(path: ImagePath, kind: Kind, mode: u32, owner: Owner) -> Self {
        Self { path, kind, mode, uid: 0, gid: 0, time: Time::At(CONSTANT_TIME), owner }
    }

    /// Replaces the modification time.
    #[must_use]
    pub fn with_time(mut self, time: Time) -> Self {
        self.time = time;
        self
    }

    /// Replaces the permission bits.
    #[must_use]
    pub fn with_mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Returns the file's size as far as known before reading; 0 for other entries.
    pub fn size_hint(&self) -> u64 {
        match &self.kind {
            Kind::File(content) => content.size_hint(),
            _ => 0,
        }
    }

    /// Returns true for a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory)
    }
}

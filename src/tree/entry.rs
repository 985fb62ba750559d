//! [`Entry`]: one file, directory or link of the image.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Content, ImagePath};

/// 1980-01-01T00:00:01Z: the time of everything that has no better one.
///
/// Zero confuses zip, which knows nothing before 1980, and HTTP servers. Cloud Native Buildpacks
/// use the same second, so a file that both wrote has one time.
pub const CONSTANT_TIME: i64 = 315_532_801;

/// One member of an image's file system.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where it stands in the image.
    pub path: ImagePath,
    /// What it is, with its bytes or target.
    pub kind: Kind,
    /// Permission bits with set-user-id, set-group-id and sticky: `0o755`.
    pub mode: u32,
    /// Owner in the image.
    pub uid: u32,
    /// Group in the image.
    pub gid: u32,
    /// Its modification time.
    pub time: Time,
    /// To whom its bytes are accounted.
    pub owner: Owner,
}

/// What an entry is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link with this target, as it is written.
    Symlink(String),
    /// Another name of a file that stands in the same layer. Never planned, only read.
    HardLink(ImagePath),
}

/// The modification time of an entry, in whole seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// This second.
    At(i64),
    /// A second between 1980 and 2014 that follows from the bytes.
    ///
    /// HTTP servers make the validator of a static file from its time and size (Starlette's `ETag`
    /// is `md5(mtime-size)`): with one time for all files, a file that was changed and kept its
    /// size would be served from a browser's cache for ever.
    FromContent,
}

/// To whom the bytes of an entry are accounted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Owner {
    /// A Python distribution, by its normalised name and version.
    Distribution {
        /// Normalised name (PEP 503): `scikit-learn`.
        name: Arc<str>,
        /// Version as its metadata has it.
        version: Arc<str>,
    },
    /// A package of the system, such as Debian's `libssl3`.
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
    /// What makes the image a system: accounts, certificates, time zones.
    System,
}

/// The bytes of one owner in one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedBytes {
    /// Whose they are.
    pub owner: Owner,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of bytecode, which are among these.
    pub bytecode: u64,
    /// Regular files.
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
        }
    }
}

impl Entry {
    /// A directory of root's, 0755, with the constant time.
    pub fn directory(path: ImagePath, owner: Owner) -> Self {
        Self::new(path, Kind::Directory, 0o755, owner)
    }

    /// A file of root's, 0644, with the constant time.
    pub fn file(path: ImagePath, content: Content, owner: Owner) -> Self {
        Self::new(path, Kind::File(content), 0o644, owner)
    }

    /// A file of root's with execute permission for all, 0755, with the constant time.
    pub fn executable(path: ImagePath, content: Content, owner: Owner) -> Self {
        Self::new(path, Kind::File(content), 0o755, owner)
    }

    /// A symbolic link of root's with the constant time.
    pub fn symlink(path: ImagePath, target: impl Into<String>, owner: Owner) -> Self {
        Self::new(path, Kind::Symlink(target.into()), 0o777, owner)
    }

    fn new(path: ImagePath, kind: Kind, mode: u32, owner: Owner) -> Self {
        Self { path, kind, mode, uid: 0, gid: 0, time: Time::At(CONSTANT_TIME), owner }
    }

    /// The same entry with another time.
    #[must_use]
    pub fn with_time(mut self, time: Time) -> Self {
        self.time = time;
        self
    }

    /// The same entry with other permission bits.
    #[must_use]
    pub fn with_mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// The bytes of a file as far as they are known before it is read; 0 for all else.
    pub fn size_hint(&self) -> u64 {
        match &self.kind {
            Kind::File(content) => content.size_hint(),
            _ => 0,
        }
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory)
    }
}

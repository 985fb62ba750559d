//! [`Blob`]: the location of a layer's or document's bytes.

#![allow(clippy::disallowed_methods)] // A blob is identified by its digest.

use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::reference::RemoteName;
use crate::tree::HostFile;

/// The location of a blob.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Blob {
    /// A file of this machine that holds only the blob.
    File(PathBuf),
    /// A file of this machine whose bytes were verified at this file stamp, so that reading it
    /// again is unnecessary.
    Verified {
        /// The file with its stamp.
        file: HostFile,
        /// A repository that also holds the blob, see [`BlobSource::repository`].
        repository: Option<RemoteName>,
    },
    /// In memory.
    Memory(Arc<[u8]>),
    /// Another source: a registry, a member of an archive, an engine.
    Source(Arc<dyn BlobSource>),
}

/// A source of the bytes of one blob; can be opened any number of times.
pub trait BlobSource: fmt::Debug + Send + Sync {
    /// Opens the bytes at the offset `from`. They are unverified: callers compare the digest.
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>>;

    /// Returns the repository that holds the blob, if a registry does: other repositories of the
    /// registry can mount the blob without an upload.
    fn repository(&self) -> Option<RemoteName> {
        None
    }
}

impl Blob {
    /// Opens the unverified bytes from the start.
    pub fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        self.open_from(0)
    }

    /// Opens the unverified bytes at the offset `from`.
    pub fn open_from(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        match self {
            Self::File(_) | Self::Verified { .. } => {
                let mut file = File::open(self.path().unwrap_or(Path::new("")))?;
                if from > 0 {
                    file.seek(SeekFrom::Start(from))?;
                }
                Ok(Box::new(file))
            }
            Self::Memory(bytes) => {
                let mut cursor = Cursor::new(bytes.clone());
                cursor.set_position(from);
                Ok(Box::new(cursor))
            }
            Self::Source(source) => source.open(from),
        }
    }

    /// Returns the file of this machine that holds the blob.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Verified { file, .. } => Some(&file.path),
            Self::Memory(_) | Self::Source(_) => None,
        }
    }

    /// Returns the repository that holds the blob, see [`BlobSource::repository`].
    pub fn repository(&self) -> Option<RemoteName> {
        match self {
            Self::Source(source) => source.repository(),
            Self::Verified { repository, .. } => repository.clone(),
            Self::File(_) | Self::Memory(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_from_any_offset() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob");
        fs_err::write(&path, "abc").unwrap();
        for blob in [Blob::File(path.clone()), Blob::Memory(b"abc".to_vec().into())] {
            for (from, expected) in [(0, "abc"), (2, "c"), (3, "")] {
                let mut text = String::new();
                blob.open_from(from).unwrap().read_to_string(&mut text).unwrap();
                assert_eq!(text, expected);
            }
        }
    }
}

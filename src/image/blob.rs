//! [`Blob`]: where the bytes of a layer or a document are.

#![allow(clippy::disallowed_methods)] // A blob is known by its digest.

use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::reference::RemoteName;
use crate::tree::HostFile;

/// Where a blob is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Blob {
    /// In a file of this machine, which holds nothing else.
    File(PathBuf),
    /// In a file of this machine that had the right bytes when it was in this state: it need not be read to know it.
    Known {
        /// The file in that state.
        file: HostFile,
        /// The repository that holds it too, see [`BlobSource::repository`].
        repository: Option<RemoteName>,
    },
    /// In memory.
    Memory(Arc<[u8]>),
    /// Somewhere that has to be asked for it: a registry, a member of an archive, an engine.
    Source(Arc<dyn BlobSource>),
}

/// Gives the bytes of one blob, as often as it is asked.
pub trait BlobSource: fmt::Debug + Send + Sync {
    /// The bytes from the offset `from` on. They are not verified: whoever reads them compares the digest.
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>>;

    /// The repository that holds it, where a registry does: another repository of the same registry can have it without
    /// its bytes being sent.
    fn repository(&self) -> Option<RemoteName> {
        None
    }
}

impl Blob {
    /// Its bytes from the beginning. They are not verified.
    pub fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        self.open_from(0)
    }

    /// Its bytes from the offset `from` on.
    pub fn open_from(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        match self {
            Self::File(_) | Self::Known { .. } => {
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

    /// The file of this machine that it is in.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Known { file, .. } => Some(&file.path),
            Self::Memory(_) | Self::Source(_) => None,
        }
    }

    /// The repository that holds it, see [`BlobSource::repository`].
    pub fn repository(&self) -> Option<RemoteName> {
        match self {
            Self::Source(source) => source.repository(),
            Self::Known { repository, .. } => repository.clone(),
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

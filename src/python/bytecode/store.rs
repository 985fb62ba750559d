//! What was compiled, kept in a directory under the digest of all that decides it.
//!
//! `compiled/ab/<digest>.pyc` is a canonical file, ready for an image; `compiled/ab/<digest>.error`
//! says why a source does not compile. Files are written under a temporary name and renamed, and never
//! replaced. They are not synced, which would take longer than compiling: what a crash of the machine
//! left behind does not pass [`Store::find`].

#![allow(clippy::disallowed_methods)] // What is kept here is known by what it was made of.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::error::BytecodeError;
use super::interpreter::Identity;
use crate::digest::{Digest, Hasher};
use crate::disk;
use crate::error::FileError;
use crate::tree::{ContentError, HostFile, ImagePath};

/// Changes when the same source gives other bytes than before: with the canonical form and with
/// `worker.py`.
pub(super) const REVISION: u32 = 2;

/// A directory of compiled sources, which may not exist yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Store<'a> {
    /// It stays from one call to the next, and may be read-only or full.
    pub(super) cache: &'a Path,
    /// What cannot be kept there goes here, for this call.
    pub(super) work: &'a Path,
}

/// What is known of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// Its bytecode.
    Compiled(HostFile),
    /// It does not compile.
    Refused,
}

/// The name of what `source` gives as the file `path` of an image, compiled by this very version.
pub(super) fn key(python: Identity, path: &ImagePath, source: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(&REVISION.to_le_bytes());
    hasher.update(&python.magic.to_le_bytes());
    hasher.update(&python.hexversion.to_le_bytes());
    hasher.update(&(path.as_str().len() as u64).to_le_bytes());
    hasher.update(path.as_str().as_bytes());
    hasher.update(source);
    hasher.finish()
}

impl Store<'_> {
    /// What is known under `key`, if it is whole: `accept` is asked about the bytes.
    pub(super) fn find(self, key: Digest, accept: impl FnOnce(&[u8]) -> bool) -> Option<Known> {
        let path = self.path(key, "pyc");
        if let Ok(file) = described(&path) {
            if disk::untraced(|| file.read()).is_ok_and(|bytes| accept(&bytes)) {
                return Some(Known::Compiled(file));
            }
            let _ = fs_err::remove_file(&path);
        }
        self.path(key, "error").exists().then_some(Known::Refused)
    }

    /// The file under `key` as it is, without a look at its bytes.
    pub(super) fn file(self, key: Digest) -> Option<HostFile> {
        described(&self.path(key, "pyc")).ok()
    }

    /// Why the source under `key` does not compile.
    pub(super) fn refusal(self, key: Digest) -> Option<String> {
        let read = fs_err::read(self.path(key, "error"));
        let bytes = read.or_else(|_| fs_err::read(below(self.work, key, "error"))).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Keeps bytecode.
    pub(super) fn keep(self, key: Digest, pyc: &[u8]) -> Result<HostFile, BytecodeError> {
        Ok(described(&self.write(key, "pyc", pyc)?)?)
    }

    /// Keeps the reason why a source does not compile.
    pub(super) fn keep_refusal(self, key: Digest, reason: &str) -> Result<(), BytecodeError> {
        self.write(key, "error", reason.as_bytes()).map(|_| ())
    }

    /// Writes a file into the cache, or for this call only where the cache takes none.
    fn write(self, key: Digest, suffix: &str, bytes: &[u8]) -> Result<PathBuf, BytecodeError> {
        let path = self.path(key, suffix);
        if write(&path, bytes).is_ok() {
            return Ok(path);
        }
        let path = below(self.work, key, suffix);
        write(&path, bytes).map_err(BytecodeError::Cache)?;
        Ok(path)
    }

    fn path(self, key: Digest, suffix: &str) -> PathBuf {
        below(self.cache, key, suffix)
    }
}

/// A file of the store. No build depends on it: what is in it follows from what it was made of.
fn described(path: &Path) -> Result<HostFile, ContentError> {
    disk::untraced(|| HostFile::new(path))
}

fn below(folder: &Path, key: Digest, suffix: &str) -> PathBuf {
    let hex = key.hex();
    let first = hex.get(..2).unwrap_or_default();
    folder.join("compiled").join(first).join(format!("{hex}.{suffix}"))
}

/// Writes a file that does not exist yet. Another process that was faster wrote the same.
fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let failed = |error| FileError::new("write", path, error);
    let mut file = temporary_beside(path)?;
    file.write_all(bytes).map_err(failed)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error.error)),
    }
}

/// A temporary file in the directory of `path`, which is made if it is missing.
pub(super) fn temporary_beside(path: &Path) -> Result<tempfile::NamedTempFile, FileError> {
    let parent = path.parent().unwrap_or(path);
    let made = tempfile::NamedTempFile::new_in(parent).or_else(|error| {
        if error.kind() != std::io::ErrorKind::NotFound {
            return Err(error);
        }
        fs_err::create_dir_all(parent)?;
        tempfile::NamedTempFile::new_in(parent)
    });
    made.map_err(FileError::of("write", parent))
}

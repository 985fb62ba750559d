//! A directory of compiled bytecode, keyed by a digest of everything that decides the result.
//!
//! `compiled/ab/<digest>.pyc` is a canonical file, and `compiled/ab/<digest>.error` the message of
//! a failed compilation. Both are sealed under their key ([`crate::sealed`]): damaged bytecode can
//! look valid, so the seal is checked on each read, and again when the layer is written
//! ([`Compiled`]). Files are written under a temporary name and renamed. They are not synced, which
//! would take longer than compiling: truncated files have no valid seal.

#![allow(clippy::disallowed_methods)] // Files are found by the digest of their inputs.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::compiler::Identity;
use super::error::BytecodeError;
use crate::atomic_file;
use crate::digest::{Digest, Hasher};
use crate::error::FileError;
use crate::sealed;
use crate::traced_fs;
use crate::tree::{ContentError, HostFile, ImagePath, Transform, TransformError};

/// The version of the result for a given source: incremented with the canonical form and with
/// `worker.py`.
pub(super) const REVISION: u32 = 2;

/// The headings of the files. Increment the number with each change of the format.
const COMPILED: &str = "ipo-oci bytecode 1\n";
const REFUSED: &str = "ipo-oci bytecode refused 1\n";

/// A directory of compiled sources, created on the first write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Store<'a> {
    /// The persistent directory, which may be read-only or full.
    pub(super) cache: &'a Path,
    /// The fallback for files that the cache does not accept, for this call.
    pub(super) work: &'a Path,
}

/// The stored result for a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StoredResult {
    /// Bytecode.
    Compiled(HostFile),
    /// A compile error.
    Refused,
}

/// Returns the key of `source` as the file `path` of an image, compiled by this version.
pub(super) fn key(python: Identity, optimize: u8, path: &ImagePath, source: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(&REVISION.to_le_bytes());
    hasher.update(&python.magic.to_le_bytes());
    hasher.update(&python.hexversion.to_le_bytes());
    if optimize > 0 {
        hasher.update(&[optimize]);
    }
    hasher.update(&(path.as_str().len() as u64).to_le_bytes());
    hasher.update(path.as_str().as_bytes());
    hasher.update(source);
    hasher.finish()
}

impl Store<'_> {
    /// Returns the result under `key`. Files with an invalid seal are removed.
    pub(super) fn find(self, key: Digest) -> Option<StoredResult> {
        let path = self.path(key, "pyc");
        if let Some(file) = open_valid(&path, key) {
            return Some(StoredResult::Compiled(file));
        }
        sealed::remove(&path);
        self.refusal(key).map(|_| StoredResult::Refused)
    }

    /// Returns the file under `key` without a check of its bytes.
    pub(super) fn file(self, key: Digest) -> Option<HostFile> {
        described(&self.path(key, "pyc")).ok()
    }

    /// Returns the compiler's message for the source under `key`.
    pub(super) fn refusal(self, key: Digest) -> Option<String> {
        [self.cache, self.work].into_iter().find_map(|folder| {
            let path = below(folder, key, "error");
            let bytes = traced_fs::untraced(|| HostFile::new(&*path).and_then(|file| file.read())).ok();
            let reason = bytes.as_ref().and_then(|bytes| sealed::open(REFUSED, key.as_bytes(), bytes));
            if reason.is_none() {
                sealed::remove(&path);
            }
            Some(String::from_utf8_lossy(reason?).into_owned())
        })
    }

    /// Stores bytecode.
    pub(super) fn keep(self, key: Digest, pyc: &[u8]) -> Result<HostFile, BytecodeError> {
        let bytes = sealed::seal(COMPILED, key.as_bytes(), pyc);
        Ok(described(&self.write(key, "pyc", &bytes)?)?)
    }

    /// Stores the compiler's message for a source that does not compile.
    pub(super) fn keep_refusal(self, key: Digest, reason: &str) -> Result<(), BytecodeError> {
        let bytes = sealed::seal(REFUSED, key.as_bytes(), reason.as_bytes());
        self.write(key, "error", &bytes).map(|_| ())
    }

    /// Writes a file into the cache, or else into the directory for this call.
    fn write(self, key: Digest, suffix: &str, bytes: &[u8]) -> Result<PathBuf, BytecodeError> {
        let path = self.path(key, suffix);
        if write(&path, bytes, key).is_ok() {
            return Ok(path);
        }
        let path = below(self.work, key, suffix);
        write(&path, bytes, key).map_err(BytecodeError::Cache)?;
        Ok(path)
    }

    fn path(self, key: Digest, suffix: &str) -> PathBuf {
        below(self.cache, key, suffix)
    }
}

/// Describes a file of the store. Untraced, since the content follows from the key.
fn described(path: &Path) -> Result<HostFile, ContentError> {
    traced_fs::untraced(|| HostFile::new(path))
}

fn below(folder: &Path, key: Digest, suffix: &str) -> PathBuf {
    let hex = key.hex();
    let first = hex.get(..2).unwrap_or_default();
    folder.join("compiled").join(first).join(format!("{hex}.{suffix}"))
}

/// Returns the compiled file at `path`, if its seal is valid.
fn open_valid(path: &Path, key: Digest) -> Option<HostFile> {
    let file = described(path).ok()?;
    let bytes = traced_fs::untraced(|| file.read()).ok()?;
    sealed::open(COMPILED, key.as_bytes(), &bytes).map(|_| file)
}

/// Writes a file. A file written meanwhile by another process has the same content and is retained.
fn write(path: &Path, bytes: &[u8], key: Digest) -> Result<(), FileError> {
    let failed = |error| FileError::new("write", path, error);
    let mut file = atomic_file::temporary_beside(path).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => {
            match open_valid(path, key) {
                Some(_) => Ok(()),
                None => atomic_file::persist(error.file, path).map_err(failed),
            }
        }
        Err(error) => Err(failed(error.error)),
    }
}

/// Opens a sealed compiled file for its layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Compiled(pub(super) Digest);

impl Transform for Compiled {
    fn apply(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>, TransformError> {
        let length = sealed::open(COMPILED, self.0.as_bytes(), &bytes).map(<[u8]>::len);
        let damaged = || TransformError("the cached bytecode is damaged".to_owned());
        bytes.drain(..bytes.len() - length.ok_or_else(damaged)?);
        Ok(bytes)
    }

    fn identity(&self) -> String {
        format!("compiled {}", self.0)
    }
}

/// Opens files with a valid seal, a wrong one and none.
pub(super) fn fuzz(bytes: &[u8]) {
    use crate::tree::Transform as _;
    let (key, other) = (Digest::of(b"key"), Digest::of(b"other"));
    let compiled = Compiled(key);
    assert_eq!(compiled.apply(sealed::seal(COMPILED, key.as_bytes(), bytes)).as_deref(), Ok(bytes));
    assert!(compiled.apply(sealed::seal(COMPILED, other.as_bytes(), bytes)).is_err());
    assert!(compiled.apply(bytes.to_vec()).is_err());
}

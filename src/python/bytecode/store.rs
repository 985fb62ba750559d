//! What was compiled, kept in a directory under the digest of all that decides it.
//!
//! `compiled/ab/<digest>.pyc` is a canonical file, and `compiled/ab/<digest>.error` says why a source does not compile. Both are
//! sealed under their key ([`crate::sealed`]): bytecode that is damaged can look as good as any, so the seal is looked at
//! whenever a file is read, and once more when its layer is written ([`Compiled`]). Files are written under a temporary name and
//! renamed. They are not synced, which would take longer than compiling: the remains of a crash do not open.

#![allow(clippy::disallowed_methods)] // What is kept here is known by what it was made of.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::error::BytecodeError;
use super::interpreter::Identity;
use crate::digest::{Digest, Hasher};
use crate::disk;
use crate::error::FileError;
use crate::sealed;
use crate::tree::{ContentError, HostFile, ImagePath, Transform, TransformError};

/// Changes when the same source gives other bytes than before: with the canonical form and with
/// `worker.py`.
pub(super) const REVISION: u32 = 2;

/// The forms of the files. A number is raised with every change to how they are kept.
const COMPILED: &str = "ipo-oci bytecode 1\n";
const REFUSED: &str = "ipo-oci bytecode refused 1\n";

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
    /// What is known under `key`. A file that does not open is removed.
    pub(super) fn find(self, key: Digest) -> Option<Known> {
        let path = self.path(key, "pyc");
        if let Some(file) = sound(&path, key) {
            return Some(Known::Compiled(file));
        }
        sealed::remove(&path);
        self.refusal(key).map(|_| Known::Refused)
    }

    /// The file under `key` as it is, without a look at its bytes.
    pub(super) fn file(self, key: Digest) -> Option<HostFile> {
        described(&self.path(key, "pyc")).ok()
    }

    /// Why the source under `key` does not compile.
    pub(super) fn refusal(self, key: Digest) -> Option<String> {
        [self.cache, self.work].into_iter().find_map(|folder| {
            let path = below(folder, key, "error");
            let bytes = disk::untraced(|| HostFile::new(&*path).and_then(|file| file.read())).ok();
            let reason = bytes.as_ref().and_then(|bytes| sealed::open(REFUSED, key.as_bytes(), bytes));
            if reason.is_none() {
                sealed::remove(&path);
            }
            Some(String::from_utf8_lossy(reason?).into_owned())
        })
    }

    /// Keeps bytecode.
    pub(super) fn keep(self, key: Digest, pyc: &[u8]) -> Result<HostFile, BytecodeError> {
        let bytes = sealed::seal(COMPILED, key.as_bytes(), pyc);
        Ok(described(&self.write(key, "pyc", &bytes)?)?)
    }

    /// Keeps the reason why a source does not compile.
    pub(super) fn keep_refusal(self, key: Digest, reason: &str) -> Result<(), BytecodeError> {
        let bytes = sealed::seal(REFUSED, key.as_bytes(), reason.as_bytes());
        self.write(key, "error", &bytes).map(|_| ())
    }

    /// Writes a file into the cache, or for this call only where the cache takes none.
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

/// A file of the store. No build depends on it: what is in it follows from what it was made of.
fn described(path: &Path) -> Result<HostFile, ContentError> {
    disk::untraced(|| HostFile::new(path))
}

fn below(folder: &Path, key: Digest, suffix: &str) -> PathBuf {
    let hex = key.hex();
    let first = hex.get(..2).unwrap_or_default();
    folder.join("compiled").join(first).join(format!("{hex}.{suffix}"))
}

/// The compiled file at `path`, if it opens.
fn sound(path: &Path, key: Digest) -> Option<HostFile> {
    let file = described(path).ok()?;
    let bytes = disk::untraced(|| file.read()).ok()?;
    sealed::open(COMPILED, key.as_bytes(), &bytes).map(|_| file)
}

/// Writes a file. Another process that was faster wrote the same, and reads it.
fn write(path: &Path, bytes: &[u8], key: Digest) -> Result<(), FileError> {
    let failed = |error| FileError::new("write", path, error);
    let mut file = temporary_beside(path)?;
    file.write_all(bytes).map_err(failed)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => match sound(path, key) {
            Some(_) => Ok(()),
            None => sealed::persist(error.file, path).map_err(failed),
        },
        Err(error) => Err(failed(error.error)),
    }
}

/// Opens a compiled file when it is read for its layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Compiled(pub(super) Digest);

impl Transform for Compiled {
    fn apply(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>, TransformError> {
        let length = sealed::open(COMPILED, self.0.as_bytes(), &bytes).map(<[u8]>::len);
        let damaged = || TransformError("it was damaged after it was compiled".to_owned());
        bytes.drain(..bytes.len() - length.ok_or_else(damaged)?);
        Ok(bytes)
    }

    fn identity(&self) -> String {
        format!("compiled {}", self.0)
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

/// Opens files behind a right seal, a wrong one and none.
pub(super) fn fuzz(bytes: &[u8]) {
    use crate::tree::Transform as _;
    let (key, other) = (Digest::of(b"key"), Digest::of(b"other"));
    let compiled = Compiled(key);
    assert_eq!(compiled.apply(sealed::seal(COMPILED, key.as_bytes(), bytes)).as_deref(), Ok(bytes));
    assert!(compiled.apply(sealed::seal(COMPILED, other.as_bytes(), bytes)).is_err());
    assert!(compiled.apply(bytes.to_vec()).is_err());
}

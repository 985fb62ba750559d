//! The part of the cache with fetched indexes and packages, by digest, and releases, by address.
//!
//! ```text
//! CACHE/apt/sha256/DIGEST      indexes and packages
//! CACHE/apt/releases/KEY       releases with the validators of their response
//! ```

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::digest::{Digest, Hasher};
use crate::error::FileError;
use crate::sync::LockExt as _;
use crate::{atomic_file, sealed};

const RELEASE: &str = "ipo-oci-apt-release 1\n";

/// Fetched files of archives.
#[derive(Debug)]
pub(super) struct PackageStore {
    files: PathBuf,
    releases: PathBuf,
    /// Digests verified by this process.
    verified: Mutex<BTreeSet<Digest>>,
}

/// A release as fetched, with the validators of its response (RFC 9110, section 8.8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FetchedRelease {
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    pub(super) bytes: Vec<u8>,
}

/// A file being fetched. Removed unless finished with the right digest.
pub(super) struct PartialFile {
    file: NamedTempFile,
    hasher: Hasher,
    path: PathBuf,
    pub(super) written: u64,
}

impl FetchedRelease {
    /// Makes the record of a suite that the mirror lacks, for builds without a network.
    pub(super) fn absent() -> Self {
        Self { etag: None, last_modified: None, bytes: Vec::new() }
    }

    pub(super) fn is_absent(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl PackageStore {
    pub(super) fn new(cache: &Path) -> Self {
        let folder = cache.join("apt");
        Self { files: folder.join("sha256"), releases: folder.join("releases"), verified: Mutex::default() }
    }

    /// Returns the verified file with this digest, if any. Removes a damaged one.
    pub(super) fn find(&self, digest: Digest) -> Option<PathBuf> {
        let path = self.files.join(digest.hex());
        if !fs_err::symlink_metadata(&path).ok()?.is_file() {
            sealed::remove(&path);
            return None;
        }
        if self.verified.lock_forgiving().contains(&digest) {
            return Some(path);
        }
        let read = fs_err::File::open(&path).and_then(|mut file| digest.recomputed_from(&mut file));
        if read.is_ok_and(|(found, _)| found == digest) {
            self.verified.lock_forgiving().insert(digest);
            return Some(path);
        }
        sealed::remove(&path);
        None
    }

    /// Starts a file, stored by [`PartialFile::finish`].
    pub(super) fn begin(&self, digest: Digest) -> Result<PartialFile, FileError> {
        let path = self.files.join(digest.hex());
        let file = fs_err::create_dir_all(&self.files).and_then(|()| atomic_file::temporary_in(&self.files));
        let file = file.map_err(FileError::of("write in", &self.files))?;
        Ok(PartialFile { file, hasher: Hasher::like(&digest), path, written: 0 })
    }

    /// Returns the release fetched from `url` before, if any.
    pub(super) fn release(&self, url: &str) -> Option<FetchedRelease> {
        let bytes = fs_err::read(self.release_path(url)).ok()?;
        postcard::from_bytes(sealed::open(RELEASE, url.as_bytes(), &bytes)?).ok()
    }

    /// Stores a verified release. A failure only costs fetching the release again.
    pub(super) fn keep_release(&self, url: &str, release: &FetchedRelease) {
        if let Ok(body) = postcard::to_stdvec(release) {
            let _ =
                atomic_file::replace(&self.release_path(url), &sealed::seal(RELEASE, url.as_bytes(), &body));
        }
    }

    fn release_path(&self, url: &str) -> PathBuf {
        self.releases.join(Digest::of(url.as_bytes()).hex())
    }
}

impl PartialFile {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        self.file.write_all(bytes).map_err(FileError::of("write", &self.path))
    }

    /// Stores the file if its digest is `expected`; otherwise returns its digest.
    pub(super) fn finish(self, expected: Digest) -> Result<Result<PathBuf, Digest>, FileError> {
        let found = self.hasher.finish();
        if found != expected {
            return Ok(Err(found));
        }
        let stored =
            self.file.as_file().sync_all().and_then(|()| atomic_file::persist(self.file, &self.path));
        stored.map_err(|error: io::Error| FileError::new("write", &self.path, error))?;
        Ok(Ok(self.path))
    }
}

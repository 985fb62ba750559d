//! The cache of fetched blobs and documents, by digest.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::digest::{Digest, Hasher};
use crate::sync::LockExt as _;
use crate::{atomic_file, sealed};

/// The age at which an unfinished file counts as left by a killed process.
const ABANDONED: Duration = Duration::from_hours(24);

/// A folder of blobs and documents. A failed write is no error: the content is fetched again.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    folder: PathBuf,
    /// Digests verified by this process.
    verified: Arc<Mutex<BTreeSet<Digest>>>,
    cleaned: Arc<Once>,
}

impl Cache {
    /// Opens the cache in the cache folder `folder`.
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.join("registry").join("sha256"),
            verified: Arc::default(),
            cleaned: Arc::new(Once::new()),
        }
    }

    /// Returns the verified file with this digest, if any. Removes a damaged one.
    pub(super) fn find(&self, digest: Digest) -> Option<PathBuf> {
        let path = self.folder.join(digest.hex());
        if !fs_err::symlink_metadata(&path).ok()?.is_file() {
            sealed::remove(&path);
            return None;
        }
        let known = || self.verified.lock_forgiving();
        if known().contains(&digest) {
            return Some(path);
        }
        let read = fs_err::File::open(&path).and_then(|mut file| digest.recomputed_from(&mut file));
        if read.is_ok_and(|(found, _)| found == digest) {
            known().insert(digest);
            return Some(path);
        }
        sealed::remove(&path);
        None
    }

    /// Reads a document of at most `limit` bytes.
    pub(super) fn document(&self, digest: Digest, limit: u64) -> Option<Vec<u8>> {
        let path = self.find(digest)?;
        let small = fs_err::metadata(&path).is_ok_and(|file| file.len() <= limit);
        let bytes = small.then(|| fs_err::read(&path).ok())??;
        // The file may have changed since its verification.
        (digest.recomputed(&bytes) == digest).then_some(bytes)
    }

    /// Stores a document.
    pub(super) fn keep(&self, digest: Digest, bytes: &[u8]) {
        if let Some(mut writer) = self.writer(digest) {
            writer.write(bytes);
            writer.finish();
        }
    }

    /// Starts an entry, stored by [`CacheWriter::finish`].
    pub(super) fn writer(&self, digest: Digest) -> Option<CacheWriter> {
        fs_err::create_dir_all(&self.folder).ok()?;
        let file = atomic_file::temporary_in(&self.folder).ok()?;
        self.cleaned.call_once(|| self.remove_abandoned(file.as_file()));
        Some(CacheWriter {
            file: Some(file),
            hasher: Hasher::like(&digest),
            digest,
            path: self.folder.join(digest.hex()),
        })
    }

    /// Removes abandoned files. The current time is that of a newly made file.
    fn remove_abandoned(&self, made_now: &File) {
        let modified = |metadata: io::Result<Metadata>| metadata.and_then(|metadata| metadata.modified());
        let Ok(now) = modified(made_now.metadata()) else { return };
        for entry in fs_err::read_dir(&self.folder).into_iter().flatten().flatten() {
            let is_temporary = atomic_file::is_temporary(entry.file_name());
            let age = modified(entry.metadata()).ok().and_then(|then| now.duration_since(then).ok());
            if is_temporary && age.is_some_and(|age| age > ABANDONED) {
                let _ = fs_err::remove_file(entry.path());
            }
        }
    }
}

/// A cache entry being written. Removed unless finished with the right digest.
#[derive(Debug)]
pub(super) struct CacheWriter {
    file: Option<NamedTempFile>,
    hasher: Hasher,
    digest: Digest,
    path: PathBuf,
}

impl CacheWriter {
    /// Adds bytes. A full disk ends the entry, not the transfer.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        if let Some(file) = &mut self.file {
            self.hasher.update(bytes);
            if file.write_all(bytes).is_err() {
                self.file = None;
            }
        }
    }

    /// Verifies, syncs and renames the file.
    pub(super) fn finish(self) {
        let Some(file) = self.file else { return };
        if self.hasher.finish() == self.digest && file.as_file().sync_all().is_ok() {
            let _ = atomic_file::persist(file, &self.path);
        }
    }
}

/// Opens a file at an offset.
pub(super) fn open_at(path: &Path, from: u64) -> io::Result<Box<dyn Read + Send>> {
    crate::image::Blob::File(path.to_path_buf()).open_from(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> usize {
        fs_err::read_dir(folder.join("registry/sha256")).unwrap().count()
    }

    #[test]
    fn only_complete_and_valid_files_are_stored() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let digest = Digest::of(b"abc");
        assert!(cache.find(digest).is_none());
        for wrong in ["", "ab", "abcd"] {
            cache.keep(digest, wrong.as_bytes());
            assert!(cache.find(digest).is_none());
            assert_eq!(names(folder.path()), 0);
        }
        let mut unfinished = cache.writer(digest).unwrap();
        unfinished.write(b"abc");
        drop(unfinished);
        assert_eq!(names(folder.path()), 0);
        cache.keep(digest, b"abc");
        assert_eq!(cache.document(digest, 3).as_deref(), Some(&b"abc"[..]));
        assert_eq!(cache.document(digest, 2), None);
    }

    #[test]
    fn a_damaged_file_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"abc");
        Cache::new(folder.path()).keep(digest, b"abc");
        let path = folder.path().join("registry/sha256").join(digest.hex());
        fs_err::write(&path, "abd").unwrap();
        assert!(Cache::new(folder.path()).find(digest).is_none());
        assert!(!path.exists());
    }
}

//! A remote cache in a folder: a network file system, or the volume of a CI system.
//!
//! ```text
//! PATH/records/<64 hex>        the record as JSON, by its key
//!      making/<64 hex>         the lease on the layer of this key
//!      blobs/sha256/<64 hex>   the layer, as in an OCI layout
//!      CACHEDIR.TAG            tags the folder as a cache
//! ```
//!
//! Concurrent writers need no lock: files appear complete, a layer before its record. Every use
//! sets a file's time to now, for cleanup by age.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::CacheLocationError;
use super::lease::{self, LEASE_BYTES};
use super::record::{self, RECORD_BYTES};
use crate::cache::gc;
use crate::cache::{Lease, Record, RemoteCache, RemoteCacheError, mark_used};
use crate::digest::Digest;
use crate::image::{Blob, BlobSource};
use crate::progress::Silent;
use crate::store::blobs;

/// The cache in one folder.
#[derive(Debug)]
pub(super) struct FolderCache(PathBuf);

impl FolderCache {
    /// Opens the cache. The folder may be missing until the first write.
    pub(super) fn open(folder: &Path) -> Result<Self, CacheLocationError> {
        match fs_err::metadata(folder) {
            Ok(metadata) if !metadata.is_dir() => Err(CacheLocationError::NotAFolder(folder.to_owned())),
            _ => Ok(Self(folder.to_owned())),
        }
    }

    fn record(&self, key: &Digest) -> PathBuf {
        self.0.join("records").join(key.hex())
    }

    fn leases(&self) -> PathBuf {
        self.0.join("making")
    }

    fn blobs(&self) -> PathBuf {
        self.0.join("blobs").join("sha256")
    }

    /// Looks up a record whose layer exists too.
    fn lookup(&self, key: &Digest) -> io::Result<Option<(Record, PathBuf)>> {
        let read = || optional(read_small(&self.record(key), RECORD_BYTES));
        let mut bytes = read()?;
        // NFS caches the absence of a file until the folder is opened (nfs(5), "close-to-open").
        if bytes.is_none() && File::open(self.0.join("records")).is_ok() {
            bytes = read()?;
        }
        let Some(bytes) = bytes else { return Ok(None) };
        let Some(record) = record::from_json(key, &bytes) else { return Ok(None) };
        let path = self.blobs().join(record.digest.hex());
        let metadata = optional(fs_err::symlink_metadata(&path))?;
        let whole = metadata.is_some_and(|file| file.is_file() && file.len() == record.size);
        Ok(whole.then_some((record, path)))
    }
}

impl RemoteCache for FolderCache {
    fn find(&self, key: &Digest) -> Result<Option<(Record, Blob)>, RemoteCacheError> {
        let found = self.lookup(key).map_err(RemoteCacheError::new)?;
        Ok(found.map(|(record, path)| {
            mark_used(&self.record(key));
            mark_used(&path);
            (record, Blob::Source(std::sync::Arc::new(FolderBlob(path))))
        }))
    }

    fn keep(&self, key: &Digest, record: &Record, blob: &Blob) -> Result<(), RemoteCacheError> {
        if let Some((known, path)) = self.lookup(key).map_err(RemoteCacheError::new)?
            && known.is_same_layer(record)
        {
            mark_used(&self.record(key));
            mark_used(&path);
            return Ok(());
        }
        let (path, folder) = (self.record(key), self.blobs());
        let records = path.parent().unwrap_or(&self.0);
        fs_err::create_dir_all(&folder)
            .and_then(|()| fs_err::create_dir_all(records))
            .map_err(RemoteCacheError::new)?;
        gc::mark(&self.0);
        // Copy; never link a file of this machine.
        let copied = Blob::Source(std::sync::Arc::new(OpaqueBlob(blob.clone())));
        blobs::add(&folder, record.digest, record.size, &copied, None, &Silent)
            .map_err(RemoteCacheError::new)?;
        mark_used(&folder.join(record.digest.hex()));
        let json = record::to_json(key, record).map_err(RemoteCacheError::new)?;
        blobs::replace(records, &key.hex(), &json).map_err(RemoteCacheError::new)?;
        let _ = std::fs::remove_file(self.leases().join(key.hex()));
        Ok(())
    }

    fn take_lease(&self, key: &Digest, lease: &Lease) -> Result<(), RemoteCacheError> {
        let json = lease::to_json(key, lease).map_err(RemoteCacheError::new)?;
        fs_err::create_dir_all(self.leases()).map_err(RemoteCacheError::new)?;
        gc::mark(&self.0);
        blobs::replace(&self.leases(), &key.hex(), json.as_bytes()).map_err(RemoteCacheError::new)
    }

    fn lease(&self, key: &Digest) -> Result<Option<Lease>, RemoteCacheError> {
        let bytes = optional(read_small(&self.leases().join(key.hex()), LEASE_BYTES))
            .map_err(RemoteCacheError::new)?;
        Ok(bytes.and_then(|bytes| lease::from_json(key, &bytes)))
    }

    fn name(&self) -> String {
        format!("dir:{}", self.0.display())
    }
}

/// A layer in the folder. Other machines may remove the file, so it is read, never linked.
#[derive(Debug)]
struct FolderBlob(PathBuf);

impl BlobSource for FolderBlob {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        Blob::File(self.0.clone()).open_from(from)
    }
}

/// A blob that only offers reading.
#[derive(Debug)]
struct OpaqueBlob(Blob);

impl BlobSource for OpaqueBlob {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        self.0.open_from(from)
    }
}

/// Reads a small file; a larger one counts as empty.
fn read_small(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        bytes.clear();
    }
    Ok(bytes)
}

/// Maps a missing file to `None`.
fn optional<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{OwnedBytes, Owner};

    fn layer(bytes: &[u8]) -> (Record, Blob) {
        let owned = OwnedBytes { owner: Owner::Source, bytes: 1, bytecode: 0, files: 1 };
        let record = Record {
            name: "source".to_owned(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            diff_id: Digest::of(b"archive"),
            archive_size: 7,
            owners: vec![owned],
        };
        (record, Blob::Memory(bytes.to_vec().into()))
    }

    fn bytes(blob: &Blob) -> Vec<u8> {
        let mut bytes = Vec::new();
        blob.open().unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_stored_layer_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FolderCache::open(&folder.path().join("new")).unwrap();
        let key = Digest::of(b"key");
        assert!(cache.find(&key).unwrap().is_none());
        let (record, blob) = layer(b"blob");
        cache.keep(&key, &record, &blob).unwrap();
        let (found, blob) = cache.find(&key).unwrap().unwrap();
        assert_eq!((found, bytes(&blob)), (record, b"blob".to_vec()));
        assert!(cache.find(&Digest::of(b"other")).unwrap().is_none());
    }

    #[test]
    fn a_damaged_layer_is_missing_and_repaired() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FolderCache::open(folder.path()).unwrap();
        let key = Digest::of(b"key");
        let (record, blob) = layer(b"blob");
        let (json, path) = (cache.record(&key), cache.blobs().join(record.digest.hex()));
        let big = vec![b' '; usize::try_from(RECORD_BYTES).unwrap() + 1];
        for (file, bytes) in [(&json, &b"{}"[..]), (&json, b""), (&json, &big), (&path, b"blo")] {
            cache.keep(&key, &record, &blob).unwrap();
            fs_err::write(file, bytes).unwrap();
            assert!(cache.find(&key).unwrap().is_none());
        }
        fs_err::remove_file(&path).unwrap();
        assert!(cache.find(&key).unwrap().is_none());
        cache.keep(&key, &record, &blob).unwrap();
        assert!(cache.find(&key).unwrap().is_some());
    }

    #[test]
    fn bytes_that_differ_from_the_record_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FolderCache::open(folder.path()).unwrap();
        let key = Digest::of(b"key");
        let (record, _) = layer(b"blob");
        for wrong in [&b"blub"[..], b"blo", b"blob and more"] {
            let (_, blob) = layer(wrong);
            assert!(cache.keep(&key, &record, &blob).is_err());
            assert!(cache.find(&key).unwrap().is_none());
            assert_eq!(fs_err::read_dir(cache.blobs()).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_use_updates_the_time() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FolderCache::open(folder.path()).unwrap();
        let key = Digest::of(b"key");
        let (record, blob) = layer(b"blob");
        cache.keep(&key, &record, &blob).unwrap();
        let path = cache.blobs().join(record.digest.hex());
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_hours(24);
        let is_old = || fs_err::metadata(&path).unwrap().modified().unwrap() == old;
        for used in [true, false] {
            File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
            assert!(is_old());
            if used {
                cache.find(&key).unwrap().unwrap();
            } else {
                cache.keep(&key, &record, &blob).unwrap();
            }
            assert!(!is_old());
        }
    }

    #[test]
    fn a_file_is_not_a_folder() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(FolderCache::open(file.path()), Err(CacheLocationError::NotAFolder(_))));
    }
}

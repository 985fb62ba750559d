//! [`LayerCache`]: the folder of cached layers.
//!
//! ```text
//! CACHE/layers/1/blobs/ab/ab12…     compressed layers, by their digest
//!                records/ab/ab12…   content key → Record
//!                quick/ab/ab12…     quick key → QuickRecord
//!                grounds/ab/ab12…   plan key → cached plan of the layers below the source
//!                hints/ab/ab12…     hint → digest of a layer with these names
//!                contents/ab/ab12…  fingerprints of a layer's files
//!                verified/ab/ab12…  verified files of a blob
//!                making/ab1         lock on building layers whose hint begins so
//! ```
//!
//! `1` is the version of the entire folder: an incompatible program uses another one.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::{FlockOperation, flock};

use super::paths::{below, root};
use super::verified_blobs::{mark_used, settle};
use super::{FileDigests, QuickRecord, Record, VerifiedBlobs, codec};
use crate::atomic_file::{self, TemporaryName};
use crate::digest::{Digest, Hasher};
use crate::error::FileError;
use crate::image::Blob;
use crate::sealed;
use crate::sync::LockExt as _;
use crate::tree::{ContentStamp, HostFile, Moment};

/// Format lines of the small files. Raise a number with every change to its type.
pub(super) const RECORD: &str = "ipo-oci layer record 2\n";
pub(super) const QUICK: &str = "ipo-oci layer quick 2\n";
pub(super) const CACHED_PLAN: &str = "ipo-oci ground 2\n";
pub(super) const HINT: &str = "ipo-oci layer hint 2\n";

/// The folder of cached layers. A read-only, full or missing folder is no error: lookups miss, and
/// nothing is stored.
#[derive(Debug)]
pub struct LayerCache {
    root: PathBuf,
    verified: VerifiedBlobs,
    /// The first failed write.
    first_failure: Mutex<Option<String>>,
}

/// The lock on building a layer: no other process builds one with the same hint meanwhile.
#[derive(Debug)]
pub struct BuildLock {
    /// Locked while open.
    _lock: File,
}

impl LayerCache {
    /// Opens the layers of the cache folder `cache`. Folders are made on the first write.
    pub fn new(cache: &Path) -> Self {
        Self { root: root(cache), verified: VerifiedBlobs::new(cache), first_failure: Mutex::default() }
    }

    /// Looks a layer up by its quick key.
    pub fn quick(&self, key: &Digest) -> Option<QuickRecord> {
        self.load(QUICK, "quick", key)
    }

    /// Stores `quick` under a quick key.
    pub fn remember(&self, key: &Digest, quick: &QuickRecord) {
        self.save(QUICK, "quick", key, quick);
    }

    /// Looks a layer up by its content key.
    pub fn record(&self, key: &Digest) -> Option<Record> {
        self.load(RECORD, "records", key)
    }

    /// Loads what an earlier build stored under `key` about the layers below a project's source: their plan,
    /// or a mark of their check. The caller defines its type.
    pub(crate) fn cached_plan<T: serde::de::DeserializeOwned>(&self, key: &Digest) -> Option<T> {
        let path = self.path("grounds", key);
        let (_, cached_plan): (Vec<Digest>, T) = codec::load(CACHED_PLAN, &path)?;
        mark_used(&path);
        Some(cached_plan)
    }

    /// Stores a plan or a mark of the layers below a project's source, whose blobs are `blobs`. It is
    /// pruned with them.
    pub(crate) fn keep_cached_plan<T: serde::Serialize>(
        &self,
        key: &Digest,
        blobs: &[Digest],
        cached_plan: &T,
    ) {
        self.save(CACHED_PLAN, "grounds", key, &(blobs, cached_plan));
    }

    /// Returns whether a layer with this hint was built here before.
    pub fn is_hinted(&self, hint: &Digest) -> bool {
        self.path("hints", hint).exists()
    }

    /// Loads the facts about the files of the layer `of`.
    pub fn file_digests(&self, of: &Digest) -> FileDigests {
        FileDigests::load(self.path("contents", of))
    }

    /// Records a failed write; only the first is kept.
    pub fn record_failure(&self, outcome: io::Result<()>) {
        if let Err(error) = outcome {
            let failure = || FileError::new("write in", &self.root, error).to_string();
            self.first_failure.lock_forgiving().get_or_insert_with(failure);
        }
    }

    /// Returns the first failed write, if any.
    pub fn first_failure(&self) -> Option<String> {
        self.first_failure.lock_forgiving().clone()
    }

    /// Returns the blob with this digest, verified: a file without further writers, and the file
    /// stamp of its verification. Removes a damaged blob.
    pub fn blob(&self, digest: Digest, size: u64) -> Option<HostFile> {
        let path = self.path("blobs", &digest);
        let metadata = fs_err::symlink_metadata(&path).ok()?;
        if metadata.is_file() && metadata.len() == size && File::open(&path).is_ok() {
            let file = HostFile { path: (*path).into(), size, stamp: ContentStamp::of(&metadata) };
            if self.verified.is_known(digest, &metadata) {
                self.verified.mark_used(digest);
                return Some(file);
            }
            if let Some(file) = self.verify(&file, digest) {
                return Some(file);
            }
        }
        sealed::remove(&path);
        self.verified.forget(digest);
        None
    }

    /// Links the blob at the caller's own path `place`, so that emptying the cache leaves the
    /// caller's copy. Returns `blob` unchanged on file systems without hard links.
    pub fn hold(&self, blob: HostFile, place: &Path) -> HostFile {
        match std::fs::hard_link(&blob.path, place) {
            Ok(()) => HostFile { path: place.into(), ..blob },
            Err(_) => blob,
        }
    }

    /// Stores the layer in `file`, just written and digested. The blob stays at `file`, which stays
    /// usable also after a failure.
    pub fn keep(&self, key: &Digest, hint: &Digest, record: &Record, file: PathBuf) -> Blob {
        match self.keep_blob(record, &file) {
            Ok(kept) => {
                self.save(RECORD, "records", key, record);
                if let Some(blob) = record.digest.sha256() {
                    self.save(HINT, "hints", hint, &blob);
                }
                Blob::Verified { file: kept, repository: None }
            }
            Err(error) => {
                self.record_failure(Err(error));
                Blob::File(file)
            }
        }
    }

    /// Waits until no other process builds a layer with this hint. Returns `None` without waiting
    /// if the folder cannot be written.
    pub fn lock_build(&self, hint: &Digest) -> Option<BuildLock> {
        let file = self.lock_file(hint).ok()?;
        flock(&file, FlockOperation::LockExclusive).ok()?;
        Some(BuildLock { _lock: file })
    }

    /// Locks the building of layers with this hint without waiting; `None` if the folder cannot be
    /// written.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] while another process holds the lock.
    pub fn try_lock_build(&self, hint: &Digest) -> io::Result<Option<BuildLock>> {
        match self.lock_file(hint) {
            Ok(file) => match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => Ok(Some(BuildLock { _lock: file })),
                Err(rustix::io::Errno::WOULDBLOCK) => Err(io::ErrorKind::WouldBlock.into()),
                Err(_) => Ok(None),
            },
            Err(_) => Ok(None),
        }
    }

    /// Returns the current time of the cache's file system; `None` if the folder cannot be written.
    pub fn moment(&self) -> Option<Moment> {
        let made = || atomic_file::temporary_in(&self.root);
        let file = made().or_else(|_| fs_err::create_dir_all(&self.root).and_then(|()| made())).ok()?;
        let stamp = ContentStamp::of(&file.as_file().metadata().ok()?);
        Some(stamp.modified)
    }

    /// Opens one of 4096 lock files. They are never removed: removal would let two processes hold
    /// one lock.
    fn lock_file(&self, hint: &Digest) -> io::Result<File> {
        let folder = self.root.join("making");
        let path = folder.join(hint.hex().get(..3).unwrap_or_default());
        // Opening a named pipe in its place would otherwise wait for a reader.
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let open =
            || File::options().create(true).truncate(false).write(true).custom_flags(flags).open(&path);
        open().or_else(|_| fs_err::create_dir_all(&folder).and_then(|()| open()))
    }

    fn keep_blob(&self, record: &Record, file: &Path) -> io::Result<HostFile> {
        let path = self.path("blobs", &record.digest);
        let written = File::options().write(true).open(file)?;
        settle(&written)?;
        written.sync_all()?;
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder)?;
        }
        // The name in this build's own folder stays, so another process may empty the cache
        // meanwhile.
        if self.link(file, &path).is_err() {
            self.copy(file, &path, record)?;
        }
        self.verified.note(record.digest, &path);
        let metadata = fs_err::symlink_metadata(file)?;
        Ok(HostFile { path: file.into(), size: record.size, stamp: ContentStamp::of(&metadata) })
    }

    /// Copies `file` into the cache: for file systems without hard links, and across file systems.
    fn copy(&self, file: &Path, path: &Path, record: &Record) -> io::Result<()> {
        let mut temporary = atomic_file::temporary_with_mode(&self.root, 0o644)?;
        let mut hasher = Hasher::new();
        let mut source = File::open(file)?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            let read = source.read(&mut buffer)?;
            let bytes = buffer.get(..read).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            hasher.update(bytes);
            temporary.write_all(bytes)?;
        }
        if hasher.finish() != record.digest {
            return Err(io::Error::other("a layer changed while it was copied"));
        }
        settle(temporary.as_file())?;
        temporary.as_file().sync_all()?;
        atomic_file::persist(temporary, path)
    }

    /// Links `file` into the cache, replacing a file of the same name.
    fn link(&self, file: &Path, path: &Path) -> io::Result<()> {
        match std::fs::hard_link(file, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // A faster build's blob, a damaged file or a directory; this blob is verified.
                if path.is_dir() {
                    sealed::remove(path);
                }
                let temporary = TemporaryName::in_folder(&self.root)?;
                std::fs::hard_link(file, temporary.path())?;
                temporary.rename(path)
            }
            other => other,
        }
    }

    /// Digests the blob and, if valid, records its file as verified.
    fn verify(&self, file: &HostFile, digest: Digest) -> Option<HostFile> {
        // A file that cannot be written to needs no settling; the verification cannot be recorded
        // either.
        if let Ok(writable) = File::options().write(true).open(&file.path) {
            let _ = settle(&writable);
        }
        let before = HostFile::new(&*file.path).ok()?;
        let (found, _) = Digest::of_reader(&mut File::open(&file.path).ok()?).ok()?;
        let after = HostFile::new(&*file.path).ok()?;
        let same = after.size == before.size && before.stamp.is_content_of(after.stamp);
        if found != digest || !same {
            return None;
        }
        self.verified.note(digest, &file.path);
        Some(after)
    }

    fn path(&self, kind: &str, digest: &Digest) -> PathBuf {
        below(&self.root.join(kind), *digest)
    }

    fn load<T: serde::de::DeserializeOwned>(&self, format: &str, kind: &str, key: &Digest) -> Option<T> {
        codec::load(format, &self.path(kind, key))
    }

    fn save<T: serde::Serialize>(&self, format: &str, kind: &str, key: &Digest, value: &T) {
        self.record_failure(codec::save(format, &self.path(kind, key), value));
    }
}

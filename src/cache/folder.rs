//! [`LayerCache`]: the folder that layers are kept in.
//!
//! ```text
//! CACHE/layers/1/blobs/ab/ab12…     compressed layers, by their digest
//!                records/ab/ab12…   content key → Record
//!                quick/ab/ab12…     quick key → Quick
//!                grounds/ab/ab12…   what a plan is made of → the layers below the source
//!                hints/ab/ab12…     hint: a layer of these names was made
//!                contents/ab/ab12…  the digests of a layer's files
//!                verified/ab/ab12…  which files were found to hold a blob
//!                making/ab1         held while a layer is made whose hint begins so
//! ```
//!
//! `1` is the version of all this: another version of the program has another folder.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::{FlockOperation, flock};

use super::verified::{mark_used, settle};
use super::{Contents, Quick, Record, Verified, form};
use crate::digest::{Digest, Hasher};
use crate::error::FileError;
use crate::image::Blob;
use crate::sealed;
use crate::tree::{HostFile, Moment, Stamp};

/// The version of the folder. It is raised when what is in it is kept in another way.
const VERSION: &str = "1";
/// The forms of the small files. A number is raised with every change to the type.
pub(super) const RECORD: &str = "ipo-oci layer record 2\n";
pub(super) const QUICK: &str = "ipo-oci layer quick 2\n";
pub(super) const GROUND: &str = "ipo-oci ground 2\n";
pub(super) const HINT: &str = "ipo-oci layer hint 2\n";
/// What is not yet whole is called so.
pub(super) const DRAFT: &str = ".ipo-oci-";

/// The folder that layers are kept in. It may be read-only, full or gone: then nothing is found, or nothing kept.
#[derive(Debug)]
pub struct LayerCache {
    root: PathBuf,
    verified: Verified,
    /// The first reason why something could not be kept.
    trouble: Mutex<Option<String>>,
}

/// The right to make a layer; no other process makes one of the same names meanwhile.
#[derive(Debug)]
pub struct Making {
    /// Held as long as it is open.
    _lock: File,
}

/// Where the layers of a cache folder are.
pub(super) fn root(cache: &Path) -> PathBuf {
    cache.join("layers").join(VERSION)
}

/// A file by its digest, in one of 256 folders.
pub(super) fn below(folder: &Path, digest: Digest) -> PathBuf {
    let hex = digest.hex();
    folder.join(hex.get(..2).unwrap_or_default()).join(hex)
}

impl LayerCache {
    /// The layers in the folder of all that is kept. Nothing is made before something is kept.
    pub fn new(cache: &Path) -> Self {
        Self { root: root(cache), verified: Verified::new(cache), trouble: Mutex::default() }
    }

    /// What is known under a quick key.
    pub fn quick(&self, key: &Digest) -> Option<Quick> {
        self.load(QUICK, "quick", key)
    }

    /// Remembers what is known under a quick key.
    pub fn remember(&self, key: &Digest, quick: &Quick) {
        self.save(QUICK, "quick", key, quick);
    }

    /// What is known under a content key.
    pub fn record(&self, key: &Digest) -> Option<Record> {
        self.load(RECORD, "records", key)
    }

    /// What is known of the layers below a project's source. Whoever builds says what that is.
    pub(crate) fn ground<T: serde::de::DeserializeOwned>(&self, key: &Digest) -> Option<T> {
        let path = self.path("grounds", key);
        let (_, ground): (Vec<Digest>, T) = form::load(GROUND, &path)?;
        mark_used(&path);
        Some(ground)
    }

    /// Keeps what is known of the layers below a project's source, which are in `blobs`.
    pub(crate) fn keep_ground<T: serde::Serialize>(&self, key: &Digest, blobs: &[Digest], ground: &T) {
        self.save(GROUND, "grounds", key, &(blobs, ground));
    }

    /// Whether a layer of these names was made here before.
    pub fn is_hinted(&self, hint: &Digest) -> bool {
        self.path("hints", hint).exists()
    }

    /// What is remembered of the files of the layer that is known as `of` in its project.
    pub fn contents(&self, of: &Digest) -> Contents {
        Contents::load(self.path("contents", of))
    }

    /// Tells of what could not be written.
    pub fn note_trouble(&self, outcome: io::Result<()>) {
        if let Err(error) = outcome
            && let Ok(mut trouble) = self.trouble.lock()
        {
            trouble.get_or_insert_with(|| FileError::new("write in", &self.root, error).to_string());
        }
    }

    /// Why something could not be kept, if that happened.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().ok()?.clone()
    }

    /// The blob with this digest, if it is there and right: a file that nobody writes to, with the state in which it was right.
    /// One that is not right is removed.
    pub fn blob(&self, digest: Digest, size: u64) -> Option<HostFile> {
        let path = self.path("blobs", &digest);
        let metadata = fs_err::symlink_metadata(&path).ok()?;
        if metadata.is_file() && metadata.len() == size && File::open(&path).is_ok() {
            let file = HostFile { path: (*path).into(), size, stamp: Stamp::of(&metadata) };
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

    /// The same blob under the name `place` of the caller's own, so that whoever empties the cache meanwhile does not take
    /// it away; as it was, where the file system has no such links.
    pub fn hold(&self, blob: HostFile, place: &Path) -> HostFile {
        match std::fs::hard_link(&blob.path, place) {
            Ok(()) => HostFile { path: place.into(), ..blob },
            Err(_) => blob,
        }
    }

    /// Keeps the layer in `file`, which has just been written and digested, and says where it is now: where it was, if it
    /// cannot be kept. It can only be kept if it lies in the cache's own file system.
    pub fn keep(&self, key: &Digest, hint: &Digest, record: &Record, file: PathBuf) -> Blob {
        match self.keep_blob(record, &file) {
            Ok(kept) => {
                self.save(RECORD, "records", key, record);
                if let Some(blob) = record.digest.sha256() {
                    self.save(HINT, "hints", hint, &blob);
                }
                Blob::Known { file: kept, repository: None }
            }
            Err(error) => {
                self.note_trouble(Err(error));
                Blob::File(file)
            }
        }
    }

    /// Waits until no other process makes a layer with this hint. Nothing where the folder cannot be written: then there is
    /// nothing to wait for.
    pub fn wait_to_make(&self, hint: &Digest) -> Option<Making> {
        let file = self.lock_file(hint).ok()?;
        flock(&file, FlockOperation::LockExclusive).ok()?;
        Some(Making { _lock: file })
    }

    /// The right to make a layer with this hint, unless another process has it.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] while another process makes it.
    pub fn try_to_make(&self, hint: &Digest) -> io::Result<Option<Making>> {
        match self.lock_file(hint) {
            Ok(file) => match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => Ok(Some(Making { _lock: file })),
                Err(rustix::io::Errno::WOULDBLOCK) => Err(io::ErrorKind::WouldBlock.into()),
                Err(_) => Ok(None),
            },
            Err(_) => Ok(None),
        }
    }

    /// The time that the file system of the cache has now; nothing where it cannot be written, or keeps another time than
    /// the files that are read.
    pub fn moment(&self) -> Option<Moment> {
        let made = || tempfile::Builder::new().prefix(DRAFT).tempfile_in(&self.root);
        let file = made().or_else(|_| fs_err::create_dir_all(&self.root).and_then(|()| made())).ok()?;
        let stamp = Stamp::of(&file.as_file().metadata().ok()?);
        Some(stamp.modified)
    }

    /// There are 4096 of these, and they stay: to remove one is to let two processes hold it.
    fn lock_file(&self, hint: &Digest) -> io::Result<File> {
        let folder = self.root.join("making");
        let path = folder.join(hint.hex().get(..3).unwrap_or_default());
        // A pipe in its place has nobody at its other end to wait for.
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
        // The name in this build's own folder stays: whoever empties the cache meanwhile does not take it away.
        if self.link(file, &path).is_err() {
            self.copy(file, &path, record)?;
        }
        self.verified.note(record.digest, &path);
        let metadata = fs_err::symlink_metadata(file)?;
        Ok(HostFile { path: file.into(), size: record.size, stamp: Stamp::of(&metadata) })
    }

    /// Copies `file` into the cache, where there are no links or it is on another disk.
    fn copy(&self, file: &Path, path: &Path, record: &Record) -> io::Result<()> {
        let mut draft = tempfile::Builder::new()
            .prefix(DRAFT)
            .permissions(std::fs::Permissions::from_mode(0o644))
            .tempfile_in(&self.root)?;
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
            draft.write_all(bytes)?;
        }
        if hasher.finish() != record.digest {
            return Err(io::Error::other("a layer changed while it was copied"));
        }
        settle(draft.as_file())?;
        draft.as_file().sync_all()?;
        sealed::persist(draft, path)
    }

    /// Gives `file` a name in the cache too. Another build that was faster has put the same bytes there.
    fn link(&self, file: &Path, path: &Path) -> io::Result<()> {
        match std::fs::hard_link(file, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // It may be a damaged one, or a directory; this one is right.
                if path.is_dir() {
                    sealed::remove(path);
                }
                let draft = tempfile::Builder::new()
                    .prefix(DRAFT)
                    .make_in(&self.root, |draft| std::fs::hard_link(file, draft))?;
                draft.into_temp_path().persist(path).map_err(|error| error.error)
            }
            other => other,
        }
    }

    /// Digests the blob; its file is believed from now on, if it is right.
    fn verify(&self, file: &HostFile, digest: Digest) -> Option<HostFile> {
        // Where it cannot be written to, nothing can be remembered either.
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

    fn load<T: serde::de::DeserializeOwned>(&self, magic: &str, kind: &str, key: &Digest) -> Option<T> {
        form::load(magic, &self.path(kind, key))
    }

    fn save<T: serde::Serialize>(&self, magic: &str, kind: &str, key: &Digest, value: &T) {
        self.note_trouble(form::save(magic, &self.path(kind, key), value));
    }
}

//! OCI layouts: a folder of blobs with an index (OCI image specification 1.1, `image-layout.md`).
//!
//! Updates are atomic. Blobs come first, each under a temporary name until complete and synced; the
//! index is replaced last. A process killed in between leaves the old index and unreferenced blobs.
//! One writer at a time holds a lock on the folder.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde_json::Value;

use super::blobs::{self, BlobUpdate};
use super::extent::Extent;
use super::files::{blob_name, damaged, read_small};
use super::{StoreError, index};
use crate::atomic_file::{is_temporary, sync_folder};
use crate::cache::VerifiedBlobs;
use crate::digest::Digest;
use crate::error::{FileError, PartError};
use crate::image::{Artifact, Blob, Descriptor};
use crate::progress::Progress;
use crate::reference::Name;

/// The marker file of a layout: name and content.
const MARKER: (&str, &str) = ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
const INDEX: &str = "index.json";

/// A layout open for writing, locked against other writers.
#[derive(Debug)]
pub struct Layout {
    root: PathBuf,
    verified: Option<VerifiedBlobs>,
    /// Locked while open.
    _lock: File,
}

impl Layout {
    /// Opens the layout in `root`; creates one in a new or empty folder. Waits for another writer
    /// to finish.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        if folder_state(root)? == FolderState::Missing {
            fs_err::create_dir_all(root).map_err(|error| FileError::new("create", root, error))?;
        }
        let lock = File::open(root).map_err(FileError::of("open", root))?;
        flock(&lock, FlockOperation::LockExclusive)
            .map_err(|error| FileError::new("lock", root, error.into()))?;
        check(root)?;
        let layout = Self { root: root.to_owned(), verified: None, _lock: lock };
        let folder = layout.blobs();
        fs_err::create_dir_all(&folder).map_err(|error| FileError::new("create", &folder, error))?;
        blobs::remove_leftovers(&folder)?;
        let other = root.join("blobs").join("sha512");
        if other.is_dir() {
            blobs::remove_leftovers(&other)?;
        }
        blobs::remove_leftovers(root)?;
        Ok(layout)
    }

    /// Records verified blobs in the cache folder `cache`, so that later writes skip reading them.
    #[must_use]
    pub fn with_cache(mut self, cache: Option<&Path>) -> Self {
        self.verified = cache.map(VerifiedBlobs::new);
        self
    }

    /// Stores `artifact` under the tag `ref_name` and the full name `name`. Replaces the image with
    /// this tag and removes the blobs that no other image uses. An error leaves the layout
    /// unchanged.
    ///
    /// Returns the omitted blobs; see [`Extent::Shallow`].
    pub fn write(
        &self,
        artifact: &Artifact,
        ref_name: &str,
        name: &Name,
        extent: Extent,
        progress: &dyn Progress,
    ) -> Result<Vec<Descriptor>, StoreError> {
        // Read the index first: a damaged layout stays untouched.
        let mut index = read_index(&self.root)?;
        let before = index.clone();
        let replaced = index::replace(&mut index, index::descriptor(artifact, ref_name, name))
            .map_err(|reason| damaged(&self.root, reason))?;
        let folder = self.blobs();
        let mut writer = LayoutWriter::new(&folder, extent, self.verified.as_ref(), progress);
        let outcome = writer.add(artifact).and_then(|()| {
            // An unchanged layout needs no sync.
            if !writer.changed && index == before && self.root.join(MARKER.0).exists() {
                return Ok(());
            }
            sync_folder(&folder)?;
            let other = folder.with_file_name("sha512");
            if other.is_dir() {
                sync_folder(&other)?;
            }
            sync_folder(&self.root.join("blobs"))?;
            self.write_index(&index)?;
            Ok(sync_folder(&self.root)?)
        });
        if let Err(error) = outcome {
            // Remove unreferenced blobs: the disk may be full.
            for digest in writer.new_blobs {
                let _ = fs_err::remove_file(self.root.join(blob_name(&digest)));
            }
            return Err(error);
        }
        self.remove_unused(&index, &replaced);
        Ok(writer.omitted)
    }

    fn blobs(&self) -> PathBuf {
        self.root.join("blobs").join("sha256")
    }

    /// Writes the index.
    fn write_index(&self, index: &Value) -> Result<(), StoreError> {
        if !self.root.join(MARKER.0).exists() {
            blobs::replace(&self.root, MARKER.0, MARKER.1.as_bytes())?;
        }
        blobs::replace(&self.root, INDEX, &index::text(index.clone()))
    }

    /// Removes the blobs used only by replaced images. In doubt, blobs stay.
    fn remove_unused(&self, index: &Value, replaced: &[String]) {
        let mut used = BTreeSet::new();
        if replaced.is_empty() || self.references(index, &mut used, 0).is_none() {
            return;
        }
        let mut old = BTreeSet::new();
        for digest in replaced {
            old.insert(digest.clone());
            if let Some(manifest) = self.json_blob(digest) {
                let _ = self.references(&manifest, &mut old, 0);
            }
        }
        for digest in old.difference(&used) {
            if let Ok(digest) = digest.parse::<Digest>() {
                let _ = fs_err::remove_file(self.root.join(blob_name(&digest)));
            }
        }
    }

    /// Collects every digest referenced by a manifest or index, recursively; `None` if a document
    /// cannot be read. A referrer keeps its subject, if present, in use.
    fn references(&self, document: &Value, found: &mut BTreeSet<String>, depth: usize) -> Option<()> {
        if depth > 8 {
            return None;
        }
        let named = index::references(document)?;
        found.extend(named.leaves.into_iter().map(str::to_owned));
        for digest in named.documents {
            if found.insert(digest.to_owned()) {
                self.references(&self.json_blob(digest)?, found, depth + 1)?;
            }
        }
        if let Some(subject) = named.subject
            && found.insert(subject.to_owned())
            && let Some(document) = self.json_blob(subject)
        {
            self.references(&document, found, depth + 1)?;
        }
        Some(())
    }

    fn json_blob(&self, digest: &str) -> Option<Value> {
        let digest: Digest = digest.parse().ok()?;
        serde_json::from_slice(&read_small(&self.root.join(blob_name(&digest))).ok()?).ok()
    }
}

/// An artifact being added to a layout.
struct LayoutWriter<'a> {
    folder: &'a Path,
    extent: Extent,
    verified: Option<&'a VerifiedBlobs>,
    progress: &'a dyn Progress,
    /// The blobs handled: images share blobs.
    seen: BTreeSet<Digest>,
    /// The new blobs.
    new_blobs: Vec<Digest>,
    /// Set once a file is written.
    changed: bool,
    omitted: Vec<Descriptor>,
}

impl<'a> LayoutWriter<'a> {
    fn new(
        folder: &'a Path,
        extent: Extent,
        verified: Option<&'a VerifiedBlobs>,
        progress: &'a dyn Progress,
    ) -> Self {
        let (seen, new_blobs, omitted) = (BTreeSet::new(), Vec::new(), Vec::new());
        Self { folder, extent, verified, progress, seen, new_blobs, changed: false, omitted }
    }

    /// Adds everything below `artifact`, then the document itself.
    fn add(&mut self, artifact: &Artifact) -> Result<(), StoreError> {
        for below in &artifact.manifests {
            self.add(below)?;
        }
        for (number, (descriptor, blob)) in artifact.blobs.iter().enumerate() {
            // The configuration is always included: small, and essential to the image.
            if number > 0 && self.extent == Extent::Shallow && is_remote(blob) {
                if self.seen.insert(descriptor.digest) {
                    self.omitted.push(descriptor.clone());
                }
            } else if !(descriptor.is_nondistributable() && blob.open().is_err()) {
                self.add_blob(descriptor.digest, descriptor.size, blob)?;
            }
        }
        let document = Blob::Memory(artifact.bytes.clone());
        self.add_blob(artifact.digest(), artifact.bytes.len() as u64, &document)
    }

    fn add_blob(&mut self, digest: Digest, size: u64, blob: &Blob) -> Result<(), StoreError> {
        if self.seen.insert(digest) {
            // `blobs/sha512` is made on demand; hardly any image needs the folder.
            let folder = self.folder.with_file_name(digest.algorithm());
            if folder != self.folder {
                fs_err::create_dir_all(&folder).map_err(|error| FileError::new("create", &folder, error))?;
            }
            let update = blobs::add(&folder, digest, size, blob, self.verified, self.progress)?;
            self.changed |= update != BlobUpdate::Unchanged;
            if update == BlobUpdate::New {
                self.new_blobs.push(digest);
            }
        }
        Ok(())
    }
}

/// Returns whether only a registry has the blob.
fn is_remote(blob: &Blob) -> bool {
    matches!(blob, Blob::Source(source) if source.repository().is_some())
}

/// The state of a path to be used as a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FolderState {
    Missing,
    Present,
}

fn folder_state(root: &Path) -> Result<FolderState, StoreError> {
    match fs_err::metadata(root) {
        Ok(metadata) if metadata.is_dir() => Ok(FolderState::Present),
        Ok(_) => {
            let found = "a file".to_owned();
            Err(StoreError::NotALayout { path: root.to_owned(), found })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(FolderState::Missing),
        Err(error) => Err(FileError::new("open", root, error).into()),
    }
}

/// Refuses a path that cannot hold a layout: a file, or a folder with other contents. Changes
/// nothing on disk.
pub(super) fn check_destination(root: &Path) -> Result<(), StoreError> {
    match folder_state(root)? {
        FolderState::Present => check(root),
        FolderState::Missing => Ok(()),
    }
}

/// Refuses a folder with contents other than a layout.
pub(super) fn check(root: &Path) -> Result<(), StoreError> {
    let marker = root.join(MARKER.0);
    if marker.symlink_metadata().is_ok() {
        let json = read_json(root, MARKER.0)?;
        return match json.get("imageLayoutVersion") {
            Some(Value::String(version)) if version == "1.0.0" => Ok(()),
            Some(Value::String(version)) => Err(damaged(
                root,
                format!("unsupported layout version `{}`; expected 1.0.0", version.escape_debug()),
            )),
            _ => Err(damaged(root, "oci-layout has no version")),
        };
    }
    let entries = fs_err::read_dir(root).map_err(|error| FileError::new("list", root, error))?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(FileError::of("list", root))?;
    names.sort();
    // A build killed before its first index leaves these two.
    match names.into_iter().find(|name| name != "blobs" && !is_temporary(name)) {
        None => Ok(()),
        Some(name) => {
            Err(StoreError::NotALayout { path: root.to_owned(), found: format!("`{}`", name.escape_debug()) })
        }
    }
}

/// Reads the index of the layout in `root`; an empty index if missing.
pub(super) fn read_index(root: &Path) -> Result<Value, StoreError> {
    match root.join(INDEX).symlink_metadata() {
        Ok(_) => read_json(root, INDEX),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(index::empty()),
        Err(error) => Err(FileError::new("read", root.join(INDEX), error).into()),
    }
}

fn read_json(root: &Path, name: &str) -> Result<Value, StoreError> {
    let bytes = read_small(&root.join(name))?;
    serde_json::from_slice(&bytes).map_err(|error| damaged(root, PartError::new(name, error)))
}

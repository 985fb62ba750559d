//! OCI layouts: a folder of blobs with an index (OCI image specification 1.1, `image-layout.md`).
//!
//! A layout is never left half written. Blobs come first, each under a temporary name until it is whole and on the
//! disk; the index is replaced last, in one step. Whoever is killed in between leaves the old index, and blobs that
//! nobody names. One writer at a time holds a lock on the folder.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde_json::Value;

use super::blobs::{self, Brought, TEMPORARY};
use super::files::blob_name;
use super::{Extent, StoreError, index};
use crate::cache::Verified;
use crate::digest::Digest;
use crate::error::FileError;
use crate::image::{Artifact, Blob, Descriptor};
use crate::progress::Progress;
use crate::reference::Name;

/// Manifests and indexes are smaller than this, in bytes (distribution specification 1.1, "Pushing manifests").
pub(super) const JSON_LIMIT: u64 = 4 << 20;
/// The file that says what the folder is, and what it says.
const MARKER: (&str, &str) = ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
const INDEX: &str = "index.json";

/// A layout that is open for writing; no other process writes to it meanwhile.
#[derive(Debug)]
pub struct Layout {
    root: PathBuf,
    verified: Option<Verified>,
    /// Holds the lock as long as it is open.
    _lock: File,
}

impl Layout {
    /// Opens the layout in `root`, or makes one of a folder that is new or empty. Waits while another process writes
    /// to it.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        if folder_at(root)? == There::Nothing {
            fs_err::create_dir_all(root).map_err(|error| FileError::new("create", root, error))?;
        }
        let lock = File::open(root).map_err(FileError::of("open", root))?;
        flock(&lock, FlockOperation::LockExclusive)
            .map_err(|error| FileError::new("lock", root, error.into()))?;
        check(root)?;
        let layout = Self { root: root.to_owned(), verified: None, _lock: lock };
        let folder = layout.blobs();
        fs_err::create_dir_all(&folder).map_err(|error| FileError::new("create", &folder, error))?;
        blobs::sweep(&folder)?;
        let other = root.join("blobs").join("sha512");
        if other.is_dir() {
            blobs::sweep(&other)?;
        }
        blobs::sweep(root)?;
        Ok(layout)
    }

    /// Remembers which blobs were found right in the cache folder `cache`, so that they are not read again each time.
    #[must_use]
    pub fn remembering(mut self, cache: Option<&Path>) -> Self {
        self.verified = cache.map(Verified::new);
        self
    }

    /// Stores `artifact` under the tag `ref_name`, as what is called `name` in full. What had the tag before is replaced, and
    /// what only that used is removed. On an error the layout is what it was.
    ///
    /// Gives the blobs that were left out, see [`Extent::Shallow`].
    pub fn put(
        &self,
        artifact: &Artifact,
        ref_name: &str,
        name: &Name,
        extent: Extent,
        progress: &dyn Progress,
    ) -> Result<Vec<Descriptor>, StoreError> {
        // The index is read first: where it is damaged nothing is to be touched.
        let mut index = read_index(&self.root)?;
        let before = index.clone();
        let replaced = index::replace(&mut index, index::descriptor(artifact, ref_name, name))
            .map_err(|reason| damaged(&self.root, reason))?;
        let folder = self.blobs();
        let mut arrival = Arrival::new(&folder, extent, self.verified.as_ref(), progress);
        let outcome = arrival.bring(artifact).and_then(|()| {
            // Where all is as it was, nothing has to be made to last.
            if !arrival.changed && index == before && self.root.join(MARKER.0).exists() {
                return Ok(());
            }
            blobs::sync_folder(&folder)?;
            let other = folder.with_file_name("sha512");
            if other.is_dir() {
                blobs::sync_folder(&other)?;
            }
            blobs::sync_folder(&self.root.join("blobs"))?;
            self.name(&index)?;
            Ok(blobs::sync_folder(&self.root)?)
        });
        if let Err(error) = outcome {
            // The disk may be full: what no index names is not to fill it further.
            for digest in arrival.added {
                let _ = fs_err::remove_file(self.root.join(blob_name(&digest)));
            }
            return Err(error);
        }
        self.collect(&index, &replaced);
        Ok(arrival.left_out)
    }

    fn blobs(&self) -> PathBuf {
        self.root.join("blobs").join("sha256")
    }

    /// Makes `index` the index.
    fn name(&self, index: &Value) -> Result<(), StoreError> {
        if !self.root.join(MARKER.0).exists() {
            blobs::replace(&self.root, MARKER.0, MARKER.1.as_bytes())?;
        }
        let mut index = index.clone();
        index.sort_all_objects();
        blobs::replace(&self.root, INDEX, index.to_string().as_bytes())
    }

    /// Removes the blobs that a replaced image used and no other does. Where it cannot be told, they stay.
    fn collect(&self, index: &Value, replaced: &[String]) {
        let mut used = BTreeSet::new();
        if replaced.is_empty() || self.uses(index, &mut used, 0).is_none() {
            return;
        }
        let mut old = BTreeSet::new();
        for digest in replaced {
            old.insert(digest.clone());
            if let Some(manifest) = self.json_blob(digest) {
                let _ = self.uses(&manifest, &mut old, 0);
            }
        }
        for digest in old.difference(&used) {
            if let Ok(digest) = digest.parse::<Digest>() {
                let _ = fs_err::remove_file(self.root.join(blob_name(&digest)));
            }
        }
    }

    /// Every digest that a manifest or index names, and those that the manifests it names do; nothing where one of them
    /// cannot be read. What a referrer speaks of is in use as long as it is there.
    fn uses(&self, document: &Value, found: &mut BTreeSet<String>, depth: usize) -> Option<()> {
        if depth > 8 {
            return None;
        }
        let named = index::named(document)?;
        found.extend(named.leaves.into_iter().map(str::to_owned));
        for digest in named.documents {
            if found.insert(digest.to_owned()) {
                self.uses(&self.json_blob(digest)?, found, depth + 1)?;
            }
        }
        if let Some(subject) = named.subject
            && found.insert(subject.to_owned())
            && let Some(document) = self.json_blob(subject)
        {
            self.uses(&document, found, depth + 1)?;
        }
        Some(())
    }

    fn json_blob(&self, digest: &str) -> Option<Value> {
        let digest: Digest = digest.parse().ok()?;
        serde_json::from_slice(&read_small(&self.root.join(blob_name(&digest))).ok()?).ok()
    }
}

/// An artifact on its way into a layout.
struct Arrival<'a> {
    folder: &'a Path,
    extent: Extent,
    verified: Option<&'a Verified>,
    progress: &'a dyn Progress,
    /// What was looked at: images share blobs.
    seen: BTreeSet<Digest>,
    /// What was not there before.
    added: Vec<Digest>,
    /// Whether anything was written.
    changed: bool,
    left_out: Vec<Descriptor>,
}

impl<'a> Arrival<'a> {
    fn new(
        folder: &'a Path,
        extent: Extent,
        verified: Option<&'a Verified>,
        progress: &'a dyn Progress,
    ) -> Self {
        let (seen, added, left_out) = (BTreeSet::new(), Vec::new(), Vec::new());
        Self { folder, extent, verified, progress, seen, added, changed: false, left_out }
    }

    /// Brings in all that `artifact` names, and then itself.
    fn bring(&mut self, artifact: &Artifact) -> Result<(), StoreError> {
        for below in &artifact.manifests {
            self.bring(below)?;
        }
        for (number, (descriptor, blob)) in artifact.blobs.iter().enumerate() {
            // The configuration is small, and nothing can be told of an image without it.
            if number > 0 && self.extent == Extent::Shallow && is_elsewhere(blob) {
                if self.seen.insert(descriptor.digest) {
                    self.left_out.push(descriptor.clone());
                }
            } else if !(descriptor.is_nondistributable() && blob.open().is_err()) {
                self.bring_blob(descriptor.digest, descriptor.size, blob)?;
            }
        }
        let document = Blob::Memory(artifact.bytes.clone());
        self.bring_blob(artifact.digest(), artifact.bytes.len() as u64, &document)
    }

    fn bring_blob(&mut self, digest: Digest, size: u64, blob: &Blob) -> Result<(), StoreError> {
        if self.seen.insert(digest) {
            // `blobs/sha512` is made where it is wanted; nearly nobody has it.
            let folder = self.folder.with_file_name(digest.algorithm());
            if folder != self.folder {
                fs_err::create_dir_all(&folder).map_err(|error| FileError::new("create", &folder, error))?;
            }
            let brought = blobs::bring(&folder, digest, size, blob, self.verified, self.progress)?;
            self.changed |= brought != Brought::Nothing;
            if brought == Brought::New {
                self.added.push(digest);
            }
        }
        Ok(())
    }
}

/// Whether a registry holds it and this machine does not.
fn is_elsewhere(blob: &Blob) -> bool {
    matches!(blob, Blob::Source(source) if source.repository().is_some())
}

/// What is at a path that is to be a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum There {
    Nothing,
    Folder,
}

fn folder_at(root: &Path) -> Result<There, StoreError> {
    match fs_err::metadata(root) {
        Ok(metadata) if metadata.is_dir() => Ok(There::Folder),
        Ok(_) => {
            let found = "no folder, but a file".to_owned();
            Err(StoreError::NotALayout { path: root.to_owned(), found })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(There::Nothing),
        Err(error) => Err(FileError::new("open", root, error).into()),
    }
}

/// Refuses a place where no layout can be: a file, or a folder with something else in it. Nothing is made or changed.
pub(super) fn check_place(root: &Path) -> Result<(), StoreError> {
    match folder_at(root)? {
        There::Folder => check(root),
        There::Nothing => Ok(()),
    }
}

/// Refuses a folder that holds something other than a layout.
pub(super) fn check(root: &Path) -> Result<(), StoreError> {
    let marker = root.join(MARKER.0);
    if marker.symlink_metadata().is_ok() {
        let json = read_json(root, MARKER.0)?;
        return match json.get("imageLayoutVersion") {
            Some(Value::String(version)) if version == "1.0.0" => Ok(()),
            Some(Value::String(version)) => Err(damaged(
                root,
                format!("its layout version is `{}`, and only 1.0.0 is known", version.escape_debug()),
            )),
            _ => Err(damaged(root, "oci-layout names no version")),
        };
    }
    let entries = fs_err::read_dir(root).map_err(|error| FileError::new("list", root, error))?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(FileError::of("list", root))?;
    names.sort();
    // A build that was killed before its first index leaves these two.
    match names.into_iter().find(|name| name != "blobs" && !name.starts_with(TEMPORARY)) {
        None => Ok(()),
        Some(name) => {
            Err(StoreError::NotALayout { path: root.to_owned(), found: format!("`{}`", name.escape_debug()) })
        }
    }
}

/// The index of the layout in `root`; an empty one where there is none yet.
pub(super) fn read_index(root: &Path) -> Result<Value, StoreError> {
    match root.join(INDEX).symlink_metadata() {
        Ok(_) => read_json(root, INDEX),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(index::empty()),
        Err(error) => Err(FileError::new("read", root.join(INDEX), error).into()),
    }
}

pub(super) fn damaged(root: &Path, reason: impl Into<String>) -> StoreError {
    StoreError::Damaged { path: root.to_owned(), reason: reason.into() }
}

fn read_json(root: &Path, name: &str) -> Result<Value, StoreError> {
    let bytes = read_small(&root.join(name))?;
    serde_json::from_slice(&bytes).map_err(|error| damaged(root, format!("{name}: {error}")))
}

/// Reads a file that should be small, and refuses one that is not.
pub(super) fn read_small(path: &Path) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(FileError::of("read", path))?;
    file.take(JSON_LIMIT + 1).read_to_end(&mut bytes).map_err(FileError::of("read", path))?;
    if bytes.len() as u64 > JSON_LIMIT {
        return Err(StoreError::Blob(format!("{} is larger than {JSON_LIMIT} bytes", path.display())));
    }
    Ok(bytes)
}

//! OCI layouts: a folder of blobs with an index (OCI image specification 1.1, `image-layout.md`).
//!
//! A layout is never left half written. Blobs come first, each under a temporary name until it is whole and on the
//! disk; the index is replaced last, in one step. Whoever is killed in between leaves the old index, and blobs that
//! nobody names. One writer at a time holds a lock on the folder.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use super::{Name, StoreError};
use crate::digest::{Digest, Hasher};
use crate::error::FileError;
use crate::image::{Blob, Image};

/// Manifests and indexes are smaller than this, in bytes (distribution specification 1.1, "Pushing manifests").
const JSON_LIMIT: u64 = 4 << 20;
/// Files that are not yet whole begin so.
const TEMPORARY: &str = ".ipo-oci-";
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// A layout that is open for writing; no other process writes to it meanwhile.
#[derive(Debug)]
pub struct Layout {
    root: PathBuf,
    /// Holds the lock as long as it is open.
    _lock: File,
}

impl Layout {
    /// Opens the layout in `root`, or makes one of a folder that is new or empty.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        match fs_err::metadata(root) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(StoreError::NotALayout {
                    path: root.to_owned(),
                    found: "no folder, but a file".to_owned(),
                });
            }
            Ok(_) => check(root)?,
            Err(_) => fs_err::create_dir_all(root).map_err(|error| FileError::new("create", root, error))?,
        }
        let lock = File::open(root).map_err(FileError::of("open", root))?;
        flock(&lock, FlockOperation::LockExclusive)
            .map_err(|error| FileError::new("lock", root, error.into()))?;
        let layout = Self { root: root.to_owned(), _lock: lock };
        let blobs = layout.blobs();
        fs_err::create_dir_all(&blobs).map_err(|error| FileError::new("create", &blobs, error))?;
        layout.sweep(&blobs)?;
        layout.sweep(root)?;
        Ok(layout)
    }

    /// Stores `image` as `name`. An image that had the name before is replaced, and what only it used is removed.
    pub fn put(&self, image: &Image, name: &Name) -> Result<(), StoreError> {
        for layer in &image.layers {
            self.blob(layer.digest, layer.size, &layer.blob)?;
        }
        for bytes in [&image.config, &image.manifest] {
            self.blob(Digest::of(bytes), bytes.len() as u64, &Blob::Memory(bytes.clone()))?;
        }
        sync_folder(&self.blobs())?;
        let mut index = self.index()?;
        let replaced = replace(&mut index, descriptor(image, name)).map_err(|reason| self.damaged(reason))?;
        self.write("oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}")?;
        self.write("index.json", &serde_json::to_vec(&index).unwrap_or_default())?;
        sync_folder(&self.root)?;
        self.collect(&index, &replaced);
        Ok(())
    }

    fn blobs(&self) -> PathBuf {
        self.root.join("blobs").join("sha256")
    }

    fn damaged(&self, reason: impl Into<String>) -> StoreError {
        StoreError::Damaged { path: self.root.clone(), reason: reason.into() }
    }

    /// Removes what builds that were killed have left.
    fn sweep(&self, folder: &Path) -> Result<(), StoreError> {
        let entries = fs_err::read_dir(folder).map_err(|error| FileError::new("list", folder, error))?;
        for entry in entries.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
                let _ = fs_err::remove_file(entry.path());
            }
        }
        Ok(())
    }

    /// Brings a blob in, unless it is there and right.
    fn blob(&self, digest: Digest, size: u64, blob: &Blob) -> Result<(), StoreError> {
        let path = self.blobs().join(digest.hex());
        if fs_err::metadata(&path).is_ok_and(|found| found.is_file() && found.len() == size)
            && is(&path, digest)
        {
            return Ok(());
        }
        let temporary = self.temporary(&self.blobs())?;
        match blob {
            Blob::Memory(bytes) => self.fill(&temporary, &mut &**bytes, digest)?,
            // A link to a file that nobody else will write to again is as good as a copy, and free.
            Blob::File(source) if relink(source, &temporary) => {
                let file = File::open(&temporary).map_err(FileError::of("read", &temporary))?;
                file.sync_all().map_err(FileError::of("write", &temporary))?;
            }
            Blob::File(source) => {
                let mut file = File::open(source).map_err(FileError::of("read", source))?;
                self.fill(&temporary, &mut file, digest)?;
            }
        }
        let renamed =
            fs_err::rename(&temporary, &path).map_err(|error| FileError::new("create", &path, error));
        renamed.map_err(|error| {
            let _ = fs_err::remove_file(&temporary);
            error.into()
        })
    }

    /// Writes a file of this digest, or none.
    fn fill(&self, path: &Path, source: &mut dyn Read, expected: Digest) -> Result<(), StoreError> {
        let written = (|| {
            let mut file = File::create(path)?;
            let mut hasher = Hasher::new();
            let mut buffer = vec![0; 256 << 10];
            loop {
                let read = source.read(&mut buffer)?;
                if read == 0 {
                    break;
                }
                hasher.update(&buffer[..read]);
                file.write_all(&buffer[..read])?;
            }
            file.sync_all()?;
            Ok(hasher.finish())
        })();
        let outcome = match written {
            Ok(found) if found == expected => return Ok(()),
            Ok(found) => StoreError::Digest { expected, found },
            Err(error) => FileError::new("write", path.parent().unwrap_or(path), error).into(),
        };
        let _ = fs_err::remove_file(path);
        Err(outcome)
    }

    /// A name in `folder` that nothing has.
    fn temporary(&self, folder: &Path) -> Result<PathBuf, StoreError> {
        let file = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempfile_in(folder)
            .map_err(|error| FileError::new("write in", folder, error))?;
        // Only the name is wanted: what takes its place may be a link.
        let path = file.into_temp_path();
        let name = path.to_path_buf();
        path.close().map_err(|error| FileError::new("write in", folder, error))?;
        Ok(name)
    }

    /// Replaces a file of the layout in one step.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.root.join(name);
        let temporary = self.temporary(&self.root)?;
        self.fill(&temporary, &mut &*bytes, Digest::of(bytes))?;
        fs_err::rename(&temporary, &path).map_err(|error| FileError::new("create", &path, error).into())
    }

    /// The index as it is; an empty one where there is none yet.
    fn index(&self) -> Result<Value, StoreError> {
        let path = self.root.join("index.json");
        match fs_err::metadata(&path) {
            Ok(_) => read_json(&path).map_err(|reason| self.damaged(format!("index.json: {reason}"))),
            Err(_) => Ok(json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": [],
            })),
        }
    }

    /// Removes the blobs that a replaced image used and no other does. Where it cannot be told, they stay.
    fn collect(&self, index: &Value, replaced: &[String]) {
        if replaced.is_empty() {
            return;
        }
        let mut used = BTreeSet::new();
        if self.uses(index, &mut used, 0).is_none() {
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
                let _ = fs_err::remove_file(self.blobs().join(digest.hex()));
            }
        }
    }

    /// Every digest that a manifest or index names, and those that the manifests it names do; nothing where one of them
    /// cannot be read.
    fn uses(&self, document: &Value, found: &mut BTreeSet<String>, depth: usize) -> Option<()> {
        if depth > 8 {
            return None;
        }
        let list = |key: &str| document.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        let plain = list("layers").into_iter().chain(document.get("config").cloned());
        for descriptor in plain {
            found.insert(descriptor.get("digest")?.as_str()?.to_owned());
        }
        for descriptor in list("manifests") {
            let digest = descriptor.get("digest")?.as_str()?;
            if found.insert(digest.to_owned()) {
                self.uses(&self.json_blob(digest)?, found, depth + 1)?;
            }
        }
        Some(())
    }

    fn json_blob(&self, digest: &str) -> Option<Value> {
        let digest: Digest = digest.parse().ok()?;
        read_json(&self.blobs().join(digest.hex())).ok()
    }
}

/// Refuses a folder that holds something other than a layout.
fn check(root: &Path) -> Result<(), StoreError> {
    let version = root.join("oci-layout");
    if version.exists() {
        let json = read_json(&version).map_err(|reason| StoreError::Damaged {
            path: root.to_owned(),
            reason: format!("oci-layout: {reason}"),
        })?;
        return match json.get("imageLayoutVersion").and_then(Value::as_str) {
            Some("1.0.0") => Ok(()),
            version => Err(StoreError::Damaged {
                path: root.to_owned(),
                reason: format!("it has the layout version {version:?}, not 1.0.0"),
            }),
        };
    }
    let entries = fs_err::read_dir(root).map_err(|error| FileError::new("list", root, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| FileError::new("list", root, error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // A build that was killed before its first index leaves these.
        if name != "blobs" && !name.starts_with(TEMPORARY) {
            return Err(StoreError::NotALayout {
                path: root.to_owned(),
                found: format!("`{}`", name.escape_debug()),
            });
        }
    }
    Ok(())
}

fn descriptor(image: &Image, name: &Name) -> Value {
    let (os, architecture, variant) = &image.platform;
    let mut platform = json!({ "os": os, "architecture": architecture });
    if let Some(variant) = variant {
        platform["variant"] = variant.as_str().into();
    }
    json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": image.digest().to_string(),
        "size": image.manifest.len(),
        "platform": platform,
        "annotations": { REF_NAME: name.tag, CONTAINERD_NAME: name.full() },
    })
}

/// The index of a layout that holds just `image`, as bytes.
pub(super) fn index_of(image: &Image, name: &Name) -> Vec<u8> {
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [descriptor(image, name)],
    });
    serde_json::to_vec(&index).unwrap_or_default()
}

/// Puts `descriptor` in the place of those of the same name, and gives the digests that went.
fn replace(index: &mut Value, descriptor: Value) -> Result<Vec<String>, &'static str> {
    let manifests = index
        .get_mut("manifests")
        .and_then(Value::as_array_mut)
        .ok_or("index.json has no list of manifests")?;
    let name = |descriptor: &Value| descriptor["annotations"][REF_NAME].as_str().map(str::to_owned);
    let wanted = name(&descriptor);
    let at = manifests.iter().position(|old| name(old) == wanted);
    let mut replaced = Vec::new();
    manifests.retain(|old| {
        let same = name(old) == wanted;
        if same {
            replaced.extend(old["digest"].as_str().map(str::to_owned));
        }
        !same
    });
    manifests.insert(at.unwrap_or(manifests.len()).min(manifests.len()), descriptor);
    Ok(replaced)
}

fn read_json(path: &Path) -> Result<Value, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(JSON_LIMIT + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > JSON_LIMIT {
        return Err(format!("it is larger than {JSON_LIMIT} bytes"));
    }
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

/// Whether the file has this digest.
fn is(path: &Path, digest: Digest) -> bool {
    File::open(path).and_then(|mut file| Digest::of_reader(&mut file)).is_ok_and(|(found, _)| found == digest)
}

/// Links `source` to `path`; says whether it could.
#[allow(clippy::disallowed_methods)] // The store is the room that may: the source is a work file of our own.
fn relink(source: &Path, path: &Path) -> bool {
    std::fs::hard_link(source, path).is_ok()
}

fn sync_folder(folder: &Path) -> Result<(), FileError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(FileError::of("write", folder))
}

//! Reading images back from a layout (OCI image specification 1.1, `image-layout.md`).
//!
//! Manifest and configuration are read and checked at once; the layers are left where they are. No lock is taken: an
//! index is replaced in one step, so it is the old one or the new one.

use std::path::Path;

use super::layout::{check, damaged, read_index, read_small};
use super::{StoreError, index};
use crate::digest::Digest;
use crate::error::FileError;
use crate::image::{Blob, Image};

/// What an index says about one of its images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its tag in the layout.
    pub ref_name: Option<String>,
    /// Digest of the manifest.
    pub digest: Digest,
    /// What is behind the digest: a manifest or another index.
    pub media_type: String,
}

/// The images of the layout in `root`, in the order of its index.
pub fn list_layout(root: &Path) -> Result<Vec<Listed>, StoreError> {
    let metadata = fs_err::metadata(root).map_err(|error| FileError::new("read", root, error))?;
    if !metadata.is_dir() {
        let found = "no folder, but a file".to_owned();
        return Err(StoreError::NotALayout { path: root.to_owned(), found });
    }
    check(root)?;
    let index = read_index(root)?;
    let manifests = index::manifests(&index).map_err(|reason| damaged(root, reason))?;
    let listed = manifests.iter().map(|descriptor| {
        let text = |key: &str| descriptor.get(key)?.as_str();
        let digest = text("digest").ok_or_else(|| damaged(root, "index.json: an entry has no digest"))?;
        Ok(Listed {
            ref_name: index::ref_name(descriptor).map(str::to_owned),
            digest: digest.parse().map_err(|error| damaged(root, format!("index.json: {error}")))?,
            media_type: text("mediaType").unwrap_or_default().to_owned(),
        })
    });
    listed.collect()
}

/// Reads the image that has the tag `ref_name` in the layout in `root`, or the only one where no tag is given.
///
/// Manifest and configuration are what their digests say; each layer is there with the size that the manifest gives.
/// [`verify_layers`] reads them.
pub fn read_layout(root: &Path, ref_name: Option<&str>) -> Result<Image, StoreError> {
    let mut listed = list_layout(root)?;
    if let Some(wanted) = ref_name {
        listed.retain(|image| image.ref_name.as_deref() == Some(wanted));
    }
    let [image] = listed.as_slice() else {
        let path = root.to_owned();
        return Err(match ref_name {
            Some(tag) => StoreError::NoImage { path, tag: tag.to_owned() },
            None => StoreError::NotOneImage { path, found: listed.len() },
        });
    };
    let path_of = |digest: &Digest| root.join("blobs").join("sha256").join(digest.hex());
    let read = |digest: &Digest| {
        let path = path_of(digest);
        let bytes = read_small(&path)?;
        let found = Digest::of(&bytes);
        if found == *digest { Ok(bytes) } else { Err(StoreError::Digest { expected: *digest, found }) }
    };
    let manifest = read(&image.digest)?;
    let config = Image::config_of(&manifest).map_err(|error| damaged(root, error.to_string()))?;
    let blob = |digest: Digest| Blob::File(path_of(&digest));
    let image = Image::from_stored(manifest, read(&config)?, blob)
        .map_err(|error| damaged(root, error.to_string()))?;
    for layer in &image.layers {
        let path = path_of(&layer.digest);
        let found = fs_err::metadata(&path).map_err(|error| FileError::new("read", &path, error))?;
        if found.len() != layer.size {
            let reason = format!("{} has {} bytes, not {}", layer.digest, found.len(), layer.size);
            return Err(damaged(root, reason));
        }
    }
    Ok(image)
}

/// Reads every layer of `image` and compares it with its digest.
pub fn verify_layers(image: &Image) -> Result<(), StoreError> {
    for layer in &image.layers {
        let mut reader = layer.blob.open().map_err(|error| StoreError::Blob(error.to_string()))?;
        let (found, _) =
            Digest::of_reader(&mut reader).map_err(|error| StoreError::Blob(error.to_string()))?;
        if found != layer.digest {
            return Err(StoreError::Digest { expected: layer.digest, found });
        }
    }
    Ok(())
}

//! Reading images from a layout (OCI image specification 1.1, `image-layout.md`), in a folder or in an archive.
//!
//! Manifests are read and checked at once; blobs are left where they are. No lock is taken: an index is replaced in one
//! step, so it is the old one or the new one.

use std::path::Path;

use serde_json::Value;

use super::files::{Blobs, Files, Folder, blob_name};
use super::layout::{check, damaged, read_index};
use super::{StoreError, index};
use crate::digest::Digest;
use crate::error::FileError;
use crate::image::{Artifact, Descriptor, Image, ImageError};
use crate::reference::Name;

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
    let (folder, index) = folder(root)?;
    let listed = descriptors(&folder, &index)?.into_iter().map(|descriptor| Listed {
        ref_name: index::ref_name(&descriptor.json).map(str::to_owned),
        digest: descriptor.digest,
        media_type: descriptor.media_type,
    });
    Ok(listed.collect())
}

/// Reads the image that has the tag `ref_name` in the layout in `root`, or the only one where no tag is given.
///
/// Manifest and configuration are what their digests say; each layer is there with the size that the manifest gives.
/// [`verify_layers`] reads them.
pub fn read_layout(root: &Path, ref_name: Option<&str>) -> Result<Image, StoreError> {
    let (files, index) = folder(root)?;
    let artifact = artifact(&files, &index, ref_name, None)?;
    let image = Image::from_artifact(&artifact).map_err(|error| not_right(&files, error))?;
    for layer in &image.layers {
        if files.file(&blob_name(&layer.digest))?.is_none() {
            return Err(damaged(root, format!("it does not hold the layer {}", layer.digest)));
        }
    }
    Ok(image)
}

/// Reads every layer of `image` and compares it with its digest.
pub fn verify_layers(image: &Image) -> Result<(), StoreError> {
    for layer in &image.layers {
        let mut reader = layer.blob.open().map_err(|error| StoreError::Blob(error.to_string()))?;
        let (found, _) =
            layer.digest.recomputed_from(&mut reader).map_err(|error| StoreError::Blob(error.to_string()))?;
        if found != layer.digest {
            return Err(StoreError::Digest { expected: layer.digest, found });
        }
    }
    Ok(())
}

/// The layout in `root` and its index.
pub(super) fn folder(root: &Path) -> Result<(Folder, Value), StoreError> {
    let metadata = fs_err::metadata(root).map_err(|error| FileError::new("read", root, error))?;
    if !metadata.is_dir() {
        let found = "no folder, but a file".to_owned();
        return Err(StoreError::NotALayout { path: root.to_owned(), found });
    }
    check(root)?;
    Ok((Folder(root.to_owned()), read_index(root)?))
}

/// What `index` has under the tag or digest, or the only thing in it, with all below it.
pub(super) fn artifact<F: Files>(
    files: &F,
    index: &Value,
    tag: Option<&str>,
    digest: Option<Digest>,
) -> Result<Artifact, StoreError> {
    let descriptor = match digest {
        Some(digest) => by_digest(files, index, digest)?,
        None => by_tag(files, index, tag)?,
    };
    read(files, &descriptor)
}

/// What `descriptor` names, with all below it. The blobs that are there have the sizes that are said.
pub(super) fn read<F: Files>(files: &F, descriptor: &Descriptor) -> Result<Artifact, StoreError> {
    let artifact = Artifact::read(descriptor, &Blobs(files)).map_err(|error| match error {
        StoreError::Image(error) => not_right(files, error),
        error => error,
    })?;
    for (descriptor, _) in artifact.images().iter().flat_map(|image| &image.blobs) {
        if let Some((_, size)) = files.file(&blob_name(&descriptor.digest))?
            && size != descriptor.size
        {
            let Descriptor { digest, size: promised, .. } = descriptor;
            return Err(files.wrong(format!("{digest} has {size} bytes, not {promised}")));
        }
    }
    Ok(artifact)
}

/// What is wrong with a document is wrong with what it lies in.
pub(super) fn not_right<F: Files>(files: &F, error: ImageError) -> StoreError {
    match error {
        ImageError::Digest { expected, found } => StoreError::Digest { expected, found },
        error => files.wrong(error.to_string()),
    }
}

pub(super) fn descriptors<F: Files>(files: &F, index: &Value) -> Result<Vec<Descriptor>, StoreError> {
    let manifests = index::manifests(index).map_err(|reason| files.wrong(reason.to_owned()))?;
    let read =
        |json| Descriptor::from_json(json).map_err(|error| files.wrong(format!("index.json: {error}")));
    manifests.iter().map(read).collect()
}

fn by_digest<F: Files>(files: &F, index: &Value, digest: Digest) -> Result<Descriptor, StoreError> {
    if let Some(found) = descriptors(files, index)?.into_iter().find(|found| found.digest == digest) {
        return Ok(found);
    }
    // It may be an image of an index.
    if let Some((_, size)) = files.file(&blob_name(&digest))? {
        return Ok(Descriptor::new("", digest, size));
    }
    Err(StoreError::NoImage { path: files.path().to_owned(), tag: digest.to_string(), there: Vec::new() })
}

fn by_tag<F: Files>(files: &F, index: &Value, tag: Option<&str>) -> Result<Descriptor, StoreError> {
    let all = descriptors(files, index)?;
    let path = || files.path().to_owned();
    let there = || all.iter().filter_map(|image| index::ref_name(&image.json)).map(str::to_owned).collect();
    let mut found: Vec<_> = all.iter().collect();
    if let Some(tag) = tag {
        found.retain(|image| index::ref_name(&image.json) == Some(tag));
        if found.is_empty() {
            // A whole name, as containerd and Docker write it beside the tag.
            let full = tag.parse::<Name>().map(|name| name.full());
            let named = |image: &&Descriptor| {
                let names = [index::ref_name(&image.json), index::containerd_name(&image.json)];
                names.into_iter().flatten().any(|name| full.as_ref().is_ok_and(|full| full == name))
            };
            found = all.iter().filter(named).collect();
        }
        if found.is_empty() {
            return Err(StoreError::NoImage { path: path(), tag: tag.to_owned(), there: there() });
        }
    }
    // One image may have several tags.
    match found.as_slice() {
        [first, rest @ ..] if rest.iter().all(|image| image.digest == first.digest) => Ok((*first).clone()),
        _ => Err(StoreError::NotOneImage { path: path(), found: found.len(), there: there() }),
    }
}

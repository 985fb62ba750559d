//! Reading images from a layout (OCI image specification 1.1, `image-layout.md`), in a folder or an
//! archive.
//!
//! Manifests are read and checked at once; blobs stay unread. No lock is needed: writers replace
//! the index atomically.

use std::path::Path;

use serde_json::Value;

use super::files::{LayoutBlobs, LayoutFiles, LayoutFolder, blob_name, damaged};
use super::layout::{check, read_index};
use super::{StoreError, index};
use crate::digest::Digest;
use crate::error::{FileError, PartError};
use crate::image::{Artifact, Descriptor, Image, ImageError};
use crate::reference::Name;

/// An entry of a layout's index.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayoutEntry {
    /// The tag.
    pub ref_name: Option<String>,
    /// The manifest's digest.
    pub digest: Digest,
    /// The media type of a manifest or another index.
    pub media_type: String,
}

/// Lists the images of the layout in `root`, in the order of the index.
pub fn list_layout(root: &Path) -> Result<Vec<LayoutEntry>, StoreError> {
    let (folder, index) = folder(root)?;
    let listed = descriptors(&folder, &index)?.into_iter().map(|descriptor| LayoutEntry {
        ref_name: index::ref_name(&descriptor.json).map(str::to_owned),
        digest: descriptor.digest,
        media_type: descriptor.media_type,
    });
    Ok(listed.collect())
}

/// Reads the image with the tag `ref_name` from the layout in `root`; without a tag, the only
/// image.
///
/// Manifest and configuration are verified; layers are checked for existence and size only.
/// [`verify_layers`] verifies their contents.
pub fn read_layout(root: &Path, ref_name: Option<&str>) -> Result<Image, StoreError> {
    let (files, index) = folder(root)?;
    let artifact = artifact(&files, &index, ref_name, None)?;
    let image = Image::from_artifact(&artifact).map_err(|error| invalid_document(&files, error))?;
    for layer in &image.layers {
        if files.file(&blob_name(&layer.digest))?.is_none() {
            return Err(damaged(root, format!("layer {} not found", layer.digest)));
        }
    }
    Ok(image)
}

/// Reads every layer of `image` and verifies its digest.
pub fn verify_layers(image: &Image) -> Result<(), StoreError> {
    for layer in &image.layers {
        let mut reader = layer.blob.open().map_err(StoreError::Read)?;
        let (found, _) = layer.digest.recomputed_from(&mut reader).map_err(StoreError::Read)?;
        if found != layer.digest {
            return Err(StoreError::Digest { expected: layer.digest, found });
        }
    }
    Ok(())
}

/// Opens the layout in `root` and reads its index.
pub(super) fn folder(root: &Path) -> Result<(LayoutFolder, Value), StoreError> {
    let metadata = fs_err::metadata(root).map_err(|error| FileError::new("read", root, error))?;
    if !metadata.is_dir() {
        let found = "a file".to_owned();
        return Err(StoreError::NotALayout { path: root.to_owned(), found });
    }
    check(root)?;
    Ok((LayoutFolder(root.to_owned()), read_index(root)?))
}

/// Reads the image of `index` with the tag or digest, or the only one, with everything below.
pub(super) fn artifact<F: LayoutFiles>(
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

/// Reads the artifact of `descriptor` with everything below. Checks the sizes of existing blobs.
pub(super) fn read<F: LayoutFiles>(files: &F, descriptor: &Descriptor) -> Result<Artifact, StoreError> {
    let artifact = Artifact::read(descriptor, &LayoutBlobs(files)).map_err(|error| match error {
        StoreError::Image(error) => invalid_document(files, error),
        error => error,
    })?;
    for (descriptor, _) in artifact.images().iter().flat_map(|image| &image.blobs) {
        if let Some((_, size)) = files.file(&blob_name(&descriptor.digest))?
            && size != descriptor.size
        {
            let Descriptor { digest, size: promised, .. } = descriptor;
            return Err(files.invalid(format!("{digest} has {size} bytes, not {promised}")));
        }
    }
    Ok(artifact)
}

/// Attributes an invalid document to the layout or archive.
pub(super) fn invalid_document<F: LayoutFiles>(files: &F, error: ImageError) -> StoreError {
    match error {
        ImageError::Digest { expected, found } => StoreError::Digest { expected, found },
        error => files.invalid(error),
    }
}

pub(super) fn descriptors<F: LayoutFiles>(files: &F, index: &Value) -> Result<Vec<Descriptor>, StoreError> {
    let manifests = index::manifests(index).map_err(|reason| files.invalid(reason))?;
    let read = |json| {
        Descriptor::from_json(json).map_err(|error| files.invalid(PartError::new("index.json", error)))
    };
    manifests.iter().map(read).collect()
}

fn by_digest<F: LayoutFiles>(files: &F, index: &Value, digest: Digest) -> Result<Descriptor, StoreError> {
    if let Some(found) = descriptors(files, index)?.into_iter().find(|found| found.digest == digest) {
        return Ok(found);
    }
    // The digest may belong to an image within an index.
    if let Some((_, size)) = files.file(&blob_name(&digest))? {
        return Ok(Descriptor::new("", digest, size));
    }
    Err(StoreError::NoImage { path: files.path().to_owned(), tag: digest.to_string(), there: Vec::new() })
}

fn by_tag<F: LayoutFiles>(files: &F, index: &Value, tag: Option<&str>) -> Result<Descriptor, StoreError> {
    let all = descriptors(files, index)?;
    let path = || files.path().to_owned();
    let there = || all.iter().filter_map(|image| index::ref_name(&image.json)).map(str::to_owned).collect();
    let mut found: Vec<_> = all.iter().collect();
    if let Some(tag) = tag {
        found.retain(|image| index::ref_name(&image.json) == Some(tag));
        if found.is_empty() {
            // A full name, as containerd and Docker record beside the tag.
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

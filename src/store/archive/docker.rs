//! Reading the archives of `docker save` and `podman save` (Docker image specification 1.2,
//! "Combined Image JSON + Filesystem Changeset Format").
//!
//! `manifest.json` lists each image's configuration and layers. Docker 25 and later add an OCI
//! layout: then the image's own manifest is used, with its digest. Otherwise this module writes a
//! manifest with OCI media types. Layers are plain or compressed regardless of their names, so
//! their first bytes decide.

use std::io::Read;

use serde::Deserialize;
use serde_json::{Value, json};

use super::file::ArchiveFile;
use crate::digest::{Digest, DigestError};
use crate::error::{FileError, PartError};
use crate::image::{Artifact, Blob, Descriptor, Documents, Encoding, IMAGE_CONFIG, IMAGE_MANIFEST, is_index};
use crate::reference::{Name, Reference};
use crate::store::files::{LayoutBlobs, LayoutFiles, blob_name};
use crate::store::index::{CONTAINERD_NAME, REF_NAME};
use crate::store::{StoreError, layout_reader};

const MANIFEST: &str = "manifest.json";
/// The limit for manifests searched for one configuration.
const MOST_MANIFESTS: usize = 1000;

/// An entry of `manifest.json`.
#[derive(Debug, Deserialize)]
struct SavedImage {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "RepoTags")]
    tags: Option<Vec<String>>,
    #[serde(rename = "Layers")]
    layers: Option<Vec<String>>,
}

impl SavedImage {
    fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.iter().flatten().map(String::as_str)
    }
}

/// Reads the image of a reference, or the only image.
pub(in crate::store) fn read(archive: &ArchiveFile, reference: &Reference) -> Result<Artifact, StoreError> {
    let Some(bytes) = archive.small(MANIFEST)? else {
        if archive.has("oci-layout") {
            return super::read_oci(archive, reference);
        }
        let reason = if archive.has("repositories") {
            "manifest.json not found: written by Docker before 1.10"
        } else {
            "manifest.json not found: not a Docker archive"
        };
        return Err(archive.invalid(reason));
    };
    let images: Vec<SavedImage> =
        serde_json::from_slice(&bytes).map_err(|error| archive.invalid(PartError::new(MANIFEST, error)))?;
    if let Some(digest) = reference.digest
        && archive.has(&blob_name(&digest))
        && archive.has("index.json")
    {
        return super::read_oci(archive, reference);
    }
    let image = pick(archive, &images, reference)?;
    let config = config(archive, image)?;
    let id = Digest::of(&config);
    let mut artifact = match of_layout(archive, id)? {
        Some(artifact) => artifact,
        None => assemble(archive, image, config)?,
    };
    match reference.digest {
        Some(expected) if expected != id && expected != artifact.digest() => {
            return Err(StoreError::Digest { expected, found: artifact.digest() });
        }
        _ => {}
    }
    name(&mut artifact, image);
    Ok(artifact)
}

fn pick<'a>(
    archive: &ArchiveFile,
    images: &'a [SavedImage],
    reference: &Reference,
) -> Result<&'a SavedImage, StoreError> {
    let path = || archive.path().to_owned();
    let there = || images.iter().flat_map(SavedImage::tags).map(str::to_owned).collect();
    let full = |tag: &str| tag.parse::<Name>().map(|name| name.full()).ok();
    // The digest may be the image's ID, the digest of its configuration, which names the file in
    // the archive.
    let id = reference.digest.map(|digest| digest.hex());
    if let Some(image) = images.iter().find(|image| id.as_ref().is_some_and(|id| image.config.contains(id))) {
        return Ok(image);
    }
    let Some(wanted) = &reference.tag else {
        return match images {
            [image] => Ok(image),
            images => Err(StoreError::NotOneImage { path: path(), found: images.len(), there: there() }),
        };
    };
    let named = |tag: &str| tag == wanted || (full(tag).is_some() && full(tag) == full(wanted));
    let found = images.iter().find(|image| image.tags().any(named));
    found.ok_or_else(|| StoreError::NoImage { path: path(), tag: wanted.clone(), there: there() })
}

/// Reads the configuration and verifies a digest in its name.
fn config(archive: &ArchiveFile, image: &SavedImage) -> Result<Vec<u8>, StoreError> {
    let missing = || archive.invalid(format!("`{}` not found", image.config.escape_debug()));
    let bytes = archive.small(&image.config)?.ok_or_else(missing)?;
    let name = image.config.rsplit('/').next().unwrap_or_default().trim_end_matches(".json");
    match format!("sha256:{name}").parse::<Digest>() {
        Ok(expected) if expected != Digest::of(&bytes) => {
            Err(StoreError::Digest { expected, found: Digest::of(&bytes) })
        }
        _ => Ok(bytes),
    }
}

/// Finds the image with this configuration in the layout beside `manifest.json`.
///
/// Docker saves only the pulled manifests of an index; others may be missing.
fn of_layout(archive: &ArchiveFile, config: Digest) -> Result<Option<Artifact>, StoreError> {
    let Some(index) = super::layout_index(archive)? else { return Ok(None) };
    let mut open = layout_reader::descriptors(archive, &index)?;
    for _ in 0..MOST_MANIFESTS {
        let Some(descriptor) = open.pop() else { break };
        if !archive.has(&blob_name(&descriptor.digest)) {
            continue;
        }
        let bytes = LayoutBlobs(archive).document(&descriptor)?;
        let Ok(document) = serde_json::from_slice::<Value>(&bytes) else { continue };
        let below = document.get("manifests").and_then(Value::as_array).into_iter().flatten();
        open.extend(below.filter_map(|entry| Descriptor::from_json(entry).ok()));
        let named = document.get("config").and_then(|config| config.get("digest")).and_then(Value::as_str);
        if !is_index(&descriptor.media_type) && named == Some(&config.to_string()) {
            return layout_reader::read(archive, &descriptor).map(Some);
        }
    }
    Ok(None)
}

/// Writes a manifest for an image without one.
fn assemble(archive: &ArchiveFile, image: &SavedImage, config: Vec<u8>) -> Result<Artifact, StoreError> {
    let json: Value = serde_json::from_slice(&config)
        .map_err(|error| archive.invalid(PartError::new("a configuration", error)))?;
    let diff_ids = json.get("rootfs").and_then(|root| root.get("diff_ids")).and_then(Value::as_array);
    let diff_ids = diff_ids.map_or(&[][..], Vec::as_slice);
    let layers = image.layers.as_deref().unwrap_or_default();
    if diff_ids.len() != layers.len() {
        let (found, said) = (layers.len(), diff_ids.len());
        return Err(archive.invalid(format!("{MANIFEST} has {found} layers and the configuration {said}")));
    }
    let descriptor = Descriptor::new(IMAGE_CONFIG, Digest::of(&config), config.len() as u64);
    let mut blobs = vec![(descriptor, Blob::Memory(config.into()))];
    for (name, diff_id) in layers.iter().zip(diff_ids) {
        let diff_id = diff_id.as_str().unwrap_or_default();
        let diff_id = diff_id
            .parse()
            .map_err(|error: DigestError| archive.invalid(PartError::new("a configuration", error)))?;
        blobs.push(layer(archive, name, diff_id)?);
    }
    let named: Vec<&Value> = blobs.iter().skip(1).map(|(descriptor, _)| &descriptor.json).collect();
    let config = blobs.first().map(|(descriptor, _)| &descriptor.json);
    let mut document =
        json!({ "schemaVersion": 2, "mediaType": IMAGE_MANIFEST, "config": config, "layers": named });
    document.sort_all_objects();
    let bytes = document.to_string().into_bytes();
    let descriptor = Descriptor::new(IMAGE_MANIFEST, Digest::of(&bytes), bytes.len() as u64);
    Ok(Artifact { descriptor, bytes: bytes.into(), blobs, manifests: Vec::new() })
}

/// Describes a layer: a plain archive's digest is in the configuration, a compressed one is
/// digested.
fn layer(archive: &ArchiveFile, name: &str, diff_id: Digest) -> Result<(Descriptor, Blob), StoreError> {
    let missing = || archive.invalid(format!("layer `{}` not found", name.escape_debug()));
    let section = archive.section(name)?.ok_or_else(missing)?;
    let unreadable = |error| FileError::new("read", archive.path(), error);
    let mut start = Vec::new();
    section.reader(0).take(Encoding::MAGIC_BYTES).read_to_end(&mut start).map_err(unreadable)?;
    let encoding = Encoding::of_magic(&start).unwrap_or(Encoding::Plain);
    let digest = match encoding {
        Encoding::Plain => diff_id,
        _ => Digest::of_reader(&mut section.reader(0)).map_err(unreadable)?.0,
    };
    let descriptor = Descriptor::new(encoding.media_type(), digest, section.size);
    Ok((descriptor, Blob::Source(std::sync::Arc::new(section))))
}

/// Adds the archive's name for the image to its descriptor, as a layout has it.
fn name(artifact: &mut Artifact, image: &SavedImage) {
    let Some(name) = image.tags().find_map(|tag| tag.parse::<Name>().ok()) else { return };
    if let Some(descriptor) = artifact.descriptor.json.as_object_mut() {
        let annotations = descriptor.entry("annotations").or_insert_with(|| json!({}));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.insert(REF_NAME.to_owned(), name.tag.as_str().into());
            annotations.insert(CONTAINERD_NAME.to_owned(), name.full().into());
        }
    }
}

//! [`DocumentWalk`]: the documents of an image, from the index down to the layers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::VerifyRule as Rule;
use super::findings::Findings;
use super::image_files;
use super::layer_files::{self, LayerFiles};
use super::{OmittedLayers, VerifyOptions};
use crate::digest::Digest;
use crate::image::{
    Artifact, Blob, DOCKER_CONFIG, Descriptor, Encoding, Format, IMAGE_CONFIG, is_index, is_manifest,
    media_type_of,
};
use crate::parallel::{cores, each};
use crate::platform::Platform;
use crate::progress::{Activity, Progress, Step};
use crate::store::{Contents, StoredFile};

/// The deepest nesting of indexes.
const MAX_DEPTH: usize = 4;
/// The most documents of one verification.
const MAX_DOCUMENTS: usize = 10_000;
/// The largest document in bytes.
const MAX_DOCUMENT: u64 = 8 << 20;
/// The number of digits of a digest in the name of a layer.
const SHORT: usize = "sha256:".len() + 12;
/// The property of an index that names another manifest of the index (BuildKit's attestations).
const REFERENCE: &str = "vnd.docker.reference.digest";

/// A walk through the documents of an image.
pub(super) struct DocumentWalk<'a> {
    source: BlobPlace<'a>,
    options: &'a VerifyOptions,
    pub(super) findings: Findings,
    /// Documents that the walk has seen.
    seen: BTreeSet<Digest>,
    /// Blobs that match their digest.
    verified: BTreeSet<Digest>,
    /// All blobs that a document references.
    referenced: BTreeSet<Digest>,
    layers: BTreeMap<Digest, LayerTask>,
    images: Vec<ImageLayers>,
    bytes: u64,
}

/// The result of a walk, with the layers read.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) findings: Findings,
    pub(super) verified: BTreeSet<Digest>,
    pub(super) referenced: BTreeSet<Digest>,
    pub(super) images: u64,
    pub(super) layers: u64,
    pub(super) bytes: u64,
}

/// The storage of the blobs.
enum BlobPlace<'a> {
    Layout(&'a BTreeMap<String, StoredFile>),
    /// The blobs of an artifact by digest, with the size of documents.
    Artifact(BTreeMap<Digest, (Blob, Option<u64>)>),
}

/// A layer to read.
#[derive(Debug)]
pub(super) struct LayerTask {
    /// The name in findings: `layer 3 of linux/amd64 (sha256:0123456789ab)`.
    pub(super) name: String,
    pub(super) descriptor: Descriptor,
    pub(super) blob: Blob,
    /// The size of the blob in bytes, if known before reading.
    pub(super) size: Option<u64>,
    /// The diff IDs of all images with the layer; none for the blob of another artifact.
    pub(super) diff_ids: BTreeSet<Digest>,
}

/// The layers of one image, lowest first.
#[derive(Debug)]
struct ImageLayers {
    layers: Vec<Digest>,
}

impl<'a> DocumentWalk<'a> {
    pub(super) fn new(contents: &'a Contents, options: &'a VerifyOptions) -> Self {
        let source = match contents {
            Contents::Layout(contents) => BlobPlace::Layout(&contents.files),
            Contents::Artifact(artifact) => {
                let mut blobs = BTreeMap::new();
                collect(artifact, &mut blobs);
                BlobPlace::Artifact(blobs)
            }
        };
        Self {
            source,
            options,
            findings: Findings::default(),
            seen: BTreeSet::new(),
            verified: BTreeSet::new(),
            referenced: BTreeSet::new(),
            layers: BTreeMap::new(),
            images: Vec::new(),
            bytes: 0,
        }
    }

    /// Verifies the document of a descriptor, with everything below.
    pub(super) fn root(&mut self, descriptor: &Value, name: &str) {
        let subject = if name.is_empty() { "the image".to_owned() } else { name.to_owned() };
        self.document(descriptor, &subject, MAX_DEPTH);
    }

    /// Verifies the version of a document.
    pub(super) fn schema_version(&mut self, document: &Value, subject: &str) {
        if document.get("schemaVersion").and_then(Value::as_u64) != Some(2) {
            self.findings.add(Rule::Document, subject, "schemaVersion is not 2");
        }
    }

    fn document(&mut self, json: &Value, subject: &str, depth: usize) {
        let Some(descriptor) = self.descriptor(json, subject) else { return };
        if let (Some(wanted), Some(platform)) = (&self.options.platform, &descriptor.platform)
            && !wanted.runs(platform)
        {
            self.referenced.insert(descriptor.digest);
            return;
        }
        if !self.seen.insert(descriptor.digest) {
            return;
        }
        if self.seen.len() > MAX_DOCUMENTS || depth == 0 {
            self.findings.add(Rule::Limit, subject, "too many or too deeply nested documents");
            return;
        }
        let name = named(subject, &descriptor);
        let Some(bytes) = self.small(&descriptor, &name) else { return };
        let document: Value = match serde_json::from_slice(&bytes) {
            Ok(document) => document,
            Err(error) => {
                self.findings.add(Rule::Document, &name, format!("invalid JSON: {error}"));
                return;
            }
        };
        self.schema_version(&document, &name);
        let media_type = media_type_of(&document).unwrap_or_default();
        if !descriptor.media_type.is_empty() && descriptor.media_type != media_type {
            let message =
                format!("has the media type `{media_type}`; its descriptor has `{}`", descriptor.media_type);
            self.findings.add(Rule::MediaType, &name, message);
        }
        self.subject(&document, &name);
        if is_index(&media_type) {
            self.index(&document, &name, depth);
        } else if is_manifest(&media_type) {
            self.manifest(&document, (&descriptor, subject), &media_type, &name);
        } else {
            let message = format!("`{media_type}` is neither a manifest nor an index");
            self.findings.add(Rule::UnknownMediaType, &name, message);
        }
    }

    fn index(&mut self, document: &Value, name: &str, depth: usize) {
        let Some(manifests) = document.get("manifests").and_then(Value::as_array) else {
            self.findings.add(Rule::Document, name, "has no list of manifests");
            return;
        };
        let digests: BTreeSet<&str> =
            manifests.iter().filter_map(|entry| entry.get("digest").and_then(Value::as_str)).collect();
        let mut platforms = BTreeMap::new();
        for (number, entry) in (1..).zip(manifests) {
            let read = Descriptor::from_json(entry).ok();
            let platform = read.as_ref().and_then(|read| read.platform.clone());
            let subject = match &platform {
                Some(platform) if platform.os != "unknown" => platform.to_string(),
                _ => format!("manifest {number}"),
            };
            if let (Some(platform), Some(read)) = (platform.filter(|own| own.os != "unknown"), &read) {
                // Images of Windows differ in the version.
                let version = entry.get("platform").and_then(|platform| platform.get("os.version"));
                let key = (platform.clone(), version.map(ToString::to_string));
                if platforms.insert(key, read.digest).is_some_and(|other| other != read.digest) {
                    let message = format!("two manifests have the platform {platform}");
                    self.findings.add(Rule::DuplicatePlatform, name, message);
                }
            }
            let attested = entry.get("annotations").and_then(|annotations| annotations.get(REFERENCE));
            if let Some(attested) = attested.and_then(Value::as_str)
                && !digests.contains(attested)
            {
                let message = format!("manifest {number} describes {attested}, which the index lacks");
                self.findings.add(Rule::MissingSubject, name, message);
            }
            self.document(entry, &subject, depth - 1);
        }
    }

    fn manifest(
        &mut self,
        document: &Value,
        (own, subject): (&Descriptor, &str),
        media_type: &str,
        name: &str,
    ) {
        let Some(config) = document.get("config") else {
            self.findings.add(Rule::Document, name, "has no configuration");
            return;
        };
        let Some(layers) = document.get("layers").and_then(Value::as_array) else {
            self.findings.add(Rule::Document, name, "has no list of layers");
            return;
        };
        let Some(config) = self.descriptor(config, name) else { return };
        let layers: Vec<Option<Descriptor>> =
            layers.iter().map(|layer| self.descriptor(layer, name)).collect();
        let is_image = matches!(config.media_type.as_str(), IMAGE_CONFIG | DOCKER_CONFIG)
            && own.platform.as_ref().is_none_or(|platform| platform.os != "unknown")
            && layers.iter().flatten().all(|layer| is_layer(&layer.media_type));
        let format = if media_type == crate::image::DOCKER_MANIFEST { Format::Docker } else { Format::Oci };
        let mut diff_ids = Vec::new();
        let config_name = named(&format!("configuration of {subject}"), &config);
        if let Some(bytes) = self.small(&config, &config_name)
            && is_image
        {
            diff_ids = self.config(&bytes, own, &layers, &config_name);
            self.media_types(&config, &layers, format, name);
        } else if !is_image && matches!(config.media_type.as_str(), IMAGE_CONFIG | DOCKER_CONFIG) {
            let other = layers.iter().flatten().find(|layer| !is_layer(&layer.media_type));
            // Attestations have a configuration of this type too.
            if let Some(layer) =
                other.filter(|layer| !layer.media_type.starts_with("application/vnd.in-toto"))
            {
                let message = format!("unknown media type `{}` of a layer", layer.media_type);
                self.findings.add(Rule::UnknownMediaType, name, message);
            }
        }
        let mut stack = Vec::new();
        for (number, layer) in layers.into_iter().enumerate() {
            let Some(layer) = layer else { continue };
            let noun = if is_image { "layer" } else { "blob" };
            let name = named(&format!("{noun} {} of {subject}", number + 1), &layer);
            stack.push(layer.digest);
            self.layer(layer, name, diff_ids.get(number).copied().flatten());
        }
        if is_image {
            self.images.push(ImageLayers { layers: stack });
        }
    }

    /// Plans the reading of a layer.
    fn layer(&mut self, layer: Descriptor, name: String, diff_id: Option<Digest>) {
        let digest = layer.digest;
        if let Some(task) = self.layers.get_mut(&digest) {
            task.diff_ids.extend(diff_id);
            return;
        }
        let Some((blob, size)) = self.find(&digest) else {
            if layer.is_nondistributable() {
                self.findings.add(Rule::ForeignLayer, &name, "is available from its urls only");
            } else {
                self.missing(&name);
            }
            return;
        };
        if let Some(size) = size
            && size != layer.size
        {
            let message = format!("has {size} bytes; its descriptor has {}", layer.size);
            self.findings.add(Rule::BlobSize, &name, message);
        }
        if layer.is_nondistributable() {
            self.findings.add(Rule::ForeignLayer, &name, "other places may have its urls only");
        }
        self.layers.insert(
            digest,
            LayerTask { name, descriptor: layer, blob, size, diff_ids: diff_id.into_iter().collect() },
        );
    }

    /// Reads the layers, each once, and verifies the merged files of the images.
    pub(super) fn read_layers(mut self, progress: &dyn Progress) -> Done {
        let tasks: Vec<&LayerTask> = self.layers.values().collect();
        let read = each(
            tasks.len(),
            cores(),
            || Ok::<(), std::convert::Infallible>(()),
            |(), number| {
                Ok(tasks.get(number).map(|task| {
                    progress.step(&Step::on(Activity::ReadImage, task.name.clone()));
                    layer_files::read(task)
                }))
            },
        );
        let mut files: BTreeMap<Digest, LayerFiles> = BTreeMap::new();
        for (digest, layer) in self.layers.keys().zip(read.into_iter().flatten().flatten()) {
            self.bytes += layer.bytes;
            if layer.is_verified {
                self.verified.insert(*digest);
            }
            self.findings.extend(layer.findings);
            if let Some(found) = layer.files {
                files.insert(*digest, found);
            }
        }
        for image in &self.images {
            let stack = image.layers.iter().map(|digest| {
                let name = self.layers.get(digest).map_or("", |task| task.name.as_str());
                (name, files.get(digest))
            });
            image_files::verify(stack, &mut self.findings);
        }
        Done {
            findings: self.findings,
            verified: self.verified,
            referenced: self.referenced,
            images: self.images.len() as u64,
            layers: self.layers.len() as u64,
            bytes: self.bytes,
        }
    }

    /// Verifies a configuration. Returns the diff IDs.
    fn config(
        &mut self,
        bytes: &[u8],
        own: &Descriptor,
        layers: &[Option<Descriptor>],
        name: &str,
    ) -> Vec<Option<Digest>> {
        let json: Value = match serde_json::from_slice(bytes) {
            Ok(json) => json,
            Err(error) => {
                self.findings.add(Rule::Document, name, format!("invalid JSON: {error}"));
                return Vec::new();
            }
        };
        self.platform(&json, own, name);
        if let Some(created) = json.get("created").and_then(Value::as_str)
            && created.parse::<jiff::Timestamp>().is_err()
        {
            self.findings.add(Rule::Document, name, format!("invalid time `{created}`"));
        }
        let rootfs = json.get("rootfs");
        if rootfs.and_then(|rootfs| rootfs.get("type")).and_then(Value::as_str) != Some("layers") {
            self.findings.add(Rule::Document, name, "the type of `rootfs` is not `layers`");
        }
        let listed = rootfs.and_then(|rootfs| rootfs.get("diff_ids")).and_then(Value::as_array);
        let listed = listed.map_or(&[][..], Vec::as_slice);
        if listed.len() != layers.len() {
            let message = format!("has {} diff IDs; the manifest has {} layers", listed.len(), layers.len());
            self.findings.add(Rule::LayerCount, name, message);
        }
        let history = json.get("history").and_then(Value::as_array);
        if let Some(history) = history.filter(|history| !history.is_empty()) {
            let lines =
                history.iter().filter(|line| line.get("empty_layer") != Some(&Value::Bool(true))).count();
            if lines != layers.len() {
                let message = format!("the history has {lines} layers; the manifest has {}", layers.len());
                self.findings.add(Rule::History, name, message);
            }
        }
        let parse = |diff_id: &Value| match diff_id.as_str().unwrap_or_default().parse::<Digest>() {
            Ok(digest) => Some(digest),
            Err(error) => {
                self.findings.add(Rule::DiffId, name, error.to_string());
                None
            }
        };
        listed.iter().map(parse).collect()
    }

    /// Compares the platform in an index with the configuration's.
    fn platform(&mut self, config: &Value, own: &Descriptor, name: &str) {
        let text = |key: &str| config.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (Some(os), Some(architecture)) = (text("os"), text("architecture")) else {
            self.findings.add(Rule::Document, name, "has no platform");
            return;
        };
        let Some(listed) = &own.platform else { return };
        let found = Platform::new(os, architecture, text("variant"));
        let variant = (&listed.variant, &found.variant);
        let same_variant = !matches!(variant, (Some(listed), Some(found)) if listed != found);
        if (&listed.os, &listed.architecture) != (&found.os, &found.architecture) || !same_variant {
            let message = format!("is for {found}; its descriptor is for {listed}");
            self.findings.add(Rule::Platform, name, message);
        }
    }

    fn media_types(
        &mut self,
        config: &Descriptor,
        layers: &[Option<Descriptor>],
        format: Format,
        name: &str,
    ) {
        let docker = |media_type: &str| media_type.starts_with("application/vnd.docker.");
        let types = std::iter::once(config).chain(layers.iter().flatten()).map(|own| own.media_type.as_str());
        if types.map(docker).any(|docker| docker != (format == Format::Docker)) {
            self.findings.add(Rule::MixedMediaTypes, name, "mixes Docker's media types and OCI's");
        }
        for layer in layers.iter().flatten() {
            if Encoding::from_media_type(&layer.media_type).is_none() {
                let message = format!("unknown media type `{}` of a layer", layer.media_type);
                self.findings.add(Rule::UnknownMediaType, name, message);
            }
        }
    }

    /// Verifies that the subject of a document exists (`manifest.md`, "subject").
    fn subject(&mut self, document: &Value, name: &str) {
        let Some(subject) = document.get("subject").filter(|subject| !subject.is_null()) else { return };
        let Some(descriptor) = self.descriptor(subject, name) else { return };
        // A registry returns one image, without its neighbors.
        if matches!(self.source, BlobPlace::Layout(_)) && self.find(&descriptor.digest).is_none() {
            let message = format!("its subject {} is missing", descriptor.digest);
            self.findings.add(Rule::MissingSubject, name, message);
        }
    }

    fn descriptor(&mut self, json: &Value, subject: &str) -> Option<Descriptor> {
        match Descriptor::from_json(json) {
            Ok(descriptor) => {
                if descriptor.media_type.is_empty() {
                    self.findings.add(Rule::Descriptor, subject, "a descriptor has no media type");
                }
                self.referenced.insert(descriptor.digest);
                Some(descriptor)
            }
            Err(error) => {
                self.findings.add(Rule::Descriptor, subject, crate::error::chain(&error));
                None
            }
        }
    }

    fn missing(&mut self, name: &str) {
        match self.options.omitted {
            OmittedLayers::Refuse => self.findings.add(Rule::MissingBlob, name, "is missing"),
            OmittedLayers::Allow => self.findings.add(Rule::OmittedBlob, name, "is omitted"),
        }
    }

    /// Reads and verifies a document.
    fn small(&mut self, descriptor: &Descriptor, name: &str) -> Option<Vec<u8>> {
        let Some((blob, size)) = self.find(&descriptor.digest) else {
            self.missing(name);
            return None;
        };
        let mut bytes = Vec::new();
        let read = blob.open().and_then(|reader| {
            std::io::Read::read_to_end(&mut std::io::Read::take(reader, MAX_DOCUMENT), &mut bytes)
        });
        if let Err(error) = read {
            self.findings.add(Rule::Unreadable, name, crate::error::describe(&error));
            return None;
        }
        let size = size.unwrap_or(bytes.len() as u64);
        if size != descriptor.size {
            let message = format!("has {size} bytes; its descriptor has {}", descriptor.size);
            self.findings.add(Rule::BlobSize, name, message);
        }
        let found = descriptor.digest.recomputed(&bytes);
        if found != descriptor.digest {
            self.findings.add(Rule::BlobDigest, name, format!("its content has the digest {found}"));
            // Reported here, not once more as a file of the layout.
            self.verified.insert(descriptor.digest);
            return None;
        }
        self.bytes += size;
        self.verified.insert(descriptor.digest);
        Some(bytes)
    }

    fn find(&self, digest: &Digest) -> Option<(Blob, Option<u64>)> {
        match &self.source {
            BlobPlace::Artifact(blobs) => blobs.get(digest).cloned(),
            BlobPlace::Layout(files) => {
                match files.get(&format!("blobs/{}/{}", digest.algorithm(), digest.hex()))? {
                    StoredFile::File(blob, size) => Some((blob.clone(), Some(*size))),
                    StoredFile::Other(_) => None,
                }
            }
        }
    }
}

/// Adds the digest of a document to its name.
fn named(subject: &str, descriptor: &Descriptor) -> String {
    let digest = descriptor.digest.to_string();
    format!("{subject} ({})", digest.get(..SHORT).unwrap_or(&digest))
}

/// Returns whether a media type is that of a layer.
fn is_layer(media_type: &str) -> bool {
    ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."]
        .iter()
        .any(|begin| media_type.starts_with(begin))
}

/// Collects the documents and blobs of an artifact.
fn collect(artifact: &Artifact, blobs: &mut BTreeMap<Digest, (Blob, Option<u64>)>) {
    let size = Some(artifact.bytes.len() as u64);
    blobs.insert(artifact.digest(), (Blob::Memory(artifact.bytes.clone()), size));
    for (descriptor, blob) in &artifact.blobs {
        blobs.entry(descriptor.digest).or_insert_with(|| (blob.clone(), None));
    }
    for below in &artifact.manifests {
        collect(below, blobs);
    }
}

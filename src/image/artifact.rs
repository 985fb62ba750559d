//! [`Artifact`]: a manifest or an index with everything it references, the unit that transports
//! read and write.
//!
//! OCI image specification 1.1, `manifest.md` and `image-index.md`; Docker's image manifest version
//! 2, schema 2. The raw bytes of every document are kept, because digests are over them: moving an
//! artifact changes no byte, whatever the content.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::config_blob::{platform_of_config, read_config};
use super::{
    Blob, DOCKER_CONFIG, DOCKER_LIST, DOCKER_MANIFEST, IMAGE_CONFIG, IMAGE_INDEX, IMAGE_MANIFEST, ImageError,
};
use crate::digest::Digest;
use crate::platform::Platform;

/// The deepest nesting of indexes. Typical images have one level.
const MAX_DEPTH: usize = 4;
/// Prefixes of the media types of layers.
const LAYERS: [&str; 2] = ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."];
/// The prefix of `created_by` in the history of a named layer.
pub(crate) const TITLE: &str = "ipo-oci: ";
/// The most documents in one artifact.
const MAX_DOCUMENTS: usize = 1000;

/// A manifest or an index, with everything it references.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// Media type, digest and size, with the properties in the parent index.
    pub descriptor: Descriptor,
    /// The document as stored.
    pub bytes: Arc<[u8]>,
    /// The blobs of a manifest: the configuration, then the layers in the manifest's order.
    pub blobs: Vec<(Descriptor, Blob)>,
    /// The children of an index.
    pub manifests: Vec<Artifact>,
}

/// A reference to a blob or another document (`descriptor.md`).
#[derive(Debug, Clone, PartialEq)]
pub struct Descriptor {
    /// Media type.
    pub media_type: String,
    /// Digest.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
    /// The platform, if given.
    pub platform: Option<Platform>,
    /// The complete JSON, with annotations and unknown fields.
    pub json: Value,
}

/// The storage from which an artifact is read.
pub trait Documents {
    /// The error of the storage.
    type Error: From<ImageError>;

    /// Returns the bytes of a manifest or index. Callers verify them.
    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Self::Error>;

    /// Returns the location of a blob, which is not read.
    fn blob(&self, descriptor: &Descriptor) -> Blob;
}

impl Descriptor {
    /// Makes a descriptor with only the required properties.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        let media_type = media_type.into();
        let json = serde_json::json!({ "mediaType": media_type, "digest": digest.to_string(), "size": size });
        Self { media_type, digest, size, platform: None, json }
    }

    /// Parses a descriptor. The media type may be missing; the other properties in use are required
    /// and validated.
    pub fn from_json(json: &Value) -> Result<Self, ImageError> {
        let wrong = |reason: &str| ImageError::Content(format!("a descriptor {reason}"));
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let digest = text(json, "digest").ok_or_else(|| wrong("has no digest"))?;
        let platform = json.get("platform").and_then(|platform| {
            let named = |key| text(platform, key).filter(|text| !text.is_empty());
            let (os, architecture) = (named("os")?, named("architecture")?);
            Some(Platform::new(&os, &architecture, text(platform, "variant").as_deref()))
        });
        Ok(Self {
            media_type: text(json, "mediaType").unwrap_or_default(),
            digest: digest.parse().map_err(ImageError::Descriptor)?,
            size: json.get("size").and_then(Value::as_u64).ok_or_else(|| wrong("has no size"))?,
            platform,
            json: json.clone(),
        })
    }

    /// Returns true for an index.
    pub fn is_index(&self) -> bool {
        is_index(&self.media_type)
    }

    /// Returns true for a layer that may be absent from its manifest's repository: a
    /// non-distributable layer with its own `urls` (`descriptor.md`).
    pub fn is_nondistributable(&self) -> bool {
        let urls = self.json.get("urls").and_then(Value::as_array);
        super::is_nondistributable(&self.media_type) && urls.is_some_and(|urls| !urls.is_empty())
    }

    /// Returns an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.json.get("annotations")?.get(key)?.as_str()
    }
}

/// Returns true for the media type of an index: OCI's, or Docker's manifest list.
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, IMAGE_INDEX | DOCKER_LIST)
}

/// Returns true for the media type of a manifest: OCI's or Docker's.
pub fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, IMAGE_MANIFEST | DOCKER_MANIFEST)
}

impl Artifact {
    /// Reads the document of `descriptor` and everything below. Documents are verified, blobs are
    /// not read.
    pub fn read<D: Documents>(descriptor: &Descriptor, place: &D) -> Result<Self, D::Error> {
        let mut left = MAX_DOCUMENTS;
        Self::read_below(descriptor, place, MAX_DEPTH, &mut left)
    }

    fn read_below<D: Documents>(
        descriptor: &Descriptor,
        place: &D,
        depth: usize,
        left: &mut usize,
    ) -> Result<Self, D::Error> {
        *left = left.checked_sub(1).ok_or_else(|| {
            ImageError::Content(format!("the index has more than {MAX_DOCUMENTS} manifests"))
        })?;
        let bytes = place.document(descriptor)?;
        let found = descriptor.digest.recomputed(&bytes);
        if found != descriptor.digest {
            return Err(ImageError::Digest { expected: descriptor.digest, found }.into());
        }
        let document: Value = serde_json::from_slice(&bytes).map_err(ImageError::from)?;
        let mut descriptor = descriptor.clone();
        descriptor.size = bytes.len() as u64;
        if let Some(media_type) = media_type_of(&document) {
            descriptor.media_type = media_type;
        }
        let (blobs, manifests) = named(&document, &descriptor.media_type)?;
        let depth = depth
            .checked_sub(usize::from(!manifests.is_empty()))
            .ok_or_else(|| ImageError::Content("indexes are nested too deeply".to_owned()))?;
        let below = manifests.iter().map(|child| Self::read_below(child, place, depth, left));
        Ok(Self {
            manifests: below.collect::<Result<_, _>>()?,
            blobs: blobs.into_iter().map(|blob| (blob.clone(), place.blob(&blob))).collect(),
            bytes: bytes.into(),
            descriptor,
        })
    }

    /// Returns the digest of the document, which identifies the artifact.
    pub fn digest(&self) -> Digest {
        self.descriptor.digest
    }

    /// Returns true for an index.
    pub fn is_index(&self) -> bool {
        self.descriptor.is_index()
    }

    /// Returns true for an image: a manifest with a configuration and layers, and not an
    /// attestation, signature or chart.
    pub fn is_image(&self) -> bool {
        let mut types = self.blobs.iter().map(|(descriptor, _)| descriptor.media_type.as_str());
        let platform = self.descriptor.platform.as_ref();
        is_manifest(&self.descriptor.media_type)
            // Attestations have the platform `unknown/unknown` in the index.
            && platform.is_none_or(|platform| platform.os != "unknown")
            && types.next().is_some_and(|config| matches!(config, IMAGE_CONFIG | DOCKER_CONFIG))
            && types.all(|layer| LAYERS.iter().any(|known| layer.starts_with(known)))
    }

    /// Returns the image for `wanted`: the one with the same variant, or one without a variant.
    /// Outside an index, the image itself is returned for any platform.
    ///
    /// # Errors
    /// Fails if there is none; the error lists the available platforms.
    pub fn for_platform(&self, wanted: &Platform) -> Result<&Self, ImageError> {
        if !self.is_index() {
            return Ok(self);
        }
        // Attestations have the platform `unknown/unknown` in the index.
        let mut images = Vec::new();
        for image in self.images().into_iter().filter(|image| is_manifest(&image.descriptor.media_type)) {
            if let Some(platform) = image.platform()? {
                images.push((image, platform));
            }
        }
        let exact = images.iter().find(|(_, there)| there == wanted);
        let near = || images.iter().find(|(_, there)| wanted.runs(there));
        exact.or_else(near).map(|(image, _)| *image).ok_or_else(|| {
            let mut there: Vec<_> = images.iter().map(|(_, there)| there.clone()).collect();
            there.retain(|platform| platform.os != "unknown");
            there.sort();
            there.dedup();
            ImageError::Platform { wanted: wanted.clone(), there }
        })
    }

    /// Returns the platform of an image: from the index, or from the configuration, since the
    /// property is optional in `image-index.md`. `None` for other artifacts, such as a signature.
    ///
    /// # Errors
    /// Fails if the configuration is needed and cannot be read.
    pub fn platform(&self) -> Result<Option<Platform>, ImageError> {
        if let Some(platform) = &self.descriptor.platform {
            return Ok(Some(platform.clone()));
        }
        match self.blobs.first() {
            Some((config, blob)) if self.is_image() => {
                let config: Value = serde_json::from_slice(&read_config(config, blob)?)?;
                Ok(Some(platform_of_config(&config, None)))
            }
            _ => Ok(None),
        }
    }

    /// Returns the names of the layers, from histories in the form of [`Image::assemble`]. Only
    /// local configurations are read.
    ///
    /// [`Image::assemble`]: super::Image::assemble
    pub fn titles(&self) -> BTreeMap<Digest, String> {
        let mut titles = BTreeMap::new();
        for image in self.images() {
            let [(config, blob), layers @ ..] = image.blobs.as_slice() else { continue };
            if matches!(blob, Blob::Source(_)) {
                continue;
            }
            let Ok(bytes) = read_config(config, blob) else { continue };
            let json: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let history = json.get("history").and_then(Value::as_array).into_iter().flatten();
            let lines = history.filter(|line| line.get("empty_layer") != Some(&Value::Bool(true)));
            for ((layer, _), line) in layers.iter().zip(lines) {
                let title = line.get("created_by").and_then(Value::as_str);
                if let Some(title) = title.and_then(|title| title.strip_prefix(TITLE)) {
                    titles.entry(layer.digest).or_insert_with(|| title.to_owned());
                }
            }
        }
        titles
    }

    /// Returns all manifests in the artifact; of a manifest, itself.
    pub fn images(&self) -> Vec<&Self> {
        if self.is_index() { self.manifests.iter().flat_map(Self::images).collect() } else { vec![self] }
    }
}

/// Returns the media type of a document: its own, or the one implied by its properties, since
/// `mediaType` is optional in `manifest.md`.
pub fn media_type_of(document: &Value) -> Option<String> {
    let own = document.get("mediaType").and_then(Value::as_str).filter(|word| !word.is_empty());
    let implied = match (document.get("manifests"), document.get("config")) {
        (Some(_), None) => Some(IMAGE_INDEX),
        (None, Some(_)) => Some(IMAGE_MANIFEST),
        _ => None,
    };
    own.or(implied).map(str::to_owned)
}

/// Returns the blobs and the documents that a document references.
fn named(document: &Value, media_type: &str) -> Result<(Vec<Descriptor>, Vec<Descriptor>), ImageError> {
    let list = |key: &str| document.get(key).and_then(Value::as_array).into_iter().flatten();
    if is_index(media_type) {
        if document.get("manifests").and_then(Value::as_array).is_none() {
            return Err(ImageError::Content("invalid index: it has no list of manifests".to_owned()));
        }
        return Ok((Vec::new(), list("manifests").map(Descriptor::from_json).collect::<Result<_, _>>()?));
    }
    if !is_manifest(media_type) {
        let media_type = media_type.escape_debug();
        return Err(ImageError::Content(format!(
            "invalid media type `{media_type}`: neither a manifest nor an index"
        )));
    }
    let config = document
        .get("config")
        .ok_or_else(|| ImageError::Content("invalid manifest: it has no configuration".to_owned()))?;
    let blobs = std::iter::once(config).chain(list("layers")).map(Descriptor::from_json);
    Ok((blobs.collect::<Result<_, _>>()?, Vec::new()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A store of documents by digest.
    #[derive(Default)]
    struct DocumentStore(BTreeMap<Digest, Vec<u8>>);

    impl DocumentStore {
        fn put(&mut self, media_type: &str, document: &Value) -> Descriptor {
            let bytes = document.to_string().into_bytes();
            let descriptor = Descriptor::new(media_type, Digest::of(&bytes), bytes.len() as u64);
            self.0.insert(descriptor.digest, bytes);
            descriptor
        }
    }

    impl Documents for DocumentStore {
        type Error = ImageError;

        fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
            self.0.get(&descriptor.digest).cloned().ok_or_else(|| ImageError::Content("gone".to_owned()))
        }

        fn blob(&self, descriptor: &Descriptor) -> Blob {
            Blob::Memory(self.0.get(&descriptor.digest).cloned().unwrap_or_default().into())
        }
    }

    fn manifest() -> Value {
        let blob = |text: &str| Descriptor::new("x", Digest::of(text.as_bytes()), 1).json;
        json!({ "schemaVersion": 2, "config": blob("c"), "layers": [blob("1"), blob("2")], "unknown": 1 })
    }

    #[test]
    fn reads_an_index_recursively() {
        let mut store = DocumentStore::default();
        let inner = store.put(IMAGE_MANIFEST, &manifest());
        let docker =
            store.put(DOCKER_MANIFEST, &json!({ "mediaType": DOCKER_MANIFEST, "config": inner.json }));
        let index = store.put(IMAGE_INDEX, &json!({ "manifests": [inner.json, docker.json] }));
        let artifact = Artifact::read(&index, &store).unwrap();
        assert!(artifact.is_index());
        let images = artifact.images();
        assert_eq!(images.iter().map(|image| image.blobs.len()).collect::<Vec<_>>(), [3, 1]);
        assert_eq!(images[1].descriptor.media_type, DOCKER_MANIFEST);
        assert_eq!(Digest::of(&images[0].bytes), inner.digest);
    }

    #[test]
    fn selects_an_image_by_platform() {
        let mut store = DocumentStore::default();
        let mut inner = store.put(IMAGE_MANIFEST, &manifest());
        let mut entries = Vec::new();
        for (architecture, variant) in
            [("unknown", ""), ("amd64", ""), ("arm", "v6"), ("arm", "v7"), ("arm64", "v8")]
        {
            inner.json["platform"] =
                json!({ "os": "linux", "architecture": architecture, "variant": variant });
            entries.push(inner.json.clone());
        }
        entries[0]["platform"]["os"] = json!("unknown");
        let index = store.put(IMAGE_INDEX, &json!({ "manifests": entries }));
        let artifact = Artifact::read(&index, &store).unwrap();
        let found = |wanted: &str| {
            let found = artifact.for_platform(&wanted.parse().unwrap())?;
            Ok::<_, ImageError>(found.descriptor.platform.clone().unwrap().to_string())
        };
        for (wanted, there) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/arm/v7", "linux/arm/v7"),
            ("linux/arm64", "linux/arm64"),
            ("linux/arm", "linux/arm/v6"),
        ] {
            assert_eq!(found(wanted).unwrap(), there);
        }
        let error = found("linux/s390x").unwrap_err().to_string();
        assert_eq!(
            error,
            "image for linux/s390x not found: available for linux/amd64, linux/arm/v6, linux/arm/v7, linux/arm64"
        );
    }

    #[test]
    fn falls_back_to_platforms_of_configurations() {
        let mut store = DocumentStore::default();
        let layer = Descriptor::new("application/vnd.oci.image.layer.v1.tar", Digest::of(b"1"), 1).json;
        let mut image = |config_type: &str, config: &Value| {
            let config = store.put(config_type, config).json;
            store.put(IMAGE_MANIFEST, &json!({ "config": config, "layers": [layer] })).json
        };
        let amd64 = image(IMAGE_CONFIG, &json!({ "os": "linux", "architecture": "amd64" }));
        let arm = image(DOCKER_CONFIG, &json!({ "os": "Linux", "architecture": "arm", "variant": "v7" }));
        let silent = image(IMAGE_CONFIG, &json!({}));
        let signature = image("application/vnd.oci.empty.v1+json", &json!({ "os": "linux" }));
        let mut attestation = image(IMAGE_CONFIG, &json!({ "x": 1 }));
        attestation["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
        let mut find = |entries: &[&Value], wanted: &str| {
            let index = store.put(IMAGE_INDEX, &json!({ "manifests": entries }));
            let index = Artifact::read(&index, &store)?;
            let found = index.for_platform(&wanted.parse().unwrap())?;
            Ok::<_, ImageError>(found.digest().to_string())
        };
        let all = [&attestation, &signature, &amd64, &arm];
        for platform in [json!({}), Value::Null, json!({ "os": "", "architecture": "" })] {
            let mut empty = amd64.clone();
            empty["platform"] = platform;
            assert_eq!(find(&[&arm, &empty], "linux/amd64").unwrap(), amd64["digest"]);
        }
        assert_eq!(find(&all, "linux/amd64").unwrap(), amd64["digest"]);
        assert_eq!(find(&all, "linux/arm/v7").unwrap(), arm["digest"]);
        let own = Platform::of_this_program().to_string();
        assert_eq!(find(&[&attestation, &silent], &own).unwrap(), silent["digest"]);
        let error = find(&all, "linux/s390x").unwrap_err().to_string();
        assert_eq!(error, "image for linux/s390x not found: available for linux/amd64, linux/arm/v7");
        find(&[&attestation, &signature], "linux/amd64").unwrap_err();
    }

    #[test]
    fn refuses_invalid_documents() {
        let mut store = DocumentStore::default();
        let good = store.put(IMAGE_MANIFEST, &manifest());
        store.0.insert(good.digest, b"{}".to_vec());
        assert!(matches!(Artifact::read(&good, &store), Err(ImageError::Digest { .. })));
        for wrong in [
            json!({}),
            json!([]),
            json!({ "mediaType": IMAGE_INDEX }),
            json!({ "mediaType": "text/plain", "config": good.json }),
            json!({ "config": {} }),
            json!({ "config": good.json, "layers": [{ "digest": "md5:1", "size": 1 }] }),
            json!({ "manifests": [{ "digest": good.digest.to_string() }] }),
        ] {
            let descriptor = store.put("", &wrong);
            assert!(Artifact::read(&descriptor, &store).is_err(), "{wrong}");
        }
    }

    #[test]
    fn limits_nesting_and_document_count() {
        let mut store = DocumentStore::default();
        let mut descriptor = store.put(IMAGE_MANIFEST, &manifest());
        for _ in 0..MAX_DEPTH {
            descriptor = store.put(IMAGE_INDEX, &json!({ "manifests": [descriptor.json] }));
        }
        assert!(Artifact::read(&descriptor, &store).is_ok());
        let deeper = store.put(IMAGE_INDEX, &json!({ "manifests": [descriptor.json] }));
        assert!(Artifact::read(&deeper, &store).is_err());
        let wide = store.put(IMAGE_INDEX, &json!({ "manifests": vec![&deeper.json; MAX_DOCUMENTS + 1] }));
        assert!(Artifact::read(&wide, &store).is_err());
    }
}

//! [`Artifact`]: a manifest or an index with all that it names, as every transport gives and takes it.
//!
//! OCI image specification 1.1, `manifest.md` and `image-index.md`; Docker's image manifest version 2, schema 2. The raw
//! bytes of every document are kept, because digests are over them: moving an artifact changes no byte of it, whatever it
//! holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::stored::{platform_of_config, read_config};
use super::{
    Blob, DOCKER_CONFIG, DOCKER_LIST, DOCKER_MANIFEST, IMAGE_CONFIG, IMAGE_INDEX, IMAGE_MANIFEST, ImageError,
};
use crate::digest::Digest;
use crate::platform::Platform;

/// Indexes in indexes, at most. Real ones have one level.
const DEEPEST: usize = 4;
/// How the media types of an image's layers begin.
const LAYERS: [&str; 2] = ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."];
/// How the history's line of a layer with a name begins.
pub(crate) const TITLE: &str = "ipo-oci: ";
/// Documents of one artifact, at most.
const MOST_DOCUMENTS: usize = 1000;

/// A manifest or an index, with all that it names.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// How it is named: its media type, digest and size, and what an index says about it.
    pub descriptor: Descriptor,
    /// The document as it is stored.
    pub bytes: Arc<[u8]>,
    /// What a manifest names: the configuration and the layers, in the manifest's order.
    pub blobs: Vec<(Descriptor, Blob)>,
    /// What an index names.
    pub manifests: Vec<Artifact>,
}

/// How a document names a blob or another document (`descriptor.md`).
#[derive(Debug, Clone, PartialEq)]
pub struct Descriptor {
    /// Media type.
    pub media_type: String,
    /// Digest.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// What it runs on, where that is said.
    pub platform: Option<Platform>,
    /// The whole of it as it is written: annotations and fields that are not known here among it.
    pub json: Value,
}

/// What reading an artifact needs of the place where it is.
pub trait Documents {
    /// Why something cannot be had.
    type Error: From<ImageError>;

    /// The bytes of a manifest or index. They are verified by whoever asks.
    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Self::Error>;

    /// Where a blob is. It is not read.
    fn blob(&self, descriptor: &Descriptor) -> Blob;
}

impl Descriptor {
    /// A descriptor with nothing but what every one has.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        let media_type = media_type.into();
        let json = serde_json::json!({ "mediaType": media_type, "digest": digest.to_string(), "size": size });
        Self { media_type, digest, size, platform: None, json }
    }

    /// Reads one. A media type may be missing; everything else that is used has to be there and make sense.
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
            digest: digest.parse().map_err(|error| wrong(&format!("is not right: {error}")))?,
            size: json.get("size").and_then(Value::as_u64).ok_or_else(|| wrong("has no size"))?,
            platform,
            json: json.clone(),
        })
    }

    /// Whether it names an index.
    pub fn is_index(&self) -> bool {
        is_index(&self.media_type)
    }

    /// Whether it names a layer that need not be where its manifest is: one that may not be distributed, and is to be had
    /// from its `urls` (`descriptor.md`).
    pub fn is_nondistributable(&self) -> bool {
        let urls = self.json.get("urls").and_then(Value::as_array);
        super::is_nondistributable(&self.media_type) && urls.is_some_and(|urls| !urls.is_empty())
    }

    /// An annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.json.get("annotations")?.get(key)?.as_str()
    }
}

/// Whether a media type is an index's: OCI's, or Docker's manifest list.
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, IMAGE_INDEX | DOCKER_LIST)
}

/// Whether a media type is a manifest's: OCI's, or Docker's.
pub fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, IMAGE_MANIFEST | DOCKER_MANIFEST)
}

impl Artifact {
    /// Reads the document that `descriptor` names, and all that it names. Documents are verified, blobs are not read.
    pub fn read<D: Documents>(descriptor: &Descriptor, place: &D) -> Result<Self, D::Error> {
        let mut left = MOST_DOCUMENTS;
        Self::read_below(descriptor, place, DEEPEST, &mut left)
    }

    fn read_below<D: Documents>(
        descriptor: &Descriptor,
        place: &D,
        depth: usize,
        left: &mut usize,
    ) -> Result<Self, D::Error> {
        *left = left
            .checked_sub(1)
            .ok_or_else(|| ImageError::Content(format!("it has more than {MOST_DOCUMENTS} manifests")))?;
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
            .ok_or_else(|| ImageError::Content("its indexes are nested too deeply".to_owned()))?;
        let below = manifests.iter().map(|child| Self::read_below(child, place, depth, left));
        Ok(Self {
            manifests: below.collect::<Result<_, _>>()?,
            blobs: blobs.into_iter().map(|blob| (blob.clone(), place.blob(&blob))).collect(),
            bytes: bytes.into(),
            descriptor,
        })
    }

    /// Digest of the document: what the artifact is known by.
    pub fn digest(&self) -> Digest {
        self.descriptor.digest
    }

    /// Whether it is an index.
    pub fn is_index(&self) -> bool {
        self.descriptor.is_index()
    }

    /// Whether it is an image: a manifest of a configuration and layers, and no attestation, signature or chart.
    pub fn is_image(&self) -> bool {
        let mut types = self.blobs.iter().map(|(descriptor, _)| descriptor.media_type.as_str());
        let platform = self.descriptor.platform.as_ref();
        is_manifest(&self.descriptor.media_type)
            // What describes an image stands beside it, for the platform `unknown/unknown`.
            && platform.is_none_or(|platform| platform.os != "unknown")
            && types.next().is_some_and(|config| matches!(config, IMAGE_CONFIG | DOCKER_CONFIG))
            && types.all(|layer| LAYERS.iter().any(|known| layer.starts_with(known)))
    }

    /// The manifest of the image for `wanted`: the one that names the same variant, else one that names none. An image
    /// that is not in an index is it, whatever it runs on.
    ///
    /// # Errors
    /// When there is none; the error lists what there is.
    pub fn for_platform(&self, wanted: &Platform) -> Result<&Self, ImageError> {
        if !self.is_index() {
            return Ok(self);
        }
        // What describes an image stands beside it, for the platform `unknown/unknown`.
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

    /// What an image of an index runs on: as the index says, else as its configuration does (`image-index.md`: the property
    /// is optional). Nothing for what is no image, such as a signature.
    ///
    /// # Errors
    /// When the configuration has to be read for it and cannot be.
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

    /// What its images call their layers, as far as their history says it in the way of [`Image::assemble`]. Only
    /// configurations that are at hand are read.
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

    /// The manifests in it, itself among them where it is one.
    pub fn images(&self) -> Vec<&Self> {
        if self.is_index() { self.manifests.iter().flat_map(Self::images).collect() } else { vec![self] }
    }
}

/// What kind of document it is: its own word for it, or what its properties say (`manifest.md`: `mediaType` is not
/// required).
pub fn media_type_of(document: &Value) -> Option<String> {
    let own = document.get("mediaType").and_then(Value::as_str).filter(|word| !word.is_empty());
    let implied = match (document.get("manifests"), document.get("config")) {
        (Some(_), None) => Some(IMAGE_INDEX),
        (None, Some(_)) => Some(IMAGE_MANIFEST),
        _ => None,
    };
    own.or(implied).map(str::to_owned)
}

/// The blobs and the documents that a document names.
fn named(document: &Value, media_type: &str) -> Result<(Vec<Descriptor>, Vec<Descriptor>), ImageError> {
    let list = |key: &str| document.get(key).and_then(Value::as_array).into_iter().flatten();
    if is_index(media_type) {
        if document.get("manifests").and_then(Value::as_array).is_none() {
            return Err(ImageError::Content("an index has no list of manifests".to_owned()));
        }
        return Ok((Vec::new(), list("manifests").map(Descriptor::from_json).collect::<Result<_, _>>()?));
    }
    if !is_manifest(media_type) {
        let media_type = media_type.escape_debug();
        return Err(ImageError::Content(format!("`{media_type}` is neither a manifest nor an index")));
    }
    let config = document
        .get("config")
        .ok_or_else(|| ImageError::Content("a manifest names no configuration".to_owned()))?;
    let blobs = std::iter::once(config).chain(list("layers")).map(Descriptor::from_json);
    Ok((blobs.collect::<Result<_, _>>()?, Vec::new()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Documents by digest.
    #[derive(Default)]
    struct Shelf(BTreeMap<Digest, Vec<u8>>);

    impl Shelf {
        fn put(&mut self, media_type: &str, document: &Value) -> Descriptor {
            let bytes = document.to_string().into_bytes();
            let descriptor = Descriptor::new(media_type, Digest::of(&bytes), bytes.len() as u64);
            self.0.insert(descriptor.digest, bytes);
            descriptor
        }
    }

    impl Documents for Shelf {
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
    fn an_index_is_read_with_all_below_it() {
        let mut shelf = Shelf::default();
        let inner = shelf.put(IMAGE_MANIFEST, &manifest());
        let docker =
            shelf.put(DOCKER_MANIFEST, &json!({ "mediaType": DOCKER_MANIFEST, "config": inner.json }));
        let index = shelf.put(IMAGE_INDEX, &json!({ "manifests": [inner.json, docker.json] }));
        let artifact = Artifact::read(&index, &shelf).unwrap();
        assert!(artifact.is_index());
        let images = artifact.images();
        assert_eq!(images.iter().map(|image| image.blobs.len()).collect::<Vec<_>>(), [3, 1]);
        assert_eq!(images[1].descriptor.media_type, DOCKER_MANIFEST);
        assert_eq!(Digest::of(&images[0].bytes), inner.digest);
    }

    #[test]
    fn the_image_of_a_platform_is_found() {
        let mut shelf = Shelf::default();
        let mut inner = shelf.put(IMAGE_MANIFEST, &manifest());
        let mut entries = Vec::new();
        for (architecture, variant) in
            [("unknown", ""), ("amd64", ""), ("arm", "v6"), ("arm", "v7"), ("arm64", "v8")]
        {
            inner.json["platform"] =
                json!({ "os": "linux", "architecture": architecture, "variant": variant });
            entries.push(inner.json.clone());
        }
        entries[0]["platform"]["os"] = json!("unknown");
        let index = shelf.put(IMAGE_INDEX, &json!({ "manifests": entries }));
        let artifact = Artifact::read(&index, &shelf).unwrap();
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
            "there is no image for linux/s390x: there is linux/amd64, linux/arm/v6, linux/arm/v7, linux/arm64"
        );
    }

    #[test]
    fn a_configuration_tells_what_an_index_does_not() {
        let mut shelf = Shelf::default();
        let layer = Descriptor::new("application/vnd.oci.image.layer.v1.tar", Digest::of(b"1"), 1).json;
        let mut image = |config_type: &str, config: &Value| {
            let config = shelf.put(config_type, config).json;
            shelf.put(IMAGE_MANIFEST, &json!({ "config": config, "layers": [layer] })).json
        };
        let amd64 = image(IMAGE_CONFIG, &json!({ "os": "linux", "architecture": "amd64" }));
        let arm = image(DOCKER_CONFIG, &json!({ "os": "Linux", "architecture": "arm", "variant": "v7" }));
        let silent = image(IMAGE_CONFIG, &json!({}));
        let signature = image("application/vnd.oci.empty.v1+json", &json!({ "os": "linux" }));
        let mut attestation = image(IMAGE_CONFIG, &json!({ "x": 1 }));
        attestation["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
        let mut find = |entries: &[&Value], wanted: &str| {
            let index = shelf.put(IMAGE_INDEX, &json!({ "manifests": entries }));
            let index = Artifact::read(&index, &shelf)?;
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
        assert_eq!(error, "there is no image for linux/s390x: there is linux/amd64, linux/arm/v7");
        find(&[&attestation, &signature], "linux/amd64").unwrap_err();
    }

    #[test]
    fn documents_that_lie_are_refused() {
        let mut shelf = Shelf::default();
        let good = shelf.put(IMAGE_MANIFEST, &manifest());
        shelf.0.insert(good.digest, b"{}".to_vec());
        assert!(matches!(Artifact::read(&good, &shelf), Err(ImageError::Digest { .. })));
        for wrong in [
            json!({}),
            json!([]),
            json!({ "mediaType": IMAGE_INDEX }),
            json!({ "mediaType": "text/plain", "config": good.json }),
            json!({ "config": {} }),
            json!({ "config": good.json, "layers": [{ "digest": "md5:1", "size": 1 }] }),
            json!({ "manifests": [{ "digest": good.digest.to_string() }] }),
        ] {
            let descriptor = shelf.put("", &wrong);
            assert!(Artifact::read(&descriptor, &shelf).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let mut shelf = Shelf::default();
        let mut descriptor = shelf.put(IMAGE_MANIFEST, &manifest());
        for _ in 0..DEEPEST {
            descriptor = shelf.put(IMAGE_INDEX, &json!({ "manifests": [descriptor.json] }));
        }
        assert!(Artifact::read(&descriptor, &shelf).is_ok());
        let deeper = shelf.put(IMAGE_INDEX, &json!({ "manifests": [descriptor.json] }));
        assert!(Artifact::read(&deeper, &shelf).is_err());
        let wide = shelf.put(IMAGE_INDEX, &json!({ "manifests": vec![&deeper.json; MOST_DOCUMENTS + 1] }));
        assert!(Artifact::read(&wide, &shelf).is_err());
    }
}

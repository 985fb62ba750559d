//! [`Artifact`]: a manifest or an index with all that it names, as every transport gives and takes it.
//!
//! OCI image specification 1.1, `manifest.md` and `image-index.md`; Docker's image manifest version 2, schema 2. The raw
//! bytes of every document are kept, because digests are over them: moving an artifact changes no byte of it, whatever it
//! holds.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Blob, DOCKER_CONFIG, DOCKER_LIST, DOCKER_MANIFEST, IMAGE_CONFIG, IMAGE_INDEX, IMAGE_MANIFEST, ImageError,
};
use crate::digest::Digest;
use crate::platform::Platform;

/// Indexes in indexes, at most. Real ones have one level.
const DEEPEST: usize = 4;
/// How the media types of an image's layers begin.
const LAYERS: [&str; 2] = ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."];
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
            let (os, architecture) = (text(platform, "os")?, text(platform, "architecture")?);
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
        let found = Digest::of(&bytes);
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
        let images: Vec<_> =
            self.images().into_iter().filter(|image| is_manifest(&image.descriptor.media_type)).collect();
        let platform_of = |image: &&Self| image.descriptor.platform.clone();
        let exact = images.iter().find(|image| platform_of(image).as_ref() == Some(wanted));
        let near = || images.iter().find(|image| platform_of(image).is_some_and(|there| wanted.runs(&there)));
        exact.or_else(near).copied().ok_or_else(|| {
            let mut there: Vec<_> = images.iter().filter_map(platform_of).collect();
            there.retain(|platform| platform.os != "unknown");
            there.sort();
            there.dedup();
            ImageError::Platform { wanted: wanted.clone(), there }
        })
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
    use std::collections::BTreeMap;

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

        fn blob(&self, _: &Descriptor) -> Blob {
            Blob::Memory(Vec::new().into())
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

//! Loads existing images from the bytes of a manifest and a configuration.

use oci_spec::image::{Descriptor as SpecDescriptor, ImageManifest};
use serde_json::Value;

use super::config_blob::{platform_of_config, read_config};
use super::{Artifact, Blob, DOCKER_MANIFEST, Descriptor, Encoding, Format, Image, ImageError, Layer};
use crate::digest::Digest;
use crate::platform::Platform;

impl Image {
    /// Returns the digest of the configuration that a manifest references.
    pub fn config_of(manifest: &[u8]) -> Result<Digest, ImageError> {
        digest_of(parse(manifest)?.config())
    }

    /// Makes an image from the bytes of its manifest and configuration, which are kept unchanged.
    /// `blob` returns the location of the layer with a digest.
    ///
    /// # Errors
    /// Fails if the two do not match, or a layer has an unknown media type.
    pub fn from_stored(
        manifest: Vec<u8>,
        config: Vec<u8>,
        blob: impl Fn(Digest) -> Blob,
    ) -> Result<Self, ImageError> {
        Self::from_documents(manifest, config, None, blob)
    }

    /// As [`Self::from_stored`], with the platform from the index as fallback.
    fn from_documents(
        manifest: Vec<u8>,
        config: Vec<u8>,
        fallback: Option<&Platform>,
        blob: impl Fn(Digest) -> Blob,
    ) -> Result<Self, ImageError> {
        let parsed = parse(&manifest)?;
        let expected = digest_of(parsed.config())?;
        if expected != expected.recomputed(&config) {
            return Err(ImageError::Content("the manifest names another configuration".to_owned()));
        }
        let json: Value = serde_json::from_slice(&config)?;
        let diff_ids = json.get("rootfs").and_then(|root| root.get("diff_ids")).and_then(Value::as_array);
        let diff_ids = diff_ids.map_or(&[][..], Vec::as_slice);
        if diff_ids.len() != parsed.layers().len() {
            return Err(ImageError::Content(format!(
                "layer count mismatch: {} in the manifest, {} in the configuration",
                parsed.layers().len(),
                diff_ids.len()
            )));
        }
        let layers = parsed.layers().iter().zip(diff_ids).map(|(descriptor, diff_id)| {
            let digest = digest_of(descriptor)?;
            let media_type = descriptor.media_type().to_string();
            Ok(Layer {
                digest,
                size: descriptor.size(),
                diff_id: parse_digest(diff_id.as_str().unwrap_or_default())?,
                encoding: Encoding::from_media_type(&media_type).ok_or_else(|| {
                    ImageError::Content(format!(
                        "unknown media type `{}` of a layer",
                        media_type.escape_debug()
                    ))
                })?,
                blob: blob(digest),
            })
        });
        let layers = layers.collect::<Result<Vec<_>, ImageError>>()?;
        let platform = platform_of_config(&json, fallback);
        let format = match parsed.media_type() {
            Some(media_type) if media_type.to_string() == DOCKER_MANIFEST => Format::Docker,
            _ => Format::Oci,
        };
        Ok(Self { manifest: manifest.into(), config: config.into(), layers, platform, format })
    }

    /// Makes the image of `artifact`: reads and verifies the configuration, but no layers.
    ///
    /// # Errors
    /// Fails for other artifacts, such as an attestation, and if the configuration is not
    /// available.
    pub fn from_artifact(artifact: &Artifact) -> Result<Self, ImageError> {
        let (descriptor, blob) = artifact
            .blobs
            .first()
            .ok_or_else(|| ImageError::Content("expected an image, found an index".to_owned()))?;
        let config = read_config(descriptor, blob)?;
        let find = |digest: Digest| {
            let found = artifact.blobs.iter().skip(1).find(|(layer, _)| layer.digest == digest);
            found.map_or_else(|| Blob::Memory(Vec::new().into()), |(_, blob)| blob.clone())
        };
        let fallback = artifact.descriptor.platform.as_ref();
        Self::from_documents(artifact.bytes.to_vec(), config, fallback, find)
    }

    /// Returns the image as an artifact, the form for transports.
    ///
    /// # Errors
    /// Fails if the manifest is invalid.
    pub fn artifact(&self) -> Result<Artifact, ImageError> {
        let document: Value = serde_json::from_slice(&self.manifest)?;
        let media_type = super::media_type_of(&document).unwrap_or_default();
        let mut descriptor = Descriptor::new(media_type, self.digest(), self.manifest.len() as u64);
        descriptor.platform = Some(self.platform.clone());
        descriptor.json["platform"] = serde_json::to_value(&self.platform)?;
        let documents = ImageDocuments(self);
        let mut artifact = Artifact::read(&descriptor, &documents)?;
        artifact.descriptor.size = self.manifest.len() as u64;
        Ok(artifact)
    }
}

/// The documents and blobs of one image.
struct ImageDocuments<'a>(&'a Image);

impl super::Documents for ImageDocuments<'_> {
    type Error = ImageError;

    fn document(&self, _: &Descriptor) -> Result<Vec<u8>, ImageError> {
        Ok(self.0.manifest.to_vec())
    }

    fn blob(&self, descriptor: &Descriptor) -> Blob {
        let layer = self.0.layers.iter().find(|layer| layer.digest == descriptor.digest);
        layer.map_or_else(|| Blob::Memory(self.0.config.clone()), |layer| layer.blob.clone())
    }
}

fn parse(manifest: &[u8]) -> Result<ImageManifest, ImageError> {
    Ok(serde_json::from_slice(manifest)?)
}

fn digest_of(descriptor: &SpecDescriptor) -> Result<Digest, ImageError> {
    parse_digest(descriptor.digest().as_ref())
}

fn parse_digest(text: &str) -> Result<Digest, ImageError> {
    Ok(text.parse::<Digest>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{HistoryLine, ImageConfig};
    use serde_json::json;

    fn image() -> Image {
        let layer = Layer {
            digest: Digest::of(b"blob"),
            size: 4,
            diff_id: Digest::of(b"tar"),
            encoding: Encoding::Gzip,
            blob: Blob::Memory(b"blob".to_vec().into()),
        };
        let line = HistoryLine { created_by: "x".to_owned(), comment: String::new() };
        let config = ImageConfig {
            os: "linux".to_owned(),
            architecture: "arm".to_owned(),
            variant: Some("v7".to_owned()),
            ..ImageConfig::default()
        };
        Image::assemble(&config, vec![(layer, line)], &[("a".to_owned(), "1".to_owned())].into()).unwrap()
    }

    fn back(manifest: &[u8], config: &[u8]) -> Result<Image, ImageError> {
        Image::from_stored(manifest.to_vec(), config.to_vec(), |_| Blob::Memory(b"blob".to_vec().into()))
    }

    #[test]
    fn round_trips_an_assembled_image() {
        let image = image();
        let again = back(&image.manifest, &image.config).unwrap();
        assert_eq!(again.digest(), image.digest());
        assert_eq!(again.platform, image.platform);
        assert_eq!(again.layers[0].diff_id, image.layers[0].diff_id);
        assert_eq!(again.layers[0].encoding, Encoding::Gzip);
    }

    #[test]
    fn reads_layer_names_from_history() {
        let mut image = image();
        assert!(image.artifact().unwrap().titles().is_empty());
        let config = String::from_utf8(image.config.to_vec()).unwrap();
        let config = config.replace(r#""created_by":"x""#, r#""created_by":"ipo-oci: scipy""#);
        let mut manifest: Value = serde_json::from_slice(&image.manifest).unwrap();
        manifest["config"]["digest"] = Digest::of(config.as_bytes()).to_string().into();
        image.manifest = manifest.to_string().into_bytes().into();
        image.config = config.into_bytes().into();
        let titles = image.artifact().unwrap().titles();
        assert_eq!(titles.into_iter().collect::<Vec<_>>(), [(Digest::of(b"blob"), "scipy".to_owned())]);
    }

    #[test]
    fn falls_back_to_the_platform_of_the_index_or_this_machine() {
        let fallback = Platform::new("linux", "arm", Some("v6"));
        for (config, with, without) in [
            (json!({}), "linux/arm/v6", Platform::of_this_program().to_string()),
            (json!({ "architecture": "s390x", "os": "" }), "linux/s390x", "linux/s390x".to_owned()),
            (
                json!({ "architecture": null, "variant": "v9" }),
                "linux/arm/v6",
                Platform::of_this_program().to_string(),
            ),
        ] {
            assert_eq!(platform_of_config(&config, Some(&fallback)).to_string(), with);
            assert_eq!(platform_of_config(&config, None).to_string(), without);
        }
    }

    #[test]
    fn an_image_goes_through_its_artifact() {
        let image = image();
        let artifact = image.artifact().unwrap();
        assert_eq!((artifact.digest(), artifact.blobs.len()), (image.digest(), 2));
        let again = Image::from_artifact(&artifact).unwrap();
        assert_eq!((again.manifest, again.config), (image.manifest, image.config));
        let mut wrong = artifact;
        wrong.blobs[0].1 = Blob::Memory(b"{}".to_vec().into());
        assert!(matches!(Image::from_artifact(&wrong), Err(ImageError::Digest { .. })));
    }

    #[test]
    fn refuses_mismatched_documents() {
        let image = image();
        assert!(back(&image.manifest, b"{}").is_err());
        assert!(back(b"{}", &image.config).is_err());
        let with = |edit: &dyn Fn(&mut Value, &mut Value)| {
            let mut config: Value = serde_json::from_slice(&image.config).unwrap();
            let mut manifest: Value = serde_json::from_slice(&image.manifest).unwrap();
            edit(&mut manifest, &mut config);
            let config = config.to_string();
            manifest["config"]["digest"] = Digest::of(config.as_bytes()).to_string().into();
            back(manifest.to_string().as_bytes(), config.as_bytes())
        };
        assert!(with(&|_, _| ()).is_ok());
        assert!(with(&|manifest, _| manifest["x"] = json!(1)).is_ok());
        assert!(with(&|_, config| config["rootfs"]["diff_ids"] = json!([])).is_err());
        assert!(with(&|_, config| config["rootfs"]["diff_ids"] = json!([7])).is_err());
        assert!(with(&|_, config| config["rootfs"] = json!(null)).is_err());
        assert!(with(&|manifest, _| manifest["layers"][0]["mediaType"] = json!("text/plain")).is_err());
        assert!(with(&|manifest, _| manifest["layers"][0]["digest"] = json!("md5:0")).is_err());
    }
}

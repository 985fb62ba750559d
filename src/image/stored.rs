//! Images that were made before: from the bytes of a manifest and a configuration.

use oci_spec::image::{Descriptor, ImageManifest};
use serde_json::Value;

use super::{Blob, Encoding, Image, ImageError, Layer};
use crate::digest::Digest;

impl Image {
    /// The digest of the configuration that the bytes of a manifest name.
    pub fn config_of(manifest: &[u8]) -> Result<Digest, ImageError> {
        digest_of(parse(manifest)?.config())
    }

    /// An image from the bytes of its manifest and configuration, which are kept as they are. `blob` says where the
    /// layer of a digest is.
    ///
    /// # Errors
    /// When the two do not belong together, or a layer has a media type that is not known.
    pub fn from_stored(
        manifest: Vec<u8>,
        config: Vec<u8>,
        blob: impl Fn(Digest) -> Blob,
    ) -> Result<Self, ImageError> {
        let parsed = parse(&manifest)?;
        if digest_of(parsed.config())? != Digest::of(&config) {
            return Err(ImageError::Content("the manifest names another configuration".to_owned()));
        }
        let json: Value = serde_json::from_slice(&config)?;
        let diff_ids = json.get("rootfs").and_then(|root| root.get("diff_ids")).and_then(Value::as_array);
        let diff_ids = diff_ids.map_or(&[][..], Vec::as_slice);
        if diff_ids.len() != parsed.layers().len() {
            return Err(ImageError::Content(format!(
                "the manifest has {} layers and the configuration {}",
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
                        "a layer has the unknown media type `{}`",
                        media_type.escape_debug()
                    ))
                })?,
                blob: blob(digest),
            })
        });
        let layers = layers.collect::<Result<Vec<_>, ImageError>>()?;
        let text = |key: &str| json.get(key).and_then(Value::as_str).map(str::to_owned);
        let platform =
            (text("os").unwrap_or_default(), text("architecture").unwrap_or_default(), text("variant"));
        Ok(Self { manifest: manifest.into(), config: config.into(), layers, platform })
    }
}

fn parse(manifest: &[u8]) -> Result<ImageManifest, ImageError> {
    Ok(serde_json::from_slice(manifest)?)
}

fn digest_of(descriptor: &Descriptor) -> Result<Digest, ImageError> {
    parse_digest(descriptor.digest().as_ref())
}

fn parse_digest(text: &str) -> Result<Digest, ImageError> {
    text.parse().map_err(|error: crate::digest::DigestError| ImageError::Content(error.to_string()))
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
    fn what_was_assembled_comes_back() {
        let image = image();
        let again = back(&image.manifest, &image.config).unwrap();
        assert_eq!(again.digest(), image.digest());
        assert_eq!(again.platform, image.platform);
        assert_eq!(again.layers[0].diff_id, image.layers[0].diff_id);
        assert_eq!(again.layers[0].encoding, Encoding::Gzip);
    }

    #[test]
    fn documents_that_do_not_fit_are_refused() {
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

//! Adds layers on top of an existing image, without a build.

use serde_json::{Map, Value, json};

use super::base::{MAX_LAYERS, document, invalid_field, list, object, repair_history};
use super::{HistoryLine, Image, ImageError, Layer};
use crate::digest::Digest;

impl Image {
    /// Returns this image with `layers` on top, lowest first, each with its history line.
    ///
    /// Everything else stays: command, health check, labels, annotations, time, media types and
    /// unknown fields. The layers are not read: stores verify digest and size when they write, and
    /// [`AppendedLayer::verify`](crate::plan::AppendedLayer::verify) verifies the diff ID as well.
    ///
    /// ```
    /// # use ipo_oci::image::{HistoryLine, Image, ImageError, Layer};
    /// # fn add(image: &Image, layer: Layer) -> Result<Image, ImageError> {
    /// let line = HistoryLine { created_by: "team: models".to_owned(), comment: String::new() };
    /// let image = image.append_layers(vec![(layer, line)])?;
    /// # Ok(image)
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails for more than [`MAX_LAYERS`] layers, for a layer in zstd on an image with Docker's media
    /// types, and if the image's documents do not follow the specification.
    pub fn append_layers(&self, layers: Vec<(Layer, HistoryLine)>) -> Result<Self, ImageError> {
        if layers.is_empty() {
            return Ok(self.clone());
        }
        if self.layers.len() + layers.len() > MAX_LAYERS {
            return Err(ImageError::Layers { base: self.layers.len(), own: layers.len() });
        }
        let (layers, lines): (Vec<Layer>, Vec<HistoryLine>) = layers.into_iter().unzip();
        let config = self.config_with(&layers, lines)?;
        let mut manifest = document(&self.manifest)?;
        let descriptor = object(&mut manifest, "config")?;
        descriptor.insert("digest".to_owned(), json!(Digest::of(&config).to_string()));
        descriptor.insert("size".to_owned(), json!(config.len()));
        // A copy of the document (`descriptor.md`, "data").
        descriptor.remove("data");
        let descriptors = list(&mut manifest, "layers")?;
        if descriptors.len() != self.layers.len() {
            return Err(invalid_field("layers"));
        }
        for layer in &layers {
            descriptors.push(json!({
                "mediaType": layer.encoding.media_type_in(self.format)?,
                "digest": layer.digest.to_string(),
                "size": layer.size,
            }));
        }
        let mut manifest = Value::Object(manifest);
        manifest.sort_all_objects();
        Ok(Self {
            manifest: serde_json::to_vec(&manifest)?.into(),
            config: config.into(),
            layers: self.layers.iter().cloned().chain(layers).collect(),
            platform: self.platform.clone(),
            format: self.format,
        })
    }

    fn config_with(&self, layers: &[Layer], lines: Vec<HistoryLine>) -> Result<Vec<u8>, ImageError> {
        let mut config = document(&self.config)?;
        let created = config.get("created").filter(|created| created.is_string()).cloned();
        let history = repair_history(list(&mut config, "history")?, self.layers.len())?;
        history.extend(lines.into_iter().map(|line| {
            let mut entry = Map::from_iter([("created_by".to_owned(), json!(line.created_by))]);
            entry.extend(created.clone().map(|created| ("created".to_owned(), created)));
            if !line.comment.is_empty() {
                entry.insert("comment".to_owned(), json!(line.comment));
            }
            Value::Object(entry)
        }));
        let all = self.layers.iter().chain(layers);
        let root = object(&mut config, "rootfs")?;
        root.insert("type".to_owned(), json!("layers"));
        root.insert("diff_ids".to_owned(), all.map(|layer| json!(layer.diff_id.to_string())).collect());
        let mut config = Value::Object(config);
        config.sort_all_objects();
        Ok(serde_json::to_vec(&config)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Blob, DOCKER_MANIFEST, Encoding, Format};

    fn layer(text: &str, encoding: Encoding) -> Layer {
        Layer {
            digest: Digest::of(text.as_bytes()),
            size: text.len() as u64,
            diff_id: Digest::of(format!("tar of {text}").as_bytes()),
            encoding,
            blob: Blob::Memory(text.as_bytes().into()),
        }
    }

    fn line(created_by: &str) -> HistoryLine {
        HistoryLine { created_by: created_by.to_owned(), comment: "why".to_owned() }
    }

    /// An image of another tool, with unknown fields and less history than layers.
    fn foreign(media_type: &str) -> Image {
        let below = layer("below", Encoding::Gzip);
        let config = json!({
            "created": "2024-01-02T03:04:05Z",
            "architecture": "arm64",
            "os": "linux",
            "os.version": "9",
            "config": {
                "Entrypoint": ["/run"],
                "Healthcheck": { "Test": ["CMD", "/check"], "Interval": 7 },
                "Labels": { "org.opencontainers.image.base.digest": "sha256:1" },
            },
            "history": [{ "created_by": "ENV A=1", "empty_layer": true }],
            "rootfs": { "type": "layers", "diff_ids": [below.diff_id.to_string()] },
        });
        let config = config.to_string().into_bytes();
        let encoding = Encoding::Gzip;
        let format = if media_type == DOCKER_MANIFEST { Format::Docker } else { Format::Oci };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": Digest::of(&config).to_string(),
                "size": config.len(),
                "data": "e30=",
                "annotations": { "a": "1" },
            },
            "layers": [{
                "mediaType": encoding.media_type_in(format).unwrap(),
                "digest": below.digest.to_string(),
                "size": below.size,
                "annotations": { "b": "2" },
            }],
            "annotations": { "c": "3" },
            "unknown": [1],
        });
        let manifest = manifest.to_string().into_bytes();
        Image::from_stored(manifest, config, |_| Blob::Memory(b"below".as_slice().into())).unwrap()
    }

    #[test]
    fn everything_but_the_layers_stays() {
        for media_type in [crate::image::IMAGE_MANIFEST, DOCKER_MANIFEST] {
            let image = foreign(media_type);
            let top = layer("top", Encoding::Gzip);
            let appended = image.append_layers(vec![(top.clone(), line("team: models"))]).unwrap();
            // As read from a store again.
            let stored = |digest: Digest| Blob::Memory(digest.to_string().into_bytes().into());
            let again =
                Image::from_stored(appended.manifest.to_vec(), appended.config.to_vec(), stored).unwrap();
            assert_eq!(again.digest(), appended.digest());
            assert_eq!(again.layers.last().map(|layer| layer.diff_id), Some(top.diff_id));
            assert_eq!(again.format, image.format);
            let parse = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
            let (before, after) = (parse(&image.config), parse(&appended.config));
            for field in ["created", "architecture", "os", "os.version", "config"] {
                assert_eq!(before[field], after[field], "{field}");
            }
            let history = after["history"].as_array().unwrap();
            assert_eq!(history.len(), 3, "{history:#?}");
            assert_eq!(
                history[2],
                json!({ "created": "2024-01-02T03:04:05Z", "created_by": "team: models", "comment": "why" })
            );
            let manifest = parse(&appended.manifest);
            assert_eq!(manifest["annotations"], json!({ "c": "3" }));
            assert_eq!(manifest["unknown"], json!([1]));
            assert_eq!(manifest["config"]["annotations"], json!({ "a": "1" }));
            assert_eq!(manifest["config"].get("data"), None);
            assert_eq!(manifest["layers"][0], parse(&image.manifest)["layers"][0]);
            assert_eq!(manifest["layers"][1]["mediaType"], manifest["layers"][0]["mediaType"]);
        }
    }

    #[test]
    fn no_layers_change_no_byte() {
        let image = foreign(DOCKER_MANIFEST);
        assert_eq!(image.append_layers(Vec::new()).unwrap().manifest, image.manifest);
    }

    #[test]
    fn refuses_zstd_in_docker_and_too_many_layers() {
        let image = foreign(DOCKER_MANIFEST);
        let zstd = vec![(layer("x", Encoding::Zstd), line("x"))];
        assert!(matches!(image.append_layers(zstd), Err(ImageError::ZstdInDocker)));
        let many = vec![(layer("x", Encoding::Gzip), line("x")); MAX_LAYERS];
        assert!(matches!(image.append_layers(many), Err(ImageError::Layers { base: 1, .. })));
    }
}

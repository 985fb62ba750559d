//! Converts images between OCI's and Docker's media types.
//!
//! OCI image specification 1.1, `manifest.md`; Docker's image manifest version 2, schema 2
//! (`docker/distribution`). Only media types change, and with them the manifest's digest: layers
//! and configuration keep every byte, so the health check, reserved by OCI and defined by Docker,
//! survives. Docker's manifests have no annotations, no subject and no zstd.

use serde_json::Value;

use super::{
    Artifact, Blob, DOCKER_CONFIG, DOCKER_LIST, DOCKER_MANIFEST, Encoding, Format, IMAGE_CONFIG, IMAGE_INDEX,
    IMAGE_MANIFEST, Image, ImageError,
};
use crate::digest::Digest;

impl Format {
    /// Returns the media types of a manifest, an index and a configuration.
    fn documents(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Oci => (IMAGE_MANIFEST, IMAGE_INDEX, IMAGE_CONFIG),
            Self::Docker => (DOCKER_MANIFEST, DOCKER_LIST, DOCKER_CONFIG),
        }
    }
}

impl Image {
    /// Converts the image to the media types of `format`.
    ///
    /// # Errors
    /// [`ImageError::ZstdInDocker`] for Docker's format with zstd layers.
    pub fn with_format(&self, format: Format) -> Result<Self, ImageError> {
        if self.format == format {
            return Ok(self.clone());
        }
        Self::from_artifact(&self.artifact()?.with_format(format)?)
    }
}

impl Artifact {
    /// Converts the artifact to the media types of `format`; unchanged if they match.
    ///
    /// Attestations in an index are dropped when its images change, since they describe
    /// digests that no longer exist.
    pub fn with_format(&self, format: Format) -> Result<Self, ImageError> {
        if self.is_index() {
            return self.index_with(format);
        }
        if self.descriptor.media_type == format.documents().0 {
            return Ok(self.clone());
        }
        if !self.is_image() {
            return Err(ImageError::Content("cannot convert the artifact: not an image".to_owned()));
        }
        let mut document: Value = serde_json::from_slice(&self.bytes)?;
        let mut blobs = self.blobs.clone();
        let (manifest, _, config) = format.documents();
        set(&mut document, "mediaType", manifest.into());
        let layers = document.get_mut("layers").and_then(Value::as_array_mut).into_iter().flatten();
        for (descriptor, (known, _)) in layers.zip(blobs.iter_mut().skip(1)) {
            let encoding = Encoding::from_media_type(&known.media_type).ok_or_else(|| {
                let media_type = known.media_type.escape_debug();
                ImageError::Content(format!("unknown media type `{media_type}` of a layer"))
            })?;
            known.media_type = encoding.like(&known.media_type, format)?;
            remove_unsupported(descriptor, format);
            set(descriptor, "mediaType", known.media_type.as_str().into());
            known.json = descriptor.clone();
        }
        if let (Some(descriptor), Some((known, _))) = (document.get_mut("config"), blobs.first_mut()) {
            config.clone_into(&mut known.media_type);
            remove_unsupported(descriptor, format);
            set(descriptor, "mediaType", config.into());
            known.json = descriptor.clone();
        }
        remove_unsupported(&mut document, format);
        self.rewritten(manifest, document, blobs, Vec::new())
    }

    fn index_with(&self, format: Format) -> Result<Self, ImageError> {
        let index = format.documents().1;
        let same = self.descriptor.media_type == index
            && self.images().iter().all(|image| image.descriptor.media_type == format.documents().0);
        if same {
            return Ok(self.clone());
        }
        let kept = self.manifests.iter().filter(|below| below.is_index() || below.is_image());
        let manifests = kept.map(|below| below.with_format(format)).collect::<Result<Vec<_>, _>>()?;
        let mut document: Value = serde_json::from_slice(&self.bytes)?;
        set(&mut document, "mediaType", index.into());
        set(
            &mut document,
            "manifests",
            manifests.iter().map(|below| below.descriptor.json.clone()).collect(),
        );
        remove_unsupported(&mut document, format);
        self.rewritten(index, document, Vec::new(), manifests)
    }

    /// Returns the artifact with another document and its digest.
    fn rewritten(
        &self,
        media_type: &str,
        mut document: Value,
        blobs: Vec<(super::Descriptor, Blob)>,
        manifests: Vec<Self>,
    ) -> Result<Self, ImageError> {
        document.sort_all_objects();
        let bytes = serde_json::to_vec(&document)?;
        let mut descriptor = self.descriptor.clone();
        media_type.clone_into(&mut descriptor.media_type);
        descriptor.digest = Digest::of(&bytes);
        descriptor.size = bytes.len() as u64;
        for (key, value) in [
            ("mediaType", Value::from(media_type)),
            ("digest", descriptor.digest.to_string().into()),
            ("size", descriptor.size.into()),
        ] {
            set(&mut descriptor.json, key, value);
        }
        if let Some(json) = descriptor.json.as_object_mut() {
            // A copy of the document inside the descriptor.
            json.remove("data");
        }
        Ok(Self { descriptor, bytes: bytes.into(), blobs, manifests })
    }
}

fn set(document: &mut Value, key: &str, value: Value) {
    if let Some(document) = document.as_object_mut() {
        document.insert(key.to_owned(), value);
    }
}

/// Removes the properties that Docker's format lacks.
fn remove_unsupported(document: &mut Value, format: Format) {
    if let (Format::Docker, Some(document)) = (format, document.as_object_mut()) {
        for key in ["annotations", "subject", "artifactType", "data"] {
            document.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Healthcheck, HistoryLine, ImageConfig, Layer, Process};
    use std::time::Duration;

    fn image(encoding: Encoding) -> Image {
        let layer = Layer {
            digest: Digest::of(b"blob"),
            size: 4,
            diff_id: Digest::of(b"tar"),
            encoding,
            blob: Blob::Memory(b"blob".to_vec().into()),
        };
        let config = ImageConfig {
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            process: Process {
                healthcheck: Some(Healthcheck {
                    test: vec!["CMD".to_owned(), "check".to_owned()],
                    interval: Duration::from_secs(30),
                    timeout: Duration::from_secs(3),
                    start_period: Duration::ZERO,
                    start_interval: Duration::from_secs(1),
                    retries: 3,
                }),
                ..Process::default()
            },
            ..ImageConfig::default()
        };
        let line = HistoryLine { created_by: "x".to_owned(), comment: String::new() };
        Image::assemble(&config, vec![(layer, line)], &[("a".to_owned(), "1".to_owned())].into()).unwrap()
    }

    #[test]
    fn only_media_types_change() {
        for (encoding, suffix) in [(Encoding::Gzip, ".gzip"), (Encoding::Plain, "")] {
            let image = image(encoding);
            let docker = image.with_format(Format::Docker).unwrap();
            assert_eq!((docker.format, &docker.config), (Format::Docker, &image.config));
            let manifest: Value = serde_json::from_slice(&docker.manifest).unwrap();
            assert_eq!(manifest["mediaType"], DOCKER_MANIFEST);
            assert_eq!(manifest["config"]["mediaType"], DOCKER_CONFIG);
            let layer = format!("application/vnd.docker.image.rootfs.diff.tar{suffix}");
            assert_eq!(manifest["layers"][0]["mediaType"], layer);
            assert!(manifest.get("annotations").is_none());
            let back = docker.with_format(Format::Oci).unwrap();
            assert_eq!((back.format, &back.config), (Format::Oci, &image.config));
            assert_eq!(back.layers[0].encoding, encoding);
            assert_eq!(back.with_format(Format::Oci).unwrap().digest(), back.digest());
        }
    }

    #[test]
    fn docker_has_no_zstd() {
        let error = image(Encoding::Zstd).with_format(Format::Docker).unwrap_err();
        assert!(matches!(error, ImageError::ZstdInDocker), "{error}");
    }

    #[test]
    fn the_images_of_an_index_change_with_it() {
        let index = Artifact::index_of(vec![image(Encoding::Gzip).artifact().unwrap()]).unwrap();
        let docker = index.with_format(Format::Docker).unwrap();
        assert_eq!(docker.descriptor.media_type, DOCKER_LIST);
        let entry = &docker.manifests[0].descriptor;
        assert_eq!(
            (entry.media_type.as_str(), entry.size),
            (DOCKER_MANIFEST, docker.manifests[0].bytes.len() as u64)
        );
        let document: Value = serde_json::from_slice(&docker.bytes).unwrap();
        assert_eq!(document["manifests"][0]["digest"], entry.digest.to_string());
        assert_eq!(document["manifests"][0]["platform"]["architecture"], "amd64");
        assert_eq!(Digest::of(&docker.bytes), docker.digest());
    }
}

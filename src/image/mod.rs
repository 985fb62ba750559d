//! Images: configuration, manifest and layers, with the raw bytes under their digests.
//!
//! OCI image specification 1.1, `manifest.md`. [`Image`] is the type that every store reads and
//! writes.

mod append;
mod artifact;
mod base;
mod blob;
mod config;
mod config_blob;
mod convert;
mod index;
mod rebase;
mod runtime_config;
pub(crate) mod shell;
mod stored;

use std::collections::BTreeMap;
use std::sync::Arc;

use oci_spec::image::{DescriptorBuilder, ImageManifestBuilder, MediaType, SCHEMA_VERSION};

pub use crate::compression::Encoding;
pub(crate) use artifact::TITLE as LAYER_TITLE;
pub use artifact::{Artifact, Descriptor, Documents, is_index, is_manifest, media_type_of};
pub use base::{BASE_DIGEST, BASE_NAME, MAX_LAYERS};
pub use blob::{Blob, BlobSource};
pub(crate) use config::DEFAULT_PATH;
pub use config::{Healthcheck, HistoryLine, ImageConfig, Process, rfc3339};
pub use rebase::RecordedBase;
pub(crate) use runtime_config::{HealthCheck, RuntimeConfig, follows_port};

use crate::digest::{Digest, DigestError};
use crate::error::Advice;
use crate::platform::Platform;

/// Media type of a manifest.
pub const IMAGE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an index.
pub const IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of a configuration.
pub const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Docker's media type of a manifest (`docker/distribution`, image manifest version 2, schema 2).
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's media type of an index.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's media type of a configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// An error of assembling, reading or converting an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A time before the year -9999 or after 9999.
    #[error("invalid time `{0}`: not within the years -9999 to 9999")]
    Time(i64),
    /// A field required by the specification is missing.
    #[error("invalid image: {0}")]
    Specification(oci_spec::OciSpecError),
    /// A document violates the specification.
    #[error("{0}")]
    Content(String),
    /// A malformed digest.
    #[error(transparent)]
    MalformedDigest(#[from] DigestError),
    /// A descriptor with a malformed digest.
    #[error("invalid descriptor")]
    Descriptor(#[source] DigestError),
    /// The configuration could not be read.
    #[error("cannot read the configuration")]
    Config(#[source] std::io::Error),
    /// Bytes do not match their digest.
    #[error("digest mismatch: expected {expected}, found {found}")]
    Digest {
        /// The expected digest.
        expected: Digest,
        /// The actual digest.
        found: Digest,
    },
    /// The image is not built on the given base.
    #[error("cannot rebase the image: not built on {base}, its lowest layers differ")]
    OtherBase {
        /// The given base.
        base: Digest,
    },
    /// zstd under Docker's media types.
    #[error("cannot convert the image: Docker's format has no media type for layers in zstd")]
    ZstdInDocker,
    /// More layers than container runtimes can stack.
    #[error("cannot make the image: too many layers, {} ({base} of the base, {own} of the image), at most {MAX_LAYERS}", base + own)]
    Layers {
        /// Number of layers of the base.
        base: usize,
        /// Number of layers on top.
        own: usize,
    },
    /// No image for the requested platform.
    #[error("image for {wanted} not found: available for {}", list(.there))]
    Platform {
        /// The requested platform.
        wanted: Platform,
        /// The available platforms.
        there: Vec<Platform>,
    },
    /// Two images of one index have the same platform.
    #[error("duplicate platform {0} in the index")]
    Twice(Platform),
    /// JSON could not be written or parsed.
    #[error("invalid image JSON: {0}")]
    Json(serde_json::Error),
}

impl From<oci_spec::OciSpecError> for ImageError {
    fn from(error: oci_spec::OciSpecError) -> Self {
        Self::Specification(error)
    }
}

impl From<serde_json::Error> for ImageError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

impl Advice for ImageError {
    fn help(&self) -> Option<String> {
        match self {
            Self::Time(_) => Some("set SOURCE_DATE_EPOCH to seconds since 1970".to_owned()),
            Self::Platform { .. } => {
                Some("build for one of these with --platform, or name another image".to_owned())
            }
            Self::OtherBase { .. } => Some("name the base of the image".to_owned()),
            Self::ZstdInDocker => {
                Some("compress with --compression gzip, or leave --format docker out".to_owned())
            }
            Self::Layers { .. } => Some("lower --layers, or flatten the base into one layer".to_owned()),
            Self::Digest { .. } => Some("fetch or build it again".to_owned()),
            Self::Twice(_) => Some("name one image for each platform".to_owned()),
            Self::Specification(_)
            | Self::Content(_)
            | Self::MalformedDigest(_)
            | Self::Descriptor(_)
            | Self::Config(_)
            | Self::Json(_) => None,
        }
    }
}

fn list(platforms: &[Platform]) -> String {
    match platforms {
        [] => "no known platform".to_owned(),
        some => some.iter().map(Platform::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// An image: manifest, configuration and the locations of the layers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Image {
    /// The manifest as stored.
    pub manifest: Arc<[u8]>,
    /// The configuration as stored.
    pub config: Arc<[u8]>,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
    /// The platform.
    pub platform: Platform,
    /// The family of media types in the manifest.
    pub format: Format,
}

/// A layer of an image.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Digest of the blob.
    pub digest: Digest,
    /// Size of the blob in bytes.
    pub size: u64,
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// The compression of the archive.
    pub encoding: Encoding,
    /// The location of the blob.
    pub blob: Blob,
}

/// The family of media types in a manifest. The content of the image is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// OCI's.
    #[default]
    Oci,
    /// Docker's. Podman honors a health check only under these. zstd has no media type.
    Docker,
}

/// Returns true for the media type of a layer that may be available only from its `urls` (OCI image
/// specification 1.0, `layer.md`, "Non-Distributable Layers", deprecated; Docker's foreign layers).
pub(crate) fn is_nondistributable(media_type: &str) -> bool {
    ["application/vnd.oci.image.layer.nondistributable.", "application/vnd.docker.image.rootfs.foreign."]
        .iter()
        .any(|begin| media_type.starts_with(begin))
}

impl Encoding {
    /// Returns the compression in the media type of a layer, OCI's or Docker's
    /// (`docker/distribution`, image manifest version 2). Non-distributable layers are included;
    /// the type for zstd under Docker is containerd's.
    pub fn from_media_type(media_type: &str) -> Option<Self> {
        const DOCKER: &str = "application/vnd.docker.image.rootfs.";
        const OCI: &str = "application/vnd.oci.image.layer.";
        let oci = media_type.strip_prefix(OCI);
        let oci = oci.map(|rest| rest.strip_prefix("nondistributable.").unwrap_or(rest));
        let docker = media_type.strip_prefix(DOCKER);
        let docker = docker.map(|rest| rest.strip_prefix("foreign.").unwrap_or(rest));
        match oci.or(docker)? {
            "v1.tar" | "diff.tar" => Some(Self::Plain),
            "v1.tar+gzip" | "diff.tar.gzip" => Some(Self::Gzip),
            "v1.tar+zstd" | "diff.tar.zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Returns the media type of a layer in a manifest of `format`, non-distributable if
    /// `media_type` is.
    ///
    /// # Errors
    /// Docker's manifests have no type for zstd.
    pub(crate) fn like(self, media_type: &str, format: Format) -> Result<String, ImageError> {
        let own = self.media_type_in(format)?;
        Ok(match format {
            _ if !is_nondistributable(media_type) => own.to_owned(),
            Format::Oci => own.replace("layer.v1", "layer.nondistributable.v1"),
            Format::Docker => own.replace("rootfs.diff", "rootfs.foreign.diff"),
        })
    }

    /// Returns the media type of a layer in a manifest of `format`.
    ///
    /// # Errors
    /// Docker's manifests have no type for zstd.
    pub fn media_type_in(self, format: Format) -> Result<&'static str, ImageError> {
        match (format, self) {
            (Format::Oci, _) => Ok(self.media_type()),
            (Format::Docker, Self::Plain) => Ok("application/vnd.docker.image.rootfs.diff.tar"),
            (Format::Docker, Self::Gzip) => Ok("application/vnd.docker.image.rootfs.diff.tar.gzip"),
            (Format::Docker, Self::Zstd) => Err(ImageError::ZstdInDocker),
        }
    }

    /// Returns the OCI media type of a layer (OCI image specification 1.1, `layer.md`).
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Plain => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

impl Image {
    /// Assembles an image from layers, lowest first, each with its history line.
    pub fn assemble(
        config: &ImageConfig,
        layers: Vec<(Layer, HistoryLine)>,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Self, ImageError> {
        let (layers, lines): (Vec<Layer>, Vec<HistoryLine>) = layers.into_iter().unzip();
        let history: Vec<_> = layers.iter().map(|layer| layer.diff_id).zip(lines).collect();
        let config_bytes = config.to_json(&history)?;
        let descriptor = |media_type: &str, digest: Digest, size: u64| {
            let digest: oci_spec::image::Digest = digest.to_string().parse()?;
            DescriptorBuilder::default()
                .media_type(MediaType::from(media_type))
                .digest(digest)
                .size(size)
                .build()
        };
        let mut manifest = ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .config(descriptor(IMAGE_CONFIG, Digest::of(&config_bytes), config_bytes.len() as u64)?)
            .layers(
                layers
                    .iter()
                    .map(|layer| descriptor(layer.encoding.media_type(), layer.digest, layer.size))
                    .collect::<Result<Vec<_>, _>>()?,
            );
        if !annotations.is_empty() {
            manifest = manifest
                .annotations(annotations.clone().into_iter().collect::<std::collections::HashMap<_, _>>());
        }
        let mut json = serde_json::to_value(manifest.build()?)?;
        json.sort_all_objects();
        Ok(Self {
            manifest: serde_json::to_vec(&json)?.into(),
            config: config_bytes.into(),
            layers,
            platform: Platform::new(&config.os, &config.architecture, config.variant.as_deref()),
            format: Format::Oci,
        })
    }

    /// Returns the digest of the manifest, which identifies the image.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// Returns the digest of the configuration, Docker's image ID.
    pub fn config_digest(&self) -> Digest {
        Digest::of(&self.config)
    }

    /// Returns the size of all blobs in bytes: layers, configuration and manifest.
    pub fn transfer_bytes(&self) -> u64 {
        let layers: u64 = self.layers.iter().map(|layer| layer.size).sum();
        layers + self.config.len() as u64 + self.manifest.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_encode_the_compression() {
        for format in [Format::Oci, Format::Docker] {
            for encoding in [Encoding::Plain, Encoding::Gzip, Encoding::Zstd] {
                if (format, encoding) == (Format::Docker, Encoding::Zstd) {
                    let error = encoding.media_type_in(format).unwrap_err();
                    assert!(error.to_string().contains("no media type for layers in zstd"));
                    continue;
                }
                let media_type = encoding.media_type_in(format).unwrap();
                assert_eq!(Encoding::from_media_type(media_type), Some(encoding));
                for other in [Format::Oci, Format::Docker] {
                    let foreign = encoding.like("application/vnd.docker.image.rootfs.foreign.x", other);
                    let Ok(foreign) = foreign else { continue };
                    assert!(is_nondistributable(&foreign), "{foreign}");
                    assert_eq!(Encoding::from_media_type(&foreign), Some(encoding));
                    let like = encoding.like(media_type, other).unwrap();
                    assert_eq!(like, encoding.media_type_in(other).unwrap());
                }
            }
        }
    }

    #[test]
    fn the_manifest_points_at_config_and_layers() {
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
            architecture: "arm64".to_owned(),
            ..ImageConfig::default()
        };
        let annotations =
            BTreeMap::from([("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())]);
        let image = Image::assemble(&config, vec![(layer, line)], &annotations).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&image.manifest).unwrap();
        assert_eq!(manifest["schemaVersion"], 2);
        assert_eq!(manifest["config"]["digest"], image.config_digest().to_string());
        assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
        assert_eq!(image.transfer_bytes(), 4 + image.config.len() as u64 + image.manifest.len() as u64);
    }
}

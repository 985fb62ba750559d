//! [`StoreError`]: errors of reading and writing images.

use std::path::PathBuf;

use crate::digest::Digest;
use crate::error::{Advice, FileError, describe};
use crate::image::ImageError;
use crate::layer::LayerError;
use crate::printable;
use crate::reference::ReferenceError;
use crate::tree::ContentError;

/// An error of reading or writing an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A malformed reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A transport that does not support the operation, or is not built in.
    #[error("cannot use {reference}: {reason}")]
    Transport {
        /// The reference.
        reference: String,
        /// The reason.
        reason: &'static str,
    },
    /// A registry error.
    #[cfg(feature = "registry")]
    #[error(transparent)]
    Registry(#[from] super::registry::RegistryError),
    /// The network is needed and forbidden.
    #[error("cannot reach {0}: the network is forbidden")]
    Offline(String),
    /// A folder with other contents.
    #[error("cannot use {} as an OCI layout: found {found}", printable::path(.path))]
    NotALayout {
        /// The folder.
        path: PathBuf,
        /// The contents found.
        found: String,
    },
    /// A layout with invalid files.
    #[error("invalid layout {}", printable::path(.path))]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// The problem.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Not an archive, or an archive with invalid members.
    #[error("cannot read the archive {}", printable::path(.path))]
    Archive {
        /// The file.
        path: PathBuf,
        /// The problem.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An image name without a match.
    #[error("image `{tag}` not found in {}{}", printable::path(.path), listed(.there))]
    NoImage {
        /// The layout or archive.
        path: PathBuf,
        /// The requested name.
        tag: String,
        /// The existing names.
        there: Vec<String>,
    },
    /// No tag was given, and the number of images is not one.
    #[error("cannot choose an image of {}: it holds {found} images, and no tag selects one{}", printable::path(.path), listed(.there))]
    NotOneImage {
        /// The layout or archive.
        path: PathBuf,
        /// The number of images.
        found: usize,
        /// Their names.
        there: Vec<String>,
    },
    /// A folder in place of a file.
    #[error("cannot use {} as an archive: it is a folder", printable::path(.0))]
    Folder(PathBuf),
    /// An archive to print on a terminal, or to type in.
    #[error("cannot read or write an image archive on a terminal")]
    Terminal,
    /// A blob with the wrong digest.
    #[error("digest mismatch: expected {expected}, found {found}")]
    Digest {
        /// The expected digest.
        expected: Digest,
        /// The actual digest.
        found: Digest,
    },
    /// The Docker engine has no image of that name.
    #[error("image `{name}` not found in the Docker engine at {host}")]
    NotInEngine {
        /// The engine's address.
        host: String,
        /// The requested name.
        name: String,
    },
    /// The Docker engine is unreachable, or refused the request.
    #[error("cannot use the Docker engine at {host}")]
    Engine {
        /// The engine's address.
        host: String,
        /// The cause.
        source: EngineError,
    },
    /// An invalid manifest, index or configuration.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A blob could not be read.
    #[error("cannot read a blob: {0}")]
    Read(std::io::Error),
    /// Content of an archive could not be read.
    #[error(transparent)]
    Content(ContentError),
    /// An archive could not be written.
    #[error(transparent)]
    Layer(LayerError),
    /// An unusable image or document.
    #[error("{0}")]
    Unusable(String),
}

/// The cause of a failed use of a Docker engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// An address in another form.
    #[error("invalid address: expected unix:///PATH or tcp://HOST:PORT")]
    Address,
    /// A failed connection.
    #[error("{}", describe(.0))]
    Io(std::io::Error),
    /// A response that ended early.
    #[error("the response is truncated: {0}")]
    Truncated(serde_json::Error),
    /// The engine's own message.
    #[error("{0}")]
    Refused(String),
    /// A response without the name of the loaded image.
    #[error("the response does not confirm the loaded image")]
    Unconfirmed,
}

/// Lists up to ten of the existing names.
fn listed(there: &[String]) -> String {
    const SHOWN: usize = 10;
    let shown: Vec<_> = there.iter().take(SHOWN).map(|name| name.escape_debug().to_string()).collect();
    match there.len() {
        0 => String::new(),
        many if many > SHOWN => format!(": available are {} and {} more", shown.join(", "), many - SHOWN),
        _ => format!(": available are {}", shown.join(", ")),
    }
}

impl Advice for StoreError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Reference(error) => return error.help(),
            #[cfg(feature = "registry")]
            Self::Registry(error) => return error.help(),
            Self::Transport { .. } => {
                "name another place: a layout (oci:DIR) and an archive (oci-archive:FILE) always work"
                    .to_owned()
            }
            Self::Offline(_) => {
                "leave out --offline, or name an image of this machine: oci:DIR, oci-archive:FILE".to_owned()
            }
            Self::NotALayout { .. } => "name an empty or a new folder, or an OCI layout".to_owned(),
            Self::Damaged { .. } | Self::Digest { .. } | Self::Read(_) | Self::Content(_) | Self::Layer(_) | Self::Unusable(_) => {
                "remove it and fetch or build it again".to_owned()
            }
            Self::Archive { .. } => {
                "make it again, with `docker save`, `podman save`, skopeo or ipo-oci, and name its form: docker-archive:FILE \
                 or oci-archive:FILE"
                    .to_owned()
            }
            Self::NotOneImage { there, .. } if !there.is_empty() => {
                let first = there.first().map(String::as_str).unwrap_or_default();
                format!("append one of these names to the path, such as `:{}`", printable::name(first))
            }
            Self::NoImage { .. } | Self::NotOneImage { .. } => {
                "add a tag or digest after the path: oci:DIR:TAG, docker-archive:FILE:NAME:TAG, or oci:DIR@sha256:…".to_owned()
            }
            Self::NotInEngine { .. } => "list the engine's images with `docker images`".to_owned(),
            Self::Folder(_) => "name a file, or write oci: for a folder".to_owned(),
            Self::Terminal => "send it through a file or a pipe".to_owned(),
            Self::Engine { .. } => {
                "start the engine or set DOCKER_HOST, allow a slow one more time with --network-timeout, \
                 or write docker-archive:FILE for `docker load`"
                    .to_owned()
            }
            Self::Image(error) => return error.help(),
            Self::File(error) => return error.help(),
        })
    }
}

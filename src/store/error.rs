//! [`StoreError`]: why an image could not be read or stored.

use std::path::PathBuf;

use crate::digest::Digest;
use crate::error::{Advice, FileError};
use crate::image::ImageError;
use crate::printable;
use crate::reference::ReferenceError;

/// An image that could not be read or stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A text that names no place, or no image.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A transport that cannot be used so, or not by this build of the program.
    #[error("{reference}: {reason}")]
    Transport {
        /// The place.
        reference: String,
        /// Why.
        reason: &'static str,
    },
    /// A registry could not be read or written.
    #[cfg(feature = "registry")]
    #[error(transparent)]
    Registry(#[from] super::registry::RegistryError),
    /// A network would be needed, and is forbidden.
    #[error("{0} needs a network, and the network is forbidden")]
    Offline(String),
    /// A folder with something else in it.
    #[error("{} is not an OCI layout: it holds {found}", printable::path(.path))]
    NotALayout {
        /// The folder.
        path: PathBuf,
        /// What is in it instead.
        found: String,
    },
    /// A layout whose files are not right.
    #[error("the layout {} is damaged: {reason}", printable::path(.path))]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An archive that is none, or whose members are not right.
    #[error("the archive {} cannot be used: {reason}", printable::path(.path))]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There is no image of that name.
    #[error("there is no image `{tag}` in {}{}", printable::path(.path), listed(.there))]
    NoImage {
        /// The layout or archive.
        path: PathBuf,
        /// What was asked for.
        tag: String,
        /// What there is.
        there: Vec<String>,
    },
    /// No tag was given, and there is not just one image.
    #[error("{} holds {found} images, and no tag says which{}", printable::path(.path), listed(.there))]
    NotOneImage {
        /// The layout or archive.
        path: PathBuf,
        /// How many images it has.
        found: usize,
        /// What they are called.
        there: Vec<String>,
    },
    /// A folder where a file should be.
    #[error("{} is a folder", printable::path(.0))]
    Folder(PathBuf),
    /// An archive would be printed on a screen, or typed.
    #[error("an image archive is not for a terminal")]
    Terminal,
    /// Bytes are not the ones that were promised.
    #[error("a blob should be {expected} and is {found}")]
    Digest {
        /// What it should be.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// The Docker engine cannot be reached, or refused.
    #[error("the Docker engine at {host}: {reason}")]
    Engine {
        /// Where it listens.
        host: String,
        /// What is the matter.
        reason: String,
    },
    /// A manifest, index or configuration that cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file of an image that cannot be used.
    #[error("{0}")]
    Blob(String),
}

/// What there is instead, a few of them.
fn listed(there: &[String]) -> String {
    const SHOWN: usize = 10;
    let shown: Vec<_> = there.iter().take(SHOWN).map(|name| name.escape_debug().to_string()).collect();
    match there.len() {
        0 => String::new(),
        many if many > SHOWN => format!(": there is {} and {} more", shown.join(", "), many - SHOWN),
        _ => format!(": there is {}", shown.join(", ")),
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
            Self::Damaged { .. } | Self::Digest { .. } | Self::Blob(_) => {
                "remove it and fetch or build it again".to_owned()
            }
            Self::Archive { .. } => {
                "make it again, with `docker save`, `podman save`, skopeo or ipo-oci, and name its form: docker-archive:FILE \
                 or oci-archive:FILE"
                    .to_owned()
            }
            Self::NotOneImage { there, .. } if !there.is_empty() => {
                let first = there.first().map(String::as_str).unwrap_or_default();
                format!("write one of these names behind the path, such as `:{}`", printable::name(first))
            }
            Self::NoImage { .. } | Self::NotOneImage { .. } => {
                "say which behind the path: oci:DIR:TAG, docker-archive:FILE:NAME:TAG, or oci:DIR@sha256:…".to_owned()
            }
            Self::Folder(_) => "name a file, or write oci: for a folder".to_owned(),
            Self::Terminal => "send it through a file or a pipe".to_owned(),
            Self::Engine { .. } => {
                "start it or set DOCKER_HOST, or go without one: docker-archive:FILE is what `docker load` takes"
                    .to_owned()
            }
            Self::Image(error) => return error.help(),
            Self::File(error) => return error.help(),
        })
    }
}

//! Storing whole images: OCI layouts and archives.
//!
//! Registries and daemons get modules of their own here; each takes an [`Image`] and knows nothing of how it was made.

mod access;
mod archive;
mod blobs;
mod index;
mod layout;
mod read;
#[cfg(feature = "registry")]
pub mod registry;

use std::fmt;
use std::path::PathBuf;

pub use access::{Access, Network};
pub use layout::Layout;
pub use read::{Listed, list_layout, read_layout, verify_layers};

use crate::digest::Digest;
use crate::error::{Advice, FileError};
use crate::image::Image;
use crate::reference::{Name, Place, Reference, ReferenceError, Transport};

/// An image that could not be stored.
#[derive(Debug, thiserror::Error)]
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
    /// A folder with something else in it.
    #[error("{} is not an OCI layout: it holds {found}", .path.display())]
    NotALayout {
        /// The folder.
        path: PathBuf,
        /// What is in it instead.
        found: String,
    },
    /// A layout whose files are not right.
    #[error("the layout {} is damaged: {reason}", .path.display())]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There is no image of that name in a layout.
    #[error("there is no image `{tag}` in {}", .path.display())]
    NoImage {
        /// The layout.
        path: PathBuf,
        /// What was asked for.
        tag: String,
    },
    /// No tag was given, and the layout does not hold just one image.
    #[error("{} holds {found} images, and no tag says which", .path.display())]
    NotOneImage {
        /// The layout.
        path: PathBuf,
        /// How many images it has.
        found: usize,
    },
    /// A folder where a file should be.
    #[error("{} is a folder", .0.display())]
    Folder(PathBuf),
    /// An archive would be printed on a screen.
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
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file of an image that cannot be used.
    #[error("{0}")]
    Blob(String),
}

impl Advice for StoreError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Reference(error) => return error.help(),
            Self::Transport { .. } => {
                "name another place: a layout (oci:DIR) and an archive (oci-archive:FILE) always work"
                    .to_owned()
            }
            Self::NotALayout { .. } => "name an empty or a new folder, or an OCI layout".to_owned(),
            Self::Damaged { .. } | Self::Digest { .. } | Self::Blob(_) => {
                "remove it and build again".to_owned()
            }
            Self::NoImage { .. } | Self::NotOneImage { .. } => {
                "give a tag of its index.json behind the folder: oci:DIR:TAG".to_owned()
            }
            Self::Folder(_) => "name a file, or write oci: for a folder".to_owned(),
            Self::Terminal => "send standard output to a file or a pipe".to_owned(),
            Self::File(error) => return error.help(),
        })
    }
}

/// An image that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Where it is, as it can be named for skopeo and podman.
    pub reference: String,
    /// Digest of its manifest.
    pub digest: Digest,
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.reference, self.digest)
    }
}

/// Stores `image` at `destination`. `name` is what it is called there, unless the destination says otherwise;
/// `suffix` is put behind the destination's own tag, where it has one (`-dev`).
pub fn store(
    image: &Image,
    destination: &Reference,
    name: &Name,
    suffix: &str,
) -> Result<Stored, StoreError> {
    let name = destination.name(name, suffix)?;
    match (destination.transport, &destination.place) {
        (Transport::Oci, Place::Path(folder)) => {
            Layout::open(folder)?.put(image, &destination.ref_name(&name), &name)?;
        }
        (Transport::OciArchive, place) => {
            archive::write_oci(image, place, &destination.ref_name(&name), &name)?;
        }
        (Transport::DockerArchive, place) => archive::write_docker(image, place, &name)?,
        (Transport::Oci | Transport::Registry | Transport::DockerDaemon, _) => {
            return Err(StoreError::Transport {
                reference: destination.to_string(),
                reason: "this version cannot write there",
            });
        }
    }
    Ok(Stored { reference: destination.reference(&name), digest: image.digest() })
}

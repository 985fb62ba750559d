//! [`ReferenceError`].

use super::Transport;
use crate::error::Advice;
use crate::suggest::with_nearest;

/// A malformed reference or image name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// Not a reference.
    #[error("invalid reference `{0}`")]
    Place(String),
    /// A transport of other tools, not supported here.
    #[error("invalid reference `{0}`: unsupported transport")]
    Unsupported(String),
    /// A destination without a registry, mostly a forgotten `oci:`.
    #[error("invalid destination `{0}`: neither a transport nor a registry")]
    NoRegistry(String),
    /// A name, tag or digest that registries and engines refuse.
    #[error("invalid image name `{0}`: {1}")]
    Name(String, &'static str),
}

/// The forms of references.
const REFERENCES: &str = "write oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG], \
                          docker-daemon:NAME:TAG or docker://REGISTRY/NAME[:TAG]; of an archive, FILE may be - \
                          for standard input or output";

impl Advice for ReferenceError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::NoRegistry(text) | Self::Place(text) if is_archive(text) && !text.contains(':') => {
                format!("write oci-archive:{text} or docker-archive:{text} for a file, or oci:DIR for a folder")
            }
            Self::Place(text) | Self::Unsupported(text) => {
                let transport = text.split(':').next().unwrap_or_default();
                let known = Transport::ALL.map(Transport::as_str).into_iter().filter(|known| *known != transport);
                with_nearest(REFERENCES, transport, known)
            }
            Self::NoRegistry(text) => {
                format!("write oci:{text} for a folder, or docker://{text} for Docker Hub")
            }
            Self::Name(..) => {
                "write NAME[:TAG], such as agencyos:3.0.0: lower case letters, digits, dots, dashes and slashes".to_owned()
            }
        })
    }
}

/// Returns whether `text` looks like an archive file rather than a folder.
fn is_archive(text: &str) -> bool {
    let name = text.to_ascii_lowercase();
    [".tar", ".tgz", ".tar.gz", ".tar.zst"].iter().any(|ending| name.ends_with(ending))
}

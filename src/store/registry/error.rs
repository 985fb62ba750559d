//! [`RegistryError`]: why a registry did not do what it was asked.

use std::io;
use std::time::Duration;

use super::credentials::CredentialsError;
use crate::digest::Digest;
use crate::error::{Advice, FileError};
use crate::image::ImageError;

/// Why a registry did not do what it was asked. No variant holds a credential.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The network is forbidden.
    #[error("{0} needs a network, and the network is forbidden")]
    Offline(String),
    /// A setting that makes no sense.
    #[error("{what}: {reason}")]
    Setting {
        /// Which.
        what: String,
        /// Why.
        reason: String,
    },
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no connection, or it ended too early.
    #[error("{host} cannot be reached: {reason}")]
    Network {
        /// Host and port.
        host: String,
        /// Why.
        reason: String,
    },
    /// Nothing, or too little, has come for too long.
    #[error("cannot reach {host}: {what} {}", seconds(*.limit))]
    Stalled {
        /// Host and port.
        host: String,
        /// What is missing.
        what: &'static str,
        /// For how long.
        limit: Duration,
    },
    /// Neither the mirrors of a registry nor the registry itself gave it.
    #[error("cannot fetch from {registry}: {}; then {source}", listed(.mirrors))]
    Everywhere {
        /// The registry.
        registry: String,
        /// Its mirrors in the order in which they were asked, and why each did not give it.
        mirrors: Vec<(String, String)>,
        /// Why the registry did not.
        source: Box<RegistryError>,
    },
    /// A host name that nobody knows.
    #[error("there is no host {0}")]
    UnknownHost(String),
    /// A certificate that cannot be trusted.
    #[error("{host} cannot be trusted: {reason}")]
    Certificate {
        /// Host and port.
        host: String,
        /// Why.
        reason: String,
    },
    /// It does not speak TLS.
    #[error("{0} does not speak TLS")]
    PlainHttp(String),
    /// Credentials are needed, or those that there are do not suffice.
    #[error("{name}: {reason}")]
    Unauthorized {
        /// What was asked for.
        name: String,
        /// Why.
        reason: String,
    },
    /// Credentials that cannot be had.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// There is no such image, blob or repository.
    #[error("there is no {0}")]
    NotFound(String),
    /// The registry wants to be left alone for longer than it is waited for.
    #[error("{host} asks to wait {} s before it is asked again", .wait.as_secs())]
    Busy {
        /// Host and port.
        host: String,
        /// For how long.
        wait: Duration,
    },
    /// An answer that is no success.
    #[error("{host} answers {status} to {what}{}", told(.detail))]
    Status {
        /// Host and port.
        host: String,
        /// Method and path.
        what: String,
        /// The status.
        status: u16,
        /// What the answer's body says.
        detail: String,
    },
    /// An answer that makes no sense.
    #[error("{host}: {reason}")]
    Answer {
        /// Host and port.
        host: String,
        /// What is the matter with it.
        reason: String,
    },
    /// Bytes are not the ones that were promised.
    #[error("{what} should be {expected} and is {found}")]
    Digest {
        /// What it is about.
        what: String,
        /// What it should be.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// Not even small chunks are taken.
    #[error("{host} refuses requests of {bytes} bytes")]
    TooLarge {
        /// Host and port.
        host: String,
        /// What was sent last.
        bytes: u64,
    },
    /// A blob that should be sent and cannot be read.
    #[error("the blob {digest} cannot be read: {source}")]
    Blob {
        /// The blob.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// Documents that do not hold what the specification wants them to.
    #[error("{name}: {source}")]
    Image {
        /// Where they are.
        name: String,
        /// What is the matter.
        source: ImageError,
    },
}

impl RegistryError {
    /// Whether the same may work in a moment.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Network { .. } | Self::Stalled { .. } => true,
            Self::Everywhere { source, .. } => source.is_transient(),
            _ => false,
        }
    }

    /// The same error, with what was asked before.
    pub(super) fn after(self, registry: &str, mirrors: Vec<(String, String)>) -> Self {
        if mirrors.is_empty() {
            return self;
        }
        Self::Everywhere { registry: registry.to_owned(), mirrors, source: Box::new(self) }
    }

    /// Time that went by without any progress.
    pub(super) fn lost(&self) -> Duration {
        match self {
            Self::Stalled { limit, .. } => *limit,
            Self::Everywhere { source, .. } => source.lost(),
            _ => Duration::ZERO,
        }
    }

    /// As an error of reading: what a blob's reader gives.
    pub(super) fn into_io(self) -> io::Error {
        io::Error::new(self.kind(), self)
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::NotFound(_) => io::ErrorKind::NotFound,
            Self::Unauthorized { .. } => io::ErrorKind::PermissionDenied,
            Self::Network { .. } => io::ErrorKind::ConnectionAborted,
            Self::Stalled { .. } => io::ErrorKind::TimedOut,
            Self::Offline(_) => io::ErrorKind::NetworkUnreachable,
            Self::Everywhere { source, .. } => source.kind(),
            _ => io::ErrorKind::InvalidData,
        }
    }
}

impl From<ImageError> for RegistryError {
    fn from(source: ImageError) -> Self {
        Self::Image { name: "an image of a registry".to_owned(), source }
    }
}

impl Advice for RegistryError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Offline(_) => {
                "leave --offline away, or fetch it once with the network so that the cache has it".to_owned()
            }
            Self::Setting { .. } => "correct the setting".to_owned(),
            Self::File(error) => return error.help(),
            Self::Network { .. } | Self::UnknownHost(_) => {
                "check the registry's name and the network; behind a proxy, set HTTPS_PROXY and NO_PROXY".to_owned()
            }
            Self::Everywhere { source, .. } => {
                let own = source.help().map(|help| format!("; for the registry itself: {help}"));
                format!("check that the mirror has the image, or leave it out{}", own.unwrap_or_default())
            }
            Self::Stalled { .. } => "check the network and whether the registry is overloaded; give a slow one more time with \
                                     --network-timeout"
                .to_owned(),
            Self::Certificate { .. } => {
                "give the file of its certificate authority, or name the host as insecure if it is yours and nobody else is \
                 on the network"
                    .to_owned()
            }
            Self::PlainHttp(host) => {
                format!("if that is what it should do, allow it for this host: --insecure-registry {host}")
            }
            Self::Unauthorized { .. } => "log in with docker login or podman login, and check that the account may do this; \
                                          credentials are read from where these two write them"
                .to_owned(),
            Self::Credentials(error) => return error.help(),
            Self::NotFound(_) => "check name and tag; private images are not shown to who is not logged in".to_owned(),
            Self::Busy { .. } | Self::Status { status: 429, .. } => {
                "try again later; registries let those do more who are logged in".to_owned()
            }
            Self::TooLarge { .. } => "raise the limit of the proxy in front of the registry".to_owned(),
            Self::Digest { .. } => {
                "try again; if it stays so, the registry or a proxy in front of it damages images".to_owned()
            }
            Self::Image { source, .. } => return source.help(),
            Self::Status { status: 500.., .. } => "try again later; the registry's own log says more".to_owned(),
            Self::Status { .. } | Self::Answer { .. } | Self::Blob { .. } => return None,
        })
    }
}

/// A time span for people.
fn seconds(span: Duration) -> String {
    format!("{} s", span.as_secs_f64())
}

fn listed(mirrors: &[(String, String)]) -> String {
    let mirrors: Vec<_> =
        mirrors.iter().map(|(mirror, reason)| format!("mirror {mirror}: {reason}")).collect();
    mirrors.join("; ")
}

fn told(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(": {detail}") }
}

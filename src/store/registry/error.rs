//! [`RegistryError`]: errors of registries.

use std::io;
use std::time::Duration;

use super::credentials::CredentialsError;
use crate::digest::Digest;
use crate::error::{Advice, Advised, FileError, chain};
use crate::image::ImageError;

/// An error of a registry. No variant holds a credential.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The network is forbidden.
    #[error("cannot reach {0}: the network is forbidden")]
    Offline(String),
    /// An invalid setting.
    #[error("invalid {what}: {reason}")]
    Setting {
        /// The setting.
        what: String,
        /// The reason.
        reason: String,
    },
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// No connection, or one that ended early.
    #[error("cannot reach {host}")]
    Network {
        /// Host and port.
        host: String,
        /// The cause.
        source: ConnectionError,
    },
    /// No progress, or too little, for too long.
    #[error("cannot reach {host}: {what} {}", seconds(*.limit))]
    Stalled {
        /// Host and port.
        host: String,
        /// The missing progress.
        what: &'static str,
        /// The time limit.
        limit: Duration,
    },
    /// All mirrors and the registry itself failed.
    #[error("cannot fetch from {registry}: {}; then {cause}", listed(.mirrors), cause = chain(&**.cause))]
    Everywhere {
        /// The registry.
        registry: String,
        /// The mirrors in order, each with its error.
        mirrors: Vec<(String, String)>,
        /// The registry's own error.
        cause: Box<RegistryError>,
    },
    /// A host name without an address.
    #[error("host not found: {0}")]
    UnknownHost(String),
    /// An untrusted certificate.
    #[error("cannot trust {host}")]
    Certificate {
        /// Host and port.
        host: String,
        /// The cause.
        source: CertificateError,
    },
    /// The host does not use TLS.
    #[error("cannot reach {0}: the host does not speak TLS")]
    PlainHttp(String),
    /// Missing or insufficient credentials.
    #[error("cannot access {name}: {reason}")]
    Unauthorized {
        /// The requested object.
        name: String,
        /// The reason.
        reason: String,
    },
    /// Unavailable credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// No such image, blob or repository.
    #[error("not found: {0}")]
    NotFound(String),
    /// The registry asks for a longer wait than allowed.
    #[error("cannot retry {host}: the registry asks to wait {} s", .wait.as_secs())]
    Busy {
        /// Host and port.
        host: String,
        /// The requested wait.
        wait: Duration,
    },
    /// An error response.
    #[error("unexpected status {status} from {host} for {what}{}", detail_suffix(.detail))]
    Status {
        /// Host and port.
        host: String,
        /// Method and path.
        what: String,
        /// The status.
        status: u16,
        /// The messages in the body.
        detail: String,
    },
    /// An invalid response.
    #[error("invalid response from {host}: {reason}")]
    Response {
        /// Host and port.
        host: String,
        /// The problem.
        reason: String,
    },
    /// The wrong digest.
    #[error("digest mismatch of {what}: expected {expected}, found {found}")]
    Digest {
        /// The object.
        what: String,
        /// The expected digest.
        expected: Digest,
        /// The actual digest.
        found: Digest,
    },
    /// Even the smallest chunks are refused.
    #[error("cannot upload to {host}: the registry refuses requests of {bytes} bytes")]
    TooLarge {
        /// Host and port.
        host: String,
        /// The size of the last request.
        bytes: u64,
    },
    /// An unreadable blob to upload.
    #[error("cannot read the blob {digest}: {cause}")]
    Blob {
        /// The blob.
        digest: Digest,
        /// The reason.
        cause: io::Error,
    },
    /// Documents that violate the specification.
    #[error("invalid image {name}")]
    Image {
        /// The image's name.
        name: String,
        /// The violation.
        source: ImageError,
    },
}

/// The cause of an incomplete exchange with a host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// An error of the operating system.
    #[error("{}", io_reason(.0))]
    Io(io::Error),
    /// A connection that ended early.
    #[error("the connection was cut")]
    Cut,
    /// A blob that was fetched in part, after all attempts.
    #[error("{cause} after {fetched} of {size} bytes of {digest}")]
    Incomplete {
        /// The blob.
        digest: Digest,
        /// The number of bytes fetched.
        fetched: u64,
        /// The blob's size in bytes.
        size: u64,
        /// The cause of the last attempt's end.
        cause: Box<ConnectionError>,
    },
    /// A proxy that opens no connection.
    #[error("the proxy refuses the connection")]
    Proxy,
    /// A violation of HTTP, without the data sent.
    #[error("invalid HTTP ({0})")]
    Http(Box<dyn std::error::Error + Send + Sync>),
    /// A failed handshake.
    #[error(transparent)]
    Tls(Box<dyn std::error::Error + Send + Sync>),
    /// Any other cause.
    #[error("{0}")]
    Other(&'static str),
}

/// The reason to refuse a certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// An issuer that is no certificate authority of this machine.
    #[error("the certificate's issuer is not trusted")]
    UnknownIssuer,
    /// A certificate from the past.
    #[error("the certificate has expired")]
    Expired,
    /// A certificate for the future.
    #[error("the certificate is not valid yet")]
    NotValidYet,
    /// A certificate of another host.
    #[error("the certificate is for another name")]
    OtherName,
    /// Any other violation, in the words of rustls.
    #[error("invalid certificate ({0})")]
    Invalid(String),
}

impl CertificateError {
    pub(crate) fn of(error: &rustls::CertificateError) -> Self {
        use rustls::CertificateError as Cause;
        match error {
            Cause::UnknownIssuer => Self::UnknownIssuer,
            Cause::Expired | Cause::ExpiredContext { .. } => Self::Expired,
            Cause::NotValidYet | Cause::NotValidYetContext { .. } => Self::NotValidYet,
            Cause::NotValidForName | Cause::NotValidForNameContext { .. } => Self::OtherName,
            other => Self::Invalid(other.to_string()),
        }
    }
}

impl RegistryError {
    /// Returns whether a retry may succeed.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Network { .. } | Self::Stalled { .. } => true,
            Self::Everywhere { cause, .. } => cause.is_transient(),
            _ => false,
        }
    }

    /// Adds the mirrors' errors to this one.
    pub(super) fn after(self, registry: &str, mirrors: Vec<(String, String)>) -> Self {
        if mirrors.is_empty() {
            return self;
        }
        Self::Everywhere { registry: registry.to_owned(), mirrors, cause: Box::new(self) }
    }

    /// Returns the time lost without progress.
    pub(crate) fn lost(&self) -> Duration {
        match self {
            Self::Stalled { limit, .. } => *limit,
            Self::Everywhere { cause, .. } => cause.lost(),
            _ => Duration::ZERO,
        }
    }

    /// Returns the registry's error in `error`, the error of a blob's reader; any other error
    /// unchanged.
    pub fn from_reader(error: io::Error) -> Result<Self, io::Error> {
        Advised::into_inner(error)
    }

    /// Converts to the error of a blob's reader.
    pub(super) fn into_io(self) -> io::Error {
        Advised::of(self.kind(), self)
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::NotFound(_) => io::ErrorKind::NotFound,
            Self::Unauthorized { .. } => io::ErrorKind::PermissionDenied,
            Self::Network { .. } => io::ErrorKind::ConnectionAborted,
            Self::Stalled { .. } => io::ErrorKind::TimedOut,
            Self::Offline(_) => io::ErrorKind::NetworkUnreachable,
            Self::Everywhere { cause, .. } => cause.kind(),
            _ => io::ErrorKind::InvalidData,
        }
    }
}

impl From<ImageError> for RegistryError {
    fn from(source: ImageError) -> Self {
        Self::Image { name: "document".to_owned(), source }
    }
}

impl Advice for RegistryError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Offline(_) => {
                "leave out --offline, or fetch the image into the cache once".to_owned()
            }
            Self::Setting { .. } => "correct the setting".to_owned(),
            Self::File(error) => return error.help(),
            Self::Network { .. } | Self::UnknownHost(_) => {
                "check the registry's name and the network; behind a proxy, set HTTPS_PROXY and NO_PROXY".to_owned()
            }
            Self::Everywhere { cause, .. } => {
                let own = cause.help().map(|help| format!("; for the registry itself: {help}"));
                format!("check that the mirror has the image, or leave it out{}", own.unwrap_or_default())
            }
            Self::Stalled { .. } => "check the network and whether the registry is overloaded; allow a slow one more time with \
                                     --network-timeout"
                .to_owned(),
            Self::Certificate { .. } => {
                "pass the file of its certificate authority, or list the host as insecure on a private network of your own"
                    .to_owned()
            }
            Self::PlainHttp(host) => {
                format!("allow plain HTTP for this host: --insecure-registry {host}")
            }
            Self::Unauthorized { .. } => "log in with docker login or podman login, and check the permissions of the account; \
                                          credentials are read from the files of these two"
                .to_owned(),
            Self::Credentials(error) => return error.help(),
            Self::NotFound(_) => "check name and tag; private images need a login".to_owned(),
            Self::Busy { .. } | Self::Status { status: 429, .. } => {
                "try again later, or log in for a higher limit".to_owned()
            }
            Self::TooLarge { .. } => "raise the limit of the proxy in front of the registry".to_owned(),
            Self::Digest { .. } => {
                "try again; a repeated mismatch means that the registry or a proxy damages images".to_owned()
            }
            Self::Image { source, .. } => return source.help(),
            Self::Status { status: 500.., .. } => "try again later, and check the registry's log".to_owned(),
            Self::Status { .. } | Self::Response { .. } | Self::Blob { .. } => return None,
        })
    }
}

/// Describes an error of a connection.
fn io_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => ConnectionError::Cut.to_string(),
        io::ErrorKind::TimedOut => "no response in time".to_owned(),
        _ => match error.get_ref().and_then(|inner| inner.source()) {
            Some(source) => source.to_string(),
            None => error.to_string(),
        },
    }
}

/// Formats a duration.
fn seconds(span: Duration) -> String {
    format!("{} s", span.as_secs_f64())
}

fn listed(mirrors: &[(String, String)]) -> String {
    let mirrors: Vec<_> =
        mirrors.iter().map(|(mirror, reason)| format!("mirror {mirror}: {reason}")).collect();
    mirrors.join("; ")
}

fn detail_suffix(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(": {detail}") }
}

//! [`AptError`]: errors of archives of packages.

use std::path::PathBuf;

use debian_archive::index::IndexError;
use debian_archive::release::ReleaseError;
use debian_archive::resolve::ResolveError;
use debian_archive::sources::SourcesError;
use jiff::Timestamp;

use crate::base::BaseError;
use crate::debian::install::InstallError;
use crate::digest::Digest;
use crate::error::{Advice, FileError};
use crate::layer::LayerError;
use crate::lock::LockError;
use crate::platform::Platform;
use crate::store::registry::RegistryError;
use crate::suggest;
use crate::tree::{ContentError, TreeError};

/// An error of an archive of packages. No variant holds a credential.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AptError {
    /// A file of this machine could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// An invalid setting of the connection.
    #[error(transparent)]
    Connection(Box<RegistryError>),
    /// An invalid file of package sources.
    #[error("cannot parse {}", path.display())]
    Sources {
        /// The file.
        path: PathBuf,
        /// The problem.
        source: SourcesError,
    },
    /// An address that is no mirror's.
    #[error("invalid mirror `{0}`: expected http://, https:// or file:/PATH")]
    Mirror(String),
    /// No package source of the machine serves the suite.
    #[error("package sources not found: none of this machine's serves {0}")]
    NoSources(String),
    /// A suite that is on no mirror.
    #[error("suite not found: {suite} on {}", mirrors.join(", "))]
    Suite {
        /// The suite.
        suite: String,
        /// The mirrors, without credentials.
        mirrors: Vec<String>,
        /// Suites that the mirrors may have.
        known: Vec<String>,
    },
    /// A failed exchange with a mirror.
    #[error("cannot fetch {url}")]
    Fetch {
        /// The address, without credentials.
        url: String,
        /// The cause.
        source: Box<RegistryError>,
    },
    /// A file that a mirror lacks.
    #[error("file not found: {0}")]
    NotFound(String),
    /// The network is forbidden, and the cache lacks the file.
    #[error("cannot fetch {0}: the network is forbidden")]
    Offline(String),
    /// Other bytes than those of the digest.
    #[error("digest mismatch of {url}: expected {expected}, found {found}")]
    Digest {
        /// The address, without credentials.
        url: String,
        /// The expected digest.
        expected: Digest,
        /// The actual digest.
        found: Digest,
    },
    /// More or fewer bytes than expected.
    #[error("invalid size of {url}: expected {expected} bytes, found {found}")]
    Size {
        /// The address, without credentials.
        url: String,
        /// The expected size.
        expected: u64,
        /// The actual size.
        found: u64,
    },
    /// A release that is invalid, or has no valid signature.
    #[error("cannot trust {url}")]
    Release {
        /// The address, without credentials.
        url: String,
        /// The cause.
        source: ReleaseError,
    },
    /// A release from the past.
    #[error("cannot use {url}: the release was valid until {until}")]
    Expired {
        /// The address, without credentials.
        url: String,
        /// The end of its validity.
        until: Timestamp,
    },
    /// A release from the future.
    #[error("cannot use {url}: the release is of {date}, which is in the future")]
    Future {
        /// The address, without credentials.
        url: String,
        /// The time of the release.
        date: Timestamp,
    },
    /// The release of another suite.
    #[error("cannot use {url}: the release is of the suite {found}")]
    OtherSuite {
        /// The address, without credentials.
        url: String,
        /// The suite and code name of the release.
        found: String,
    },
    /// No keyring for a source.
    #[error("keyring not found: no key of {0} is known to this machine")]
    NoKeyring(String),
    /// An unreadable keyring.
    #[error("cannot read the keyring {name}")]
    Keyring {
        /// The file, or the file of sources with the key.
        name: String,
        /// The problem.
        source: ReleaseError,
    },
    /// A component that the suite lacks.
    #[error("component not found: {component} in the suite {suite}, which has {}", known.join(", "))]
    Component {
        /// The component.
        component: String,
        /// The suite.
        suite: String,
        /// The components of the suite.
        known: Vec<String>,
    },
    /// An architecture that the suite lacks.
    #[error("architecture not found: {architecture} in the suite {suite}, which has {}", known.join(", "))]
    Architecture {
        /// The architecture.
        architecture: String,
        /// The suite.
        suite: String,
        /// The architectures of the suite.
        known: Vec<String>,
    },
    /// No index in a supported compression.
    #[error("index not found: {path} in the suite {suite}")]
    Index {
        /// The path without the ending of a compression.
        path: String,
        /// The suite.
        suite: String,
    },
    /// An invalid line of the setting `sources`.
    #[error("cannot parse `sources`")]
    SettingsSources(#[source] SourcesError),
    /// A system without the suites of Debian or Ubuntu.
    #[error("cannot install Debian packages on {0}: neither Debian nor Ubuntu")]
    NoSuite(String),
    /// A platform that Debian has no architecture for.
    #[error("cannot install Debian packages for {0}: Debian has no such architecture")]
    Platform(Platform),
    /// An invalid database of installed packages.
    #[error("cannot read var/lib/dpkg/status of the base")]
    Status(#[source] IndexError),
    /// Packages that are not locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Packages that cannot be installed together.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// Packages that cannot be turned into a layer.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// A file of this machine that cannot be read.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// Two files at one path.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A layer that cannot be written.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// The layers below cannot be read.
    #[error(transparent)]
    Base(Box<BaseError>),
    /// An index with invalid content.
    #[error("invalid index of the component {component} in the suite {suite}")]
    Packages {
        /// The suite.
        suite: String,
        /// The component.
        component: String,
        /// The problem.
        source: IndexError,
    },
    /// All mirrors failed.
    #[error("cannot fetch {name} from any mirror: {}", reasons.join("; "))]
    Everywhere {
        /// The last part of the path.
        name: String,
        /// The reasons, one for each mirror.
        reasons: Vec<String>,
        /// The error of the last mirror.
        last: Box<AptError>,
    },
}

impl Advice for AptError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::File(error) => return error.help(),
            Self::Connection(error) => return error.help(),
            Self::Sources { .. } => "correct the file; apt reports the same problem".to_owned(),
            Self::Mirror(_) => "name the folder that has `dists`, such as http://HOST/debian".to_owned(),
            Self::NoSources(_) => "name a mirror of the distribution in the settings".to_owned(),
            Self::Suite { suite, known, .. } => suggest::with_nearest(
                "check the name of the suite and the address of the mirror; a suite of another distribution needs its mirror",
                suite,
                known.iter().map(String::as_str),
            ),
            Self::Fetch { source, .. } => return help_of_connection(source),
            Self::NotFound(_) => {
                "mirrors remove old versions: update the lock, or name a snapshot mirror of its time".to_owned()
            }
            Self::Offline(_) => "leave out --offline, or fetch the packages into the cache once".to_owned(),
            Self::Digest { .. } | Self::Size { .. } => {
                "try again: a mirror that is being updated serves old files for a moment; a repeated mismatch means that the \
                 mirror or a proxy damages files"
                    .to_owned()
            }
            Self::Release { source: ReleaseError::Unsigned, .. } => {
                "name a signed mirror, or allow unsigned releases in the settings".to_owned()
            }
            Self::Release { source: ReleaseError::Signature(_), .. } | Self::NoKeyring(_) => {
                "install the archive's keyring package, or name a keyring file in the settings".to_owned()
            }
            Self::Release { .. } => "check that the mirror's address leads to an archive, not to a login page".to_owned(),
            Self::Expired { .. } => {
                "name a mirror that is up to date; for a snapshot, allow expired releases in the settings".to_owned()
            }
            Self::Future { .. } => "set the clock of this machine".to_owned(),
            Self::OtherSuite { .. } => "name the suite of the release, or another mirror".to_owned(),
            Self::Keyring { .. } => "name a file of public keys, binary or in ASCII armor".to_owned(),
            Self::Component { component, known, .. } => suggest::with_nearest(
                "correct the components in the settings or the package sources",
                component,
                known.iter().map(String::as_str),
            ),
            Self::Architecture { .. } => "build for another platform, or name a mirror with this architecture".to_owned(),
            Self::Packages { .. } => return None,
            Self::Index { .. } => "name another mirror: this one is incomplete".to_owned(),
            Self::Everywhere { last, .. } => return last.help(),
            Self::SettingsSources(_) => {
                "write lines such as \"deb http://HOST/debian bookworm main\", or name `mirrors`".to_owned()
            }
            Self::NoSuite(_) => "set base = \"apt:bookworm\", or name an image of Debian or Ubuntu".to_owned(),
            Self::Platform(_) => "build for another platform, or name an image as the base".to_owned(),
            Self::Status(_) => "check the base: `dpkg --audit` reports the same problem".to_owned(),
            Self::Lock(error) => return error.help(),
            Self::Resolve(error) => resolve_help(error).to_owned(),
            Self::Install(error) => return error.help(),
            Self::Content(error) => return error.help(),
            Self::Tree(error) => return error.help(),
            Self::Layer(error) => return error.help(),
            Self::Base(error) => return error.help(),
        })
    }
}

impl From<BaseError> for AptError {
    fn from(error: BaseError) -> Self {
        Self::Base(Box::new(error))
    }
}

/// Returns the advice for packages that cannot be installed.
fn resolve_help(error: &ResolveError) -> &'static str {
    match error {
        ResolveError::UnknownPackage { .. } => {
            "correct the name; a package of another component needs `apt.components`, one of another archive `apt.sources`"
        }
        ResolveError::VirtualPackage { .. } => "name one of these packages",
        ResolveError::UnknownVersion { .. } => {
            "name one of these versions, or a snapshot mirror of that time"
        }
        ResolveError::TwoVersions { .. } => "leave out the version, or name a base with that version",
        ResolveError::Unsatisfiable { .. } => {
            "leave out one of the packages; the suite and its updates must come from the same mirror and time"
        }
        _ => "name another mirror",
    }
}

/// Returns advice for a failed exchange with a mirror.
fn help_of_connection(error: &RegistryError) -> Option<String> {
    Some(match error {
        RegistryError::Unauthorized { .. } => {
            "add the credentials of the mirror to /etc/apt/auth.conf.d, or to its address".to_owned()
        }
        RegistryError::Network { .. } | RegistryError::UnknownHost(_) => {
            "check the mirror's address and the network; behind a proxy, set HTTP_PROXY, HTTPS_PROXY and NO_PROXY".to_owned()
        }
        RegistryError::Stalled { .. } => {
            "check the network, name another mirror, or allow more time with --network-timeout".to_owned()
        }
        error => return error.help(),
    })
}

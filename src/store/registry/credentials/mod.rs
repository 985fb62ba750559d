//! Credentials: the trait [`Keychain`] and its implementations, [`FixedCredentials`] in memory and
//! [`CredentialFiles`] with Docker's and Podman's files and credential helpers.

mod file;
mod files;
mod fixed;
mod helper;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

pub(super) use file::AuthFile;
pub use files::CredentialFiles;
pub use fixed::FixedCredentials;

use crate::error::{Advice, FileError};
use crate::printable;
use crate::reference::RemoteName;
use crate::store::http::secret::Secret;
use crate::sync::LockExt as _;

/// Configured credentials that are unavailable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A malformed key of [`FixedCredentials`].
    #[error("invalid registry {key:?} for credentials: {reason}")]
    Key {
        /// The key.
        key: String,
        /// The problem.
        reason: &'static str,
    },
    /// A failure of an embedder's own [`Keychain`].
    #[error("cannot find credentials for {registry}")]
    Keychain {
        /// The registry.
        registry: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Not a credential file.
    #[error("invalid credential file {}: {reason}", printable::path(.path))]
    Content {
        /// The file.
        path: PathBuf,
        /// The problem.
        reason: &'static str,
    },
    /// A configured helper that is not installed.
    #[error("credential helper not found: {program} for {key}, configured in {}", printable::path(.file))]
    HelperMissing {
        /// The helper's program.
        program: String,
        /// The registry or repository.
        key: String,
        /// The file that configures the helper.
        file: PathBuf,
    },
    /// A helper that does not exit.
    #[error("cannot find credentials for {key}: the credential helper {program} timed out after {seconds} s")]
    HelperHangs {
        /// The helper's program.
        program: String,
        /// The registry or repository.
        key: String,
        /// The time limit.
        seconds: u64,
    },
    /// A failed helper, or one with invalid output. The output is omitted: a secret may be inside.
    #[error("cannot find credentials for {key}: the credential helper {program} {reason}")]
    Helper {
        /// The helper's program.
        program: String,
        /// The registry or repository.
        key: String,
        /// The failure.
        reason: String,
    },
}

impl Advice for CredentialsError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::File(error) => return error.help(),
            Self::Key { .. } => "write HOST[:PORT][/REPOSITORY], such as ghcr.io/team".to_owned(),
            Self::Keychain { .. } => return None,
            Self::Content { .. } => {
                "correct the file, or log in again with docker login or podman login".to_owned()
            }
            Self::HelperMissing { file, .. } => {
                format!(
                    "install the helper, or remove it from credHelpers and credsStore in {}",
                    file.display()
                )
            }
            Self::HelperHangs { program, key, .. } | Self::Helper { program, key, .. } => {
                format!("run the helper by hand: echo {key} | {program} get")
            }
        })
    }
}

/// Credentials for a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credential {
    /// User and password.
    Password {
        /// The user.
        user: String,
        /// The password, or an access token in its place.
        password: Secret,
    },
    /// A refresh token for the token server.
    IdentityToken(Secret),
    /// A token for the registry, sent unchanged.
    RegistryToken(Secret),
}

/// A source of credentials. Each repository is looked up once.
pub trait Keychain: fmt::Debug + Send + Sync {
    /// Returns the credentials for a repository. `None` continues with the next keychain, and with
    /// anonymous access after the last.
    ///
    /// `registry` is `HOST[:PORT]`, and `docker.io` for Docker Hub.
    fn find(&self, registry: &str, repository: &str) -> Result<Option<Credential>, CredentialsError>;
}

/// The keychains of a client, with a cache for each repository.
#[derive(Debug)]
pub(super) struct Credentials {
    keychains: Vec<Arc<dyn Keychain>>,
    found: Mutex<BTreeMap<String, Arc<Mutex<CachedLookup>>>>,
}

/// `None` before the lookup.
type CachedLookup = Option<Option<Credential>>;

impl Credentials {
    pub(super) fn new(keychains: Vec<Arc<dyn Keychain>>) -> Self {
        Self { keychains, found: Mutex::new(BTreeMap::new()) }
    }

    /// Returns the credentials for a repository; `None` for anonymous access.
    pub(super) fn of(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Credential>, CredentialsError> {
        let key = format!("{registry}/{repository}");
        let slot = {
            let mut found = self.found.lock_forgiving();
            found.entry(key).or_default().clone()
        };
        // A helper may prompt the user: ask once, also for parallel uploads.
        let mut slot = slot.lock_forgiving();
        if let Some(found) = &*slot {
            return Ok(found.clone());
        }
        let mut found = None;
        for keychain in &self.keychains {
            found = keychain.find(registry, repository)?;
            if found.is_some() {
                break;
            }
        }
        *slot = Some(found.clone());
        Ok(found)
    }
}

/// Returns the keys for a repository's credentials, most specific first: Podman supports keys of
/// single repositories.
fn keys(registry: &str, repository: &str) -> Vec<String> {
    let whole = format!("{registry}/{repository}");
    let mut keys: Vec<_> = std::iter::successors(Some(whole.as_str()), |key| Some(key.rsplit_once('/')?.0))
        .map(str::to_owned)
        .collect();
    if registry == RemoteName::DOCKER_HUB {
        keys.extend(["index.docker.io", "registry-1.docker.io"].map(str::to_owned));
    }
    keys
}

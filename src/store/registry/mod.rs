//! Registries: reading and writing images over the network.
//!
//! OCI distribution specification 1.1; Docker's token authentication. Documents are verified when
//! fetched, and blobs by their readers; writes are complete or absent, with manifests last.
//!
//! ```no_run
//! use ipo_oci::progress::Silent;
//! use ipo_oci::store::Access;
//! use ipo_oci::store::registry::{Client, RegistryError};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(&Access::default())?;
//! let image = client.read(&"python:3.12-slim-bookworm".parse()?)?;
//! let digest = client.write(&image, &"localhost:5000/python:3.12".parse()?, &Silent)?;
//! # Ok(())
//! # }
//! ```
//!
//! `store::http` sends one request, `auth` authenticates, `session` combines both with retries; `pull`,
//! `upload` and `push` build on a session. Credentials never leave their origin and never appear in
//! errors: see [`Secret`].

mod auth;
mod cache;
mod challenge;
mod credentials;
mod error;
mod lookup;
mod pull;
mod push;
#[cfg(feature = "object-store")]
mod raw_request;
mod referrers;
mod session;
mod settings;
mod upload;

use std::fmt;
use std::sync::Arc;

pub use crate::store::http::secret::Secret;
pub use credentials::{Credential, CredentialFiles, CredentialsError, FixedCredentials, Keychain};
pub use error::{CertificateError, ConnectionError, RegistryError};
#[cfg(feature = "object-store")]
pub(in crate::store) use raw_request::{PlainHttpPolicy, RawRequest};
pub use settings::{Proxies, RegistrySettings, RetryPolicy};

use crate::digest::Digest;
use crate::image::{Artifact, Blob, Descriptor};
use crate::progress::Progress;
use crate::reference::RemoteName;
use crate::store::{Access, http};
use session::Session;

/// A client of registries. Connections, tokens and facts about hosts live as long as the client or
/// any blob read with it.
#[derive(Clone)]
pub struct Client(Arc<Session>);

impl Client {
    /// Makes a client; sends no request yet.
    ///
    /// # Errors
    /// An invalid setting.
    pub fn new(access: &Access) -> Result<Self, RegistryError> {
        Ok(Self(Arc::new(Session::new(access, None)?)))
    }

    /// Makes a client that reports fetched blobs to `progress`.
    ///
    /// # Errors
    /// An invalid setting.
    pub fn with_progress(access: &Access, progress: Arc<dyn Progress>) -> Result<Self, RegistryError> {
        Ok(Self(Arc::new(Session::new(access, Some(progress))?)))
    }

    /// Resolves a name to its current descriptor. A tag's document is fetched only if the registry
    /// does not report the digest.
    pub fn resolve(&self, name: &RemoteName) -> Result<Descriptor, RegistryError> {
        pull::resolve(&self.0, name).map(|(descriptor, _)| descriptor)
    }

    /// Reads an image or an index with all its manifests. Blobs are fetched on demand and verified
    /// by their readers.
    pub fn read(&self, name: &RemoteName) -> Result<Artifact, RegistryError> {
        pull::read(&self.0, name)
    }

    /// Determines the registry's scheme. Sends no request if the scheme is known.
    pub(in crate::store) fn reach(&self, name: &RemoteName) -> Result<(), RegistryError> {
        self.0.endpoint(&name.registry).map(|_| ())
    }

    /// Fetches the manifest or index with the tag `name`, of at most `limit` bytes; `None` if
    /// missing.
    pub(in crate::store) fn manifest(
        &self,
        name: &RemoteName,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        lookup::manifest(&self.0, name, limit)
    }

    /// Returns the digest of the manifest with the tag `name`, if the registry reports one.
    pub(in crate::store) fn digest(&self, name: &RemoteName) -> Result<Option<Digest>, RegistryError> {
        lookup::digest(&self.0, name)
    }

    /// Returns a blob of the repository of `name`, fetched when read.
    pub(in crate::store) fn blob(&self, name: &RemoteName, descriptor: &Descriptor) -> Blob {
        pull::blob_of(&self.0, name, descriptor)
    }

    /// Writes an image or an index with everything below. Returns its digest.
    ///
    /// Existing blobs are not sent; those known to be in another repository of the same registry
    /// ([`BlobSource::repository`](crate::image::BlobSource::repository), [`RegistrySettings::mount_from`])
    /// are mounted. The tag is written last: readers get the old image or the complete new one.
    pub fn write(
        &self,
        artifact: &Artifact,
        name: &RemoteName,
        progress: &dyn Progress,
    ) -> Result<Digest, RegistryError> {
        push::write(&self.0, artifact, name, progress)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client(..)")
    }
}

/// Parses arbitrary bytes as external input, for the fuzz target.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = challenge::parse(&text);
    let _ = credentials::AuthFile::parse(bytes);
    let _ = http::no_proxy::bypasses(&text, "registry.example:5000");
    let _ = http::detail(bytes, Some(&Secret::new("Bearer secret")));
    if let Some(base) = http::url::Url::parse("https://registry.example/v2/") {
        let _ = base.join(&text);
    }
}

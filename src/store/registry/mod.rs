//! Registries: reading images from them and writing images to them.
//!
//! OCI distribution specification 1.1; Docker's token authentication. What is fetched is verified before it is given on or,
//! for blobs, by whoever reads them; what is written is there whole or not at all, manifests last.
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
//! `http` sends one request, `auth` proves who asks, `session` joins them and tries again; `pull`, `upload` and `push` stand
//! on it. No credential leaves the origin that it is for, and none is in an error: see `secret`.

mod auth;
mod cache;
mod challenge;
mod credentials;
mod error;
mod http;
mod lookup;
mod no_proxy;
#[cfg(feature = "object-store")]
mod passing;
mod patience;
mod pull;
mod push;
mod referrers;
mod secret;
mod session;
mod settings;
mod throughput;
mod upload;
mod url;

use std::fmt;
use std::sync::Arc;

pub use credentials::CredentialsError;
pub use error::RegistryError;
#[cfg(feature = "object-store")]
pub(in crate::store) use passing::{Clear, Passing};
pub use secret::Secret;
pub use settings::{CredentialSources, Proxies, Retry, Settings};

use crate::digest::Digest;
use crate::image::{Artifact, Blob, Descriptor};
use crate::progress::Progress;
use crate::reference::RemoteName;
use crate::store::Access;
use session::Session;

/// Reads and writes images of registries. Connections, tokens and what is known of hosts are kept as long as it is, or
/// anything that was read with it.
#[derive(Clone)]
pub struct Client(Arc<Session>);

impl Client {
    /// A client that has not asked anybody anything yet.
    ///
    /// # Errors
    /// When a setting makes no sense.
    pub fn new(access: &Access) -> Result<Self, RegistryError> {
        Ok(Self(Arc::new(Session::new(access, None)?)))
    }

    /// A client that tells `progress` of the blobs that are fetched, whenever somebody reads them.
    ///
    /// # Errors
    /// When a setting makes no sense.
    pub fn telling(access: &Access, progress: Arc<dyn Progress>) -> Result<Self, RegistryError> {
        Ok(Self(Arc::new(Session::new(access, Some(progress))?)))
    }

    /// What a name stands for at this moment. A tag's document is not fetched where the registry tells its digest.
    pub fn resolve(&self, name: &RemoteName) -> Result<Descriptor, RegistryError> {
        pull::resolve(&self.0, name).map(|(descriptor, _)| descriptor)
    }

    /// Reads an image or an index with all its manifests. Blobs are fetched when they are read: whoever does so verifies
    /// them.
    pub fn read(&self, name: &RemoteName) -> Result<Artifact, RegistryError> {
        pull::read(&self.0, name)
    }

    /// Makes out how the registry is spoken to. Asks nobody where that is known without.
    pub(in crate::store) fn reach(&self, name: &RemoteName) -> Result<(), RegistryError> {
        self.0.endpoint(&name.registry).map(|_| ())
    }

    /// The bytes of the manifest or index that `name` is the tag of, `limit` of them at most; nothing where there is none.
    pub(in crate::store) fn manifest(
        &self,
        name: &RemoteName,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        lookup::manifest(&self.0, name, limit)
    }

    /// The digest of the manifest that `name` is the tag of, where there is one and the registry tells it.
    pub(in crate::store) fn digest(&self, name: &RemoteName) -> Result<Option<Digest>, RegistryError> {
        lookup::digest(&self.0, name)
    }

    /// A blob of the repository of `name`, which is fetched when it is read.
    pub(in crate::store) fn blob(&self, name: &RemoteName, descriptor: &Descriptor) -> Blob {
        pull::blob_of(&self.0, name, descriptor)
    }

    /// Writes an image or an index with all that it names, and gives its digest.
    ///
    /// Blobs that the repository has are not sent; those that are known to be in another repository of the same registry
    /// ([`BlobSource::repository`](crate::image::BlobSource::repository), [`Settings::mount_from`]) are mounted. The tag
    /// comes last: whoever reads it gets what was there before, or all of this.
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

/// Parses what comes from outside, for the fuzz target.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = challenge::parse(&text);
    let _ = credentials::AuthFile::parse(bytes);
    let _ = no_proxy::bypasses(&text, "registry.example:5000");
    let _ = http::detail(bytes, Some(&Secret::new("Bearer secret")));
    if let Some(base) = url::Url::parse("https://registry.example/v2/") {
        let _ = base.join(&text);
    }
}

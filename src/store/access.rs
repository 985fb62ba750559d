//! [`Access`]: the network, cache and connection settings for reading and writing images.

use std::path::PathBuf;
use std::time::Duration;

/// Settings for reading and writing images, all supplied by the embedder. The library reads no
/// configuration by itself. Features add fields, so begin with the default:
///
/// ```
/// use ipo_oci::store::{Access, Network};
///
/// let mut access = Access::default();
/// access.network = Network::Forbidden;
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Access {
    /// The cache folder for fetched blobs. Default: none.
    pub cache: Option<PathBuf>,
    /// The network policy.
    pub network: Network,
    /// The Docker engine's address, in the form of `$DOCKER_HOST`. Default: the usual socket.
    pub docker_host: Option<String>,
    /// Time without progress before an engine counts as failed: three times as much while the bytes
    /// of an image pass, and twenty times before the response to an export or a load. Default: 30 s.
    pub engine_timeout: Option<Duration>,
    /// Registry settings.
    #[cfg(feature = "registry")]
    pub registry: super::registry::RegistrySettings,
    /// Object store settings.
    #[cfg(feature = "object-store")]
    pub objects: super::remote_cache::ObjectStoreSettings,
}

impl Access {
    /// Sets the cache folder for fetched blobs.
    #[must_use]
    pub fn with_cache(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = Some(folder.into());
        self
    }

    /// Sets the network policy.
    #[must_use]
    pub fn with_network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// Sets the Docker engine's address.
    #[must_use]
    pub fn with_docker_host(mut self, host: impl Into<String>) -> Self {
        self.docker_host = Some(host.into());
        self
    }
}

/// The network policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// The network may be used.
    #[default]
    Allowed,
    /// Operations that need the network fail (`--offline`).
    Forbidden,
}

//! [`RegistrySettings`]: connection settings for registries. Plain data, supplied by the embedder.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::credentials::Keychain;
use crate::reference::RemoteName;
use crate::store::http::secret::Secret;

/// Connection settings for registries.
///
/// One exception to plain data: the machine's trusted certificates are read from their usual
/// places, and from `$SSL_CERT_FILE` and `$SSL_CERT_DIR`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RegistrySettings {
    /// PEM files with certificate authorities to trust in addition to the machine's.
    pub ca_files: Vec<PathBuf>,
    /// Registries, `HOST[:PORT]`, with unverified TLS or plain HTTP. A registry on this machine
    /// (`localhost`, `127.0.0.0/8`, `[::1]`) may use plain HTTP without an entry.
    pub insecure: Vec<String>,
    /// Mirrors to read from first, by registry (`docker.io`): `[http[s]://]HOST[:PORT][/PREFIX]`.
    /// Mirrors are never written to.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Proxies.
    pub proxies: Proxies,
    /// Sources of credentials, in order. Default: none, for anonymous access.
    pub keychains: Vec<Arc<dyn Keychain>>,
    /// Repositories to mount blobs from, in addition to a blob's known repository.
    pub mount_from: Vec<RemoteName>,
    /// Limit for one request, in bytes, for proxies that refuse large ones. Default: a blob is one
    /// request, and chunks follow a refusal.
    pub chunk_bytes: Option<NonZero<u64>>,
    /// The number of parallel uploads.
    pub transfers: NonZero<usize>,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// The retry policy.
    pub retry: RetryPolicy,
    /// Timeout for a connection: name lookup, socket, TLS.
    pub connect_timeout: Duration,
    /// Time without progress before a transfer fails: no head of a response, no byte of a body in
    /// either direction, or fewer than 1000 bytes per second of a body. A response after storing a
    /// blob gets more time, by the blob's size.
    pub silence_timeout: Duration,
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self {
            ca_files: Vec::new(),
            insecure: Vec::new(),
            mirrors: BTreeMap::new(),
            proxies: Proxies::default(),
            keychains: Vec::new(),
            mount_from: Vec::new(),
            chunk_bytes: None,
            transfers: NonZero::<usize>::MIN.saturating_add(3),
            user_agent: concat!("ipo-oci/", env!("CARGO_PKG_VERSION")).to_owned(),
            retry: RetryPolicy::default(),
            connect_timeout: Duration::from_secs(30),
            silence_timeout: Duration::from_secs(30),
        }
    }
}

impl RegistrySettings {
    /// Returns the settings for optional requests, which are useless when slow: at most one retry,
    /// and short timeouts.
    #[must_use]
    pub fn best_effort(mut self) -> Self {
        const ATTEMPTS: NonZero<u32> = NonZero::<u32>::MIN.saturating_add(1);
        self.retry.attempts = self.retry.attempts.min(ATTEMPTS);
        self.retry.total_wait = self.retry.total_wait.min(Duration::from_secs(2));
        self.connect_timeout = self.connect_timeout.min(Duration::from_secs(5));
        self.silence_timeout = self.silence_timeout.min(Duration::from_secs(30));
        self
    }
}

/// Proxies, in the form of `$HTTP_PROXY`, `$HTTPS_PROXY` and `$NO_PROXY`.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Proxies {
    /// For plain HTTP: `http://[USER:PASSWORD@]HOST[:PORT]`. Used with CONNECT.
    pub http: Option<Secret>,
    /// For HTTPS.
    pub https: Option<Secret>,
    /// Hosts reached directly, separated by commas: `*`, `HOST[:PORT]` and its subdomains,
    /// `.DOMAIN`, `ADDRESS`, `ADDRESS/BITS`.
    pub no_proxy: String,
}

/// The retry policy for responses 408, 429, 500, 502, 503 and 504, and for failed connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Attempts for one operation.
    pub attempts: NonZero<u32>,
    /// The wait before the second attempt; every further wait doubles.
    pub first_wait: Duration,
    /// Limit for one wait, unless the registry asks for more.
    pub longest_wait: Duration,
    /// Limit for all waits of one operation. A registry that asks for more is not waited for.
    pub total_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: NonZero::<u32>::MIN.saturating_add(4),
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(20),
            total_wait: Duration::from_mins(2),
        }
    }
}

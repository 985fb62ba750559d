//! [`Settings`]: how registries are reached. Plain data; the library looks nothing of it up by itself.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::Secret;
use crate::reference::RemoteName;

/// How registries are reached.
///
/// One thing is looked up where they are used: the certificates that the machine trusts, in its usual places and in
/// `$SSL_CERT_FILE` and `$SSL_CERT_DIR`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Files with certificates (PEM) of authorities that are trusted beside the machine's.
    pub ca_files: Vec<PathBuf>,
    /// Registries, `HOST[:PORT]`, whose certificate is not verified and that may speak plain HTTP. A registry on this
    /// machine (`localhost`, `127.0.0.0/8`, `[::1]`) may speak plain HTTP without being named.
    pub insecure: Vec<String>,
    /// Where a registry's images are looked for first, by its name (`docker.io`): `[http[s]://]HOST[:PORT][/PREFIX]`.
    /// Nothing is written there.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Proxies.
    pub proxies: Proxies,
    /// Where credentials are.
    pub credentials: CredentialSources,
    /// Repositories whose blobs a registry may be asked to mount, beside those that a blob is known to be in.
    pub mount_from: Vec<RemoteName>,
    /// Bytes of one request at most, for proxies that refuse big ones. Default: a blob is one request, and chunks are
    /// tried where that is refused.
    pub chunk_bytes: Option<NonZero<u64>>,
    /// Blobs that are sent at the same time.
    pub transfers: NonZero<usize>,
    /// What the registry is told this program is.
    pub user_agent: String,
    /// What is tried again, and for how long.
    pub retry: Retry,
    /// Time for a connection: the name, the socket, TLS.
    pub connect_timeout: Duration,
    /// Time without progress after which a transfer is given up: the head of an answer that is not there, no byte of a body
    /// sent or received, or fewer than 1000 bytes a second of it. An answer that stores a blob has more, by its size.
    pub silence_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ca_files: Vec::new(),
            insecure: Vec::new(),
            mirrors: BTreeMap::new(),
            proxies: Proxies::default(),
            credentials: CredentialSources::default(),
            mount_from: Vec::new(),
            chunk_bytes: None,
            transfers: NonZero::<usize>::MIN.saturating_add(3),
            user_agent: concat!("ipo-oci/", env!("CARGO_PKG_VERSION")).to_owned(),
            retry: Retry::default(),
            connect_timeout: Duration::from_secs(30),
            silence_timeout: Duration::from_secs(30),
        }
    }
}

impl Settings {
    /// The same for what is of no use when it takes long: one more attempt, and no long silence.
    #[must_use]
    pub fn impatient(mut self) -> Self {
        const ATTEMPTS: NonZero<u32> = NonZero::<u32>::MIN.saturating_add(1);
        self.retry.attempts = self.retry.attempts.min(ATTEMPTS);
        self.retry.total_wait = self.retry.total_wait.min(Duration::from_secs(2));
        self.connect_timeout = self.connect_timeout.min(Duration::from_secs(5));
        self.silence_timeout = self.silence_timeout.min(Duration::from_secs(30));
        self
    }
}

/// Proxies, as `$HTTP_PROXY`, `$HTTPS_PROXY` and `$NO_PROXY` write them.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// For plain HTTP: `http://[USER:PASSWORD@]HOST[:PORT]`. It is asked to CONNECT.
    pub http: Option<Secret>,
    /// For HTTPS.
    pub https: Option<Secret>,
    /// Hosts that are reached without one, with commas between: `*`, `HOST[:PORT]` and all below it, `.DOMAIN`,
    /// `ADDRESS`, `ADDRESS/BITS`.
    pub no_proxy: String,
}

/// Where credentials are.
#[derive(Debug, Clone)]
pub struct CredentialSources {
    /// Docker's `config.json` and Podman's `auth.json`; the first that knows a registry counts. One that is not there is
    /// no error.
    pub files: Vec<PathBuf>,
    /// Where `docker-credential-NAME` is looked for, as `$PATH` is written.
    pub helper_path: Option<OsString>,
    /// How long a helper may take.
    pub helper_timeout: Duration,
}

impl Default for CredentialSources {
    fn default() -> Self {
        Self { files: Vec::new(), helper_path: None, helper_timeout: Duration::from_secs(30) }
    }
}

/// What is tried again: answers 408, 429, 500, 502, 503 and 504, and connections that fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// How often one thing is tried.
    pub attempts: NonZero<u32>,
    /// The wait before the second attempt; each further wait is twice the one before.
    pub first_wait: Duration,
    /// A wait is no longer than this, unless the registry asks for it.
    pub longest_wait: Duration,
    /// All waits of one thing together. A registry that asks for more is not waited for.
    pub total_wait: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: NonZero::<u32>::MIN.saturating_add(4),
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(20),
            total_wait: Duration::from_mins(2),
        }
    }
}

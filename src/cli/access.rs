//! Arguments and environment variables for access to images, common to all subcommands that move
//! images.

#[cfg(feature = "registry")]
use std::collections::BTreeMap;
#[cfg(feature = "registry")]
use std::num::NonZero;
use std::path::PathBuf;

use clap::Args;
use ipo_oci::settings::{Seconds, Size};
use ipo_oci::store::{Access, Network};

use super::arguments::{pair, setting};
use super::path_variable;

/// Heading of the flags of local and remote caches.
pub(super) const CACHE_HEADING: &str = "Cache";

/// Options for access to registries, engines and the cache.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Registries and network")]
pub(crate) struct AccessArguments {
    /// Folder of the cache [default: ipo-oci in the user's cache folder]
    #[arg(help_heading = CACHE_HEADING, hide_short_help = true)]
    #[arg(long, value_name = "DIR", env = "IPO_OCI_CACHE_DIR")]
    cache_dir: Option<PathBuf>,
    /// Allow plain HTTP and unverified certificates for this registry, HOST[:PORT]
    #[arg(hide_short_help = true)]
    #[arg(long, value_name = "HOST", value_delimiter = ',', env = "IPO_OCI_INSECURE_REGISTRY")]
    insecure_registry: Vec<String>,
    /// Trust the certificate authorities in this PEM file, in addition to the system's
    #[arg(hide_short_help = true)]
    #[arg(long, value_name = "FILE", value_delimiter = ',', env = "IPO_OCI_CA_FILE")]
    ca_file: Vec<PathBuf>,
    /// Pull a registry's images from a mirror first: docker.io=mirror.example[/PREFIX]
    #[arg(hide_short_help = true)]
    #[arg(long, value_name = "REGISTRY=MIRROR", value_delimiter = ',', env = "IPO_OCI_REGISTRY_MIRROR", value_parser = pair)]
    registry_mirror: Vec<(String, String)>,
    /// Upload blobs in chunks of this size, for proxies that refuse large requests [default: whole,
    /// and in chunks if refused]
    #[arg(hide_short_help = true)]
    #[arg(long, value_name = "SIZE", env = "IPO_OCI_CHUNK_SIZE", value_parser = setting::<Size>)]
    chunk_size: Option<Size>,
    /// Give up on a registry, token server or engine without progress for this time, after some
    /// retries [default: 30s]
    #[arg(hide_short_help = true)]
    #[arg(long, value_name = "TIME", env = "IPO_OCI_NETWORK_TIMEOUT", value_parser = setting::<Seconds>)]
    network_timeout: Option<Seconds>,
    /// Use no network, and fail if one is needed
    #[arg(hide_short_help = true)]
    #[arg(long, env = "IPO_OCI_OFFLINE", value_parser = clap::builder::FalseyValueParser::new())]
    offline: bool,
}

impl AccessArguments {
    /// Combines the arguments with the environment: cache folder, engine, proxies and credential
    /// files.
    pub(crate) fn access(&self) -> Access {
        let docker_host = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
        let network = if self.offline { Network::Forbidden } else { Network::Allowed };
        let mut access = Access::default().with_network(network);
        access.cache = self.cache();
        access.docker_host = docker_host;
        access.engine_timeout = self.network_timeout.map(|timeout| timeout.0);
        #[cfg(feature = "registry")]
        {
            access.registry = self.registry();
        }
        #[cfg(feature = "object-store")]
        {
            access.objects = ipo_oci::store::remote_cache::ObjectStoreSettings::new(std::env::vars());
        }
        access
    }

    /// Returns true if the network is forbidden.
    pub(crate) fn is_offline(&self) -> bool {
        self.offline
    }

    /// Returns the cache folder.
    pub(crate) fn cache(&self) -> Option<PathBuf> {
        folder(self.cache_dir.as_ref())
    }

    #[cfg(feature = "registry")]
    fn registry(&self) -> ipo_oci::store::registry::RegistrySettings {
        use std::sync::Arc;

        use ipo_oci::store::registry::{CredentialFiles, Proxies, RegistrySettings, Secret};
        // Programs disagree on the case; curl and Go accept both. Upper-case HTTP_PROXY is unsafe
        // only in CGI scripts, where a request sets the variable.
        let variable = |name: &str| {
            let value = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
            value(&name.to_lowercase()).or_else(|| value(name))
        };
        let all = variable("ALL_PROXY");
        let timeout = self.network_timeout.map(|timeout| timeout.0);
        let mut mirrors: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (registry, mirror) in &self.registry_mirror {
            mirrors.entry(registry.clone()).or_default().push(mirror.clone());
        }
        let proxy = |name: &str| variable(name).or_else(|| all.clone()).map(Secret::new);
        let mut files = CredentialFiles::new(credential_files());
        files.helper_path = std::env::var_os("PATH");
        let mut proxies = Proxies::default();
        proxies.http = proxy("HTTP_PROXY");
        proxies.https = proxy("HTTPS_PROXY");
        proxies.no_proxy = variable("NO_PROXY").unwrap_or_default();
        let mut settings = RegistrySettings::default();
        settings.ca_files.clone_from(&self.ca_file);
        settings.insecure.clone_from(&self.insecure_registry);
        settings.mirrors = mirrors;
        settings.chunk_bytes = self.chunk_size.and_then(|size| NonZero::new(size.0));
        settings.proxies = proxies;
        settings.keychains = vec![Arc::new(files)];
        if let Some(timeout) = timeout {
            settings.connect_timeout = timeout;
            settings.silence_timeout = timeout;
        }
        settings
    }
}

/// Returns the cache folder: the given one, or the one in the user's cache folder.
pub(super) fn folder(named: Option<&PathBuf>) -> Option<PathBuf> {
    if let Some(cache) = named {
        return Some(cache.clone());
    }
    // XDG base directory specification: relative paths must be ignored.
    let xdg = path_variable("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let cache = xdg.or_else(|| Some(path_variable("HOME")?.join(".cache")))?;
    Some(cache.join("ipo-oci"))
}

/// Returns the credential files of Docker and Podman, in lookup order.
#[cfg(feature = "registry")]
fn credential_files() -> Vec<PathBuf> {
    let home = path_variable("HOME");
    let in_home = |path: &str| home.as_ref().map(|home| home.join(path));
    let docker = path_variable("DOCKER_CONFIG").or_else(|| in_home(".docker"));
    let runtime = path_variable("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json"));
    let config = path_variable("XDG_CONFIG_HOME").map(|folder| folder.join("containers/auth.json"));
    [
        path_variable("REGISTRY_AUTH_FILE"),
        docker.map(|folder| folder.join("config.json")),
        runtime,
        config.or_else(|| in_home(".config/containers/auth.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

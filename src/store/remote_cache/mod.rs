//! Remote layer caches: layers built by one machine, reused by others.
//!
//! A cache is a repository of a registry, a folder, or a bucket of an object store. Each implements
//! [`RemoteCache`], keyed by content keys. Callers verify everything fetched.
//!
//! ```no_run
//! use ipo_oci::builder::Builder;
//! use ipo_oci::store::{Access, remote_cache};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cache = remote_cache::open("docker://ghcr.io/team/cache", &Access::default())?;
//! println!("{}", cache.name());
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "object-store")]
mod connector;
mod folder;
mod lease;
#[cfg(feature = "registry")]
mod min_throughput;
#[cfg(feature = "object-store")]
mod objects;
mod record;
#[cfg(feature = "registry")]
mod registry;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Access, Network};
use crate::error::Advice;
use crate::printable;
use crate::reference::RemoteName;
use crate::suggest::with_nearest;

#[cfg(feature = "object-store")]
pub use objects::ObjectStoreSettings;

#[doc(inline)]
pub use crate::cache::{LeakedPath, Lease, Record, RemoteCache, RemoteCacheError};

/// An invalid cache location.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheLocationError {
    /// Not a known form.
    #[error("invalid cache location `{0}`")]
    Invalid(String),
    /// A repository with a tag or a digest: tags are the layers' keys.
    #[error("invalid cache location `{0}`: a single image, not a repository")]
    OneImage(String),
    /// An invalid repository name.
    #[error("invalid repository `{location}`: {reason}")]
    Repository {
        /// The location.
        location: String,
        /// The reason.
        reason: String,
    },
    /// A kind of location not built in.
    #[error("cannot use {location}: this program was built without the feature `{feature}`")]
    Feature {
        /// The location.
        location: String,
        /// The missing feature.
        feature: &'static str,
    },
    /// The network is needed and forbidden.
    #[error("cannot reach the cache {0}: the network is forbidden")]
    Offline(String),
    /// A file in place of the folder.
    #[error("cannot use the cache {}: not a folder", printable::path(.0))]
    NotAFolder(PathBuf),
    /// Invalid settings of an object store.
    #[cfg(feature = "object-store")]
    #[error("cannot use the cache {location}: {reason}")]
    Objects {
        /// The location.
        location: String,
        /// The reason.
        reason: String,
    },
    /// Invalid registry settings.
    #[cfg(feature = "registry")]
    #[error(transparent)]
    Registry(#[from] super::registry::RegistryError),
}

/// The forms of cache locations supported by this build.
#[cfg(feature = "object-store")]
pub const LOCATIONS: &str = "docker://REGISTRY/REPOSITORY, dir:PATH, s3://BUCKET[/PREFIX], gs://BUCKET[/PREFIX] or \
                          az://CONTAINER[/PREFIX]";
/// The forms of cache locations supported by this build.
#[cfg(all(feature = "registry", not(feature = "object-store")))]
pub const LOCATIONS: &str = "docker://REGISTRY/REPOSITORY or dir:PATH";
/// The forms of cache locations supported by this build.
#[cfg(not(feature = "registry"))]
pub const LOCATIONS: &str = "dir:PATH";

impl Advice for CacheLocationError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Invalid(location) => {
                let scheme = location.split(':').next().unwrap_or_default();
                let known = ["docker", "dir", "s3", "gs", "az"].into_iter().filter(|known| *known != scheme);
                with_nearest(&format!("write {LOCATIONS}"), scheme, known)
            }
            Self::OneImage(_) => "leave out the tag and the digest: layers get tags of their own".to_owned(),
            Self::Repository { .. } => {
                "write docker://REGISTRY/REPOSITORY, such as docker://ghcr.io/team/cache".to_owned()
            }
            Self::Feature { feature, .. } => {
                format!("build it with --features {feature}, or name a folder: dir:PATH")
            }
            Self::Offline(_) => "leave out --offline, or name a folder: dir:PATH".to_owned(),
            Self::NotAFolder(_) => "name a folder or a new path".to_owned(),
            #[cfg(feature = "object-store")]
            Self::Objects { .. } => {
                "check the environment variables of the store: AWS_…, GOOGLE_… or AZURE_…".to_owned()
            }
            #[cfg(feature = "registry")]
            Self::Registry(error) => return error.help(),
        })
    }
}

/// Returns the folder of a location `dir:PATH`.
pub fn folder(text: &str) -> Option<&Path> {
    text.strip_prefix("dir:").filter(|path| !path.is_empty()).map(Path::new)
}

/// Opens the cache at the location `text`. No request is sent and no folder made before the first use.
///
/// # Errors
/// An invalid location, or one that is forbidden or unusable.
pub fn open(text: &str, access: &Access) -> Result<Arc<dyn RemoteCache>, CacheLocationError> {
    if let Some(path) = folder(text) {
        return Ok(Arc::new(folder::FolderCache::open(path)?));
    }
    let redacted = redacted(text);
    let remote = |known: &str| text.strip_prefix(known).filter(|rest| !rest.is_empty());
    let allowed = || match access.network {
        Network::Allowed => Ok(()),
        Network::Forbidden => Err(CacheLocationError::Offline(redacted.clone())),
    };
    if let Some(name) = remote("docker://") {
        let name = repository(name, &redacted)?;
        allowed()?;
        return open_registry(name, access);
    }
    if ["s3://", "gs://", "az://"].iter().any(|scheme| remote(scheme).is_some()) {
        allowed()?;
        return open_bucket(text, redacted, access);
    }
    Err(CacheLocationError::Invalid(redacted))
}

#[cfg(feature = "registry")]
fn open_registry(name: RemoteName, access: &Access) -> Result<Arc<dyn RemoteCache>, CacheLocationError> {
    Ok(Arc::new(registry::RegistryCache::open(name, access)?))
}

#[cfg(not(feature = "registry"))]
fn open_registry(name: RemoteName, _: &Access) -> Result<Arc<dyn RemoteCache>, CacheLocationError> {
    Err(CacheLocationError::Feature { location: format!("docker://{name}"), feature: "registry" })
}

#[cfg(feature = "object-store")]
fn open_bucket(
    text: &str,
    redacted: String,
    access: &Access,
) -> Result<Arc<dyn RemoteCache>, CacheLocationError> {
    Ok(Arc::new(objects::ObjectCache::open(text, redacted, access)?))
}

#[cfg(not(feature = "object-store"))]
fn open_bucket(_: &str, location: String, _: &Access) -> Result<Arc<dyn RemoteCache>, CacheLocationError> {
    Err(CacheLocationError::Feature { location, feature: "object-store" })
}

/// Parses a repository; errors call the location `redacted`.
fn repository(name: &str, redacted: &str) -> Result<RemoteName, CacheLocationError> {
    let wrong = |reason: String| CacheLocationError::Repository { location: redacted.to_owned(), reason };
    match name.parse::<RemoteName>() {
        Ok(name) if name.tag.is_some() || name.digest.is_some() => {
            Err(CacheLocationError::OneImage(redacted.to_owned()))
        }
        Ok(name) => Ok(name),
        Err(crate::reference::ReferenceError::Name(_, reason)) => Err(wrong(reason.to_owned())),
        Err(_) => Err(wrong("not a repository name".to_owned())),
    }
}

/// Removes a possible password from a location.
fn redacted(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    let rest = match rest.rsplit_once('@') {
        Some((_, after)) if !after.starts_with("sha256:") => format!("…@{after}"),
        _ => rest.to_owned(),
    };
    if scheme.is_empty() { rest } else { format!("{scheme}://{rest}") }
}

/// Decodes arbitrary bytes as responses of a remote cache, for a fuzz target.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let key = crate::digest::Digest::of(b"key");
    if let Some(record) = record::from_json(&key, bytes) {
        let _ = record::to_json(&key, &record);
    }
    if let Some(lease) = lease::from_json(&key, bytes) {
        let _ = lease::to_json(&key, &lease);
    }
    let _ = open(&String::from_utf8_lossy(bytes), &Access::default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str, network: Network) -> CacheLocationError {
        let access = Access { network, ..Access::default() };
        open(text, &access).unwrap_err()
    }

    #[test]
    fn an_invalid_location_is_refused_with_a_help_text() {
        for text in
            ["", "cache", "ghcr.io/team/cache", "oci:cache", "dir:", "docker://", "s3://", "https://x/y"]
        {
            let error = error(text, Network::Allowed);
            assert!(matches!(error, CacheLocationError::Invalid(_)), "{text}: {error}");
            assert!(error.help().unwrap().contains("dir:PATH"));
        }
        let digest = crate::digest::Digest::of(b"");
        for text in
            ["docker://ghcr.io/team/cache:1".to_owned(), format!("docker://ghcr.io/team/cache@{digest}")]
        {
            assert!(matches!(error(&text, Network::Allowed), CacheLocationError::OneImage(_)), "{text}");
        }
        for text in ["docker://ghcr.io/Team", "docker://ghcr.io/team/", "docker://ghcr.io//team"] {
            assert!(matches!(error(text, Network::Allowed), CacheLocationError::Repository { .. }), "{text}");
        }
    }

    #[test]
    fn passwords_are_redacted() {
        for text in [
            "docker://me:hunter2@ghcr.io/x",
            "s3://me:hunter2@bucket",
            "https://me:hunter2@x",
            "me:hunter2@x",
        ] {
            for network in [Network::Allowed, Network::Forbidden] {
                let error = error(text, network);
                let told = format!("{error} {error:?} {:?}", error.help());
                assert!(!told.contains("hunter2"), "{told}");
            }
        }
    }

    #[test]
    fn a_folder_needs_no_network() {
        let access = Access { network: Network::Forbidden, ..Access::default() };
        assert_eq!(open("dir:/no/where", &access).unwrap().name(), "dir:/no/where");
        for text in ["docker://ghcr.io/team/cache", "s3://bucket"] {
            assert!(matches!(error(text, Network::Forbidden), CacheLocationError::Offline(_)), "{text}");
        }
    }
}

//! Access to registries for the rest of the store.
//!
//! Without the feature `registry`, the library contains no network code, and both functions return
//! an error.

use super::{Access, StoreError};
use crate::digest::Digest;
use crate::image::Artifact;
use crate::progress::Progress;
use crate::reference::RemoteName;

/// Reads the image `name` from a registry.
#[cfg(feature = "registry")]
pub(super) fn read(name: &RemoteName, access: &Access) -> Result<Artifact, StoreError> {
    super::registry::Client::new(access)?.read(name).map_err(|error| match error {
        // The image's name is more useful than the host's.
        super::registry::RegistryError::Offline(_) => StoreError::Offline(format!("docker://{name}")),
        error => error.into(),
    })
}

/// Writes `artifact` to a registry as `name`.
#[cfg(feature = "registry")]
pub(super) fn write(
    artifact: &Artifact,
    name: &RemoteName,
    access: &Access,
    progress: &dyn Progress,
) -> Result<Digest, StoreError> {
    Ok(super::registry::Client::new(access)?.write(artifact, name, progress)?)
}

/// Reads the image `name` from a registry.
#[cfg(not(feature = "registry"))]
pub(super) fn read(name: &RemoteName, _: &Access) -> Result<Artifact, StoreError> {
    Err(missing(name))
}

/// Writes `artifact` to a registry as `name`.
#[cfg(not(feature = "registry"))]
pub(super) fn write(
    _: &Artifact,
    name: &RemoteName,
    _: &Access,
    _: &dyn Progress,
) -> Result<Digest, StoreError> {
    Err(missing(name))
}

#[cfg(not(feature = "registry"))]
fn missing(name: &RemoteName) -> StoreError {
    StoreError::Transport {
        reference: format!("docker://{name}"),
        reason: "this program was built without its feature `registry`",
    }
}

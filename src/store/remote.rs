//! The seam to registries: what the rest of this room needs of them.
//!
//! Without the feature `registry` there is no network code in the library, and everything here is an error that says so.

use super::{Access, StoreError};
use crate::digest::Digest;
use crate::image::Artifact;
use crate::progress::Progress;
use crate::reference::RemoteName;

/// Reads what a registry has under `name`.
#[cfg(feature = "registry")]
pub(super) fn read(name: &RemoteName, access: &Access) -> Result<Artifact, StoreError> {
    super::registry::Client::new(access)?.read(name).map_err(|error| match error {
        // Which image it is says more than which host.
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

/// Reads what a registry has under `name`.
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

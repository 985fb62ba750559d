//! [`Access`]: what reading and writing images needs from outside beyond their references.

use std::path::PathBuf;
use std::time::Duration;

/// What reading and writing images needs from outside. The library looks nothing up by itself: an embedder decides.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Where what was fetched is kept for the next time. Default: nowhere.
    pub cache: Option<PathBuf>,
    /// Whether a network may be used.
    pub network: Network,
    /// Where the Docker engine listens, as `$DOCKER_HOST` says it. Default: its usual socket.
    pub docker_host: Option<String>,
    /// Time without progress after which an engine is given up; while it exports or loads an image it has twenty times as
    /// much, because it may say nothing until it is done. Default: 30 s.
    pub engine_timeout: Option<Duration>,
    /// How registries are reached.
    #[cfg(feature = "registry")]
    pub registry: super::registry::Settings,
    /// How object stores are reached.
    #[cfg(feature = "object-store")]
    pub objects: super::shared::ObjectSettings,
}

/// Whether a network may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// It may.
    #[default]
    Allowed,
    /// What needs it is an error (`--offline`).
    Forbidden,
}
